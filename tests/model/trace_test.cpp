// The ring of a member's events, in every schedule (trace_models.hpp).

#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "trace_models.hpp"

namespace tarn::model {
namespace {

TEST(EventRing, WhatIsReadIsWhole) {
  EXPECT_HOLDS(event_ring(3, 1, false));
  EXPECT_HOLDS(event_ring(arguments.long_form ? 5 : 4, 2, false));
}
TEST(EventRing, TheWriterMayDie) { EXPECT_HOLDS(event_ring(4, 1, true)); }

}  // namespace
}  // namespace tarn::model
