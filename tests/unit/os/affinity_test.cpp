// Where the threads of a process run. What could go wrong: a thread stays behind, or one that has chosen its place is moved.
#include "os/affinity.hpp"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <bit>
#include <thread>

namespace tarn::os {
namespace {

uint32_t first_of(const Cpus& cpus) {
  for (uint32_t word = 0; word < Cpus::kWords; ++word)
    if (cpus.words[word] != 0) return word * 64 + static_cast<uint32_t>(std::countr_zero(cpus.words[word]));
  return 0;
}

Cpus only(uint32_t cpu) {
  Cpus cpus{};
  cpus.words[cpu / 64] = uint64_t{1} << cpu % 64;
  return cpus;
}

// A thread that says where it is when it is asked.
class Bystander {
 public:
  explicit Bystander(const Cpus* own) : thread_([this, own] {
    if (own != nullptr) (void)sched_setaffinity(0, sizeof own->words, reinterpret_cast<const cpu_set_t*>(own->words));
    step_ = 1;
    step_.notify_all();
    step_.wait(1);
    (void)get_affinity(found_);
  }) {
    step_.wait(0);
  }
  const Cpus& ask() {
    step_ = 2;
    step_.notify_all();
    thread_.join();
    return found_;
  }

 private:
  std::atomic<int> step_{0};
  Cpus found_{};
  std::thread thread_;
};

TEST(Affinity, MovesThoseThatAreTogether) {
  Cpus all;
  ASSERT_TRUE(get_affinity(all));
  Cpus narrow = only(first_of(all));
  if (narrow == all) GTEST_SKIP() << "there is one CPU";
  Cpus rest = all;
  rest.words[first_of(all) / 64] &= ~narrow.words[first_of(all) / 64];
  Cpus own = only(first_of(rest));
  Bystander follows(nullptr);
  Bystander stays(&own);
  EXPECT_TRUE(move_threads(narrow));
  Cpus now;
  EXPECT_TRUE(get_affinity(now) && now == narrow);
  EXPECT_EQ(narrow, follows.ask());
  EXPECT_EQ(own, stays.ask());
  EXPECT_TRUE(move_threads(all));
  EXPECT_TRUE(get_affinity(now) && now == all);
}

TEST(Affinity, NoCpuIsRefused) {
  Cpus before;
  ASSERT_TRUE(get_affinity(before));
  EXPECT_FALSE(move_threads({}));
  Cpus now;
  EXPECT_TRUE(get_affinity(now) && now == before);
}

}  // namespace
}  // namespace tarn::os
