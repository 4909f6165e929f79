// A mutex that is none while there is one thread. What could go wrong: two are inside at once; who only tries waits, or passes.
#include "base/gate.hpp"

#include <gtest/gtest.h>

#include <future>
#include <thread>

namespace tarn {
namespace {

TEST(GateTest, who_tries_passes_if_nobody_is_inside) {
  Gate gate;
  std::thread([&] {
    for (int i = 0; i < 2; ++i) {
      Gate::Attempt attempt(gate);
      EXPECT_TRUE(attempt.has_passed());
    }
  }).join();
  Gate::Pass pass(gate);
}

TEST(GateTest, who_tries_goes_on_if_somebody_is_inside) {
  Gate gate;
  std::promise<void> inside;
  std::promise<void> tried;
  std::thread other([&] {
    Gate::Pass pass(gate);
    inside.set_value();
    tried.get_future().wait();
  });
  inside.get_future().wait();
  {
    Gate::Attempt attempt(gate);
    EXPECT_FALSE(attempt.has_passed());
  }
  tried.set_value();
  other.join();
  Gate::Attempt attempt(gate);
  EXPECT_TRUE(attempt.has_passed());
}

TEST(GateTest, who_left_for_a_while_lets_others_try) {
  Gate gate;
  std::promise<void> end;
  std::thread second([&end] { end.get_future().wait(); });  // or the gate might take this process for one of a single thread
  auto tries = [&gate] {
    bool passed = false;
    std::thread([&] { passed = Gate::Attempt(gate).has_passed(); }).join();
    return passed;
  };
  EXPECT_TRUE(tries());
  {
    Gate::Pass pass(gate);
    EXPECT_FALSE(tries());
    {
      Gate::Leave leave(gate);
      EXPECT_TRUE(tries());
    }
    EXPECT_FALSE(tries());
  }
  EXPECT_TRUE(tries());
  end.set_value();
  second.join();
}

}  // namespace
}  // namespace tarn
