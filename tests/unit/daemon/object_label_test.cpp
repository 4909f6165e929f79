// tarnd shows labels that lie in a tenant's slab, at a place that the tenant's record names. Here the place and the bytes are
// right, wrong, and as large as numbers get. Expect: the label, printable, or none; nothing is read outside the slab.
#include "object_label.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "os/memory.hpp"
#include "store/object_meta.hpp"

namespace tarn::daemon {
namespace {

constexpr uint64_t kSlabSize = 8192;

class ObjectLabel : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(os::memfd_create("slab", kSlabSize, slab_), 0); }

  // An object with that label at `offset`.
  LabelPlace write(uint64_t offset, uint64_t size, const std::string& label) {
    store::ObjectMeta meta;
    meta.label = label;
    std::vector<std::byte> block(store::meta_size(meta));
    store::write_meta(block.data(), meta);
    EXPECT_EQ(static_cast<ssize_t>(block.size()),
              pwrite(slab_.get(), block.data(), block.size(), static_cast<off_t>(offset + store::meta_offset(size))));
    return {offset, size, static_cast<uint32_t>(block.size())};
  }

  Fd slab_;
};

TEST_F(ObjectLabel, is_read_where_it_lies) {
  EXPECT_EQ(read_label(slab_, kSlabSize, write(64, 100, "short")), "short");
  EXPECT_EQ(read_label(slab_, kSlabSize, write(0, 0, "empty payload")), "empty payload");
  EXPECT_EQ(read_label(slab_, kSlabSize, write(1024, 999, std::string(63, 'x'))), std::string(63, 'x'));
  // At the very end of the slab.
  EXPECT_EQ(read_label(slab_, kSlabSize, write(kSlabSize - 64, 48, "seven c")), "seven c");
  EXPECT_EQ(read_label(slab_, kSlabSize, write(64, 100, "a\033[2J\nb\x7f")), "a?[2J?b?");
}

TEST_F(ObjectLabel, is_none_where_the_record_makes_no_sense) {
  const LabelPlace good = write(64, 100, "label");
  const uint64_t kLarge[] = {kSlabSize, kSlabSize - 64, uint64_t{1} << 40, uint64_t{1} << 46, UINT64_MAX / 2, UINT64_MAX - 7, UINT64_MAX};
  for (uint64_t offset : kLarge) EXPECT_EQ(read_label(slab_, kSlabSize, {offset, 100, good.meta_size}), "");
  for (uint64_t size : kLarge) EXPECT_EQ(read_label(slab_, kSlabSize, {64, size, good.meta_size}), "");
  for (uint32_t meta_size : {0u, 1u, 7u, 8u, good.meta_size + 1, store::kMetaSizeMax, store::kMetaSizeMax + 1, UINT32_MAX})
    EXPECT_EQ(read_label(slab_, kSlabSize, {64, 100, meta_size}), "") << meta_size;
  EXPECT_EQ(read_label(slab_, kSlabSize, {128, 100, good.meta_size}), "");  // zeros
  EXPECT_EQ(read_label(Fd{}, kSlabSize, good), "");
  EXPECT_EQ(read_label(slab_, kSlabSize * 2, {kSlabSize, 0, good.meta_size}), "");  // behind the end of the file
}

TEST_F(ObjectLabel, is_short_and_printable_whatever_the_bytes_are) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    unsigned char bytes[store::kMetaLabelEnd];
    for (unsigned char& byte : bytes) byte = static_cast<unsigned char>(random());
    // Often a plausible head.
    if (i % 4 != 0) std::fill(bytes, bytes + 8, static_cast<unsigned char>(0));
    if (i % 4 != 0) bytes[4] = static_cast<unsigned char>(random() % 80);
    ASSERT_EQ(pwrite(slab_.get(), bytes, sizeof bytes, 0), static_cast<ssize_t>(sizeof bytes));
    const uint32_t meta_size = i % 2 == 0 ? 8 + (bytes[4] + 8u) / 8 * 8 : static_cast<uint32_t>(random() % 100);
    const std::string label = read_label(slab_, kSlabSize, {0, 0, meta_size});
    EXPECT_LE(label.size(), 63u);
    EXPECT_TRUE(std::ranges::none_of(label, [](char c) { return static_cast<unsigned char>(c) < 0x20; }));
  }
}

TEST(LabelBudgetTest, ends) {
  LabelBudget budget;
  uint32_t taken = 0;
  while (budget.take()) ++taken;
  EXPECT_EQ(taken, kCensusLabelsMax);
}

}  // namespace
}  // namespace tarn::daemon
