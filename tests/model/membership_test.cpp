// Indices of members that are given again. membership_models.hpp says what is modelled.
#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "membership_models.hpp"

namespace tarn::model {
namespace {

TEST(Membership, AnIndexThatIsGivenAgainIsNotTakenForTheFormerMember) { EXPECT_HOLDS(index_given_again(false)); }
TEST(Membership, NorIfTarndIsKilledMeanwhile) { EXPECT_HOLDS(index_given_again(true)); }

}  // namespace
}  // namespace tarn::model
