// results.hpp: several results of one task.
//
//   tarn::results<std::vector<float>, std::vector<float>> split(std::span<const float> all) {
//     return {first_half(all), second_half(all)};
//   }
//   TARN_TASK(split);
//
//   auto halves = tarn.submit(split, data);
//   auto model = tarn.submit(fit, halves.part<0>());  // follows split; reads its part in place
//   auto error = tarn.submit(assess, model, halves.part<1>());
//   auto [first, second] = halves.get();              // or a copy of all
//
// The results are made at once and released together, with their future; each is read by itself and
// given to other tasks by itself, as what a task with that one result would return.
//
// Thread safety: values; a part may be copied to, and used in, any thread while its future stays.
#pragma once

#include <tarn/tarn.h>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/object.hpp>
#include <tarn/session.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace tarn {

// What a task returns that has several results, each of a type that can be a result by itself: a
// tuple, also for structured bindings.
template <class... T>
class results : public std::tuple<T...> {
  static_assert((std::is_same_v<T, std::remove_cvref_t<T>> && ...),
                "tarn: results are values; no references, and not const");

 public:
  using std::tuple<T...>::tuple;
};

template <class... T>
results(T...) -> results<T...>;

}  // namespace tarn

template <class... T>
struct std::tuple_size<tarn::results<T...>> : std::integral_constant<std::size_t, sizeof...(T)> {};
template <std::size_t I, class... T>
struct std::tuple_element<I, tarn::results<T...>> : std::tuple_element<I, std::tuple<T...>> {};

namespace tarn {
namespace detail {

template <class T>
inline constexpr bool is_results_v = false;
template <class... T>
inline constexpr bool is_results_v<results<T...>> = true;

// Inside of another value they travel as a tuple, and have no parts.
template <class... T>
struct parts<results<T...>> {
  using types = std::tuple<T...>;
};
template <class... T>
inline constexpr bool is_tuple_v<results<T...>> = true;

template <class... T>
struct owner<results<T...>> {
  using type = results<owner_t<T>...>;
};

// Whether an R that a task returns has its bytes with it, or points to all of them.
template <class R>
inline constexpr bool can_be_returned_v = array_view<R> || !borrows<R>();
template <class... T>
inline constexpr bool can_be_returned_v<results<T...>> = (can_be_returned_v<T> && ...);

template <class R, std::size_t... I>
R decode_parts(tarn_bytes whole, std::index_sequence<I...>) {
  std::size_t count;
  check(::tarn_part_count(whole, &count));
  if (count != sizeof...(I)) {
    raise(TARN_E_TYPE, "the task has " + std::to_string(count) + " results where its type has " +
                           std::to_string(sizeof...(I)));
  }
  const auto part = [whole](std::size_t index) {
    tarn_bytes bytes;
    check(::tarn_part_read(whole, index, &bytes));
    return bytes;
  };
  return R{decode_whole<std::tuple_element_t<I, R>>(part(I))...};
}

// The whole result of a task.
template <class R>
R decode_result(tarn_bytes bytes) {
  if constexpr (is_results_v<R>) {
    return decode_parts<R>(bytes, std::make_index_sequence<std::tuple_size_v<R>>());
  } else {
    return decode_whole<R>(bytes);
  }
}

template <class T>
std::size_t size_as_part(const T& value) {
  if constexpr (raw<T>) {
    return bytes_of(value).size;
  } else {
    return encoded_size(value);
  }
}

template <class T>
void write_as_part(const T& value, void* place) {
  if constexpr (raw<T>) {
    const tarn_bytes bytes = bytes_of(value);
    if (bytes.size != 0) std::memcpy(place, bytes.data, bytes.size);
  } else {
    encoder(static_cast<std::byte*>(place)).write(value);
  }
}

template <class... T>
void return_parts(tarn_call* call, const results<T...>& all) {
  constexpr std::size_t count = sizeof...(T);
  std::apply(
      [call](const T&... each) {
        if constexpr ((raw<T> && ...)) {
          const std::array<tarn_bytes, count> parts{bytes_of(each)...};
          check(::tarn_call_return_parts(call, parts.data(), count));
        } else {
          const std::array<std::size_t, count> sizes{size_as_part(each)...};
          std::array<void*, count> places;
          check(::tarn_call_return_parts_buffer(call, sizes.data(), count, places.data()));
          std::size_t next = 0;
          (write_as_part(each, places[next++]), ...);
        }
      },
      all);
}

}  // namespace detail

// One of several results, now or later: an argument for tasks that take a T, which then follow the
// task, or to be read. It refers to the future, and does not keep it: once that has gone, using this
// throws error (TARN_E_NO_FUTURE). Tasks that it was given to before have it all the same.
template <class T>
class part {
 public:
  // Refers to no task. Since 0.1.
  part() noexcept = default;

  // The part `index` of the task's results. Since 0.1.
  part(const session& session, tarn_future future, std::uint32_t index) noexcept
      : session_(&session), future_(future), index_(index) {}

  // Waits for it and returns a copy; views come as std::string or std::vector. Throws as
  // future.get(). Since 0.1.
  [[nodiscard]] detail::owner_t<T> get(nanoseconds timeout = forever) const {
    return detail::decode_whole<detail::owner_t<T>>(bytes(timeout));
  }

  // Waits for it and returns it in place, as std::string_view or std::span: no copy, valid for as
  // long as the future, which keeps all of its results in memory from now on. Throws as
  // future.get(). Since 0.1.
  [[nodiscard]] auto get_view(
      nanoseconds timeout = forever) const requires detail::array_shaped<T> {
    return detail::decode_whole<detail::view_t<T>>(bytes(timeout));
  }

  // Waits for it and makes it an object, which keeps the bytes of all results, and outlives the
  // future. No copy, unless they are small. Throws as future.get_object(), and as view(). Since 0.1.
  [[nodiscard]] object get_object(nanoseconds timeout = forever) const requires detail::raw<T> {
    tarn_object handle;
    const int code = ::tarn_future_object(open_client(), future_, timeout.count(), &handle);
    if (code < 0) detail::raise_failure(open_client(), future_, code);
    const object whole(*session_, handle);
    const std::string_view all = whole.view();
    tarn_bytes bytes;
    detail::check(::tarn_part_read({all.data(), all.size()}, index_, &bytes));
    const auto* begin = static_cast<const char*>(bytes.data);
    return whole.slice(static_cast<std::size_t>(begin - all.data()), bytes.size);
  }

  // For calls of the C interface. Since 0.1.
  [[nodiscard]] tarn_arg arg() const noexcept { return ::tarn_arg_part(future_, index_); }

 private:
  [[nodiscard]] tarn_client* open_client() const {
    return detail::open_client_of(session_, "part", TARN_E_NO_FUTURE);
  }

  tarn_bytes bytes(nanoseconds timeout) const {
    tarn_bytes bytes;
    const int code = ::tarn_result_part(open_client(), future_, index_, timeout.count(), &bytes);
    if (code < 0) detail::raise_failure(open_client(), future_, code);
    return bytes;
  }

  const session* session_ = nullptr;
  tarn_future future_{};
  std::uint32_t index_ = 0;
};

namespace detail {

template <class A>
inline constexpr bool is_part_v = false;
template <class T>
inline constexpr bool is_part_v<part<T>> = true;

}  // namespace detail
}  // namespace tarn
