// A close that hangs must hold up nobody but its own lane, and what was paid for a descriptor must come back exactly once:
// when it is closed, or when the Closer ends, whichever is first.
#include "os/closer.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "os/clock.hpp"
#include "support/lingering_socket.hpp"

namespace tarn::os {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

Fd plain() { return Fd{open("/dev/null", O_RDONLY | O_CLOEXEC)}; }

struct CloserTest : testing::Test {
  void SetUp() override { ASSERT_EQ(closer_->start(), 0); }

  bool all_closed_within(int64_t patience) {
    int64_t deadline = deadline_after(patience);
    while (!closer_->idle() && now_ns() < deadline) {
      pollfd entry{closer_->event().get(), POLLIN, 0};
      if (poll(&entry, 1, 10) > 0) closer_->collect();
    }
    return closer_->idle();
  }

  std::unique_ptr<Closer> closer_ = std::make_unique<Closer>();
};

TEST_F(CloserTest, gives_the_receipt_back_when_the_descriptor_is_closed) {
  Fd fd = plain();
  int number = fd.get();
  auto receipt = std::make_shared<int>(1);
  closer_->close(1, std::move(fd), receipt);
  EXPECT_EQ(receipt.use_count(), 2);
  EXPECT_EQ(closer_->waiting(1), 1u);
  EXPECT_EQ(closer_->unpaid(1), 0u);
  EXPECT_TRUE(all_closed_within(kSecond));
  EXPECT_EQ(receipt.use_count(), 1);
  EXPECT_EQ(fcntl(number, F_GETFD), -1);
}

TEST_F(CloserTest, does_not_wait_for_a_socket_that_lingers) {
  Fd peers[20];
  int64_t begin = now_ns();
  for (Fd& peer : peers) closer_->close(1, test::lingering_socket(peer));
  closer_->close(2, plain());
  EXPECT_GT(closer_->unpaid(1), 0u);
  EXPECT_TRUE(all_closed_within(20 * kSecond));
  EXPECT_LT(now_ns() - begin, 20 * kSecond);
}

TEST_F(CloserTest, closes_what_is_left_at_its_end) {
  auto receipt = std::make_shared<int>(1);
  for (uint64_t lane = 0; lane < 100; ++lane) closer_->close(lane, plain(), receipt);
  closer_.reset();
  EXPECT_EQ(receipt.use_count(), 1);  // and the leak gate looks for the descriptors
}

}  // namespace
}  // namespace tarn::os
