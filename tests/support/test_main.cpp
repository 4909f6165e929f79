// main() of every test: GoogleTest with the leak gate.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "support/leak_gate.hpp"

int main(int argc, char** argv) {
  tarn::testing::start_guardian();
  ::testing::InitGoogleMock(&argc, argv);  // initialises GoogleTest too
  ::testing::UnitTest::GetInstance()->listeners().Append(
      std::make_unique<tarn::testing::LeakGate>().release());  // the list owns it
  return RUN_ALL_TESTS();
}
