// ThreadCounts: how many threads the numeric libraries of this process begin, for the time of a run.
//
// They are told by the variables of the environment that they read when they are first used, and, those that have been loaded
// already, by their own functions: libtarn looks for these by name and links none of them. In the executor's thread.
#pragma once

#include <cstdint>

namespace tarn::task {

class ThreadCounts {
 public:
  ThreadCounts() = default;
  ThreadCounts(const ThreadCounts&) = delete;
  ThreadCounts& operator=(const ThreadCounts&) = delete;

  void set(uint32_t threads);
  void put_back();

 private:
  static constexpr int kVariables = 3;

  char* before_[kVariables] = {};  // allocated; nullptr: it was not set
  int libraries_before_[kVariables] = {};  // 0: it is not loaded, or does not say
};

}  // namespace tarn::task
