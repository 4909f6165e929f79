// The metadata of an array comes from another process, and every index into the object is computed from it. Here arrays of every
// shape and order are described and read again, and descriptions are cut, damaged bit by bit and filled with large numbers.
// Expect: a layout whose every element lies inside the object, or a refusal.

#include <gtest/gtest.h>
#include <tarn/tarn.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace {

tarn_array_layout empty_layout() {
  tarn_array_layout layout{};
  layout.size = sizeof layout;
  return layout;
}

tarn_array_layout contiguous(uint32_t dtype, const std::vector<uint64_t>& shape, uint32_t order, uint64_t& bytes) {
  tarn_array_layout layout = empty_layout();
  EXPECT_EQ(0, tarn_array_contiguous(dtype, static_cast<uint32_t>(shape.size()), shape.data(), order, &layout, &bytes))
      << tarn_last_error();
  return layout;
}

// Described and read again.
int pass_on(const tarn_array_layout& layout, uint64_t bytes, tarn_array_layout& out) {
  unsigned char metadata[TARN_ARRAY_METADATA_MAX];
  size_t size = 0;
  if (int r = tarn_array_describe(&layout, bytes, metadata, sizeof metadata, &size); r < 0) return r;
  EXPECT_EQ(16 + 16 * layout.ndim, size);
  out = empty_layout();
  return tarn_array_read({metadata, size}, bytes, &out);
}

TEST(ArrayTest, elements_have_their_sizes) {
  const size_t sizes[] = {0, 1, 1, 2, 4, 8, 1, 2, 4, 8, 2, 4, 8, 8, 16, 0};
  for (uint32_t dtype = 0; dtype < std::size(sizes); ++dtype) EXPECT_EQ(sizes[dtype], tarn_dtype_size(dtype)) << dtype;
  EXPECT_EQ(0u, tarn_dtype_size(UINT32_MAX));
}

TEST(ArrayTest, arrays_without_gaps_have_the_strides_of_their_order) {
  uint64_t bytes = 0;
  tarn_array_layout c = contiguous(TARN_DTYPE_FLOAT64, {2, 3, 4}, TARN_ORDER_C, bytes);
  EXPECT_EQ(192u, bytes);
  EXPECT_TRUE(c.strides[0] == 96 && c.strides[1] == 32 && c.strides[2] == 8);
  tarn_array_layout fortran = contiguous(TARN_DTYPE_FLOAT64, {2, 3, 4}, TARN_ORDER_FORTRAN, bytes);
  EXPECT_TRUE(fortran.strides[0] == 8 && fortran.strides[1] == 16 && fortran.strides[2] == 48);
  (void)contiguous(TARN_DTYPE_COMPLEX128, {}, TARN_ORDER_C, bytes);  // one element
  EXPECT_EQ(16u, bytes);
  tarn_array_layout empty = contiguous(TARN_DTYPE_INT16, {3, 0, 5}, TARN_ORDER_C, bytes);
  EXPECT_EQ(0u, bytes);
  EXPECT_TRUE(empty.strides[1] == 10 && empty.strides[2] == 2);
}

TEST(ArrayTest, what_is_described_is_read) {
  std::vector<std::vector<uint64_t>> shapes = {{}, {0}, {1}, {7}, {2, 3}, {3, 0, 5}, std::vector<uint64_t>(32, 1)};
  for (uint32_t dtype = TARN_DTYPE_BOOL; dtype <= TARN_DTYPE_COMPLEX128; ++dtype) {
    for (const auto& shape : shapes) {
      for (uint32_t order : {TARN_ORDER_C, TARN_ORDER_FORTRAN}) {
        uint64_t bytes = 0;
        tarn_array_layout layout = contiguous(dtype, shape, order, bytes);
        tarn_array_layout out;
        ASSERT_EQ(0, pass_on(layout, bytes, out)) << tarn_last_error();
        EXPECT_EQ(0, memcmp(&layout, &out, sizeof out));
        if (bytes == 0) continue;
        EXPECT_EQ(TARN_E_ARGUMENT, pass_on(layout, bytes - 1, out));
      }
    }
  }
}

TEST(ArrayTest, strides_go_everywhere_inside_the_object) {
  tarn_array_layout layout = empty_layout();
  tarn_array_layout out;
  layout.dtype = TARN_DTYPE_INT32;
  layout.ndim = 2;
  layout.shape[0] = 3;
  layout.shape[1] = 2;
  layout.strides[0] = -16;  // backwards, every fourth element
  layout.strides[1] = 0;    // each twice
  layout.offset = 32;
  EXPECT_EQ(0, pass_on(layout, 36, out)) << tarn_last_error();
  EXPECT_EQ(TARN_E_ARGUMENT, pass_on(layout, 35, out));
  layout.offset = 31;
  EXPECT_EQ(TARN_E_ARGUMENT, pass_on(layout, 36, out));
  // One dimension is too far forward although the other goes back as far.
  layout = empty_layout();
  layout.dtype = TARN_DTYPE_INT8;
  layout.ndim = 2;
  layout.shape[0] = layout.shape[1] = 11;
  layout.strides[0] = 1;
  layout.strides[1] = -1;
  layout.offset = 10;
  EXPECT_EQ(0, pass_on(layout, 21, out));
  EXPECT_EQ(TARN_E_ARGUMENT, pass_on(layout, 20, out));
  // An empty array needs no room, but must begin in the object.
  layout.shape[0] = 0;
  layout.strides[1] = std::numeric_limits<int64_t>::min();
  EXPECT_EQ(0, pass_on(layout, 10, out));
  EXPECT_EQ(TARN_E_ARGUMENT, pass_on(layout, 9, out));
}

TEST(ArrayTest, numbers_that_overflow_are_refused) {
  constexpr uint64_t kHuge[] = {UINT64_MAX, UINT64_MAX / 2, UINT64_MAX / 2 + 1, uint64_t{1} << 32, uint64_t{1} << 62};
  constexpr int64_t kFar[] = {INT64_MAX, INT64_MIN, INT64_MIN + 1, int64_t{1} << 32, -(int64_t{1} << 32), -1};
  tarn_array_layout out;
  for (uint64_t shape : kHuge) {
    for (int64_t stride : kFar) {
      for (uint64_t offset : {uint64_t{0}, uint64_t{64}, uint64_t{1} << 62, UINT64_MAX}) {
        tarn_array_layout layout = empty_layout();
        layout.dtype = TARN_DTYPE_INT16;
        layout.ndim = 3;
        layout.shape[0] = layout.shape[1] = shape;
        layout.shape[2] = 2;
        layout.strides[0] = layout.strides[1] = stride;
        layout.offset = offset;
        EXPECT_EQ(TARN_E_ARGUMENT, pass_on(layout, 4096, out));
      }
    }
  }
  uint64_t bytes = 0;
  uint64_t shape[] = {uint64_t{1} << 31, uint64_t{1} << 31, 2};
  tarn_array_layout layout = empty_layout();
  EXPECT_EQ(TARN_E_TOO_LARGE, tarn_array_contiguous(TARN_DTYPE_INT8, 3, shape, TARN_ORDER_C, &layout, &bytes));
  // As many elements, but all the same one, in an object of one byte.
  layout = empty_layout();
  layout.dtype = TARN_DTYPE_INT8;
  layout.ndim = 2;
  layout.shape[0] = layout.shape[1] = uint64_t{1} << 31;
  EXPECT_EQ(0, pass_on(layout, 1, out));
}

// Every corner of the array lies inside, computed in numbers that do not wrap; those of an object of some bytes are exact.
void expect_inside(const tarn_array_layout& layout, uint64_t bytes) {
  ASSERT_LE(layout.ndim, 32u);
  auto low = static_cast<long double>(layout.offset);
  long double high = low;
  for (uint32_t i = 0; i < layout.ndim; ++i) {
    if (layout.shape[i] == 0) return;
    long double reach = static_cast<long double>(layout.shape[i] - 1) * static_cast<long double>(layout.strides[i]);
    (reach < 0 ? low : high) += reach;
  }
  EXPECT_TRUE(low >= 0 && high + static_cast<long double>(tarn_dtype_size(layout.dtype)) <= static_cast<long double>(bytes));
}

TEST(ArrayTest, damaged_descriptions_are_refused_or_harmless) {
  uint64_t bytes = 0;
  tarn_array_layout layout = contiguous(TARN_DTYPE_FLOAT32, {4, 5, 6}, TARN_ORDER_C, bytes);
  std::vector<unsigned char> good(TARN_ARRAY_METADATA_MAX);
  size_t size = 0;
  ASSERT_EQ(0, tarn_array_describe(&layout, bytes, good.data(), good.size(), &size));
  good.resize(size);
  tarn_array_layout out = empty_layout();
  for (size_t cut = 0; cut < size; ++cut) {
    std::vector<unsigned char> part(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(cut));
    EXPECT_EQ(TARN_E_TYPE, tarn_array_read({part.data(), part.size()}, bytes, &out));
  }
  EXPECT_EQ(TARN_E_TYPE, tarn_array_read({nullptr, 0}, bytes, &out));
  for (size_t bit = 0; bit < size * 8; ++bit) {
    std::vector<unsigned char> bad = good;
    bad[bit / 8] = static_cast<unsigned char>(bad[bit / 8] ^ 1 << bit % 8);
    int r = tarn_array_read({bad.data(), bad.size()}, bytes, &out);
    if (bit < 40 || (bit >= 48 && bit < 64)) {
      EXPECT_EQ(TARN_E_TYPE, r) << bit;
    }
    if (r == 0) expect_inside(out, bytes);
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::vector<unsigned char> bad = good;
    for (int changes = 0; changes < 3; ++changes) bad[8 + random() % (size - 8)] = static_cast<unsigned char>(random());
    if (tarn_array_read({bad.data(), bad.size()}, bytes, &out) == 0) expect_inside(out, bytes);
  }
}

TEST(ArrayTest, wrong_arguments_are_named) {
  tarn_array_layout layout = empty_layout();
  uint64_t bytes = 0;
  uint64_t shape[33] = {};
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_contiguous(0, 1, shape, 0, &layout, &bytes));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_contiguous(15, 1, shape, 0, &layout, &bytes));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_contiguous(1, 33, shape, 0, &layout, &bytes));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_contiguous(1, 1, nullptr, 0, &layout, &bytes));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_contiguous(1, 1, shape, 2, &layout, &bytes));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_contiguous(1, 1, shape, 0, nullptr, &bytes));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_contiguous(1, 1, shape, 0, &layout, nullptr));
  EXPECT_EQ(0, tarn_array_contiguous(1, 32, shape, 0, &layout, &bytes));
  unsigned char metadata[TARN_ARRAY_METADATA_MAX];
  size_t size = 77;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_describe(nullptr, 0, metadata, sizeof metadata, &size));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_describe(&layout, 0, nullptr, sizeof metadata, &size));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_describe(&layout, 0, metadata, sizeof metadata, nullptr));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_describe(&layout, 0, metadata, sizeof metadata - 1, &size));
  layout.reserved[3] = 1;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_describe(&layout, 0, metadata, sizeof metadata, &size));
  layout.reserved[3] = 0;
  layout.ndim = 33;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_describe(&layout, 0, metadata, sizeof metadata, &size));
  EXPECT_EQ(77u, size);
  layout.size = sizeof layout - 1;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_contiguous(1, 1, shape, 0, &layout, &bytes));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_describe(&layout, 0, metadata, sizeof metadata, &size));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_read({metadata, 16}, 0, &layout));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_read({metadata, 16}, 0, nullptr));
}

}  // namespace
