// A sleeper that nobody picks sleeps for ever, and one picked twice costs a system call for nothing.

#include "shm/doorbell.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <set>

namespace tarn::shm {
namespace {

class DoorbellTest : public ::testing::Test {
 protected:
  std::unique_ptr<Doorbell> bell_ = std::make_unique<Doorbell>();
};

TEST_F(DoorbellTest, picks_nobody_when_nobody_sleeps) {
  EXPECT_FALSE(bell_->anyone_parked());
  EXPECT_EQ(bell_->pick(), 0u);
}

TEST_F(DoorbellTest, picks_each_sleeper_once) {
  const std::set<uint32_t> sleepers{kFirstWorker, 63, 64, 65, 128, kMembersMax - 1};
  for (const uint32_t member : sleepers) bell_->announce(member);
  EXPECT_TRUE(bell_->anyone_parked());
  std::set<uint32_t> picked;
  while (const uint32_t member = bell_->pick()) EXPECT_TRUE(picked.insert(member).second) << member;
  EXPECT_EQ(picked, sleepers);
  EXPECT_FALSE(bell_->anyone_parked());
}

TEST_F(DoorbellTest, does_not_pick_who_withdrew) {
  bell_->announce(7);
  bell_->withdraw(7);
  EXPECT_EQ(bell_->pick(), 0u);
}

TEST_F(DoorbellTest, takes_the_one_to_avoid_only_when_it_is_the_last) {
  bell_->announce(5);
  bell_->announce(70);
  EXPECT_EQ(bell_->pick(5), 70u);
  EXPECT_EQ(bell_->pick(5), 5u);
}

TEST_F(DoorbellTest, counts_who_serves_and_does_not_sleep) {
  for (const uint32_t member : {2u, 64u, 200u}) bell_->set_serving(member, true);
  EXPECT_EQ(bell_->awake(), 3u);
  bell_->announce(64);
  EXPECT_EQ(bell_->awake(), 2u);
  bell_->set_serving(2, false);
  EXPECT_EQ(bell_->awake(), 1u);
  bell_->withdraw(64);
  EXPECT_EQ(bell_->awake(), 2u);
}

}  // namespace
}  // namespace tarn::shm
