// Runs that borrow slots of other workers: each gets its turn, and no slot stays lent. loan_models.hpp says what is modelled.
#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "loan_models.hpp"

namespace tarn::model {
namespace {

unsigned more() { return arguments.long_form ? 1 : 0; }

TEST(Loan, OneRunGetsItsSlots) {
  EXPECT_HOLDS(loans(2, 1, 2, 2, kUnbounded));
  EXPECT_HOLDS(loans(3, 1, 2, 3, 1 + more()));
  EXPECT_HOLDS(loans(3, 1, 3, 3, 1 + more()));
}
TEST(Loan, TwoRunsDoNotWaitForEachOther) {
  EXPECT_HOLDS(loans(2, 2, 2, 2, 2 + more()));
  EXPECT_HOLDS(loans(3, 2, 2, 3, more()));
  EXPECT_HOLDS(loans(3, 2, 3, 3, more()));
}
TEST(Loan, TheBorrowerMayDie) {
  EXPECT_HOLDS(loans(2, 1, 2, 0, 3 + more()));
  EXPECT_HOLDS(loans(2, 2, 2, 0, more()));
}
TEST(Loan, TheLenderMayDie) { EXPECT_HOLDS(loans(2, 1, 2, 1, 3 + more())); }
TEST(Loan, TheBorrowerMayBeStopped) { EXPECT_HOLDS(loans_of_one_that_is_stopped(1 + more())); }
TEST(Loan, TheSlotOfOneThatWaitsIsTaken) { EXPECT_HOLDS(loan_of_one_that_waits(3 + more())); }
TEST(Loan, WhatABorrowerWaitsForMayBorrow) { EXPECT_HOLDS(loan_of_a_loan(1 + more())); }

}  // namespace
}  // namespace tarn::model
