// Who keeps an object alive, in every schedule and crash (store_models.hpp).

#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "pin_models.hpp"
#include "store_models.hpp"

namespace tarn::model {
namespace {

TEST(Holders, AnObjectLivesWhileSomebodyHoldsIt) {
  EXPECT_HOLDS(holders_hand_over(false));
  EXPECT_HOLDS(holders_hand_over(true));
}
TEST(Holders, TheLastOfTwoFrees) {
  EXPECT_HOLDS(holders_last_two(false));
  EXPECT_HOLDS(holders_last_two(true));
}
TEST(Holders, ALateTakeRevivesNothing) {
  EXPECT_HOLDS(holders_late_take(false, false));
  EXPECT_HOLDS(holders_late_take(true, false));
  EXPECT_HOLDS(holders_late_take(false, true));
  EXPECT_HOLDS(holders_late_take(true, true));
}

TEST(Pins, NobodyReadsWhatIsAway) {
  EXPECT_HOLDS(pins_out_and_in(false));
  EXPECT_HOLDS(pins_out_and_in(true));
}
TEST(Pins, WhatWasDroppedCanBeMadeAgain) {
  EXPECT_HOLDS(pins_out_and_in(false, true));
  EXPECT_HOLDS(pins_out_and_in(true, true));
}

}  // namespace
}  // namespace tarn::model
