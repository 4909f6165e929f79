// Who descends from whom, as /proc tells it at this moment.
#pragma once

#include <sys/types.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace tarn::test {

// 0 if there is no such process, or only what is left of one.
inline pid_t parent_of(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
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

}  // namespace tarn::test
