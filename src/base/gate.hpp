// Gate: a mutex for the threads of one process that costs a load while there is only one thread.
//
// The C library says when a second thread exists. A thread that passed the gate without locking is
// alone until it starts another one itself, which nothing behind a gate does.
#pragma once

#include <sys/single_threaded.h>

#include <mutex>

namespace tarn {

class Gate {
 public:
  class [[nodiscard]] Pass {
   public:
    explicit Pass(Gate& gate) : gate_(__libc_single_threaded ? nullptr : &gate) {
      if (gate_ != nullptr) gate_->lock();
    }
    ~Pass() {
      if (gate_ != nullptr) gate_->unlock();
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Gate* gate_;
  };

  // Passes if no other thread is inside. Not for a thread that is.
  class [[nodiscard]] Attempt {
   public:
    explicit Attempt(Gate& gate) : gate_(__libc_single_threaded ? nullptr : &gate) {
      has_passed_ = gate_ == nullptr || gate_->try_lock();
    }
    ~Attempt() {
      if (gate_ != nullptr && has_passed_) gate_->unlock();
    }
    Attempt(const Attempt&) = delete;
    Attempt& operator=(const Attempt&) = delete;
    [[nodiscard]] bool has_passed() const { return has_passed_; }

   private:
    Gate* gate_;
    bool has_passed_;
  };

  // Outside again for a while, by whoever has passed: to wait for what another thread may have to bring about. What the
  // gate guards may be anything afterwards.
  class [[nodiscard]] Leave {
   public:
    explicit Leave(Gate& gate) : gate_(gate.is_locked_ ? &gate : nullptr) {
      if (gate_ != nullptr) gate_->unlock();
    }
    ~Leave() {
      if (gate_ != nullptr) gate_->lock();
    }
    Leave(const Leave&) = delete;
    Leave& operator=(const Leave&) = delete;

   private:
    Gate* gate_;
  };

 private:
  void lock() {
    mutex_.lock();
    is_locked_ = true;
  }
  bool try_lock() {
    if (!mutex_.try_lock()) return false;
    is_locked_ = true;
    return true;
  }
  void unlock() {
    is_locked_ = false;
    mutex_.unlock();
  }

  std::mutex mutex_;
  bool is_locked_ = false;  // guarded by mutex_; false for whoever passed without it
};

}  // namespace tarn
