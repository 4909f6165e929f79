// main() of the model tests: GoogleTest, and two arguments of the explorer's own.
//
//   --long            larger bounds, where a harness has them: minutes instead of seconds
//   --replay=STRING   runs the one schedule that a violation printed; name the test by --gtest_filter

#include <gtest/gtest.h>

#include <cstring>

#include "explorer.hpp"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (strcmp(argv[i], "--long") == 0) {
      tarn::model::arguments.long_form = true;
    } else if (strncmp(argv[i], "--replay=", 9) == 0) {
      tarn::model::arguments.replay = argv[i] + 9;
    } else {
      fprintf(stderr, "usage: %s [--long] [--replay=STRING] [--gtest_...]\n", argv[0]);
      return 2;
    }
  }
  return RUN_ALL_TESTS();
}
