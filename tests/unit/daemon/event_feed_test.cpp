// A client that asked for events and does not read could make tarnd wait, queue without bound, or cut the client off; or lose
// without a word. Here it reads nothing while much happens, and is told the newest and how many it has missed.
#include "event_feed.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "tarn/tarn.h"
#include "wire/validate.hpp"

namespace tarn::daemon {
namespace {

class EventFeedTest : public testing::Test, public Connection::Owner {
 protected:
  EventFeedTest() {
    Fd ours;
    EXPECT_EQ(0, os::socket_pair(ours, client_));
    connection_ = std::make_unique<Connection>(loop_, closer_, getuid(), std::move(ours), wire::From::kMember, *this);
    connection_->start();
  }
  ~EventFeedTest() override {
    feed_.stop();
    connection_.reset();
    for (int64_t deadline = os::deadline_after(5'000'000'000); !closer_.idle() && os::now_ns() < deadline;) run();
  }

  void on_packet(Connection&, const wire::Packet&, os::Received&) override {}
  void on_closed(Connection&, const std::string& reason) override { ADD_FAILURE() << "cut off: " << reason; }
  void on_room(Connection&) override { feed_.on_room(); }

  void run() {
    while (loop_.run_ready()) {
    }
  }
  // Reads what lies there now.
  std::vector<wire::Event> read() {
    std::vector<wire::Event> events;
    for (;;) {
      os::Received received;
      if (os::socket_receive(client_, buffer_.bytes, received, 0) != 0) return events;
      wire::Packet packet;
      EXPECT_EQ(0, wire::parse({buffer_.bytes, received.size}, received.descriptor_count, wire::From::kDaemon, packet))
          << last_error();
      EXPECT_EQ(wire::Type::kEvent, packet.type);
      if (packet.type == wire::Type::kEvent) events.push_back(packet.as<wire::Event>());
    }
  }
  std::vector<wire::Event> read_all() {
    std::vector<wire::Event> events;
    for (;;) {
      std::vector<wire::Event> more = read();
      if (more.empty()) return events;
      events.insert(events.end(), more.begin(), more.end());
      run();
    }
  }
  void refuse_and_calm_down() {
    feed_.after_refusal(TARN_E_STORE_FULL, 4096);
    for (int64_t end = os::deadline_after(EventFeed::kCalmNs * 3 / 2); os::now_ns() < end; usleep(10'000)) run();
  }

  Loop loop_;
  Closer closer_{loop_};
  Budget host_{"the host", "bytes", 1 << 20, TARN_E_STORE_FULL, nullptr};
  Budget session_{"session 1", "bytes", 1 << 20, TARN_E_STORE_FULL, &host_};
  MemoryQueue queue_{loop_, 1'000'000'000, [](const Budget&, uint64_t, bool) {}, [](const Budget&) { return false; }};
  Fd client_;
  std::unique_ptr<Connection> connection_;
  EventFeed feed_{loop_, queue_, session_};
  wire::Buffer<wire::kToMemberSizeMax> buffer_;
};

TEST_F(EventFeedTest, NothingIsSentToWhoHasNotAsked) {
  EXPECT_FALSE(feed_.wants(TARN_EVENT_SPILLED));
  refuse_and_calm_down();
  EXPECT_TRUE(read().empty());
}

TEST_F(EventFeedTest, WhoDoesNotReadIsToldTheNewestAndHowManyWereLost) {
  constexpr uint32_t kMany = 100'000;
  feed_.subscribe(*connection_, TARN_EVENT_SPILLED);
  for (uint32_t i = 1; i <= kMany; ++i) feed_.tell(TARN_EVENT_SPILLED, i, i, 4096);
  run();
  EXPECT_FALSE(connection_->has_room());
  std::vector<wire::Event> events = read_all();
  ASSERT_FALSE(events.empty());
  EXPECT_LT(events.size(), 1000u);
  uint64_t sum = 0;
  uint32_t last = 0;
  for (const wire::Event& event : events) {
    sum += 1 + event.lost;
    EXPECT_EQ(sum, event.generation) << "what is counted as lost came before";
    EXPECT_GT(event.generation, last);
    last = event.generation;
  }
  EXPECT_EQ(kMany, last);
  // Who reads again loses nothing.
  feed_.tell(TARN_EVENT_SPILLED, 1, kMany + 1, 4096);
  events = read();
  ASSERT_EQ(1u, events.size());
  EXPECT_EQ(0u, events[0].lost);
}

TEST_F(EventFeedTest, AShortageBeginsOnceAndIsOverOnce) {
  feed_.subscribe(*connection_, TARN_EVENT_PRESSURE);
  for (int i = 0; i < 10; ++i) feed_.after_refusal(TARN_E_QUOTA, 4096);
  std::vector<wire::Event> events = read();
  ASSERT_EQ(1u, events.size());
  EXPECT_EQ(0u, events[0].is_over);
  EXPECT_EQ(4096u, events[0].bytes);
  refuse_and_calm_down();
  events = read();
  ASSERT_EQ(1u, events.size());
  EXPECT_EQ(1u, events[0].is_over);
  // Other codes say nothing about memory.
  feed_.after_refusal(TARN_E_LIMIT, 4096);
  EXPECT_TRUE(read().empty());
}

TEST_F(EventFeedTest, AShortageThatWasOverBeforeTheClientReadIsNotTold) {
  feed_.subscribe(*connection_, TARN_EVENT_PRESSURE | TARN_EVENT_SPILLED);
  for (uint32_t i = 1; connection_->has_room(); ++i) feed_.tell(TARN_EVENT_SPILLED, i, i, 4096);
  refuse_and_calm_down();
  for (const wire::Event& event : read_all()) EXPECT_EQ(uint32_t{TARN_EVENT_SPILLED}, event.kind);
  // One that lasts is.
  for (uint32_t i = 1; connection_->has_room(); ++i) feed_.tell(TARN_EVENT_SPILLED, i, i, 4096);
  feed_.after_refusal(TARN_E_STORE_FULL, 4096);
  std::vector<wire::Event> events = read_all();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(uint32_t{TARN_EVENT_PRESSURE}, events.back().kind);
  EXPECT_EQ(0u, events.back().is_over);
}

}  // namespace
}  // namespace tarn::daemon
