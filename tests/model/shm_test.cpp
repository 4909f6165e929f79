// The words that processes share beneath the tasks, in every schedule (shm_models.hpp).

#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "shm_models.hpp"

namespace tarn::model {
namespace {

TEST(HintRing, TwoConsumersTakeEachHintOnce) { EXPECT_HOLDS(ring_two_consumers(false, arguments.long_form ? 4 : 3)); }
TEST(HintRing, ADyingConsumerLosesOnlyWhatItTook) { EXPECT_HOLDS(ring_two_consumers(true, 3)); }

// Two workers: every schedule with at most so many preemptions. One worker: every schedule.
unsigned preemptions() { return arguments.long_form ? 5 : 3; }

TEST(Doorbell, NoHintIsLeftToSleepers) {
  for (bool symmetric : {false, true}) {
    EXPECT_HOLDS(doorbell(1, 1, 1, symmetric));
    EXPECT_HOLDS(doorbell(1, 2, 1, symmetric));
    EXPECT_HOLDS(doorbell(2, 1, 1, symmetric));
    EXPECT_HOLDS(doorbell_levels(symmetric, 1));
    EXPECT_HOLDS(doorbell_levels(symmetric, 2, preemptions() - 1));
    EXPECT_HOLDS(doorbell(1, 2, 2, symmetric, preemptions()));
    EXPECT_HOLDS(doorbell(2, 1, 2, symmetric, symmetric ? 1 : preemptions() - 1));
  }
}
TEST(Doorbell, WhoFencesMayChange) {
  EXPECT_HOLDS(doorbell_order(false, 1, preemptions()));
  EXPECT_HOLDS(doorbell_order(true, 1, preemptions()));
  EXPECT_HOLDS(doorbell_order(false, 2, 2));
}
TEST(Doorbell, AProducerMayDie) { EXPECT_HOLDS(doorbell_producer_dies(preemptions() - 1)); }
TEST(Doorbell, AWorkerMayDie) { EXPECT_HOLDS(doorbell_worker_dies(DeadBit::kWithdrawn, 2)); }
TEST(Doorbell, ADeadWorkersBitMustGo) { EXPECT_TRUE(doorbell_worker_dies(DeadBit::kLeft, 2).violated); }
TEST(Doorbell, AWorkerIsWokenWhenThoseAwakeMayBeBusy) {
  EXPECT_HOLDS(doorbell_counts_the_awake(Taker::kWakesNextIfMore, 0, preemptions()));
  EXPECT_HOLDS(doorbell_counts_the_awake(Taker::kWakesNextIfMore, 1, 2));
}
TEST(Doorbell, AWorkerThatLeavesHintsMustWakeTheNext) {
  EXPECT_TRUE(doorbell_counts_the_awake(Taker::kWakesNobody, 0, 2).violated);
}

TEST(Waiters, AThreadIsWokenWhenEnoughAreFinished) {
  EXPECT_HOLDS(waiters_one(1));
  EXPECT_HOLDS(waiters_one(2));
}
TEST(Waiters, TwoThreads) { EXPECT_HOLDS(waiters_two_threads(preemptions())); }
TEST(Waiters, AFinisherMayDie) { EXPECT_HOLDS(waiters_finisher_dies(AfterDeath::kWakesEverybody)); }

TEST(FinishedGroups, AreFound) {
  for (uint32_t apart : {1u, 64u, 4096u}) {
    EXPECT_HOLDS(finished_groups(apart, false, preemptions()));
    EXPECT_HOLDS(finished_groups(apart, true, arguments.long_form ? 3 : 2));
  }
}

TEST(FanIn, FiresOnce) {
  EXPECT_HOLDS(fan_in(false, 2));
  EXPECT_HOLDS(fan_in(false, 3));
}
TEST(FanIn, FiresAlthoughSomeDie) { EXPECT_HOLDS(fan_in(true, 3)); }

// Waking only those whose bit is still set after a death is not enough: the dead finisher may have
// taken the bit and not come to the wake. wake_all_waiters must not rely on `parked`.
TEST(Waiters, WakingOnlyTheParkedAfterADeathIsNotEnough) {
  EXPECT_TRUE(waiters_finisher_dies(AfterDeath::kWakesParked).violated);
}

}  // namespace
}  // namespace tarn::model
