// Events: a reader that looks while they are written could take half of one, take one twice, or not say that it missed some.
// A writer that lies could lead it out of the ring.
#include "trace/event_ring.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "trace/event.hpp"

namespace tarn::trace {
namespace {

constexpr uint32_t kCapacity = 1024;

class EventRingTest : public testing::Test {
 protected:
  void write(uint64_t i) { append(end_, slots_.get(), kCapacity, {{i, ~i, i * 3, i ^ 0x5555}}); }
  Copied copy(uint32_t most = kCapacity) {
    buffer_.resize(kCapacity);
    return copy_events(end_, slots_.get(), kCapacity, position_, buffer_.data(), most);
  }

  Word<uint64_t> end_;
  std::unique_ptr<Slot[]> slots_ = std::make_unique<Slot[]>(kCapacity);
  std::vector<RawEvent> buffer_;
  uint64_t position_ = 0;
};

TEST_F(EventRingTest, WhatIsWrittenIsReadOnce) {
  for (uint64_t i = 0; i < 100; ++i) write(i);
  Copied copied = copy();
  ASSERT_EQ(100u, copied.count);
  EXPECT_EQ(0u, copied.lost);
  for (uint32_t i = 0; i < 100; ++i) EXPECT_EQ(i, buffer_[copied.first + i].words[0]);
  EXPECT_EQ(0u, copy().count);
}

TEST_F(EventRingTest, ALittleAtATime) {
  for (uint64_t i = 0; i < 100; ++i) write(i);
  for (uint32_t i = 0; i < 10; ++i) {
    Copied copied = copy(10);
    ASSERT_EQ(10u, copied.count);
    EXPECT_EQ(i * 10, buffer_[copied.first].words[0]);
  }
}

TEST_F(EventRingTest, WhatWasOverwrittenIsCounted) {
  for (uint64_t i = 0; i < 5 * kCapacity; ++i) write(i);
  Copied copied = copy();
  // All but one slot: the oldest may be being overwritten.
  EXPECT_EQ(kCapacity - 1, copied.count);
  EXPECT_EQ(4 * kCapacity + 1, copied.lost);
  EXPECT_EQ(4 * kCapacity + 1, buffer_[copied.first].words[0]);
}

TEST_F(EventRingTest, MemoryThatWasTakenBackBeginsAnew) {
  for (uint64_t i = 0; i < 100; ++i) write(i);
  (void)copy();
  end_.store(0, kRelease);
  write(7);
  Copied copied = copy();
  ASSERT_EQ(1u, copied.count);
  EXPECT_EQ(7u, buffer_[copied.first].words[0]);
}

// A thread writes as fast as it can. Expect: each event that is read is whole, they come in order, and taken and lost make all.
TEST_F(EventRingTest, AReaderBesideTheWriterTakesWholeEvents) {
  constexpr uint64_t kEvents = 400'000;
  std::thread writer([&] {
    for (uint64_t i = 0; i < kEvents; ++i) write(i);
  });
  uint64_t next = 0;
  uint64_t taken = 0;
  uint64_t lost = 0;
  while (next < kEvents) {
    Copied copied = copy();
    taken += copied.count;
    lost += copied.lost;
    next += copied.lost;
    for (uint32_t i = 0; i < copied.count; ++i, ++next) {
      const RawEvent& event = buffer_[copied.first + i];
      ASSERT_EQ(next, event.words[0]);
      ASSERT_EQ(~next, event.words[1]);
      ASSERT_EQ(next * 3, event.words[2]);
      ASSERT_EQ(next ^ 0x5555, event.words[3]);
    }
  }
  writer.join();
  EXPECT_EQ(kEvents, taken + lost);
  EXPECT_GT(taken, 0u);
}

TEST_F(EventRingTest, NonsenseLeadsNobodyAstray) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 20'000; ++round) {
    end_.store(random() % 4 == 0 ? random() : UINT64_MAX - random() % 3000, kRelease);
    if (random() % 3 == 0) position_ = random() % 2 == 0 ? random() : UINT64_MAX - random() % 3000;
    auto most = static_cast<uint32_t>(1 + random() % kCapacity);
    Copied copied = copy(most);
    ASSERT_LE(copied.first + copied.count, most);
  }
}

TEST(EventTest, IsWhatWasPacked) {
  Event event{123, uint64_t{7} << 32 | 9, 0xabcdef, 0xdeadbeef, 300, 2, Kind::kNodeBegin};
  Event copy;
  ASSERT_TRUE(Event::unpack(event.pack(), copy));
  EXPECT_EQ(event.time_ns, copy.time_ns);
  EXPECT_EQ(event.run, copy.run);
  EXPECT_EQ(event.argument, copy.argument);
  EXPECT_EQ(event.task, copy.task);
  EXPECT_EQ(event.thread, copy.thread);
  EXPECT_EQ(event.detail, copy.detail);
  EXPECT_EQ(event.kind, copy.kind);
  EXPECT_FALSE(Event::unpack({{1, 2, 0, 3}}, copy));
  EXPECT_FALSE(Event::unpack({{1, 2, 200, 3}}, copy));
}

}  // namespace
}  // namespace tarn::trace
