// What an object says it is decides how its bytes are read. Here arrays of every shape, order and element are made and viewed,
// and viewed as what they are not. Expect: the elements that were put, or a type_error that names both sides.

#include <gtest/gtest.h>

#include <complex>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "tasks.hpp"

namespace tarn::testing {
namespace {

class ArrayHppTest : public ::testing::Test {
 protected:
  client tarn = init(0, nullptr, {.address = "private", .workers = 1});
};

// Calls `fn` and returns what the exception of type E says.
template <class E, class Fn>
std::string refusal(Fn&& fn) {
  try {
    fn();
  } catch (const E& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST_F(ArrayHppTest, elements_are_found_by_their_indices_in_both_orders) {
  for (const order in : {order::c, order::fortran}) {
    const object matrix =
        tarn.create_array<double>({3, 4}, in, "matrix").fill([](array_span<double> cells) {
              for (int i = 0; i < 3; ++i)
                for (int j = 0; j < 4; ++j) cells(i, j) = 10 * i + j;
            }).seal();
    const array_view<double> cells(matrix);
    EXPECT_EQ(cells.rank(), 2u);
    EXPECT_TRUE(cells.shape()[0] == 3 && cells.shape()[1] == 4 && cells.size() == 12);
    EXPECT_EQ(cells.strides()[0], in == order::c ? 32 : 8);
    EXPECT_EQ(cells(2, 3), 23.0);
    EXPECT_EQ(cells.at(1u, 2L), 12.0);
    EXPECT_EQ(cells.elements(in)[1], in == order::c ? 1.0 : 10.0);
    EXPECT_THROW(static_cast<void>(cells.elements(in == order::c ? order::fortran : order::c)), type_error);
    EXPECT_THROW(static_cast<void>(cells(1)), bad_argument);
    EXPECT_THROW(static_cast<void>(cells(1, 1, 1)), bad_argument);
    EXPECT_THROW(static_cast<void>(cells.at(3, 0)), bad_argument);
    EXPECT_THROW(static_cast<void>(cells.at(0, -1)), bad_argument);
    EXPECT_EQ(matrix.label(), "matrix");
    EXPECT_EQ(matrix.info().type, TARN_TYPE_ARRAY + 0u);
    EXPECT_EQ(tarn.submit(sum, matrix).get(), 3 * 6.0 + 4 * 30.0);  // a task reads the bytes
  }
}

TEST_F(ArrayHppTest, every_element_type_and_the_odd_shapes_work) {
  const auto once = [&]<class T>(T value) {
    const array_view<T> view(tarn.create_array<T>({2, 1, 3}).fill(value).seal());
    EXPECT_EQ(view(1, 0, 2), value);
    EXPECT_EQ(view.elements().size(), 6u);
  };
  once(true);
  once(std::int8_t{-1});
  once(std::int16_t{-2});
  once(std::int32_t{-3});
  once(std::int64_t{-4});
  once(1LL << 40);
  once(std::uint8_t{1});
  once(std::uint16_t{2});
  once(std::uint32_t{3});
  once(std::uint64_t{4});
  once(1.5F);
  once(2.5);
  once(std::complex<float>(1, 2));
  once(std::complex<double>(3, 4));
  // No dimensions are one element, a dimension of 0 is none.
  const array_view<int> one(tarn.create_array<int>({}).fill(7).seal());
  EXPECT_TRUE(one() == 7 && one.at() == 7 && one.size() == 1 && one.rank() == 0);
  const array_view<int> none(tarn.create_array<int>({3, 0}).fill(7).seal());
  EXPECT_TRUE(none.size() == 0 && none.elements().empty());
  const array_view<int> deep(tarn.create_array<int>(std::vector<std::uint64_t>(32, 1)).fill(9).seal());
  EXPECT_EQ(deep.elements()[0], 9);
  EXPECT_THROW(static_cast<void>(tarn.create_array<int>(std::vector<std::uint64_t>(33, 1))), bad_argument);
  EXPECT_THROW(static_cast<void>(tarn.create_array<int>({1ULL << 32, 1ULL << 32})), over_limit);
  EXPECT_THROW(static_cast<void>(tarn.create_array<int>({1}, order::c, std::string(64, 'x'))), bad_argument);
}

TEST_F(ArrayHppTest, tasks_see_what_their_arguments_say) {
  const object matrix = tarn.create_array<double>({3, 3}, order::fortran, "matrix").fill(2.0).seal();
  EXPECT_EQ(tarn.submit(trace, 1, matrix).get(), 7.0);
  // A slice, another type, another label, bytes that are no array, and the result of a task.
  EXPECT_THROW(static_cast<void>(tarn.submit(trace, 1, matrix.slice(0, 24)).get()), task_error);
  EXPECT_THROW(static_cast<void>(tarn.submit(trace, 1, tarn.create_array<float>({1, 1}, order::c, "matrix").fill(2.0F).seal()).get()), task_error);
  EXPECT_THROW(static_cast<void>(tarn.submit(trace, 1, tarn.put("x", {.label = "matrix"})).get()), task_error);
  EXPECT_THROW(static_cast<void>(tarn.submit(trace, 1, tarn.put("x")).get()), task_error);
  EXPECT_EQ(tarn.submit(told, tarn.put("x", {.label = "label", .metadata = "data"})).get(), "label/data");
  EXPECT_EQ(tarn.submit(told, tarn.put("abc", {.label = "label", .metadata = "data"}).slice(1, 2)).get(), "label/data");
  EXPECT_EQ(tarn.submit(told, tarn.put("", {.label = "nothing else"})).get(), "nothing else/");
  EXPECT_EQ(tarn.submit(told, tarn.put("x")).get(), "/");
}

// The view keeps the object that it was made of.
TEST_F(ArrayHppTest, a_view_keeps_its_object) {
  object source = tarn.create_array<int>({2}).fill(5).seal();
  array_view<int> view(source);
  EXPECT_EQ(source.info().references, 2u);
  source = object();
  EXPECT_EQ(view(1), 5);
  EXPECT_EQ(view.source().info().references, 1u);
}

TEST_F(ArrayHppTest, what_is_not_such_an_array_is_a_type_error) {
  const object array = tarn.create_array<int>({4, 4}).fill(1).seal();
  EXPECT_EQ(refusal<type_error>([&] { array_view<float> v(array); }), "the array has elements of int32, not float32");
  EXPECT_EQ(refusal<type_error>([&] { array_view<int> v(array.slice(0, 32)); }),
            "a slice of an array is no array by itself; view the whole");
  EXPECT_EQ(refusal<type_error>([&] { array_view<int> v(tarn.put("text")); }), "the object's type is none, not array");
  EXPECT_EQ(refusal<type_error>([&] { array_view<int> v(tarn.put("text", {.type = TARN_TYPE_STRING})); }),
            "the object's type is string, not array");
  EXPECT_THROW(array_view<int>{object()}, error);
  EXPECT_EQ(refusal<type_error>([&] { array_view<int> v(object::of_argument({"x", 1})); }),
            "the argument's type is 0, not 3 (TARN_TYPE_*)");
  // Elements where none can be read in place.
  tarn_array_layout layout{};
  layout.size = sizeof layout;
  layout.dtype = TARN_DTYPE_INT32;
  layout.ndim = 1;
  layout.shape[0] = 2;
  layout.strides[0] = 5;
  char metadata[TARN_ARRAY_METADATA_MAX];
  std::size_t size = 0;
  ASSERT_EQ(tarn_array_describe(&layout, 9, metadata, sizeof metadata, &size), 0);
  const object odd = tarn.put("012345678", {.type = TARN_TYPE_ARRAY, .metadata = {metadata, size}});
  EXPECT_EQ(refusal<type_error>([&] { array_view<int> v(odd); }),
            "the elements of the array are not aligned to 4 bytes; copy them out byte by byte");
}

// Backwards, and every second element: made by the C interface, as other languages make them.
TEST_F(ArrayHppTest, any_strides_can_be_viewed) {
  const std::int16_t numbers[] = {0, 1, 2, 3, 4, 5, 6, 7};
  tarn_array_layout layout{};
  layout.size = sizeof layout;
  layout.dtype = TARN_DTYPE_INT16;
  layout.ndim = 2;
  layout.shape[0] = 3;
  layout.shape[1] = 2;
  layout.strides[0] = -4;
  layout.strides[1] = 2;
  layout.offset = 12;
  char metadata[TARN_ARRAY_METADATA_MAX];
  std::size_t size = 0;
  ASSERT_EQ(tarn_array_describe(&layout, sizeof numbers, metadata, sizeof metadata, &size), 0) << tarn_last_error();
  const object object = tarn.put(numbers, {.type = TARN_TYPE_ARRAY, .label = "backwards", .metadata = {metadata, size}});
  const array_view<std::int16_t> view(object);
  EXPECT_TRUE(view(0, 0) == 6 && view(0, 1) == 7 && view(2, 0) == 2 && view(2, 1) == 3);
  EXPECT_THROW(static_cast<void>(view.elements()), type_error);
}

// Rows of 64 bytes, columns backwards, a head before all, and one that is everywhere the same.
TEST_F(ArrayHppTest, arrays_are_made_with_strides_and_offset) {
  const auto fill = [](array_span<std::int32_t> cells) {
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 5; ++j) cells(i, j) = 10 * i + j;
  };
  const object rows = tarn.create_array<std::int32_t>({3, 5}, {.strides = {64, 4}, .label = "rows"}).fill(fill).seal();
  EXPECT_EQ(rows.size(), 2 * 64u + 20u);
  EXPECT_EQ(rows.label(), "rows");
  EXPECT_EQ(array_view<std::int32_t>(rows).at(2, 4), 24);
  EXPECT_EQ(rows.view<std::int32_t>()[5], 0);  // a gap
  const object back = tarn.create_array<std::int32_t>({3, 5}, {.strides = {20, -4}}).fill(fill).seal();
  EXPECT_EQ(back.size(), 60u);
  EXPECT_EQ(array_view<std::int32_t>(back).at(1, 4), 14);
  EXPECT_EQ(back.view<std::int32_t>()[0], 4);
  const object behind = tarn.create_array<std::int32_t>({3, 5}, {.in = order::fortran, .offset = 128}).fill(fill).seal();
  EXPECT_EQ(behind.size(), 128u + 60u);
  EXPECT_EQ(array_view<std::int32_t>(behind).elements(order::fortran)[1], 10);
  const array_view<int> same(tarn.create_array<int>({1000, 1000}, {.strides = {0, 0}}).fill(7).seal());
  EXPECT_EQ(same.source().size(), 4u);
  EXPECT_EQ(same.at(999, 0), 7);
  // Of an element that is not as aligned as it is large; nothing but it has the value.
  using complex = std::complex<double>;
  auto writer = tarn.create_array<complex>({2, 2}, {.strides = {40, 16}, .offset = 8});
  EXPECT_EQ(writer.size(), 4u);
  const object odd = std::move(writer).fill(complex(1, 2)).seal();
  EXPECT_EQ(array_view<complex>(odd).at(1, 1), complex(1, 2));
  EXPECT_EQ(odd.view<double>()[0], 0.0);
  EXPECT_EQ(odd.view<double>()[5], 0.0);
  const array_view<int> none(tarn.create_array<int>({0, 4}, {.strides = {-4, 64}}).fill(1).seal());
  EXPECT_EQ(none.size(), 0u);
}

TEST_F(ArrayHppTest, a_layout_that_cannot_be_is_refused) {
  const auto make = [&](const array_options& options) {
    return refusal<error>([&] { static_cast<void>(tarn.create_array<int>({2, 3}, options)); });
  };
  EXPECT_EQ(make({.strides = {4}}), "1 strides for an array of 2 dimensions");
  EXPECT_EQ(make({.strides = {12, 5}}), "the offset and the strides of the array must be multiples of 4 bytes");
  EXPECT_EQ(make({.offset = 2}), "the offset and the strides of the array must be multiples of 4 bytes");
  EXPECT_EQ(make({.strides = {12, -4}, .offset = 4}),
            "the offset of the array is 4; with these strides elements lie up to 8 bytes before the first");
  for (const std::int64_t far : {INT64_MAX - 3, INT64_MIN, std::int64_t{1} << 62})
    EXPECT_EQ(make({.strides = {far, 4}}).empty(), false);
  EXPECT_EQ(make({.offset = UINT64_MAX - 3}), "the elements of the array reach over 2^63 bytes or more");
  EXPECT_TRUE(tarn.objects().empty());
}

TEST_F(ArrayHppTest, an_index_outside_is_named_with_its_dimension) {
  const array_view<int> cells(tarn.create_array<int>({2, 513}).fill(1).seal());
  EXPECT_EQ(refusal<bad_argument>([&] { static_cast<void>(cells.at(1, 600)); }),
            "index 600 lies outside dimension 1 (from 0) of the array, which has 513 elements");
  EXPECT_EQ(refusal<bad_argument>([&] { static_cast<void>(cells.at(-1, 0)); }),
            "index -1 lies outside dimension 0 (from 0) of the array, which has 2 elements");
}

TEST_F(ArrayHppTest, objects_say_what_they_were_told_to) {
  EXPECT_TRUE(tarn.objects().empty());
  const object labelled = tarn.put(std::string("text"), {.type = TARN_TYPE_USER + 3, .label = "of mine", .metadata = "more"});
  EXPECT_EQ(labelled.view(TARN_TYPE_USER + 3), "text");
  EXPECT_EQ(labelled.label(), "of mine");
  EXPECT_EQ(labelled.slice(1, 2).info().type, TARN_TYPE_USER + 3u);
  EXPECT_EQ(labelled.metadata(), "more");
  EXPECT_THROW(static_cast<void>(labelled.view(TARN_TYPE_STRING)), type_error);
  const object plain = tarn.create<int>(3, {.label = "numbers"}).fill(1).seal();
  EXPECT_EQ(plain.label(), "numbers");
  EXPECT_EQ(plain.metadata(), "");
  const object silent = tarn.put("x");
  EXPECT_EQ(silent.label(), "");
  const std::vector<held_object> held = tarn.objects();
  ASSERT_EQ(held.size(), 3u);
  EXPECT_EQ(held[0].details.bytes + held[1].details.bytes + held[2].details.bytes, 4u + 12u + 1u);
  EXPECT_THROW(static_cast<void>(tarn.put("x", {.type = 77})), bad_argument);
  EXPECT_THROW(static_cast<void>(tarn.put("x", {.placement = 77})), bad_argument);
  EXPECT_THROW(static_cast<void>(tarn.put("x", {.metadata = std::string_view(std::string(4097, 'x'))})), over_limit);
}

TEST_F(ArrayHppTest, objects_and_arrays_lie_where_they_were_told_to) {
  const std::string text(100'000, 't');
  EXPECT_EQ(tarn.put(text, {.placement = TARN_PLACE_INTERLEAVE}).info().node, TARN_NODE_ALL);
  EXPECT_NE(tarn.put(text).info().node, TARN_NODE_ALL);
  const object array = tarn.create_array<double>({100, 100}, order::c, "all", TARN_PLACE_INTERLEAVE).fill([](auto cells) {
    for (std::size_t i = 0; i < 100; ++i)
      for (std::size_t j = 0; j < 100; ++j) cells(i, j) = 1.0;
  }).seal();
  EXPECT_EQ(array.info().node, TARN_NODE_ALL);
  EXPECT_EQ(array_view<double>(array)(99, 99), 1.0);
}

}  // namespace
}  // namespace tarn::testing
