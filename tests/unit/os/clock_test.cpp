// A deadline that wraps around lies in the past, and a wait for ever then ends at once.

#include "os/clock.hpp"

#include <gtest/gtest.h>

namespace tarn::os {
namespace {

TEST(ClockTest, never_goes_back) {
  int64_t last = now_ns();
  for (int i = 0; i < 1000; ++i) {
    const int64_t now = now_ns();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(ClockTest, deadline_lies_the_timeout_ahead) {
  const int64_t before = now_ns();
  const int64_t deadline = deadline_after(1'000'000);
  EXPECT_GE(deadline, before + 1'000'000);
  EXPECT_LE(deadline, now_ns() + 1'000'000);
}

TEST(ClockTest, negative_timeouts_and_enormous_ones_never_end) {
  EXPECT_EQ(deadline_after(-1), kForever);
  EXPECT_EQ(deadline_after(INT64_MIN), kForever);
  EXPECT_EQ(deadline_after(INT64_MAX), kForever);
  EXPECT_EQ(deadline_after(INT64_MAX - 1), kForever);
}

}  // namespace
}  // namespace tarn::os
