#include "task/memory_limit.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/fd.hpp"

namespace tarn::task {
namespace {

// What the kernel compares with RLIMIT_DATA. (/proc/self/statm counts the stack with it.)
bool read_data_size(uint64_t& bytes) {
  Fd status(open("/proc/self/status", O_RDONLY | O_CLOEXEC));
  char text[4096];
  ssize_t size = status.valid() ? read(status.get(), text, sizeof text - 1) : -1;
  if (size <= 0) return false;
  text[size] = '\0';
  const char* line = strstr(text, "\nVmData:");
  if (line == nullptr) return false;
  bytes = strtoull(line + strlen("\nVmData:"), nullptr, 10) * 1024;
  return true;
}

}  // namespace

MemoryLimit::MemoryLimit(uint64_t bytes) {
  uint64_t used = 0;
  rlimit limit{};
  if (bytes == 0 || !read_data_size(used) || getrlimit(RLIMIT_DATA, &limit) != 0) return;
  before_ = limit.rlim_cur;
  limit.rlim_cur = std::min<rlim_t>(before_, used + std::min<uint64_t>(bytes, RLIM_INFINITY - used));
  is_set_ = setrlimit(RLIMIT_DATA, &limit) == 0;
}

// The hard limit may have been lowered by the task itself.
MemoryLimit::~MemoryLimit() {
  rlimit limit{};
  if (!is_set_ || getrlimit(RLIMIT_DATA, &limit) != 0) return;
  limit.rlim_cur = std::min(before_, limit.rlim_max);
  (void)setrlimit(RLIMIT_DATA, &limit);
}

}  // namespace tarn::task
