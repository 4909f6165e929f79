#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "checks.hpp"

namespace tarn::cli {

std::string Host::read(const std::string& path) const {
  std::ifstream file(root_ + path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

bool Host::has(const std::string& path) const { return access((root_ + path).c_str(), F_OK) == 0; }

double Host::least_in_cgroups(const std::string& controller, const std::string& v2, const std::string& v1,
                              double (*parse)(const Host&, const std::string&, const std::string&)) const {
  double least = -1;
  std::istringstream lines(read("/proc/self/cgroup"));
  for (std::string line; std::getline(lines, line);) {
    // "0::/path" of the unified hierarchy, "4:memory:/path" or "5:cpu,cpuacct:/path" of the others.
    size_t first = line.find(':');
    size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    bool is_v2 = controllers == ",,";
    if (!is_v2 && controllers.find("," + controller + ",") == std::string::npos) continue;
    std::string base = !is_v2                                      ? "/sys/fs/cgroup/" + controller
                       : has("/sys/fs/cgroup/cgroup.controllers") ? "/sys/fs/cgroup"
                                                                   : "/sys/fs/cgroup/unified";
    for (std::string path = line.substr(second + 1);; path.erase(path.rfind('/'))) {
      if (path == "/") path.clear();
      std::string text = read(base + path + "/" + (is_v2 ? v2 : v1));
      double value = text.empty() ? -1 : parse(*this, base + path, text);
      if (value >= 0 && (least < 0 || value < least)) least = value;
      if (path.empty() || path.rfind('/') == std::string::npos) break;
    }
  }
  return least;
}

}  // namespace tarn::cli
