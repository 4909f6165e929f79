// A member's side: it could write when nobody asked, after the time is over, into memory that is not there, or let two threads
// write over one another.
#include "trace/tracer.hpp"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

#include "os/clock.hpp"

namespace tarn::trace {
namespace {

class TracerTest : public testing::Test {
 protected:
  static constexpr uint32_t kMember = 70;

  void SetUp() override {
    ASSERT_EQ(0, os::memfd_create("board", kBoardFileSize, file_));
    ASSERT_EQ(0, os::Mapping::map(file_, sizeof(shm::Board), os::Access::kReadWrite, board_map_));
    ASSERT_EQ(0, os::Mapping::map_range(file_, lane_at(kMember), sizeof(Lane), os::Access::kRead, lane_map_));
    board_ = reinterpret_cast<shm::Board*>(board_map_.data());
    ASSERT_EQ(0, tracer_.open(*board_, file_, kMember));
  }

  void begin(int64_t for_ns, uint32_t events_log2 = 10) {
    ASSERT_EQ(0, os::memfd_reserve(file_, lane_at(kMember), lane_size(uint32_t{1} << events_log2)));
    board_->trace_lanes[kMember / 64].fetch_or(uint64_t{1} << kMember % 64);
    board_->trace.store(pack_trace(os::now_ns() + for_ns, events_log2), kRelease);
  }

  std::vector<Event> read(uint32_t capacity = 1024) {
    auto* lane = reinterpret_cast<const Lane*>(lane_map_.data());
    std::vector<RawEvent> raw(capacity);
    Copied copied = copy_events(lane->end, lane->slots, capacity, position_, raw.data(), capacity);
    std::vector<Event> events;
    for (uint32_t i = copied.first; i < copied.first + copied.count; ++i)
      if (Event event; Event::unpack(raw[i], event)) events.push_back(event);
    return events;
  }

  Fd file_;
  os::Mapping board_map_;
  os::Mapping lane_map_;
  shm::Board* board_ = nullptr;
  Tracer tracer_;
  uint64_t position_ = 0;
};

TEST_F(TracerTest, NothingIsWrittenUnlessSomebodyAsks) {
  EXPECT_FALSE(Tracer::is_on(*board_));
  tracer_.write(Kind::kWake);
  EXPECT_TRUE(read().empty());
}

TEST_F(TracerTest, WritesWhatHappensAndWhen) {
  begin(60'000'000'000);
  EXPECT_TRUE(Tracer::is_on(*board_));
  auto before = static_cast<uint64_t>(os::now_ns());
  tracer_.write(Kind::kRunEnd, 5, 6, 7, 1);
  std::vector<Event> events = read();
  ASSERT_EQ(1u, events.size());
  EXPECT_EQ(Kind::kRunEnd, events[0].kind);
  EXPECT_EQ(5u, events[0].run);
  EXPECT_EQ(6u, events[0].argument);
  EXPECT_EQ(7u, events[0].task);
  EXPECT_EQ(1u, events[0].detail);
  EXPECT_GE(events[0].time_ns, before);
}

// The tracer is gone. Expect: the first event after its time switches the trace off.
TEST_F(TracerTest, TheTimeOfATraceIsOverByItself) {
  begin(-1);
  tracer_.write(Kind::kWake);
  EXPECT_TRUE(read().empty());
  EXPECT_FALSE(Tracer::is_on(*board_));
}

TEST_F(TracerTest, ALaneWithoutMemoryIsLeftAlone) {
  board_->trace.store(pack_trace(os::now_ns() + 60'000'000'000, 10), kRelease);
  tracer_.write(Kind::kWake);
  EXPECT_TRUE(read().empty());
}

TEST_F(TracerTest, AWordThatSomebodyScribbledUponLeadsNowhere) {
  begin(60'000'000'000, kEventsLog2Max);
  for (uint64_t log2 : {0u, 1u, 9u, 18u, 31u}) {
    board_->trace.store(static_cast<uint64_t>(os::now_ns() + 60'000'000'000) / 32 * 32 + log2, kRelease);
    for (int i = 0; i < 5000; ++i) tracer_.write(Kind::kWake);  // a lane is not larger than it is mapped
  }
  board_->trace.store(UINT64_MAX, kRelease);
  tracer_.write(Kind::kWake);
}

TEST_F(TracerTest, WithoutMemoryForItNothingIsWritten) {
  Tracer other;
  other.write(Kind::kWake);
  Fd small;
  ASSERT_EQ(0, os::memfd_create("board", sizeof(shm::Board), small));
  EXPECT_LT(other.open(*board_, small, kMember), 0);
  other.write(Kind::kWake);
}

TEST_F(TracerTest, ThreadsTakeTurnsAndAreToldApart) {
  constexpr uint32_t kThreads = 4;
  constexpr uint64_t kEach = 15'000;
  begin(600'000'000'000, kEventsLog2Max);
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] {
      for (uint64_t n = 0; n < kEach; ++n) tracer_.write(Kind::kSubmit, n, i);
    });
  for (std::thread& thread : threads) thread.join();
  std::vector<Event> events = read(kEventsMax);
  ASSERT_EQ(kThreads * kEach, events.size());
  uint64_t next[kThreads] = {};
  std::set<uint16_t> numbers;
  uint64_t last_ns = 0;
  for (const Event& event : events) {
    ASSERT_EQ(next[event.argument]++, event.run);
    EXPECT_LE(last_ns, event.time_ns);
    last_ns = event.time_ns;
    numbers.insert(event.thread);
  }
  EXPECT_EQ(kThreads, numbers.size());
}

}  // namespace
}  // namespace tarn::trace
