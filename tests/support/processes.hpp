// Who descends from whom, as /proc tells it at this moment.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace tarn::test {

// 0 if there is no such process, or only what is left of one.
inline pid_t parent_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text, '\0');  // which sees to it if the process has gone since
  size_t end = text.rfind(')');
  int parent = 0;
  char state = 0;
  if (end == std::string::npos || sscanf(text.c_str() + end + 1, " %c %d", &state, &parent) != 2 || state == 'Z') return 0;
  return parent;
}

inline std::string name_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

inline std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  std::ifstream file("/proc/" + std::to_string(pid) + "/task/" + std::to_string(pid) + "/children");
  for (pid_t child; file >> child;) children.push_back(child);
  return children;
}

// What its descriptors take of the disk behind /var/tmp, in bytes.
inline uint64_t bytes_on_disk(pid_t pid) {
  uint64_t sum = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
    std::error_code error;
    auto target = std::filesystem::read_symlink(entry.path(), error).string();
    struct stat status;
    if (target.starts_with("/var/tmp/") && stat(entry.path().c_str(), &status) == 0)
      sum += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  return sum;
}

}  // namespace tarn::test
