// The measured cost of a wake-up decides how long everybody spins: it must come, within its bounds, and
// must not be asked of a process that has one processor only.

#include "wake_cost.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <thread>

#include "os/clock.hpp"

namespace tarn::daemon {
namespace {

TEST(WakeCost, IsMeasuredWithinItsBounds) {
  WakeCost cost;
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  ASSERT_EQ(cost.start(), CPU_COUNT(&allowed) > 1);
  if (CPU_COUNT(&allowed) < 2) return;
  int64_t deadline = os::deadline_after(20'000'000'000);
  while (cost.result_ns() == 0 && os::now_ns() < deadline) std::this_thread::yield();
  EXPECT_GE(cost.result_ns(), 1'000u);
  EXPECT_LE(cost.result_ns(), 200'000u);
}

TEST(WakeCost, NeedsTwoProcessors) {
  std::thread([] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    WakeCost cost;
    EXPECT_FALSE(cost.start());
  }).join();
}

}  // namespace
}  // namespace tarn::daemon
