// Tasks that ask for resources: never more in use than there is, and nobody sleeps on while one may begin. scheduling_models.hpp says what is
// modelled.
#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "scheduling_models.hpp"

namespace tarn::model {
namespace {

unsigned preemptions() { return arguments.long_form ? 3 : 2; }

TEST(SharedHintRing, NothingIsLostAndNothingComesTwice) { EXPECT_HOLDS(shared_ring(false, 2, preemptions() + 1)); }
TEST(SharedHintRing, WhereThereIsRoomNobodyIsRefused) { EXPECT_HOLDS(shared_ring_with_room(preemptions() + 1)); }
TEST(SharedHintRing, AProducerMayDie) { EXPECT_HOLDS(shared_ring(true, 2, preemptions())); }
TEST(Resources, TasksThatWantAllOfIt) {
  for (bool symmetric : {false, true}) EXPECT_HOLDS(resources(2, 2, false, symmetric, preemptions()));
}
TEST(Resources, TasksThatCanRunTogether) { EXPECT_HOLDS(resources(3, 1, false, false, preemptions() - 1)); }
TEST(Resources, AWorkerMayDie) { EXPECT_HOLDS(resources(2, 2, true, false, preemptions() - 1)); }

}  // namespace
}  // namespace tarn::model
