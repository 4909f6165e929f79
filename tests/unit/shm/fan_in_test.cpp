// A tree that fires too early runs a task without its inputs; one that never fires hangs it. Fill
// trees of every awkward width, in several orders, repeat arrivals, and let threads race.

#include "shm/fan_in.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace tarn::shm {
namespace {

constexpr uint32_t kSeed = 20240229;

class FanInTest : public ::testing::TestWithParam<size_t> {
 protected:
  void SetUp() override { FanIn::init(words_.get(), leaves_); }

  std::vector<size_t> shuffled_leaves() const {
    std::vector<size_t> order(leaves_);
    std::iota(order.begin(), order.end(), size_t{0});
    std::shuffle(order.begin(), order.end(), std::mt19937{kSeed});
    return order;
  }

  const size_t leaves_ = GetParam();
  std::unique_ptr<Word<uint64_t>[]> words_ =
      std::make_unique<Word<uint64_t>[]>(FanIn::words_needed(leaves_));
};

TEST_P(FanInTest, fires_with_the_last_leaf_whatever_the_order) {
  const std::vector<size_t> order = shuffled_leaves();
  for (size_t i = 0; i + 1 < order.size(); ++i) {
    ASSERT_FALSE(FanIn::arrive(words_.get(), leaves_, order[i])) << i << " of " << leaves_;
  }
  EXPECT_TRUE(FanIn::arrive(words_.get(), leaves_, order.back()));
}

TEST_P(FanInTest, does_not_count_an_arrival_twice) {
  // Let all but the last leaf arrive twice. Expect: it has not fired.
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i + 1 < leaves_; ++i) ASSERT_FALSE(FanIn::arrive(words_.get(), leaves_, i));
  }
  EXPECT_TRUE(FanIn::arrive(words_.get(), leaves_, leaves_ - 1));
}

TEST_P(FanInTest, fires_again_when_the_last_arrival_is_repeated) {
  // Whoever arrived last may have died before it could act on it: recovery arrives for it once more.
  for (size_t i = 0; i < leaves_; ++i) (void)FanIn::arrive(words_.get(), leaves_, i);
  EXPECT_TRUE(FanIn::arrive(words_.get(), leaves_, leaves_ - 1));
}

TEST_P(FanInTest, fires_when_threads_race) {
  const std::vector<size_t> order = shuffled_leaves();
  std::atomic<int> fired{0};
  std::vector<std::thread> threads;
  constexpr size_t kThreads = 4;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (size_t i = t; i < order.size(); i += kThreads) {
        if (FanIn::arrive(words_.get(), leaves_, order[i])) fired.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(fired.load(), 1);
}

INSTANTIATE_TEST_SUITE_P(Widths, FanInTest,
                         ::testing::Values(1, 2, 63, 64, 65, 127, 128, 4095, 4096, 4097, 65535));

TEST(FanInSizeTest, takes_one_word_for_64_leaves_at_every_level) {
  EXPECT_EQ(FanIn::words_needed(1), 1u);
  EXPECT_EQ(FanIn::words_needed(64), 1u);
  EXPECT_EQ(FanIn::words_needed(65), 2u + 1u);
  EXPECT_EQ(FanIn::words_needed(4096), 64u + 1u);
  EXPECT_EQ(FanIn::words_needed(4097), 65u + 2u + 1u);
}

}  // namespace
}  // namespace tarn::shm
