// MemoryLimit: how much private memory a run may take beside what its worker has already.
//
// The kernel's own limit on the data of a process (RLIMIT_DATA, the soft one): what malloc and private mappings take of all its
// threads. What is shared is not counted: objects and results, files mapped for reading; nor is the stack.
#pragma once

#include <sys/resource.h>

#include <cstdint>

namespace tarn::task {

class MemoryLimit {
 public:
  // This process may take `bytes` more from here on, or less if less was allowed before. Does nothing for 0, or if the system does
  // not say what there is.
  explicit MemoryLimit(uint64_t bytes);
  ~MemoryLimit();
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  bool is_set_ = false;
  rlim_t before_ = 0;
};

}  // namespace tarn::task
