// Hints may be lost in a crash, but without one each must be taken exactly once: a hint lost in good
// weather is a task that nobody runs. Drive the ring full, empty, around many laps and by threads.

#include "shm/hint_ring.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace tarn::shm {
namespace {

constexpr uint32_t kCapacity = 8;
using Ring = HintRing<kCapacity>;

class HintRingTest : public ::testing::Test {
 protected:
  // Takes one hint, or 0 if there is none (the tests push no 0).
  uint32_t take_one() {
    uint32_t id = 0;
    return ring_->take(&id, 1) == 1 ? id : 0;
  }

  std::unique_ptr<Ring> ring_ = std::make_unique<Ring>();
  Ring::Producer producer_;
};

TEST_F(HintRingTest, is_empty_at_first) {
  EXPECT_TRUE(ring_->empty());
  EXPECT_EQ(take_one(), 0u);
}

TEST_F(HintRingTest, gives_hints_in_the_order_they_came) {
  for (uint32_t id = 1; id <= 3; ++id) ASSERT_TRUE(ring_->push(producer_, id));
  EXPECT_FALSE(ring_->empty());
  for (uint32_t id = 1; id <= 3; ++id) EXPECT_EQ(take_one(), id);
  EXPECT_TRUE(ring_->empty());
}

TEST_F(HintRingTest, refuses_one_too_many_and_takes_it_after_room_was_made) {
  for (uint32_t id = 1; id <= kCapacity; ++id) ASSERT_TRUE(ring_->push(producer_, id));
  EXPECT_FALSE(ring_->push(producer_, 99));
  EXPECT_EQ(take_one(), 1u);
  EXPECT_TRUE(ring_->push(producer_, 99));
  EXPECT_FALSE(ring_->push(producer_, 100));
}

TEST_F(HintRingTest, takes_many_at_once_but_no_more_than_asked_or_there) {
  for (uint32_t id = 1; id <= 5; ++id) ASSERT_TRUE(ring_->push(producer_, id));
  std::array<uint32_t, 16> ids{};
  EXPECT_EQ(ring_->take(ids.data(), 2), 2u);
  EXPECT_EQ(ring_->take(ids.data(), ids.size()), 3u);
  EXPECT_EQ(ids[0], 3u);
  EXPECT_EQ(ids[2], 5u);
}

TEST_F(HintRingTest, forgets_nothing_over_many_laps) {
  uint32_t next = 1;
  for (uint32_t lap = 0; lap < 1000; ++lap) {
    const uint32_t count = lap % kCapacity + 1;
    for (uint32_t i = 0; i < count; ++i) ASSERT_TRUE(ring_->push(producer_, next + i));
    for (uint32_t i = 0; i < count; ++i) ASSERT_EQ(take_one(), next + i);
    next += count;
    ASSERT_TRUE(ring_->empty());
  }
}

TEST_F(HintRingTest, gives_every_hint_to_exactly_one_of_many_consumers) {
  constexpr uint32_t kHints = 20'000;
  std::vector<std::atomic<uint8_t>> taken(kHints + 1);
  std::atomic<uint32_t> total{0};
  const auto consume = [&] {
    std::array<uint32_t, 4> ids{};
    while (total.load() < kHints) {
      const size_t count = ring_->take(ids.data(), ids.size());
      for (size_t i = 0; i < count; ++i) taken[ids[i]].fetch_add(1);
      total.fetch_add(static_cast<uint32_t>(count));
      if (count == 0) std::this_thread::yield();
    }
  };
  std::thread first(consume), second(consume);
  for (uint32_t id = 1; id <= kHints; ++id) {
    while (!ring_->push(producer_, id)) std::this_thread::yield();
  }
  first.join();
  second.join();
  for (uint32_t id = 1; id <= kHints; ++id) ASSERT_EQ(taken[id].load(), 1) << id;
}

}  // namespace
}  // namespace tarn::shm
