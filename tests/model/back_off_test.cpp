// Tasks that are to run again later, in every schedule and crash (back_off_models.hpp).

#include <gtest/gtest.h>

#include "back_off_models.hpp"
#include "expect_holds.hpp"

namespace tarn::model {
namespace {

TEST(BackOff, IsNotForgotten) {
  EXPECT_HOLDS(back_offs(0, false, false));
  EXPECT_HOLDS(back_offs(0, true, false));
}
TEST(BackOff, IsNotForgottenWhenAWorkerDies) {
  EXPECT_HOLDS(back_offs(1, false, false));
  EXPECT_HOLDS(back_offs(1, true, false));
}
TEST(BackOff, EndsWhenTheTaskIsCancelled) {
  EXPECT_HOLDS(back_offs(1, false, true));
  EXPECT_HOLDS(back_offs(1, true, true));
}

}  // namespace
}  // namespace tarn::model
