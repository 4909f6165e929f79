// codec.hpp: which C++ types can be arguments and results of tasks, and how each looks as bytes.
//
//   plain      trivially copyable and free of pointers: its own bytes
//   array      std::string, string_view, span, and vector of plain elements: the elements' bytes, so
//              that an object can stand for it, and a string_view or span can point into it
//   composite  optional, pair, tuple, array and vector of other types, and aggregates of up to 16
//              members: one part after the other, each padded to its alignment; an array in there
//              has its length (64 bits) before it
//   hooked     whatever codec<T> says
//
// A type of your own becomes an argument or a result by a specialisation of tarn::codec:
//
//   template <>
//   struct tarn::codec<Matrix> {
//     static void encode(tarn::encoder& out, const Matrix& m) {
//       out.write(m.columns);
//       out.write(m.cells);
//     }
//     static Matrix decode(tarn::decoder& in) {
//       auto columns = in.read<std::size_t>();
//       return Matrix(columns, in.read<std::vector<double>>());
//     }
//   };
//
// The bytes never leave the host, and both ends have the same build: there is no byte order and no
// version in them.
//
// Thread safety: an encoder or decoder is used by one thread.
#pragma once

#include <tarn/tarn.h>
#include <tarn/error.hpp>
#include <tarn/members.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace tarn {

// The hook. `encode` is called twice for a value, once to count, and must write the same both
// times.
template <class T>
struct codec;

class encoder;
class decoder;

namespace detail {

// ---- What a type is -----------------------------------------------------------------------------

template <class T>
concept hooked = requires {
  sizeof(codec<T>);
};

// The types inside a standard composite, as a std::tuple; void for everything else.
template <class T>
struct parts {
  using types = void;
};
template <class T>
struct parts<std::optional<T>> {
  using types = std::tuple<T>;
};
template <class T, std::size_t N>
struct parts<std::array<T, N>> {
  using types = std::tuple<T>;
};
template <class... T>
struct parts<std::variant<T...>> {
  using types = std::tuple<T...>;
};
template <class... T>
struct parts<std::tuple<T...>> {
  using types = std::tuple<T...>;
};
template <class A, class B>
struct parts<std::pair<A, B>> {
  using types = std::tuple<A, B>;
};

// What only points to its value.
template <class T>
inline constexpr bool is_pointer_like_v =
    std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_null_pointer_v<T>;
template <class C, class Traits>
inline constexpr bool is_pointer_like_v<std::basic_string_view<C, Traits>> = true;
template <class T, std::size_t N>
inline constexpr bool is_pointer_like_v<std::span<T, N>> = true;
template <class T>
inline constexpr bool is_pointer_like_v<std::initializer_list<T>> = true;
template <class T>
inline constexpr bool is_pointer_like_v<std::reference_wrapper<T>> = true;

template <class T>
consteval bool holds_pointers();

template <class T>
inline constexpr bool any_holds_pointers_v = false;
template <class... T>
inline constexpr bool any_holds_pointers_v<std::tuple<T...>> =
    (holds_pointers<std::remove_cvref_t<T>>() || ...);

// Whether a copy of T's bytes would copy a pointer, or something whose codec knows better.
// A type that cannot be looked into is taken at its word.
template <class T>
consteval bool holds_pointers() {
  using U = std::remove_all_extents_t<T>;
  if constexpr (is_pointer_like_v<U> || hooked<U>) {
    return true;
  } else if constexpr (!std::is_void_v<typename parts<U>::types>) {
    return any_holds_pointers_v<typename parts<U>::types>;
  } else if constexpr (listable<U>) {
    return any_holds_pointers_v<member_types_t<U>>;
  } else {
    return false;
  }
}

// Copied as its own bytes.
template <class T>
concept plain =
    std::is_object_v<T> && std::is_same_v<T, std::remove_cvref_t<T>> && !std::is_array_v<T> &&
    std::is_trivially_copyable_v<T> && !hooked<T> && !holds_pointers<T>();

// The element type of an array shape, or void.
template <class T>
struct array_shape {
  using element = void;
};
template <plain C, class Traits, class A>
struct array_shape<std::basic_string<C, Traits, A>> {
  using element = C;
};
template <plain C, class Traits>
struct array_shape<std::basic_string_view<C, Traits>> {
  using element = C;
};
template <class T>
requires plain<std::remove_const_t<T>>
struct array_shape<std::span<T>> {
  using element = std::remove_const_t<T>;
};
template <plain T, class A>
requires(!std::is_same_v<T, bool>) struct array_shape<std::vector<T, A>> {
  using element = T;
};
template <class T>
using element_t = typename array_shape<T>::element;

template <class T>
concept array_shaped = !std::is_void_v<element_t<T>>;

// An array shape that owns nothing: it points into the bytes it was decoded from.
template <class T>
concept array_view = array_shaped<T> && is_pointer_like_v<T>;

// Plain or an array: the bytes are the value, so that an object's bytes can be one.
template <class T>
concept raw = plain<T> || array_shaped<T>;

template <class T>
inline constexpr bool is_vector_v = false;
template <class T, class A>
inline constexpr bool is_vector_v<std::vector<T, A>> = true;
template <class T>
inline constexpr bool is_optional_v = false;
template <class T>
inline constexpr bool is_optional_v<std::optional<T>> = true;
template <class T>
inline constexpr bool is_std_array_v = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array_v<std::array<T, N>> = true;
template <class T>
inline constexpr bool is_tuple_v = false;
template <class... T>
inline constexpr bool is_tuple_v<std::tuple<T...>> = true;
template <class A, class B>
inline constexpr bool is_tuple_v<std::pair<A, B>> = true;

template <class T>
consteval bool can_travel();
template <class T>
inline constexpr bool all_travel_v = false;
template <class... T>
inline constexpr bool all_travel_v<std::tuple<T...>> = (can_travel<std::remove_cvref_t<T>>() &&
                                                        ...);

template <class T>
consteval bool can_travel() {
  if constexpr (hooked<T> || raw<T>) {
    return true;
  } else if constexpr (is_vector_v<T>) {
    return can_travel<typename T::value_type>();
  } else if constexpr (is_optional_v<T> || is_std_array_v<T> || is_tuple_v<T>) {
    return all_travel_v<typename parts<T>::types>;
  } else if constexpr (listable<T> && !is_pointer_like_v<T>) {
    return all_travel_v<member_types_t<T>>;
  } else {
    return false;
  }
}

template <class T>
consteval bool borrows();
template <class T>
inline constexpr bool any_borrows_v = false;
template <class... T>
inline constexpr bool any_borrows_v<std::tuple<T...>> = (borrows<std::remove_cvref_t<T>>() || ...);

// Whether a decoded T points into the bytes it was decoded from.
template <class T>
consteval bool borrows() {
  if constexpr (hooked<T> || plain<T>) {
    return false;
  } else if constexpr (array_shaped<T>) {
    return array_view<T>;
  } else if constexpr (is_vector_v<T>) {
    return borrows<typename T::value_type>();
  } else if constexpr (is_optional_v<T> || is_std_array_v<T> || is_tuple_v<T>) {
    return any_borrows_v<typename parts<T>::types>;
  } else if constexpr (listable<T>) {
    return any_borrows_v<member_types_t<T>>;
  } else {
    return false;
  }
}

}  // namespace detail

// A type that can be an argument or a result of a task.
template <class T>
concept serializable = detail::can_travel<std::remove_cvref_t<T>>();

// ---- Values to bytes ----------------------------------------------------------------------------

// Writes values one after the other; made without memory, it only counts. Each part starts at a
// multiple of its alignment, counted from the start, which is itself aligned to 8 bytes.
class encoder {
 public:
  // REQUIRES: `out` has room for all that is written, or is null. Since 0.1.
  explicit encoder(std::byte* out = nullptr) noexcept : out_(out) {}

  // Appends `value`. Since 0.1.
  template <class T>
  void write(const T& value) {
    static_assert(serializable<T>,
                  "tarn: this type cannot travel between processes; give it a tarn::codec");
    if constexpr (detail::hooked<T>) {
      codec<T>::encode(*this, value);
    } else if constexpr (detail::plain<T>) {
      write_bytes(&value, sizeof value, alignof(T));
    } else if constexpr (detail::array_shaped<T>) {
      using E = detail::element_t<T>;
      static_assert(alignof(E) <= 8,
                    "tarn: inside of another value, elements are aligned to 8 bytes");
      write(std::uint64_t{value.size()});
      write_bytes(value.data(), value.size() * sizeof(E), alignof(E));
    } else if constexpr (detail::is_vector_v<T>) {
      write(std::uint64_t{value.size()});
      for (const typename T::value_type& element : value) write(element);
    } else if constexpr (detail::is_optional_v<T>) {
      write(value.has_value());
      if (value) write(*value);
    } else if constexpr (detail::is_std_array_v<T>) {
      for (const auto& element : value) write(element);
    } else if constexpr (detail::is_tuple_v<T>) {
      std::apply([this](const auto&... part) { (this->write(part), ...); }, value);
    } else {
      std::apply([this](const auto&... part) { (this->write(part), ...); },
                 detail::members_of(value));
    }
  }

  // Appends `size` bytes at the next multiple of `alignment` (a power of two, at most 8). Since
  // 0.1.
  void write_bytes(const void* data, std::size_t size, std::size_t alignment = 1) {
    const std::size_t start = (size_ + alignment - 1) & ~(alignment - 1);
    if (out_ != nullptr) {
      std::memset(out_ + size_, 0, start - size_);
      if (size != 0) std::memcpy(out_ + start, data, size);
    }
    size_ = start + size;
  }

  // How many bytes were written. Since 0.1.
  [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
  std::byte* out_;
  std::size_t size_ = 0;
};

// ---- Bytes to values ----------------------------------------------------------------------------

// Reads what an encoder wrote, in the same order. Throws type_error where the bytes do not fit.
// Views that it returns point into the bytes.
class decoder {
 public:
  // REQUIRES: the bytes stay where they are for as long as views into them are used. Since 0.1.
  explicit decoder(tarn_bytes bytes) noexcept
      : data_(static_cast<const std::byte*>(bytes.data)), size_(bytes.size) {}

  // Returns the next value. Since 0.1.
  template <class T>
  [[nodiscard]] T read() {
    static_assert(serializable<T>,
                  "tarn: this type cannot travel between processes; give it a tarn::codec");
    if constexpr (detail::hooked<T>) {
      return codec<T>::decode(*this);
    } else if constexpr (detail::plain<T>) {
      return read_plain<T>();
    } else if constexpr (detail::array_shaped<T>) {
      using E = detail::element_t<T>;
      const std::size_t count = read_count(sizeof(E));
      const auto* elements = static_cast<const E*>(read_bytes(count * sizeof(E), alignof(E)));
      if constexpr (detail::array_view<T>) {
        return T(elements, count);
      } else {
        return T(elements, elements + count);
      }
    } else if constexpr (detail::is_vector_v<T>) {
      T value;
      const std::size_t count = read_count(0);
      value.reserve(std::min(count, remaining()));
      for (std::size_t i = 0; i < count; ++i) value.push_back(read<typename T::value_type>());
      return value;
    } else if constexpr (detail::is_optional_v<T>) {
      if (!read<bool>()) return std::nullopt;
      return T(read<typename T::value_type>());
    } else if constexpr (detail::is_std_array_v<T>) {
      return read_array<T>(std::make_index_sequence<std::tuple_size_v<T>>());
    } else if constexpr (detail::is_tuple_v<T>) {
      return read_parts<T>(static_cast<typename detail::parts<T>::types*>(nullptr));
    } else {
      return read_parts<T>(static_cast<detail::member_types_t<T>*>(nullptr));
    }
  }

  // Returns where the next `size` bytes are, at the next multiple of `alignment`. Since 0.1.
  [[nodiscard]] const void* read_bytes(std::size_t size, std::size_t alignment = 1) {
    const std::size_t start = (at_ + alignment - 1) & ~(alignment - 1);
    if (start > size_ || size > size_ - start) fail("they end early");
    at_ = start + size;
    return data_ + start;
  }

  // Returns the next value, a plain one, from wherever the last one ended. Since 0.1.
  template <detail::plain T>
  [[nodiscard]] T read_packed() {
    return copy_from<T>(read_bytes(sizeof(T)));
  }

  // How many bytes are left. Since 0.1.
  [[nodiscard]] std::size_t remaining() const noexcept { return size_ - at_; }

 private:
  [[noreturn]] static void fail(const char* why) {
    detail::raise(TARN_E_TYPE, std::string("the bytes of a value do not fit its type: ") + why);
  }

  template <class T>
  T read_plain() {
    return copy_from<T>(read_bytes(sizeof(T), alignof(T)));
  }

  // T may have no default constructor.
  template <class T>
  static T copy_from(const void* bytes) noexcept {
    std::array<std::byte, sizeof(T)> copy;
    std::memcpy(copy.data(), bytes, sizeof(T));
    return std::bit_cast<T>(copy);
  }

  // A count of elements of which each takes at least `element_size` bytes.
  std::size_t read_count(std::size_t element_size) {
    const auto count = read_plain<std::uint64_t>();
    if (element_size != 0 && count > remaining() / element_size) fail("an array is cut off");
    return static_cast<std::size_t>(count);
  }

  template <class T, std::size_t... I>
  T read_array(std::index_sequence<I...>) {
    return T{(static_cast<void>(I), read<typename T::value_type>())...};
  }

  // Braces, because they promise the order from left to right.
  template <class T, class... Part>
  T read_parts(std::tuple<Part...>*) {
    static_assert((!std::is_array_v<std::remove_reference_t<Part>> && ...),
                  "tarn: beside members that are not plain, use std::array instead of a C array");
    return T{read<std::remove_cvref_t<Part>>()...};
  }

  const std::byte* data_;
  std::size_t size_;
  std::size_t at_ = 0;
};

// ---- A whole argument or result -----------------------------------------------------------------

namespace detail {

// Returns the bytes of a raw value, where they are.
template <raw T>
tarn_bytes bytes_of(const T& value) noexcept {
  if constexpr (plain<T>) {
    return {&value, sizeof value};
  } else {
    return {value.data(), value.size() * sizeof(element_t<T>)};
  }
}

template <class E>
bool is_aligned(const void* address) noexcept {
  return reinterpret_cast<std::uintptr_t>(address) % alignof(E) == 0;
}

template <class T>
std::size_t encoded_size(const T& value) {
  encoder counter;
  counter.write(value);
  return counter.size();
}

// Returns how many elements of E `bytes` has.
template <plain E>
std::size_t element_count(tarn_bytes bytes) {
  if (bytes.size % sizeof(E) != 0) {
    raise(TARN_E_TYPE, std::to_string(bytes.size) + " bytes are no whole number of elements of " +
                           std::to_string(sizeof(E)) + " bytes");
  }
  return bytes.size / sizeof(E);
}

// Returns `bytes` as elements of E, in place.
template <plain E>
std::span<const E> elements_of(tarn_bytes bytes) {
  const std::size_t count = element_count<E>(bytes);
  if (!is_aligned<E>(bytes.data)) {
    raise(TARN_E_TYPE, "elements aligned to " + std::to_string(alignof(E)) +
                           " bytes cannot start there; cut slices at multiples of that");
  }
  return {static_cast<const E*>(bytes.data), count};
}

// Returns the value whose bytes are all of `bytes`. Views point into it.
template <class T>
T decode_whole(tarn_bytes bytes) {
  if constexpr (array_view<T>) {
    const auto elements = elements_of<element_t<T>>(bytes);
    return T(elements.data(), elements.size());
  } else if constexpr (array_shaped<T>) {
    using E = element_t<T>;
    const std::size_t count = element_count<E>(bytes);
    if (is_aligned<E>(bytes.data)) {
      const E* elements = static_cast<const E*>(bytes.data);
      return T(elements, elements + count);
    }
    T value;
    value.reserve(count);
    for (decoder in(bytes); in.remaining() != 0;) value.push_back(in.read_packed<E>());
    return value;
  } else if constexpr (plain<T>) {
    if (bytes.size != sizeof(T)) {
      raise(TARN_E_TYPE, "a value has " + std::to_string(bytes.size) +
                             " bytes where its type has " + std::to_string(sizeof(T)));
    }
    return decoder(bytes).read<T>();
  } else {
    decoder in(bytes);
    T value = in.read<T>();
    if (in.remaining() != 0) raise(TARN_E_TYPE, "a value has more bytes than its type");
    return value;
  }
}

// What a result of type T is for its receiver: views become owners.
template <class T>
struct owner {
  using type = T;
};
template <class C, class Traits>
struct owner<std::basic_string_view<C, Traits>> {
  using type = std::basic_string<C, Traits>;
};
template <class T>
struct owner<std::span<T>> {
  using type = std::vector<std::remove_const_t<T>>;
};
template <class T>
using owner_t = typename owner<T>::type;

// What an argument of type T is while it is sent: owners become views.
template <class T>
struct view {
  using type = T;
};
template <class C, class Traits, class A>
struct view<std::basic_string<C, Traits, A>> {
  using type = std::basic_string_view<C, Traits>;
};
template <array_shaped T>
requires is_vector_v<T>
struct view<T> {
  using type = std::span<const element_t<T>>;
};
template <class T>
using view_t = typename view<T>::type;

// Whether bytes of a whole A can be read as a whole B.
template <class A, class B>
concept same_bytes = std::is_same_v<A, B> ||
    (array_shaped<A>&& array_shaped<B>&& std::is_same_v<element_t<A>, element_t<B>>);

// ---- Signatures ---------------------------------------------------------------------------------

// Mixes `value` into an FNV-1a hash.
consteval std::uint32_t mix(std::uint32_t hash, std::uint64_t value) {
  for (int i = 0; i < 8; ++i, value >>= 8) {
    hash = (hash ^ static_cast<std::uint32_t>(value & 0xff)) * 16777619u;
  }
  return hash;
}

template <class T>
consteval std::uint32_t mix_type(std::uint32_t hash);

template <class... T>
consteval std::uint32_t mix_types(std::uint32_t hash, std::tuple<T...>*) {
  hash = mix(hash, sizeof...(T));
  ((hash = mix_type<std::remove_cvref_t<T>>(hash)), ...);
  return hash;
}

// Mixes in the shape of T: kinds and sizes, but no names, which compilers spell differently.
template <class T>
consteval std::uint32_t mix_type(std::uint32_t hash) {
  if constexpr (std::is_void_v<T>) {
    return mix(hash, 'v');
  } else if constexpr (hooked<T>) {
    return mix(mix(hash, 'h'), sizeof(T));
  } else if constexpr (std::is_floating_point_v<T>) {
    return mix(mix(hash, 'f'), sizeof(T));
  } else if constexpr (std::is_integral_v<T> || std::is_enum_v<T>) {
    return mix(mix(hash, std::is_signed_v<T> ? 'i' : 'u'), sizeof(T));
  } else if constexpr (plain<T>) {
    return mix(mix(mix(hash, 's'), sizeof(T)), alignof(T));
  } else if constexpr (array_shaped<T>) {
    return mix_type<element_t<T>>(mix(hash, 'a'));
  } else if constexpr (is_vector_v<T>) {
    return mix_type<typename T::value_type>(mix(hash, 'a'));
  } else if constexpr (is_optional_v<T>) {
    return mix_type<typename T::value_type>(mix(hash, 'o'));
  } else if constexpr (is_std_array_v<T>) {
    return mix_type<typename T::value_type>(mix(mix(hash, 'n'), std::tuple_size_v<T>));
  } else if constexpr (is_tuple_v<T>) {
    return mix_types(mix(hash, 't'), static_cast<typename parts<T>::types*>(nullptr));
  } else if constexpr (listable<T>) {
    return mix_types(mix(hash, 't'), static_cast<member_types_t<T>*>(nullptr));
  } else {
    return mix(hash, 'x');  // an object
  }
}

// A number made from result and parameter types: never 0, which stands for "not checked".
template <class R, class... Ps>
consteval std::uint32_t signature_of() {
  const std::uint32_t hash = mix_types(mix_type<std::remove_cvref_t<R>>(2166136261u),
                                       static_cast<std::tuple<Ps...>*>(nullptr));
  return hash != 0 ? hash : 1;
}

}  // namespace detail
}  // namespace tarn
