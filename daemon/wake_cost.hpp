// WakeCost: how long a sleeping thread on another core takes to run after it is woken.
//
// Waiting processes spin for that long before they sleep: by the well-known argument for spin-then-park, a
// spin as long as the cost of parking is never more than twice as bad as knowing the future. The cost
// is 25 microseconds on one machine and 2 on another, so it is measured, not assumed.
//
// Used from the loop thread; the measurement runs on two threads of its own and takes some milliseconds,
// most of them asleep.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace tarn::daemon {

class WakeCost {
 public:
  WakeCost() = default;
  WakeCost(const WakeCost&) = delete;
  WakeCost& operator=(const WakeCost&) = delete;
  ~WakeCost();

  // Begins to measure between two processors on which this process may run; false if there is only one.
  bool start();

  // The median in nanoseconds, within [1 us, 200 us]; 0 while it is being measured.
  [[nodiscard]] uint32_t result_ns() const { return result_ns_.load(std::memory_order_acquire); }

 private:
  void measure(int near, int far);

  std::thread thread_;
  std::atomic<uint32_t> result_ns_{0};
};

}  // namespace tarn::daemon
