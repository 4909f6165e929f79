// An object that is freed while somebody holds it is another's bytes to its reader; one that is never
// freed is a leak. Here the steps one after the other; tests/model has every interleaving and crash.

#include "store/holders.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "store/object_record.hpp"

namespace tarn::store {
namespace {

constexpr uint32_t kOwner = 1;
constexpr uint32_t kOther = 2;
constexpr uint32_t kThird = 61;

Holders& sealed(Holders& life, uint32_t generation) {
  life.open(generation, holder_bit(kOwner));
  life.seal(generation);
  return life;
}

TEST(HoldersTest, the_last_to_let_go_frees_and_nobody_else) {
  Holders life;
  sealed(life, 5);
  EXPECT_EQ(life.take(5, kOther), Holders::Taken::kHeld);
  EXPECT_EQ(life.take(5, kThird), Holders::Taken::kHeld);
  EXPECT_FALSE(life.drop(kOwner, kOwner));
  EXPECT_FALSE(life.drop(kThird, kThird));
  EXPECT_TRUE(life.drop(kOther, kOther));
  EXPECT_EQ(life.bits.load(kAcquire), dead_by(kOther));
  // Dropping again, by mistake or by a second recovery, does nothing.
  EXPECT_FALSE(life.drop(kOther, kThird));
  EXPECT_FALSE(life.drop(kOwner, kOwner));
}

TEST(HoldersTest, a_take_that_comes_too_late_is_refused_and_changes_nothing) {
  Holders life;
  sealed(life, 5);
  EXPECT_TRUE(life.drop(kOwner, kOwner));
  EXPECT_EQ(life.take(5, kOther), Holders::Taken::kGone);
  EXPECT_EQ(life.bits.load(kAcquire), dead_by(kOwner));
  life.recycle(5);
  EXPECT_EQ(life.take(5, kOther), Holders::Taken::kGone);
}

TEST(HoldersTest, a_take_meant_for_the_object_before_leaves_the_next_one_as_it_was) {
  Holders life;
  sealed(life, 6);
  EXPECT_EQ(life.take(5, kOther), Holders::Taken::kGone);
  EXPECT_EQ(life.bits.load(kAcquire), holder_bit(kOwner));
  // One that this process holds already, under its own generation, stays held.
  EXPECT_EQ(life.take(6, kOther), Holders::Taken::kHeld);
  EXPECT_EQ(life.take(5, kOther), Holders::Taken::kGone);
  EXPECT_EQ(life.bits.load(kAcquire), holder_bit(kOwner) | holder_bit(kOther));
}

TEST(HoldersTest, an_unsealed_object_cannot_be_taken) {
  Holders life;
  life.open(5, holder_bit(kOwner));
  EXPECT_EQ(life.take(5, kOther), Holders::Taken::kGone);
  EXPECT_TRUE(life.drop(kOwner, kOwner));
}

TEST(HoldersTest, a_crash_takes_one_bit_away_however_often_it_is_cleaned_up) {
  Holders life;
  sealed(life, 5);
  EXPECT_EQ(life.take(5, kOther), Holders::Taken::kHeld);
  EXPECT_FALSE(life.drop(kOther, kThird));
  EXPECT_FALSE(life.drop(kOther, kThird));
  EXPECT_EQ(life.bits.load(kAcquire), holder_bit(kOwner));
  EXPECT_TRUE(life.drop(kOwner, kThird));
  EXPECT_EQ(life.bits.load(kAcquire), dead_by(kThird));
}

TEST(HoldersTest, an_offered_result_is_found_or_abandoned_but_not_both) {
  Holders life;
  life.open(5, holder_bit(kOwner));
  life.seal(5, Phase::kOffered);
  ObjectState seen = life.state_now();
  EXPECT_TRUE(life.adopt(5));
  EXPECT_TRUE(life.adopt(5));
  EXPECT_FALSE(life.abandon(seen));

  Holders other;
  other.open(7, holder_bit(kOwner));
  other.seal(7, Phase::kOffered);
  seen = other.state_now();
  EXPECT_TRUE(other.abandon(seen));
  EXPECT_FALSE(other.abandon(seen));
  EXPECT_FALSE(other.adopt(7));
}

TEST(HoldersTest, members_beyond_the_word_cannot_hold) {
  EXPECT_EQ(holder_bit(kHoldersMax), 0u);
  EXPECT_EQ(holder_bit(kHoldersMax - 1), uint64_t{1} << 61);
  EXPECT_EQ(holder_bit(shm::kDaemonMember), kDaemonHolder);
}

// Many threads, each a holder, take and drop an object again and again: one drop in all is the last.
TEST(HoldersTest, threads_free_an_object_exactly_once) {
  constexpr uint32_t kThreads = 4;
  for (uint32_t generation = 1; generation <= 300; ++generation) {
    Holders life;
    sealed(life, generation);
    std::atomic<int> freed{0};
    std::vector<std::thread> threads;
    for (uint32_t t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        uint32_t self = 10 + t;
        for (int i = 0; i < 20; ++i) {
          if (life.take(generation, self) != Holders::Taken::kHeld) return;
          if (life.drop(self, self)) ++freed;
        }
      });
    if (life.drop(kOwner, kOwner)) ++freed;
    for (auto& thread : threads) thread.join();
    ASSERT_EQ(freed, 1);
  }
}

TEST(ReturnedTest, everything_pushed_is_found_once_also_while_others_push) {
  constexpr uint32_t kPerThread = 5000;
  constexpr uint32_t kThreads = 3;
  std::vector<Word<uint32_t>> links(kPerThread * kThreads);
  Word<uint32_t> head;
  auto link = [&](uint32_t i) -> Word<uint32_t>& { return links[i]; };
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < kPerThread; ++i) push_returned(head, link, t * kPerThread + i);
    });
  std::set<uint32_t> found;
  while (found.size() < kPerThread * kThreads)
    take_returned(head, link, kPerThread * kThreads, [&](uint32_t i) { EXPECT_TRUE(found.insert(i).second); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(head.load(kAcquire), 0u);
}

TEST(ObjectPlaceTest, survives_packing_at_its_bounds) {
  for (uint32_t slab : {0u, 1u, kNoSlab})
    for (bool is_file : {false, true})
      for (uint64_t offset : {uint64_t{0}, kPlaceUnit, (uint64_t{1} << 46) - kPlaceUnit}) {
        ObjectPlace place = ObjectPlace::unpack(ObjectPlace{slab, is_file, offset}.pack());
        EXPECT_EQ(place.slab, slab);
        EXPECT_EQ(place.is_file, is_file);
        EXPECT_EQ(place.offset, offset);
      }
}

}  // namespace
}  // namespace tarn::store
