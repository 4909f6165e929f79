// A task's life in every schedule and crash (task_models.hpp).

#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "task_models.hpp"

namespace tarn::model {
namespace {

TEST(ClaimFinishRedo, WithoutACrash) { EXPECT_HOLDS(claim_finish_redo(0, 1, true)); }
TEST(ClaimFinishRedo, AWorkerMayDie) { EXPECT_HOLDS(claim_finish_redo(1, 4, true)); }
TEST(ClaimFinishRedo, AWorkerAndItsReplacementMayDie) { EXPECT_HOLDS(claim_finish_redo(2, 4, false)); }
TEST(ClaimFinishRedo, AttemptsAreUsedUp) {
  EXPECT_HOLDS(claim_finish_redo(1, 1, false));
  EXPECT_HOLDS(claim_finish_redo(2, 1, false));
}

TEST(Cancelling, WhatIsReady) { EXPECT_HOLDS(cancelling(false, false, 1)); }
TEST(Cancelling, WhatIsReadyWithItsProcess) { EXPECT_HOLDS(cancelling(true, false, 1)); }
TEST(Cancelling, WhatRecoveryGivesUp) { EXPECT_HOLDS(cancelling(true, false, 1, 1)); }
TEST(Cancelling, WhatWaits) { EXPECT_HOLDS(cancelling(false, true, 0)); }
TEST(Cancelling, WhatWaitsWithItsProcess) { EXPECT_HOLDS(cancelling(true, true, 1)); }

TEST(Orphans, NoneBeginsWhenAllWereTreated) {
  EXPECT_HOLDS(orphans(1));
  EXPECT_HOLDS(orphans(2));
}

TEST(Dependencies, OneIsAwaited) {
  EXPECT_HOLDS(dependencies(1, 0, 2));
  EXPECT_HOLDS(dependencies(1, 1, 1));
}
TEST(Dependencies, TwoAreAwaited) {
  EXPECT_HOLDS(dependencies(2, 0, 1));
  EXPECT_HOLDS(dependencies(2, 0, 2, 2));
  EXPECT_HOLDS(dependencies(2, 1, 1, arguments.long_form ? kUnbounded : 2));
}

TEST(Reuse, ALateTellingDoesNotReachTheNextTask) {
  EXPECT_HOLDS(reuse(Reuse::kDirect, true));
  EXPECT_HOLDS(reuse(Reuse::kDirect, false));  // its generation protects a record
  EXPECT_HOLDS(reuse(Reuse::kGroup, true));
}
// A group has no generation: this is why a record is freed only when those it depended on are done.
TEST(Reuse, AGroupIsNotFreedEarly) { EXPECT_TRUE(reuse(Reuse::kGroup, false).violated); }

}  // namespace
}  // namespace tarn::model
