// Throttle: does something not more often than every so often, and never forgets that it was asked.
//
// What is asked for in the pause after the last time is done at its end, once: whoever asked may be the last who does, and what
// has come since the last time would go unseen. On the loop thread.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "loop.hpp"
#include "os/clock.hpp"

namespace tarn::daemon {

class Throttle {
 public:
  Throttle(Loop& loop, int64_t pause_ns, std::function<void()> act) : loop_(loop), pause_ns_(pause_ns), act_(std::move(act)) {}

  void ask() {
    int64_t now = os::now_ns();
    if (now >= next_ns_) return act(now);
    if (!timer_.armed()) timer_ = loop_.call_at(next_ns_, [this] { act(os::now_ns()); });
  }

 private:
  void act(int64_t now) {
    next_ns_ = now + pause_ns_;
    timer_.reset();
    act_();
  }

  Loop& loop_;
  const int64_t pause_ns_;
  std::function<void()> act_;
  int64_t next_ns_ = 0;
  Loop::Timer timer_;
};

}  // namespace tarn::daemon
