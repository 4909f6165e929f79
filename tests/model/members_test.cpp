// Indices of members that are given again. members_models.hpp says what is modelled.
#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "members_models.hpp"

namespace tarn::model {
namespace {

TEST(Members, AnIndexThatIsGivenAgainIsNotTakenForTheFormerMember) { EXPECT_HOLDS(index_given_again(false)); }
TEST(Members, NorIfTarndIsKilledMeanwhile) { EXPECT_HOLDS(index_given_again(true)); }

}  // namespace
}  // namespace tarn::model
