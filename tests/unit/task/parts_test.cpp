// Several results in the bytes of one. What could go wrong: a part comes back with the bytes of another, or where its type is not
// aligned; a result that has no parts, or is damaged, or is being written, leads a reader out of it.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "store/object_record.hpp"
#include "task/parts.hpp"

namespace tarn::task {
namespace {

using Bytes = std::vector<std::byte>;

// The result with parts of such sizes, part i filled with the byte i + 1.
Bytes result_of(const std::vector<size_t>& sizes) {
  PartsLayout layout;
  EXPECT_EQ(layout.measure({sizes.data(), sizes.size()}), 0) << last_error();
  Bytes bytes(layout.size(), std::byte{0xee});
  layout.write(bytes.data(), {sizes.data(), sizes.size()}, [&](size_t i, std::byte* to) {
    memset(to, static_cast<int>(i % 255 + 1), sizes[i]);
  });
  return bytes;
}

tarn_bytes whole(const Bytes& bytes) {
  return {bytes.data(), bytes.size()};
}

void expect_parts(const std::vector<size_t>& sizes, size_t alignment) {
  Bytes bytes = result_of(sizes);
  size_t count = 0;
  ASSERT_EQ(count_parts(whole(bytes), nullptr, count), 0);
  ASSERT_EQ(count, sizes.size());
  for (size_t i = 0; i < count; ++i) {
    tarn_bytes part{};
    ASSERT_EQ(read_part(whole(bytes), i, nullptr, part), 0) << last_error();
    ASSERT_EQ(part.size, sizes[i]);
    auto* data = static_cast<const std::byte*>(part.data);
    ASSERT_EQ(static_cast<size_t>(data - bytes.data()) % alignment, 0u);
    for (size_t k = 0; k < part.size; ++k) ASSERT_EQ(data[k], static_cast<std::byte>(i % 255 + 1));
  }
  tarn_bytes none{};
  ASSERT_EQ(read_part(whole(bytes), count, "split", none), TARN_E_ARGUMENT);
  ASSERT_EQ(none.data, nullptr);
}

TEST(Parts, ComeBackAsTheyWere) {
  for (const std::vector<size_t>& small : std::vector<std::vector<size_t>>{
           {}, {0}, {24}, {8, 8, 8}, {1, 1, 1}, {9, 3}, {0, 0, 0}, {16, 8}}) {
    expect_parts(small, 8);
    EXPECT_LE(result_of(small).size(), 32u);
  }
  for (const std::vector<size_t>& large : std::vector<std::vector<size_t>>{
           {25}, {8, 8, 9}, {0, 0, 0, 0}, {1000, 0, 64, 1}, {0, 100'000, 0}, {1, 1, 1, 1, 1}})
    expect_parts(large, 64);
  std::vector<size_t> many(kPartsMax);
  std::iota(many.begin(), many.end(), size_t{0});
  for (size_t& size : many) size %= 7;
  expect_parts(many, 64);
}

TEST(Parts, HaveABound) {
  std::vector<size_t> sizes(kPartsMax + 1);
  PartsLayout layout;
  EXPECT_EQ(layout.measure({sizes.data(), sizes.size()}), TARN_E_TOO_LARGE);
  for (size_t huge : {size_t{store::kObjectSizeMax + 1}, ~size_t{0}, ~size_t{63}}) {
    std::vector<size_t> two{8, huge};
    EXPECT_EQ(layout.measure({two.data(), two.size()}), TARN_E_TOO_LARGE);
  }
}

TEST(Parts, ErrorsNameTaskPartAndCount) {
  tarn_bytes part{};
  Bytes bytes = result_of({1, 2, 3, 4});
  EXPECT_EQ(read_part(whole(bytes), 7, "split", part), TARN_E_ARGUMENT);
  EXPECT_STREQ(last_error(),
               "the result of task 'split' has 4 parts, and there is no part 7; they count from 0");
  for (size_t size : {0u, 1u, 8u, 100u}) {
    Bytes plain(size, std::byte{'x'});
    EXPECT_EQ(read_part(whole(plain), 0, "split", part), TARN_E_TYPE);
    EXPECT_STREQ(last_error(), "the result of task 'split' has no parts; take it as a whole");
  }
  EXPECT_EQ(part.data, nullptr);
}

// Every byte of the table and every length, changed at random: what is read lies inside, or nothing is.
TEST(Parts, DamagedOnesAreRefusedOrStayInside) {
  std::minstd_rand random(1);
  for (const std::vector<size_t>& sizes :
       std::vector<std::vector<size_t>>{{8, 8, 8}, {3}, {100, 0, 5, 64}, {0, 0, 0, 0, 0}}) {
    Bytes sound = result_of(sizes);
    size_t table = sizeof(PartsTable) + (sound.size() > 32 ? sizes.size() * 8 : 0);
    for (int round = 0; round < 20'000; ++round) {
      Bytes bytes = sound;
      for (size_t changes = random() % 3; changes-- > 0;)
        bytes[4 + random() % (table - 4)] = static_cast<std::byte>(random());
      bytes.resize(random() % 4 == 0 ? random() % (sound.size() + 1) : sound.size());
      bytes.shrink_to_fit();  // so that a sanitizer sees a read behind it
      size_t count = 0;
      if (count_parts(whole(bytes), nullptr, count) < 0) continue;
      for (size_t i = 0; i < std::min<size_t>(count, 100); ++i) {
        tarn_bytes part{bytes.data(), 0};
        int r = read_part(whole(bytes), i, nullptr, part);
        ASSERT_TRUE(r == 0 || r == TARN_E_PROTOCOL) << r;
        size_t begin = static_cast<size_t>(static_cast<const std::byte*>(part.data) - bytes.data());
        ASSERT_LE(begin, bytes.size());
        ASSERT_LE(part.size, bytes.size() - begin);
      }
    }
  }
}

TEST(Parts, NumbersThatWrapAreRefused) {
  Bytes sound = result_of({100, 100, 100});
  for (uint64_t end :
       {~uint64_t{0}, ~uint64_t{0} - 62, uint64_t{1} << 63, store::kObjectSizeMax, uint64_t{0}}) {
    Bytes bytes = sound;
    memcpy(bytes.data() + sizeof(PartsTable) + 8, &end,
           sizeof end);  // of part 1, behind which part 2 begins
    tarn_bytes part{};
    EXPECT_EQ(read_part(whole(bytes), 1, nullptr, part), TARN_E_PROTOCOL);
    EXPECT_EQ(read_part(whole(bytes), 2, nullptr, part), end == 0 ? 0 : TARN_E_PROTOCOL);
  }
}

}  // namespace
}  // namespace tarn::task
