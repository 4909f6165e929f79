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
      if (gate_ != nullptr) gate_->mutex_.lock();
    }
    ~Pass() {
      if (gate_ != nullptr) gate_->mutex_.unlock();
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    Gate* gate_;
  };

 private:
  std::mutex mutex_;
};

}  // namespace tarn
