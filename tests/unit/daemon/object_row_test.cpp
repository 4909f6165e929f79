// The tools show what records say, and records are written by tenants. Here they are honest, and as wrong as numbers get.
// Expect: what is shown of an honest one is true; no sum is more than the slab has; nothing is read into a time to come.
#include "object_row.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "shm/member_segment.hpp"
#include "store/object_record.hpp"

namespace tarn::daemon {
namespace {

using Bytes = std::array<std::byte, shm::kRecordSize>;

struct Words {
  uint64_t state = store::ObjectState{7, store::Phase::kSealed, 0}.pack();
  uint64_t holders = 0b10;
  uint64_t pins = 0;
  uint32_t used_at = 100;
  uint32_t meta_size = 0;
  uint64_t recipe = 0;
  uint64_t place = store::ObjectPlace{3, false, 8192}.pack();
  uint64_t size = 1 << 20;
  uint32_t type = 5;
  uint32_t link = 0;

  [[nodiscard]] Bytes bytes() const {
    static_assert(sizeof(Words) == shm::kRecordSize);
    Bytes out;
    memcpy(out.data(), this, sizeof *this);
    return out;
  }
};

TEST(ObjectRowTest, says_what_the_record_says) {
  Words words;
  words.holders = 0b110 | store::kDaemonHolder;
  words.pins = 0b1000 | store::kAway;
  ObjectRow row;
  ASSERT_TRUE(read_object(words.bytes(), row));
  EXPECT_EQ(row.phase, 3);
  EXPECT_EQ(row.size, 1u << 20);
  EXPECT_EQ(row.slab, 3u);
  EXPECT_TRUE(row.in_slab);
  EXPECT_EQ(row.offset, 8192u);
  EXPECT_EQ(row.type, 5u);
  // Whether tarnd holds it and where it is are for tarnd to say.
  EXPECT_EQ(row.holders, 0b110u);
  EXPECT_EQ(row.pins, 0b1000u);
  EXPECT_TRUE(row.can_leave);
  EXPECT_EQ(row.where, ObjectRow::Where::kNone);
  EXPECT_FALSE(row.is_moving);
}

TEST(ObjectRowTest, has_pins_and_a_time_only_if_it_can_leave_memory) {
  Words words;
  words.pins = ~uint64_t{0};
  words.size = store::kStaysMax;
  ObjectRow small;
  ASSERT_TRUE(read_object(words.bytes(), small));
  EXPECT_EQ(small.pins, 0u);
  EXPECT_FALSE(unused_s(small, 200).has_value());
  words.size = store::kStaysMax + 1;
  ObjectRow large;
  ASSERT_TRUE(read_object(words.bytes(), large));
  EXPECT_EQ(large.pins, (uint64_t{1} << store::kHoldersMax) - 1);
  // Somebody uses it now, and it is not said for how long.
  EXPECT_FALSE(unused_s(large, 200).has_value());
  words.pins = store::kAway;
  ASSERT_TRUE(read_object(words.bytes(), large));
  EXPECT_EQ(unused_s(large, 200), 100u);
  words.place = store::ObjectPlace{3, true, 0}.pack();
  ObjectRow file;
  ASSERT_TRUE(read_object(words.bytes(), file));
  EXPECT_EQ(file.pins, 0u);
  EXPECT_FALSE(unused_s(file, 200).has_value());
}

TEST(ObjectRowTest, a_time_to_come_is_now) {
  Words words;
  for (uint32_t used_at : {200u, 201u, UINT32_MAX}) {
    words.used_at = used_at;
    ObjectRow row;
    ASSERT_TRUE(read_object(words.bytes(), row));
    EXPECT_EQ(unused_s(row, 200), 0u) << used_at;
  }
}

TEST(ObjectRowTest, is_none_of_a_record_in_which_nothing_lives) {
  ObjectRow row;
  Words words;
  words.state = store::ObjectState{7, store::Phase::kFree, 0}.pack();
  EXPECT_FALSE(read_object(words.bytes(), row));
  words.state = 4;  // no phase
  EXPECT_FALSE(read_object(words.bytes(), row));
  words.state = UINT64_MAX;
  EXPECT_FALSE(read_object(words.bytes(), row));
  words = Words{};
  words.holders = store::dead_by(1);
  EXPECT_FALSE(read_object(words.bytes(), row));
  EXPECT_FALSE(read_object(std::span<const std::byte>{}, row));
}

TEST(ObjectRowTest, all_of_a_slab_are_no_more_than_the_slab) {
  constexpr uint64_t kSlab = 1 << 20;
  uint64_t left = kSlab;
  EXPECT_EQ(believed_size(4096, 0, kSlab, left), 4096u);
  EXPECT_EQ(believed_size(UINT64_MAX, kSlab - 64, kSlab, left), 64u);
  EXPECT_EQ(believed_size(100, kSlab, kSlab, left), 0u);
  EXPECT_EQ(believed_size(100, kSlab + 64, kSlab, left), 0u);
  EXPECT_EQ(believed_size(100, UINT64_MAX, kSlab, left), 0u);
  EXPECT_EQ(left, kSlab - 4096 - 64);
  // Many that say they are all of it.
  uint64_t sum = 0;
  for (int i = 0; i < 100; ++i) sum += believed_size(kSlab, 0, kSlab, left);
  EXPECT_EQ(sum, kSlab - 4096 - 64);
  EXPECT_EQ(left, 0u);
}

TEST(ObjectRowTest, whatever_the_bytes_are_the_numbers_are_bounded) {
  std::mt19937_64 random(1);
  constexpr uint64_t kSlab = 64 << 20;
  uint64_t left = kSlab;
  uint64_t sum = 0;
  for (int i = 0; i < 100'000; ++i) {
    std::array<uint64_t, shm::kRecordSize / 8> words;
    for (uint64_t& word : words) word = random();
    if (i % 2 != 0) words[0] = 1 + static_cast<uint64_t>(i) % 3;
    ObjectRow row;
    if (!read_object(std::as_bytes(std::span(words)), row)) continue;
    ASSERT_LE(row.phase, 3);
    ASSERT_EQ((row.holders | row.pins) >> store::kHoldersMax, 0u);
    ASSERT_LE(unused_s(row, 5000).value_or(0), 5000u);
    sum += believed_size(row.size, row.offset % (2 * kSlab), kSlab, left);
  }
  EXPECT_LE(sum, kSlab);
  EXPECT_EQ(sum + left, kSlab);
}

}  // namespace
}  // namespace tarn::daemon
