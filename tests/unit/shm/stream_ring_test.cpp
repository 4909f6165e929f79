// A stream's ring, one side after the other and by two threads. What could go wrong: an item that is not the next one, more in the
// ring than the window allows, a writer that goes on at the wrong place, an object that recovery takes for lost.

#include "shm/stream_ring.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

namespace tarn::shm {
namespace {

class StreamRingTest : public ::testing::Test {
 protected:
  static constexpr uint32_t kCapacity = 8;

  StreamRingTest() : memory_(std::aligned_alloc(64, StreamRing::lines(kCapacity) * 64), std::free) {
    std::memset(memory_.get(), 0xff, StreamRing::lines(kCapacity) * 64);  // it may have been used before
  }

  StreamRing& open(uint32_t items_max = kCapacity, uint64_t bytes_max = 1000) {
    auto& ring = *static_cast<StreamRing*>(memory_.get());
    ring.open(kCapacity, items_max, bytes_max);
    return ring;
  }

  static void put(StreamRing& ring, StreamRing::Writer& writer, uint64_t number, uint64_t bytes = sizeof(uint64_t)) {
    std::byte payload[sizeof number];
    memcpy(payload, &number, sizeof number);
    ring.put(writer, sizeof number, payload, bytes);
  }
  static uint64_t number_at(const StreamRing& ring, uint64_t head) {
    uint64_t number = UINT64_MAX;
    if (const StreamEntry* entry = ring.peek(head); entry != nullptr) memcpy(&number, entry->payload, sizeof number);
    return number;
  }

  std::unique_ptr<void, void (*)(void*)> memory_;
};

TEST_F(StreamRingTest, is_empty_at_first) {
  StreamRing& ring = open();
  EXPECT_EQ(nullptr, ring.peek(0));
  EXPECT_FALSE(ring.is_gone());
  EXPECT_EQ(0u, ring.resume().position);
}

TEST_F(StreamRingTest, gives_items_in_their_order_around_many_laps) {
  StreamRing& ring = open();
  StreamRing::Writer writer = ring.resume();
  uint64_t head = 0;
  for (uint64_t number = 0; number < 1000;) {
    for (uint32_t i = 0; i < 1 + number % kCapacity && ring.has_room(writer, 8); ++i) put(ring, writer, number++);
    while (ring.peek(head) != nullptr) {
      EXPECT_EQ(head, number_at(ring, head));
      ++head;
      EXPECT_FALSE(ring.advance(head, head * 8));
    }
    EXPECT_EQ(number, head);
  }
}

TEST_F(StreamRingTest, holds_no_more_than_the_window) {
  for (auto [items, bytes, size, fit] : {std::tuple{1u, 1000ull, 8ull, 1u}, {5u, 1000ull, 8ull, 5u}, {8u, 100ull, 30ull, 3u}, {8u, 10ull, 30ull, 1u}}) {
    StreamRing& ring = open(items, bytes);
    StreamRing::Writer writer = ring.resume();
    uint32_t written = 0;
    for (; ring.has_room(writer, size); ++written) put(ring, writer, written, size);
    EXPECT_EQ(fit, written);
    EXPECT_FALSE(ring.advance(1, size));  // nobody sleeps
    EXPECT_TRUE(ring.has_room(writer, size));
  }
}

TEST_F(StreamRingTest, the_next_writer_goes_on_where_the_last_one_ended) {
  StreamRing& ring = open(4, 1000);
  StreamRing::Writer first = ring.resume();
  for (uint64_t number = 0; number < 3; ++number) put(ring, first, number, 100);
  EXPECT_FALSE(ring.advance(1, 100));
  StreamRing::Writer second = ring.resume();
  EXPECT_EQ(3u, second.position);
  EXPECT_EQ(300u, second.total);
  EXPECT_EQ(1u, second.head);
  put(ring, second, 3, 100);
  put(ring, second, 4, 100);
  EXPECT_FALSE(ring.has_room(second, 1));
  for (uint64_t head = 1; head < 5; ++head) EXPECT_EQ(head, number_at(ring, head));
  // Also when all was taken.
  EXPECT_FALSE(ring.advance(5, 500));
  EXPECT_EQ(5u, ring.resume().position);
  EXPECT_EQ(500u, ring.resume().total);
}

TEST_F(StreamRingTest, wakes_a_writer_when_half_of_the_window_is_free) {
  StreamRing& ring = open(4, 1000);
  StreamRing::Writer writer = ring.resume();
  for (uint64_t number = 0; number < 4; ++number) put(ring, writer, number);
  EXPECT_TRUE(ring.park(writer, 8));
  EXPECT_FALSE(ring.advance(1, 8));
  EXPECT_TRUE(ring.advance(2, 16));
  EXPECT_FALSE(ring.advance(3, 24));  // once
  EXPECT_FALSE(ring.park(writer, 8));  // there is room
}

TEST_F(StreamRingTest, tells_once_for_each_wish) {
  StreamRing& ring = open();
  StreamRing::Writer writer = ring.resume();
  put(ring, writer, 0);
  EXPECT_FALSE(ring.take_wish());
  ring.want();
  ring.want();
  put(ring, writer, 1);
  EXPECT_TRUE(ring.take_wish());
  EXPECT_FALSE(ring.take_wish());
}

TEST_F(StreamRingTest, a_reader_that_leaves_is_gone) {
  StreamRing& ring = open(1);
  StreamRing::Writer writer = ring.resume();
  put(ring, writer, 0);
  EXPECT_TRUE(ring.park(writer, 8));
  EXPECT_TRUE(ring.leave());
  EXPECT_TRUE(ring.is_gone());
  EXPECT_FALSE(ring.park(writer, 8));
}

TEST_F(StreamRingTest, recovery_finds_objects_that_were_not_taken) {
  StreamRing& ring = open();
  StreamRing::Writer writer = ring.resume();
  for (uint32_t i = 0; i < 3; ++i) {
    ObjectRef object{100 + i, 7, 0, 50};
    std::byte payload[sizeof object];
    memcpy(payload, &object, sizeof object);
    ring.put(writer, StreamEntry::kObject, payload, object.size);
  }
  put(ring, writer, 104);
  EXPECT_FALSE(ring.advance(1, 50));
  EXPECT_FALSE(ring.has_object(100, 7));
  EXPECT_TRUE(ring.has_object(101, 7));
  EXPECT_TRUE(ring.has_object(102, 7));
  EXPECT_FALSE(ring.has_object(102, 8));
  EXPECT_FALSE(ring.has_object(104, 0));  // a number
  ring.close();
  EXPECT_FALSE(ring.has_object(101, 7));
}

TEST_F(StreamRingTest, two_threads) {
  StreamRing& ring = open(5, 200);
  constexpr uint64_t kItems = 200'000;
  std::thread producer([&ring] {
    StreamRing::Writer writer = ring.resume();
    for (uint64_t number = 0; number < kItems; ++number) {
      while (!ring.has_room(writer, number % 50)) std::this_thread::yield();
      put(ring, writer, number, number % 50);
      (void)ring.take_wish();
    }
  });
  uint64_t taken = 0;
  for (uint64_t head = 0; head < kItems; ++head) {
    while (ring.peek(head) == nullptr) std::this_thread::yield();
    ASSERT_EQ(head, number_at(ring, head));
    taken += head % 50;
    (void)ring.advance(head + 1, taken);
    if (head % 64 == 0) ring.want();
  }
  producer.join();
}

}  // namespace
}  // namespace tarn::shm
