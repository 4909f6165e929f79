// Calls of an actor in every schedule and crash (call_queue_models.hpp).

#include <gtest/gtest.h>

#include "call_queue_models.hpp"
#include "expect_holds.hpp"

namespace tarn::model {
namespace {

constexpr uint32_t kNone = 100;

TEST(CallQueue, EachOnceAndInOrder) {
  for (bool symmetric : {false, true}) EXPECT_HOLDS(calls_of_an_actor(arguments.long_form ? 5 : 4, kNone, 0, false, symmetric));
}
TEST(CallQueue, ACallThatWaitsHoldsUpThoseBehindIt) {
  EXPECT_HOLDS(calls_of_an_actor(2, 0, 0, false, true));
  if (arguments.long_form)
    for (uint32_t waiting : {0u, 1u}) EXPECT_HOLDS(calls_of_an_actor(2, waiting, 0, false, false));
}
TEST(CallQueue, TheActorMayDie) {
  for (bool idempotent : {false, true}) EXPECT_HOLDS(calls_of_an_actor(arguments.long_form ? 3 : 2, kNone, 1, idempotent, false));
}
TEST(CallQueue, TheNextOneMayDieAsWell) {
  EXPECT_HOLDS(calls_of_an_actor(2, kNone, 2, false, true));
  if (arguments.long_form) EXPECT_HOLDS(calls_of_an_actor(2, kNone, 2, true, true));
}

}  // namespace
}  // namespace tarn::model
