// Prefaulter: backs slabs with memory and faults their pages in, before anybody has to wait for it.
//
// Small slabs are done at once; larger ones on a thread of their own, which starts with the first of
// them. Jobs are done in order. Called from the loop thread, which also runs `done`.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "connection.hpp"
#include "loop.hpp"

namespace tarn::daemon {

class Prefaulter {
 public:
  // `code` is 0, or negative with a text: TARN_E_NO_MEMORY most likely.
  using Done = std::function<void(int code, const std::string& text)>;

  static constexpr uint64_t kAtOnceMax = 4u << 20;  // about a millisecond

  explicit Prefaulter(Loop& loop) : loop_(loop) {}
  Prefaulter(const Prefaulter&) = delete;
  Prefaulter& operator=(const Prefaulter&) = delete;
  ~Prefaulter();

  // Makes the first `size` bytes of `file` warm, then calls `done`: before this returns if it is
  // small, else from the loop. Whatever `done` captures must allow for its session having ended.
  void prepare(SharedFd file, uint64_t size, Done done);

 private:
  struct Job {
    SharedFd file;
    uint64_t size;
    Done done;
    int code = 0;
    std::string text;
  };

  void start_thread();
  void work();
  void deliver();
  static void make_warm(Job& job);

  Loop& loop_;
  Fd event_;
  Loop::Watch watch_;
  std::thread thread_;

  std::mutex mutex_;  // guards the rest
  std::condition_variable wake_;
  std::deque<Job> waiting_;
  std::deque<Job> finished_;
  bool stopping_ = false;
};

}  // namespace tarn::daemon
