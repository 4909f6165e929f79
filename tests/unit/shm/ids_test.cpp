// Two records that share an id would be taken for one another in every process of a session.

#include "shm/ids.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>

namespace tarn::shm {
namespace {

TEST(IdsTest, keep_member_and_index_apart_up_to_their_bounds) {
  for (const uint32_t member : {0u, 1u, 2u, kMembersMax - 1}) {
    for (const uint32_t index : {0u, 1u, kIndexMask}) {
      const uint32_t id = make_id(member, index);
      EXPECT_EQ(id_member(id), member);
      EXPECT_EQ(id_index(id), index);
    }
  }
}

TEST(IdsTest, differ_for_every_place) {
  std::set<uint32_t> ids;
  for (uint32_t member = 0; member < kMembersMax; ++member) {
    ids.insert(make_id(member, 0));
    ids.insert(make_id(member, kIndexMask));
  }
  EXPECT_EQ(ids.size(), 2 * kMembersMax);
}

}  // namespace
}  // namespace tarn::shm
