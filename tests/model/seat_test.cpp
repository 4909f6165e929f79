// A slot that several workers have in turn: nobody sleeps on while there is work. seat_models.hpp says what is modelled.
#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "seat_models.hpp"

namespace tarn::model {
namespace {

unsigned preemptions() { return arguments.long_form ? 2 : 1; }

TEST(Seat, NoTaskIsLeftWhileSomebodyMayRunIt) {
  for (bool symmetric : {false, true}) EXPECT_HOLDS(seat(2, symmetric, preemptions() + 1));
  for (bool symmetric : {false, true}) EXPECT_HOLDS(seat(3, symmetric, preemptions()));
}
TEST(Seat, AStandInThatSleepsMustNotSeemIdle) { EXPECT_TRUE(seat(3, false, 2, Sleeper::kIdle).violated); }
TEST(Seat, TheWorkerThatWaitsMayDie) { EXPECT_HOLDS(seat_worker_dies(0, arguments.long_form ? 3 : 2, 1)); }
TEST(Seat, TheStandInMayDie) { EXPECT_HOLDS(seat_worker_dies(1, arguments.long_form ? 3 : 2, 1)); }

}  // namespace
}  // namespace tarn::model
