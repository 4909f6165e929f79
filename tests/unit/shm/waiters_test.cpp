// A thread that waits for n results must be woken by the n-th and not before: too late hangs it, too
// early costs a system call for each.

#include "shm/waiters.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>
#include <thread>

#include "os/clock.hpp"
#include "os/futex.hpp"

namespace tarn::shm {
namespace {

constexpr uint64_t bit(uint32_t index) {
  return uint64_t{1} << index;
}

class WaitersTest : public ::testing::Test {
 protected:
  void count_events(uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) ASSERT_EQ(waiters_->count_event(), 0u);
  }

  std::unique_ptr<Waiters> waiters_ = std::make_unique<Waiters>();
  uint32_t ticket_ = 0;
};

TEST_F(WaitersTest, wakes_nobody_when_nobody_waits) {
  EXPECT_EQ(waiters_->count_event(), 0u);
}

TEST_F(WaitersTest, wakes_with_the_last_event_that_was_missing) {
  ASSERT_TRUE(waiters_->prepare(3, waiters_->events(), 4, ticket_));
  count_events(3);
  EXPECT_EQ(waiters_->count_event(), bit(3));
  // Whoever clears the bit wakes, so the next event wakes nobody.
  EXPECT_EQ(waiters_->count_event(), 0u);
}

TEST_F(WaitersTest, does_not_let_a_thread_sleep_when_enough_happened_while_it_prepared) {
  const uint32_t seen = waiters_->events();
  count_events(2);
  EXPECT_FALSE(waiters_->prepare(0, seen, 2, ticket_));
  EXPECT_EQ(waiters_->count_event(), 0u);
}

TEST_F(WaitersTest, keeps_waiters_apart) {
  ASSERT_TRUE(waiters_->prepare(0, waiters_->events(), 2, ticket_));
  ASSERT_TRUE(waiters_->prepare(Waiters::kPollWaiter, waiters_->events(), 1, ticket_));
  EXPECT_EQ(waiters_->count_event(), bit(Waiters::kPollWaiter));
  EXPECT_EQ(waiters_->count_event(), bit(0));
}

TEST_F(WaitersTest, does_not_wake_who_withdrew) {
  ASSERT_TRUE(waiters_->prepare(1, waiters_->events(), 1, ticket_));
  waiters_->withdraw(1);
  EXPECT_EQ(waiters_->count_event(), 0u);
}

TEST_F(WaitersTest, count_all_wakes_everybody_whatever_is_missing) {
  ASSERT_TRUE(waiters_->prepare(1, waiters_->events(), 1000, ticket_));
  ASSERT_TRUE(waiters_->prepare(2, waiters_->events(), 1, ticket_));
  EXPECT_EQ(waiters_->count_all(), bit(1) | bit(2));
  EXPECT_EQ(waiters_->count_event(), 0u);
}

TEST_F(WaitersTest, wakes_a_thread_that_really_sleeps) {
  constexpr uint32_t kRounds = 200, kEventsPerRound = 20;
  constexpr int64_t kHang = 10'000'000'000;
  std::atomic<bool> done{false};
  std::thread sleeper([&] {
    for (uint32_t round = 0; round < kRounds; ++round) {
      const uint32_t target = waiters_->events() + kEventsPerRound;
      for (;;) {
        const uint32_t now = waiters_->events();
        const auto missing = static_cast<int32_t>(target - now);
        if (missing <= 0) break;
        uint32_t ticket = 0;
        if (!waiters_->prepare(5, now, static_cast<uint32_t>(missing), ticket)) continue;
        const int64_t deadline = os::now_ns() + kHang;
        os::futex_wait(waiters_->futex_address(5), ticket, deadline);
        waiters_->withdraw(5);
        EXPECT_LT(os::now_ns(), deadline) << "nobody woke the sleeper";
      }
    }
    done = true;
  });
  while (!done) {
    for (uint64_t wake = waiters_->count_event(); wake != 0; wake &= wake - 1) {
      const auto index = static_cast<uint32_t>(std::countr_zero(wake));
      waiters_->release(index);
      os::futex_wake(waiters_->futex_address(index), 1);
    }
    std::this_thread::yield();
  }
  sleeper.join();
}

}  // namespace
}  // namespace tarn::shm
