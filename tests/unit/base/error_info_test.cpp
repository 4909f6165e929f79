// The table is indexed by the code: an entry out of place would give every later code the text of its neighbour.

#include "base/error_info.hpp"

#include <gtest/gtest.h>

#include <climits>
#include <string>

#include "tarn/tarn.h"

namespace tarn {
namespace {

TEST(ErrorInfoTest, every_entry_stands_at_its_code) {
  int count = 0;
  for (int code = 0; error_info(code) != nullptr; --code, ++count) {
    EXPECT_EQ(error_info(code)->code, code);
    EXPECT_TRUE(std::string(error_info(code)->name).starts_with("TARN_"));
    EXPECT_NE(error_info(code)->meaning[0], '\0');
    EXPECT_NE(error_info(code)->advice[0], '\0');
  }
  EXPECT_GE(count, 30);
  EXPECT_STREQ(error_info(TARN_OK)->name, "TARN_OK");
  EXPECT_STREQ(error_info(TARN_E_TIMED_OUT)->name, "TARN_E_TIMED_OUT");
  EXPECT_STREQ(error_info(TARN_E_PROTOCOL)->name, "TARN_E_PROTOCOL");
}

TEST(ErrorInfoTest, knows_no_other_code) {
  EXPECT_EQ(error_info(1), nullptr);
  EXPECT_EQ(error_info(-1000), nullptr);
  EXPECT_EQ(error_info(INT_MIN), nullptr);
  EXPECT_EQ(error_info(INT_MAX), nullptr);
}

}  // namespace
}  // namespace tarn
