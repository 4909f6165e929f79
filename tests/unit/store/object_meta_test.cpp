// The meta block of an object is written by one process and read by others, tarnd among them. Here blocks of every shape are
// written and read again, and blocks that are cut, turned and damaged. Expect: what was written, or a refusal; never a byte
// beyond the block.

#include "store/object_meta.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "base/error.hpp"

namespace tarn::store {
namespace {

// A block of its own allocation, so that a sanitizer sees a read beyond it.
std::unique_ptr<std::byte[]> block_of(const std::byte* bytes, size_t size) {
  auto block = std::make_unique<std::byte[]>(size);
  memcpy(block.get(), bytes, size);
  return block;
}

ObjectMeta meta_of(const std::string& label, const std::string& metadata) {
  ObjectMeta meta;
  meta.label = label;
  meta.metadata = {metadata.data(), metadata.size()};
  return meta;
}

TEST(ObjectMetaTest, what_is_written_is_read) {
  for (size_t label_size : {0u, 1u, 7u, 8u, 62u, 63u}) {
    for (size_t metadata_size : {0u, 1u, 8u, 4095u, 4096u}) {
      std::string label(label_size, 'l');
      std::string metadata(metadata_size, 'm');
      ObjectMeta meta = meta_of(label, metadata);
      uint32_t size = meta_size(meta);
      if (label_size == 0 && metadata_size == 0) {
        EXPECT_EQ(size, 0u);
        continue;
      }
      ASSERT_LE(size, kMetaSizeMax);
      auto block = std::make_unique<std::byte[]>(size);
      write_meta(block.get(), meta);
      ObjectMeta out;
      ASSERT_EQ(read_meta(block.get(), size, out), 0) << last_error();
      EXPECT_EQ(out.label, label);
      EXPECT_EQ(out.label.data()[label_size], '\0');
      EXPECT_EQ(out.metadata.size, metadata_size);
      EXPECT_EQ(std::string(static_cast<const char*>(out.metadata.data), out.metadata.size), metadata);
      if (metadata_size == 0) {
        EXPECT_EQ(out.metadata.data, nullptr);
      } else {
        EXPECT_EQ((static_cast<const std::byte*>(out.metadata.data) - block.get()) % 8, 0);
      }
      EXPECT_EQ(read_label(block.get(), std::min<size_t>(size, kMetaLabelEnd), size), label);
    }
  }
}

TEST(ObjectMetaTest, damaged_blocks_are_refused) {
  std::string label(63, 'l');
  std::string metadata(100, 'm');
  ObjectMeta meta = meta_of(label, metadata);
  uint32_t size = meta_size(meta);
  auto good = std::make_unique<std::byte[]>(size);
  write_meta(good.get(), meta);
  ObjectMeta out;
  out.type = 77;
  // Cut to every length: the sizes in it do not fit the size of the record any more.
  for (uint32_t cut = 0; cut < size; ++cut) {
    auto block = block_of(good.get(), cut);
    EXPECT_EQ(read_meta(block.get(), cut, out), TARN_E_PROTOCOL) << cut;
    EXPECT_EQ(read_label(block.get(), cut, cut), "") << cut;
  }
  // A record that claims more than the block can be.
  EXPECT_EQ(read_meta(good.get(), size + 1, out), TARN_E_PROTOCOL);
  // Every bit of the head.
  for (uint32_t bit = 0; bit < sizeof(MetaHead) * 8; ++bit) {
    auto block = block_of(good.get(), size);
    block[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    EXPECT_EQ(read_meta(block.get(), size, out), TARN_E_PROTOCOL) << bit;
  }
  // A label that does not end.
  auto block = block_of(good.get(), size);
  block[sizeof(MetaHead) + 63] = std::byte{'x'};
  EXPECT_EQ(read_meta(block.get(), size, out), TARN_E_PROTOCOL);
  EXPECT_EQ(out.type, 77u);  // untouched by all of that
  // A tool sees a label with a NUL inside only up to that.
  block[sizeof(MetaHead) + 5] = std::byte{0};
  EXPECT_EQ(read_label(block.get(), kMetaLabelEnd, size), "lllll");
  EXPECT_EQ(read_label(block.get(), sizeof(MetaHead) + 62, size), "");  // read only in part
}

TEST(ObjectMetaTest, a_block_outside_its_room_is_found_whatever_the_numbers) {
  EXPECT_TRUE(fits_with_meta(0, 0, 0));
  EXPECT_TRUE(fits_with_meta(100, 8, 112));
  EXPECT_FALSE(fits_with_meta(100, 8, 111));
  EXPECT_FALSE(fits_with_meta(101, 0, 100));
  EXPECT_FALSE(fits_with_meta(100, 8, 100));
  EXPECT_FALSE(fits_with_meta(UINT64_MAX, 8, UINT64_MAX));
  EXPECT_FALSE(fits_with_meta(UINT64_MAX - 3, UINT32_MAX, UINT64_MAX));
  EXPECT_FALSE(fits_with_meta(8, UINT32_MAX, 4096));
  EXPECT_EQ(bytes_with_meta(100, 0), 100u);
  EXPECT_EQ(bytes_with_meta(100, 16), 120u);
  EXPECT_EQ(bytes_with_meta(0, 16), 16u);
}

TEST(ObjectMetaTest, tags_have_names) {
  EXPECT_STREQ(TypeText(TARN_TYPE_NONE).text, "none");
  EXPECT_STREQ(TypeText(TARN_TYPE_ARRAY).text, "array");
  EXPECT_STREQ(TypeText(4).text, "0x4");
  EXPECT_STREQ(TypeText(UINT32_MAX).text, "0xffffffff");
  EXPECT_TRUE(is_known_type(TARN_TYPE_STRING) && is_known_type(TARN_TYPE_USER) && is_known_type(UINT32_MAX));
  EXPECT_FALSE(is_known_type(TARN_TYPE_ARRAY + 1) || is_known_type(TARN_TYPE_USER - 1));
}

}  // namespace
}  // namespace tarn::store
