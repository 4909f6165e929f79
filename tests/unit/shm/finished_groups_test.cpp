// A group that is marked and not found is a future of which nobody is told. Mark records everywhere in the range. Expect the look
// to come to each of their groups, once for any number of marks, and to leave nothing. (Who marks while another looks, and
// dies in it: tests/model.)

#include "shm/finished_groups.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace tarn::shm {
namespace {

constexpr uint32_t kRecords = 1u << 20;
using Groups = FinishedGroups<kRecords>;

std::vector<uint32_t> taken(Groups& groups) {
  std::vector<uint32_t> firsts;
  groups.take([&](uint32_t first) { firsts.push_back(first); });
  return firsts;
}

TEST(FinishedGroups, AreTakenOnce) {
  auto groups = std::make_unique<Groups>();
  EXPECT_TRUE(taken(*groups).empty());
  for (uint32_t index : {0u, 1u, 63u, 64u, 4095u, 4096u, 262'143u, 262'144u, kRecords - 1}) groups->mark(index);
  EXPECT_EQ((std::vector<uint32_t>{0, 64, 4032, 4096, 262'080, 262'144, kRecords - 64}), taken(*groups));
  EXPECT_TRUE(taken(*groups).empty());
  groups->mark(70);
  EXPECT_EQ((std::vector<uint32_t>{64}), taken(*groups));
}

TEST(FinishedGroups, OfAllRecordsAreTakenInOrder) {
  auto groups = std::make_unique<Groups>();
  for (uint32_t index = 0; index < kRecords; ++index) groups->mark(index);
  std::vector<uint32_t> firsts = taken(*groups);
  ASSERT_EQ(kRecords / 64, firsts.size());
  for (uint32_t i = 0; i < firsts.size(); ++i) ASSERT_EQ(i * 64, firsts[i]);
}

TEST(FinishedGroups, MarkedDuringALookAreForTheNext) {
  auto groups = std::make_unique<Groups>();
  groups->mark(0);
  groups->take([&](uint32_t) { groups->mark(0); });
  EXPECT_EQ((std::vector<uint32_t>{0}), taken(*groups));
}

// A few hundred of them are not much memory: each member has one.
TEST(FinishedGroups, TakeTwoKibibytes) { EXPECT_LE(sizeof(Groups), 2048u + 64u); }

}  // namespace
}  // namespace tarn::shm
