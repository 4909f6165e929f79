// members.hpp: the members of an aggregate, found at compile time.
//
// How many members `struct T` has is how many initialisers `T{...}` takes. An initialiser of type
// `anything` converts to whatever a member wants, so the largest number that compiles is the
// answer, up to two traps: an array member takes as many initialisers as it has elements, and a
// base class takes one like a member but is none. Structured bindings then give the members.
//
// Thread safety: nothing here exists at run time.
#pragma once

#include <cstddef>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace tarn::detail {

// What a member of `Whole` can be: not `Whole` itself nor its bases, and not the tag with which
// std::tuple is given an allocator (clang looks into that constructor, and stops there).
template <class T, class Whole>
concept member_like =
    !std::is_base_of_v<T, Whole> && !std::is_same_v<std::remove_const_t<T>, std::allocator_arg_t>;

// Initialises any member of an aggregate `Whole`. The operators are const, so that a class with a
// constructor for everything, such as std::optional, is not ambiguous. Never called.
template <class Whole>
struct anything {
  template <member_like<Whole> T>
  operator T&() const& noexcept {
    __builtin_unreachable();
  }
  template <member_like<Whole> T>
  operator T&&() const&& noexcept {
    __builtin_unreachable();
  }
};

// Initialises a base class of `Whole` and nothing else.
template <class Whole>
struct base_only {
  template <class T>
  requires(std::is_base_of_v<T, Whole> && !std::is_same_v<T, Whole>) operator T&&()
      const&& noexcept {
    __builtin_unreachable();
  }
};

template <class T, std::size_t>
using anything_at = anything<T>;

template <class T, class Sequence>
inline constexpr bool takes_v = false;
template <class T, std::size_t... I>
inline constexpr bool takes_v<T, std::index_sequence<I...>> = requires {
  T{std::declval<anything_at<T, I>>()...};
};

// T{anything..., {anything...}, anything...}
template <class T, class Before, class Nested, class After>
inline constexpr bool takes_nested_v = false;
template <class T, std::size_t... B, std::size_t... N, std::size_t... A>
inline constexpr bool takes_nested_v<T, std::index_sequence<B...>, std::index_sequence<N...>,
                                     std::index_sequence<A...>> = requires {
  T{std::declval<anything_at<T, B>>()...,
    {std::declval<anything_at<T, N>>()...},
    std::declval<anything_at<T, A>>()...};
};

inline constexpr std::size_t kMembersMax = 16;
inline constexpr std::size_t kInitialisersMax = 32;

// How many initialisers T takes, array elements one by one; kInitialisersMax + 1 if more than that.
template <class T, std::size_t N = kInitialisersMax + 1>
consteval std::size_t initialiser_count() {
  if constexpr (N == 0) {
    return 0;
  } else if constexpr (takes_v<T, std::make_index_sequence<N>>) {
    return N;
  } else {
    return initialiser_count<T, N - 1>();
  }
}

// How many of the initialisers from number `At` on belong to one array member; 1 if it is no array.
template <class T, std::size_t Count, std::size_t At, std::size_t Size>
consteval std::size_t array_length_at() {
  if constexpr (Size <= 1) {
    return 1;
  } else if constexpr (takes_nested_v<T, std::make_index_sequence<At>,
                                      std::make_index_sequence<Size>,
                                      std::make_index_sequence<Count - At - Size>> &&
                       !takes_nested_v<T, std::make_index_sequence<At>,
                                       std::make_index_sequence<Size>,
                                       std::make_index_sequence<Count - At - Size + 1>>) {
    return Size;
  } else {
    return array_length_at<T, Count, At, Size - 1>();
  }
}

template <class T, std::size_t Count, std::size_t At = 0>
consteval std::size_t count_members() {
  if constexpr (At >= Count) {
    return 0;
  } else {
    return 1 + count_members<T, Count, At + array_length_at<T, Count, At, Count - At>()>();
  }
}

// How many members aggregate T has, or kMembersMax + 1 if that cannot be told: too many, or bases.
template <class T>
consteval std::size_t member_count() {
  constexpr std::size_t initialisers = initialiser_count<T>();
  if constexpr (initialisers > kInitialisersMax || requires { T{std::declval<base_only<T>>()}; }) {
    return kMembersMax + 1;
  } else {
    constexpr std::size_t members = count_members<T, initialisers>();
    return members <= kMembersMax ? members : kMembersMax + 1;
  }
}

template <class T>
inline constexpr std::size_t member_count_v = member_count<T>();

// An aggregate whose members can be listed.
template <class T>
concept listable = std::is_class_v<T> && std::is_aggregate_v<T> && member_count_v<T>
<= kMembersMax;

// Returns references to the members of `value`, as a tuple.
template <class T>
requires listable<std::remove_const_t<T>>
constexpr auto members_of(T& value) {
  constexpr std::size_t count = member_count_v<std::remove_const_t<T>>;
  // clang-format off
  if constexpr (count == 0) { return std::tuple<>(); }
#define TARN_DETAIL_MEMBERS(number, ...) \
  else if constexpr (count == number) { auto& [__VA_ARGS__] = value; return std::tie(__VA_ARGS__); }
  TARN_DETAIL_MEMBERS(1, a)
  TARN_DETAIL_MEMBERS(2, a, b)
  TARN_DETAIL_MEMBERS(3, a, b, c)
  TARN_DETAIL_MEMBERS(4, a, b, c, d)
  TARN_DETAIL_MEMBERS(5, a, b, c, d, e)
  TARN_DETAIL_MEMBERS(6, a, b, c, d, e, f)
  TARN_DETAIL_MEMBERS(7, a, b, c, d, e, f, g)
  TARN_DETAIL_MEMBERS(8, a, b, c, d, e, f, g, h)
  TARN_DETAIL_MEMBERS(9, a, b, c, d, e, f, g, h, i)
  TARN_DETAIL_MEMBERS(10, a, b, c, d, e, f, g, h, i, j)
  TARN_DETAIL_MEMBERS(11, a, b, c, d, e, f, g, h, i, j, k)
  TARN_DETAIL_MEMBERS(12, a, b, c, d, e, f, g, h, i, j, k, l)
  TARN_DETAIL_MEMBERS(13, a, b, c, d, e, f, g, h, i, j, k, l, m)
  TARN_DETAIL_MEMBERS(14, a, b, c, d, e, f, g, h, i, j, k, l, m, n)
  TARN_DETAIL_MEMBERS(15, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o)
  TARN_DETAIL_MEMBERS(16, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
#undef TARN_DETAIL_MEMBERS
  // clang-format on
}

// The members' types, references taken off: a std::tuple<Member&...>.
template <class T>
using member_types_t = decltype(members_of(std::declval<T&>()));

}  // namespace tarn::detail
