// array.hpp: arrays of several dimensions in objects.
//
//   tarn::object matrix = client.create_array<double>({rows, columns}).fill([&](auto cells) {
//     for (std::size_t i = 0; i < rows; ++i)
//       for (std::size_t j = 0; j < columns; ++j) cells(i, j) = f(i, j);
//   }).seal();
//
//   const tarn::array_view<double> cells(matrix);  // type_error if it holds something else
//   sum += cells(3, 4);
//
// An array may have gaps, and lie backwards: array_options, when it is made.
//
// How the elements lie is in the object's metadata, docs/formats/arrays.md: other programs, and
// other languages, read the same array. Elements are where they were put; nothing is copied.
//
// Thread safety: views are values; any number of threads may read one.
#pragma once

#include <tarn/tarn.h>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/object.hpp>

#include <algorithm>
#include <array>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tarn {

// Which index runs fastest in memory.
enum class order : std::uint32_t {
  c = TARN_ORDER_C,             // the last one
  fortran = TARN_ORDER_FORTRAN  // the first one
};

// How a new array lies in its object. Its metadata say that, so that there is no room in them for
// others.
struct array_options {
  order in = order::c;                        // if there are no strides
  std::vector<std::int64_t> strides = {};     // bytes from one element to the next along each
                                              // dimension, of any sign; none: no gaps
  std::optional<std::uint64_t> offset = {};   // bytes before the element whose indices are all 0;
                                              // left out: as few as the strides allow
  std::string label = {};                     // at most 63 bytes, none of them NUL
  std::uint32_t placement = TARN_PLACE_NEAR;  // or TARN_PLACE_INTERLEAVE
};

namespace detail {

// The TARN_DTYPE_* of T, 0 if it cannot be the element of an array.
template <class T>
consteval std::uint32_t dtype_of() {
  if constexpr (std::is_same_v<T, bool>) {
    return TARN_DTYPE_BOOL;
  } else if constexpr (std::is_same_v<T, char> || std::is_same_v<T, wchar_t> ||
                       std::is_same_v<T, char8_t> || std::is_same_v<T, char16_t> ||
                       std::is_same_v<T, char32_t>) {
    return 0;  // text
  } else if constexpr (std::is_integral_v<T>) {
    constexpr std::uint32_t first = std::is_signed_v<T> ? TARN_DTYPE_INT8 : TARN_DTYPE_UINT8;
    return sizeof(T) == 1   ? first
           : sizeof(T) == 2 ? first + 1
           : sizeof(T) == 4 ? first + 2
           : sizeof(T) == 8 ? first + 3
                            : 0;
  } else if constexpr (std::is_same_v<T, float>) {
    return TARN_DTYPE_FLOAT32;
  } else if constexpr (std::is_same_v<T, double>) {
    return TARN_DTYPE_FLOAT64;
  } else if constexpr (std::is_same_v<T, std::complex<float>>) {
    return TARN_DTYPE_COMPLEX64;
  } else if constexpr (std::is_same_v<T, std::complex<double>>) {
    return TARN_DTYPE_COMPLEX128;
  } else {
    return 0;
  }
}

inline std::string dtype_name(std::uint32_t dtype) {
  constexpr std::array<const char*, 15> names = {
      "nothing", "bool",   "int8",    "int16",   "int32",   "int64",     "uint8",     "uint16",
      "uint32",  "uint64", "float16", "float32", "float64", "complex64", "complex128"};
  return dtype < names.size() ? names[dtype] : std::to_string(dtype);
}

// Whether the elements lie one behind the other in that order.
inline bool lies_dense(const tarn_array_layout& layout, order in) {
  tarn_array_layout dense{};
  dense.size = sizeof dense;
  std::uint64_t bytes;
  check(::tarn_array_contiguous(layout.dtype, layout.ndim, layout.shape,
                                static_cast<std::uint32_t>(in), &dense, &bytes));
  for (std::size_t i = 0; i < layout.ndim; ++i) {
    if (layout.shape[i] > 1 && bytes != 0 && layout.strides[i] != dense.strides[i]) return false;
  }
  return true;
}

}  // namespace detail

// What an array can be made of: bool, integers, float, double and complex numbers of those.
template <class T>
concept array_element = detail::dtype_of<T>()
!= 0;

// Elements in memory, reached by one index for each dimension. T is const for elements that are
// only read. Refers to memory that somebody else keeps.
template <class T>
requires array_element<std::remove_const_t<T>>
class array_span {
 public:
  // The array that lies at `data` as `layout` says, which has been checked. Since 0.1.
  array_span(T* data, const tarn_array_layout& layout) noexcept
      : data_(reinterpret_cast<bytes*>(data)), layout_(layout) {}

  // The number of dimensions. Since 0.1.
  [[nodiscard]] std::size_t rank() const noexcept { return layout_.ndim; }

  // The elements along each dimension. Since 0.1.
  [[nodiscard]] std::span<const std::uint64_t> shape() const& noexcept {
    return {layout_.shape, layout_.ndim};
  }

  // Bytes from one element to the next along each dimension. Since 0.1.
  [[nodiscard]] std::span<const std::int64_t> strides() const& noexcept {
    return {layout_.strides, layout_.ndim};
  }

  // How many elements there are in all. Since 0.1.
  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t count = 1;
    for (const std::uint64_t length : shape()) count *= length;
    return count;
  }

  // The element with these indices, which lie inside the array: that is not checked, at() does.
  // Throws bad_argument if there are more or fewer of them than dimensions. Since 0.1.
  template <std::integral... Indices>
  [[nodiscard]] T& operator()(Indices... indices) const {
    if (sizeof...(Indices) != layout_.ndim) [[unlikely]]
      raise_rank(sizeof...(Indices));
    std::int64_t at = static_cast<std::int64_t>(layout_.offset);
    std::size_t dimension = 0;
    ((at += static_cast<std::int64_t>(indices) * layout_.strides[dimension++]), ...);
    return *reinterpret_cast<T*>(data_ + at);
  }

  // The same; throws bad_argument also for an index outside the array. Since 0.1.
  template <std::integral... Indices>
  [[nodiscard]] T& at(Indices... indices) const {
    if (sizeof...(Indices) != layout_.ndim) raise_rank(sizeof...(Indices));
    std::size_t dimension = 0;
    (check_index(indices, dimension++), ...);
    return (*this)(indices...);
  }

  // The element with these indices, as many as there are dimensions: for a rank that is known only
  // when the program runs. Neither is checked. Since 0.1.
  [[nodiscard]] T& with(std::span<const std::uint64_t> indices) const noexcept {
    std::int64_t at = static_cast<std::int64_t>(layout_.offset);
    for (std::size_t i = 0; i < indices.size(); ++i)
      at += static_cast<std::int64_t>(indices[i]) * layout_.strides[i];
    return *reinterpret_cast<T*>(data_ + at);
  }

  // All elements, one behind the other as they lie in memory, if they do without gaps in that
  // order. Throws type_error if not. Since 0.1.
  [[nodiscard]] std::span<T> elements(order in = order::c) const {
    if (!detail::lies_dense(layout_, in)) {
      detail::raise(TARN_E_TYPE, "the elements of the array do not lie one behind the other in " +
                                     std::string(in == order::c ? "C" : "Fortran") +
                                     " order; read them by their indices");
    }
    return {reinterpret_cast<T*>(data_ + layout_.offset), size()};
  }

 private:
  using bytes = std::conditional_t<std::is_const_v<T>, const std::byte, std::byte>;

  [[noreturn]] void raise_rank(std::size_t given) const {
    detail::raise(TARN_E_ARGUMENT, std::to_string(given) + " indices for an array of " +
                                       std::to_string(layout_.ndim) + " dimensions");
  }

  template <std::integral Index>
  void check_index(Index index, std::size_t dimension) const {
    const std::uint64_t length = layout_.shape[dimension];
    if (!std::cmp_less(index, 0) && std::cmp_less(index, length)) return;
    detail::raise(TARN_E_ARGUMENT, "index " + std::to_string(index) + " lies outside dimension " +
                                       std::to_string(dimension) +
                                       " (from 0) of the array, which has " +
                                       std::to_string(length) + " elements");
  }

  bytes* data_;
  tarn_array_layout layout_;
};

namespace detail {

// Whether each element lies where a T can be read.
template <class T>
bool lies_aligned(const tarn_array_layout& layout) noexcept {
  bool all = layout.offset % alignof(T) == 0;
  for (std::size_t i = 0; i < layout.ndim; ++i) {
    if (layout.shape[i] > 1)
      all = all && layout.strides[i] % static_cast<std::int64_t>(alignof(T)) == 0;
  }
  return all;
}

// Changes `layout`, of an array without gaps, to what the options say of strides and offset, and
// returns the size of the object, in bytes.
inline std::uint64_t place_array(tarn_array_layout& layout, const array_options& options,
                                 std::size_t element) {
  if (!options.strides.empty() && options.strides.size() != layout.ndim) {
    raise(TARN_E_ARGUMENT, std::to_string(options.strides.size()) + " strides for an array of " +
                               std::to_string(layout.ndim) + " dimensions");
  }
  std::copy(options.strides.begin(), options.strides.end(), layout.strides);
  const bool is_empty =
      std::find(layout.shape, layout.shape + layout.ndim, 0u) != layout.shape + layout.ndim;
  // How far elements lie before and behind the first.
  std::uint64_t before = 0;
  std::uint64_t behind = element;
  bool fits = true;
  for (std::size_t i = 0; i < layout.ndim && !is_empty; ++i) {
    const bool backwards = layout.strides[i] < 0;
    const std::uint64_t stride = backwards ? 0 - static_cast<std::uint64_t>(layout.strides[i])
                                           : static_cast<std::uint64_t>(layout.strides[i]);
    std::uint64_t reach;
    std::uint64_t& side = backwards ? before : behind;
    fits = fits && !__builtin_mul_overflow(layout.shape[i] - 1, stride, &reach) &&
           !__builtin_add_overflow(side, reach, &side);
  }
  layout.offset = options.offset.value_or(before);
  std::uint64_t bytes = 0;
  fits = fits && !__builtin_add_overflow(layout.offset, is_empty ? 0 : behind, &bytes) &&
         bytes <= INT64_MAX - element;
  if (!fits) raise(TARN_E_TOO_LARGE, "the elements of the array reach over 2^63 bytes or more");
  if (layout.offset < before) {
    raise(TARN_E_ARGUMENT, "the offset of the array is " + std::to_string(layout.offset) +
                               "; with these strides elements lie up to " + std::to_string(before) +
                               " bytes before the first");
  }
  return bytes;
}

// Reads and checks how the array in `object` lies, for elements of type T.
template <array_element T>
array_span<const T> open_array(const object& object) {
  const std::string_view payload = object.view(TARN_TYPE_ARRAY);
  if (!object.is_whole())
    raise(TARN_E_TYPE, "a slice of an array is no array by itself; view the whole");
  tarn_array_layout layout{};
  layout.size = sizeof layout;
  const std::string_view metadata = object.metadata();
  check(::tarn_array_read({metadata.data(), metadata.size()}, payload.size(), &layout));
  if (layout.dtype != dtype_of<T>()) {
    raise(TARN_E_TYPE, "the array has elements of " + dtype_name(layout.dtype) + ", not " +
                           dtype_name(dtype_of<T>()));
  }
  if (!lies_aligned<T>(layout)) {
    raise(TARN_E_TYPE, "the elements of the array are not aligned to " +
                           std::to_string(alignof(T)) + " bytes; copy them out byte by byte");
  }
  return {reinterpret_cast<const T*>(payload.data()), layout};
}

}  // namespace detail

// An array in an object, read in place. Keeps the object.
template <array_element T>
class array_view : public array_span<const T> {
 public:
  // Throws type_error if the object is not an array of T, or a slice of one. Since 0.1.
  explicit array_view(object object)
      : array_span<const T>(detail::open_array<T>(object)), object_(std::move(object)) {}

  // The object. Since 0.1.
  [[nodiscard]] const object& source() const noexcept { return object_; }

 private:
  object object_;
};

// Memory of the object store for an array, on loan to be filled. Dropping it gives it back.
template <array_element T>
class array_writer {
 public:
  // Takes over `memory`, which is laid out so. Since 0.1.
  array_writer(writer<T>&& memory, const tarn_array_layout& layout) noexcept
      : memory_(std::move(memory)), layout_(layout) {}

  // How many elements there are in all. Since 0.1.
  [[nodiscard]] std::size_t size() const noexcept { return array_span<T>(nullptr, layout_).size(); }

  // Calls fill(array_span<T>), which gives every element a value, in place. Gaps are 0. Since 0.1.
  template <std::invocable<array_span<T>> Fill>
  [[nodiscard]] filled<T> fill(Fill&& fill) && {
    return std::move(memory_).fill([&](std::span<T> memory) {
      // A reader of the bytes shall not find there what this memory held before.
      if (has_gaps()) std::fill(memory.begin(), memory.end(), T());
      std::invoke(std::forward<Fill>(fill), array_span<T>(memory.data(), layout_));
    });
  }

  // Gives every element the same value. Since 0.1.
  [[nodiscard]] filled<T> fill(const T& value) && {
    if (!has_gaps()) return std::move(memory_).fill(value);
    return std::move(*this).fill([&](array_span<T> cells) { set_all(cells, value); });
  }

  // As those of writer. Since 0.1.
  [[nodiscard]] object share() const { return memory_.share(); }
  void abort() && { std::move(memory_).abort(); }

 private:
  [[nodiscard]] bool has_gaps() const {
    return layout_.offset != 0 ||
           !(detail::lies_dense(layout_, order::c) || detail::lies_dense(layout_, order::fortran));
  }

  // Every index in turn, the last one fastest.
  void set_all(const array_span<T>& cells, const T& value) const {
    std::array<std::uint64_t, TARN_ARRAY_DIMENSIONS_MAX> index{};
    for (std::size_t left = size(); left > 0; --left) {
      cells.with(std::span(index).first(layout_.ndim)) = value;
      for (std::size_t i = layout_.ndim; i-- > 0 && ++index[i] == layout_.shape[i];) index[i] = 0;
    }
  }

  writer<T> memory_;
  tarn_array_layout layout_;
};

}  // namespace tarn
