// Who is on duty in a slot. What could go wrong: nobody, or two; an index that somebody has scribbled leads out of the board. What
// happens when several act at once is in tests/model/seat_test.cpp.
#include "shm/seat.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace tarn::shm {
namespace {

class SeatTest : public testing::Test {
 protected:
  void SetUp() override {
    for (uint32_t rank = 0; rank < 3; ++rank) EXPECT_EQ(0u, seat_.occupy(rank, 10 + rank));
  }
  uint32_t on_duty() const {
    uint32_t rank = 0;
    while (rank + 1 < Seat::kRanks && (seat_.waiting() >> rank & 1) != 0) ++rank;
    return rank;
  }
  Seat seat_;
};

TEST_F(SeatTest, GoesToTheNextRankThatDoesNotWait) {
  EXPECT_TRUE(seat_.is_on_duty(0));
  EXPECT_FALSE(seat_.is_on_duty(1));
  EXPECT_EQ(11u, seat_.lend(0));
  EXPECT_TRUE(seat_.is_on_duty(1));
  EXPECT_FALSE(seat_.is_on_duty(2));
  EXPECT_EQ(12u, seat_.lend(1));
  EXPECT_TRUE(seat_.is_on_duty(2));
  EXPECT_EQ(2u, on_duty());
  // The first comes back while the second still waits: then the third goes.
  EXPECT_EQ(12u, seat_.take_back(0));
  EXPECT_FALSE(seat_.is_on_duty(2));
  EXPECT_EQ(12u, seat_.lend(0));
  // The second comes back while the first waits: it is on duty itself.
  EXPECT_EQ(12u, seat_.take_back(1));
  EXPECT_TRUE(seat_.is_on_duty(1));
  EXPECT_EQ(11u, seat_.take_back(0));
}

TEST_F(SeatTest, AskForOneWhereNobodyHasBeen) {
  EXPECT_EQ(0u, seat_.vacancy(0));
  (void)seat_.lend(0);
  (void)seat_.lend(1);
  EXPECT_EQ(0u, seat_.lend(2)) << "there is no fourth yet";
  EXPECT_EQ(3u, seat_.vacancy(2));
  (void)seat_.occupy(3, 13);
  EXPECT_EQ(0u, seat_.vacancy(2));
  EXPECT_EQ(0u, seat_.lend(3)) << "and never a fifth";
  EXPECT_EQ(0u, seat_.vacancy(3));
}

TEST_F(SeatTest, WhoReplacesOneThatDiedWaitingHasTheSlot) {
  EXPECT_EQ(11u, seat_.lend(0));
  EXPECT_EQ(11u, seat_.occupy(0, 20));
  EXPECT_TRUE(seat_.is_on_duty(0));
  EXPECT_FALSE(seat_.is_on_duty(1));
}

TEST_F(SeatTest, BelievesNoIndexThatThereIsNot) {
  memset(static_cast<void*>(&seat_), 0xff, sizeof seat_);
  for (uint32_t rank = 0; rank < Seat::kRanks; ++rank) {
    EXPECT_EQ(0u, seat_.lend(rank));
    EXPECT_EQ(0u, seat_.take_back(rank));
  }
  EXPECT_EQ(0u, seat_.lend(0)) << "its place was scribbled, too";
}

}  // namespace
}  // namespace tarn::shm
