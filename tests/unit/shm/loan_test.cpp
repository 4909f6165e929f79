// A slot that is lent, step by step. tests/model has what happens when steps come between one another.
#include "shm/loan.hpp"

#include <gtest/gtest.h>

#include "shm/seat.hpp"

namespace tarn::shm {
namespace {

class LoanTest : public testing::Test {
 protected:
  uint64_t begin(uint32_t member, int32_t node = 0) {
    uint64_t mine = 0;
    EXPECT_TRUE(collector_.begin(collector_.now(), member, node, mine));
    return mine;
  }

  Collector collector_;
  Loan loan_;
};

TEST_F(LoanTest, OneCollectsAtATime) {
  EXPECT_FALSE(collector_.is_on());
  uint64_t seen = collector_.now();
  uint64_t first = begin(7, 300);
  EXPECT_TRUE(collector_.is_on());
  EXPECT_EQ(7u, Collector::member_of(first));
  EXPECT_EQ(300, Collector::node_of(first));
  uint64_t second = 0;
  EXPECT_FALSE(collector_.begin(seen, 8, 0, second)) << "it has begun meanwhile";
  EXPECT_TRUE(collector_.begin(first, 8, -1, second)) << "in its place";
  EXPECT_EQ(-1, Collector::node_of(second));
  collector_.end(first);
  EXPECT_EQ(second, collector_.now()) << "which is no longer its to end";
  collector_.end(second);
  EXPECT_FALSE(collector_.is_on());
  EXPECT_NE(first, begin(7, 300)) << "each is another one";
}

TEST_F(LoanTest, WhatIsOfferedMayBeWithdrawn) {
  uint64_t mine = begin(7);
  EXPECT_TRUE(loan_.offer(mine));
  EXPECT_FALSE(loan_.offer(mine));
  EXPECT_TRUE(loan_.is_lent());
  EXPECT_TRUE(loan_.is_offered(mine));
  loan_.withdraw_unless(mine);
  EXPECT_TRUE(loan_.is_offered(mine)) << "it is on";
  collector_.end(mine);
  uint64_t next = begin(7);
  EXPECT_FALSE(loan_.is_offered(next));
  EXPECT_FALSE(loan_.take(next)) << "it is for the one before";
  loan_.withdraw_unless(next);
  EXPECT_FALSE(loan_.is_lent());
  EXPECT_TRUE(loan_.offer(next));
  EXPECT_TRUE(loan_.withdraw(next));
  EXPECT_FALSE(loan_.withdraw(next));
}

TEST_F(LoanTest, WhatIsTakenOnlyItsBorrowerGivesBack) {
  uint64_t mine = begin(7);
  EXPECT_TRUE(loan_.offer(mine));
  EXPECT_TRUE(loan_.take(mine));
  EXPECT_FALSE(loan_.withdraw(mine));
  loan_.withdraw_unless(0);
  EXPECT_TRUE(loan_.is_lent());
  collector_.end(mine);
  uint64_t other = begin(8);
  EXPECT_FALSE(loan_.take_idle(other));
  EXPECT_FALSE(loan_.give_back(other));
  EXPECT_FALSE(loan_.forget(8));
  EXPECT_TRUE(loan_.give_back(mine));
  EXPECT_FALSE(loan_.give_back(mine));
  EXPECT_TRUE(loan_.take_idle(other)) << "as nobody is on duty there";
  EXPECT_TRUE(loan_.forget(8));
  EXPECT_FALSE(loan_.is_lent());
}

TEST_F(LoanTest, ABorrowerThatWaitsMayLoseIt) {
  uint64_t mine = begin(7);
  EXPECT_TRUE(loan_.take_idle(mine));
  loan_.set_idle(mine, true);
  EXPECT_TRUE(loan_.is_idle());
  loan_.set_idle(mine, false);
  EXPECT_FALSE(loan_.is_idle());
  loan_.set_idle(mine, true);
  collector_.end(mine);
  uint64_t other = begin(8);
  EXPECT_TRUE(loan_.take_idle(other));
  loan_.set_idle(mine, false);
  EXPECT_FALSE(loan_.give_back(mine));
  EXPECT_TRUE(loan_.give_back(other));
}

TEST(SeatThatIsLent, HasNobodyOnDuty) {
  Seat seat;
  EXPECT_EQ(0u, seat.member_on_duty());
  EXPECT_FALSE(seat.all_wait()) << "its worker has not started";
  (void)seat.occupy(0, 5);
  EXPECT_EQ(5u, seat.member_on_duty());
  EXPECT_TRUE(seat.is_on_duty(0));
  EXPECT_TRUE(seat.loan().offer(uint64_t{1} << 32 | 9));
  EXPECT_FALSE(seat.is_on_duty(0));
  EXPECT_EQ(5u, seat.member_on_duty()) << "who is woken when it comes back";
  EXPECT_TRUE(seat.loan().forget(9));
  (void)seat.lend(0);
  EXPECT_TRUE(seat.all_wait());
  (void)seat.occupy(1, 6);
  EXPECT_FALSE(seat.all_wait());
  EXPECT_EQ(6u, seat.member_on_duty());
  (void)seat.lend(1);
  EXPECT_TRUE(seat.all_wait());
}

}  // namespace
}  // namespace tarn::shm
