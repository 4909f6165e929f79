// map_chunk.hpp: a chunk of a map, in its worker. Included by task.hpp; the client's side is
// map.hpp.
//
// TARN_TASK(f) defines a second task, map(f), which calls f for elements first to last of what is
// mapped, in their order, for as long as its order says. What it has not come to then, it leaves to
// the client, which cuts that anew: so no chunk holds up others for long, whatever its elements
// cost. An element that fails ends the chunk; that is told in its result, so that the client learns
// which one it was.
//
// Arguments: a map_order; the object that the elements lie in, or an empty value; the other
// arguments of f. Result: a map_report; then what f returned for each element, or the type and the
// text of the failure.
#pragma once

#include <tarn/tarn.h>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/object.hpp>
#include <tarn/task.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace tarn::detail {

// What an element is.
enum class map_source : std::uint32_t {
  indices,  // a number: base + its position
  slices,   // `stride` bytes of the object, from base + position * stride; the last may have fewer
  packed    // encoded in the object, behind a table of where each begins and ends
};

struct map_order {
  std::uint64_t first;
  std::uint64_t last;  // the one behind
  std::uint64_t base;
  std::uint64_t stride;
  std::uint64_t end;  // of the slices, in bytes of the object
  std::int64_t budget_ns;
  map_source source;
  std::uint32_t reserved;
};
static_assert(sizeof(map_order) == 56);

struct map_report {
  std::uint64_t done;  // elements, from the first
  std::int32_t code;   // TARN_E_* or the element's own: the one behind them failed; 0: none did
  std::uint32_t type_size;  // then: of the exception's type, and
  std::uint32_t text_size;  // of its text
  std::uint32_t reserved[11];
};
static_assert(sizeof(map_report) == 64);

// Results beyond this go to the client before the chunk goes on: neither side holds all of them
// twice.
inline constexpr std::size_t kMapResultsMax = 16u << 20;

// ---- Which functions can be mapped --------------------------------------------------------------

template <class T>
inline constexpr bool parts_travel_inside_v = true;

template <class T>
concept mapped_result = std::is_void_v<T> ||
    (serializable<T>&& parts_travel_inside_v<T> &&
     (plain<T> || !array_shaped<T> || requires { requires alignof(element_t<T>) <= 8; }));

// Those of a chunk are kept until it ends, and views would not be.
template <class... T>
inline constexpr bool parts_travel_inside_v<results<T...>> = ((mapped_result<T> &&
                                                               !array_view<T>)&&...);

template <class P>
concept mapped_parameter = std::is_same_v<std::remove_cvref_t<P>, object> ||
                           (serializable<P> && !is_yielder_v<std::remove_cvref_t<P>>);

template <class Type>
inline constexpr bool is_mappable_v = false;
template <class R, class P, class... Ps>
inline constexpr bool is_mappable_v<R (*)(P, Ps...)> =
    mapped_result<std::remove_cvref_t<R>>&& mapped_parameter<P> &&
    ((mapped_parameter<Ps> && !std::is_rvalue_reference_v<Ps>)&&...);
template <class R, class P, class... Ps>
inline constexpr bool is_mappable_v<R (*)(P, Ps...) noexcept> = is_mappable_v<R (*)(P, Ps...)>;

template <class P>
concept mapped_index = std::integral<P> && !std::same_as<P, bool>;

// ---- The elements -------------------------------------------------------------------------------

class map_elements {
 public:
  map_elements(tarn_call* call, const map_order& order)
      : call_(call), order_(order), object_(::tarn_call_arg(call, 1)) {
    const bool fits = order.source == map_source::slices ? order.end <= object_.size
                      : order.source == map_source::packed
                          ? order.last <= object_.size / (2 * sizeof(std::uint64_t))
                          : true;
    if (!fits) raise(TARN_E_TYPE, "the elements to be mapped do not lie in the object");
  }

  template <class P>
  [[nodiscard]] P get(std::uint64_t index) const {
    if constexpr (mapped_index<P>) {
      if (order_.source == map_source::indices) return static_cast<P>(order_.base + index);
    }
    if constexpr (std::is_same_v<P, object>) {
      return object::of_argument(bytes(index), call_, 1);
    } else {
      return decode_whole<P>(bytes(index));
    }
  }

 private:
  [[nodiscard]] tarn_bytes bytes(std::uint64_t index) const {
    std::uint64_t begin = order_.base + index * order_.stride;
    std::uint64_t end = std::min(begin + order_.stride, order_.end);
    if (order_.source == map_source::packed) {
      begin = table(2 * index);
      end = table(2 * index + 1);
    }
    if (begin > end || end > object_.size)
      raise(TARN_E_TYPE, "an element to be mapped lies outside the object");
    return {static_cast<const std::byte*>(object_.data) + begin,
            static_cast<std::size_t>(end - begin)};
  }

  [[nodiscard]] std::uint64_t table(std::uint64_t index) const {
    std::uint64_t at;
    std::memcpy(&at, static_cast<const std::byte*>(object_.data) + index * sizeof at, sizeof at);
    return at;
  }

  tarn_call* call_;
  const map_order& order_;
  tarn_bytes object_;
};

// ---- The results --------------------------------------------------------------------------------

// What f returned, until it goes to the client.
template <class R>
class map_results {
 public:
  void add(R result) {
    bytes_ += plain<R> ? sizeof(R) : encoded_size(result);
    if constexpr (plain<R>) {
      const auto* bytes = reinterpret_cast<const std::byte*>(&result);
      results_.insert(results_.end(), bytes, bytes + sizeof(R));
    } else if constexpr (array_view<R>) {
      results_.emplace_back(result.begin(), result.end());
    } else {
      results_.push_back(std::move(result));
    }
  }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }
  // One after the other in a single encoder, and so with the padding between them.
  [[nodiscard]] std::size_t size() const {
    if constexpr (plain<R>) {
      return results_.size();
    } else {
      encoder counter;
      write_all(counter);
      return counter.size();
    }
  }
  void write(std::byte* out) const {
    if constexpr (plain<R>) {
      std::copy(results_.begin(), results_.end(), out);
    } else {
      encoder encoder(out);
      write_all(encoder);
    }
  }

 private:
  template <class Encoder>
  void write_all(Encoder& encoder) const {
    for (const auto& result : results_) encoder.write(result);
  }

  std::vector<std::conditional_t<plain<R>, std::byte, owner_t<R>>> results_;
  std::size_t bytes_ = 0;
};

template <>
class map_results<void> {
 public:
  [[nodiscard]] std::size_t bytes() const noexcept { return 0; }
  [[nodiscard]] std::size_t size() const noexcept { return 0; }
  void write(std::byte*) const noexcept {}
};

// The exception of an element.
struct map_failure {
  int code = 0;
  std::string type;
  std::string text;
};

inline map_failure current_failure() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  map_failure failure{TARN_E_TASK_FAILED, type != nullptr ? readable(type->name()) : "",
                      "an exception without a text"};
  try {
    throw;
  } catch (const error& e) {
    failure.code = e.code();
    failure.text = e.what();
  } catch (const std::exception& e) {
    failure.text = e.what();
  } catch (const char* text) {
    failure.text = text != nullptr ? text : "";
  } catch (const std::string& text) {
    failure.text = text;
  } catch (...) {
  }
  return failure;
}

// ---- The task -----------------------------------------------------------------------------------

// When to look at the clock: each time while elements take microseconds, or else after some of
// them, for it costs as much as a short one; never after many, for those to come may be long.
class map_clock {
 public:
  explicit map_clock(std::int64_t budget_ns)
      : begin_(clock::now()), seen_(begin_), budget_(budget_ns) {}

  // After each element; true once in a while, and then `is_over` is fresh.
  [[nodiscard]] bool is_time_to_look() {
    if (--left_ != 0) return false;
    const clock::time_point now = clock::now();
    const auto each = (now - seen_) / step_;
    step_ = each < std::chrono::nanoseconds(500) ? std::min(step_ * 2, 16) : 1;
    left_ = step_;
    seen_ = now;
    return true;
  }
  [[nodiscard]] bool is_over() const { return seen_ - begin_ > budget_; }

 private:
  using clock = std::chrono::steady_clock;

  clock::time_point begin_;
  clock::time_point seen_;
  std::chrono::nanoseconds budget_;
  int step_ = 1;
  int left_ = 1;
};

template <auto Function, class Type = decltype(Function)>
struct map_task;

template <auto Function, class R, class P, class... Ps>
struct map_task<Function, R (*)(P, Ps...)> {
  static int run(tarn_call* call) {
    return run_guarded(call, [call] { return run_chunk(call, std::index_sequence_for<Ps...>()); });
  }

 private:
  using result = std::remove_cvref_t<R>;
  using element = std::remove_cvref_t<P>;

  template <std::size_t... I>
  static int run_chunk(tarn_call* call, std::index_sequence<I...>) {
    if (::tarn_call_arg_count(call) != 2 + sizeof...(Ps)) {
      return ::tarn_call_fail(call, TARN_E_TYPE, nullptr,
                              "this is a chunk of a map, with other arguments");
    }
    const auto order = decode_argument<map_order>(call, 0);
    const map_elements elements(call, order);
    [[maybe_unused]] const std::tuple<std::remove_cvref_t<Ps>...> others{
        decode_argument<std::remove_cvref_t<Ps>>(call, 2 + I)...};
    map_results<result> results;
    map_failure failure;
    map_clock clock(order.budget_ns);
    std::uint64_t at = order.first;
    while (at < order.last) {
      try {
        if constexpr (std::is_void_v<result>) {
          call_for(elements.template get<element>(at), std::get<I>(others)...);
        } else {
          results.add(call_for(elements.template get<element>(at), std::get<I>(others)...));
        }
      } catch (...) {
        failure = current_failure();
        break;
      }
      ++at;
      if (results.bytes() > kMapResultsMax) break;
      if (!clock.is_time_to_look()) continue;
      if (::tarn_call_cancelled(call) != 0) break;
      if (clock.is_over()) break;
    }
    if (::tarn_call_cancelled(call) != 0) {
      return ::tarn_call_fail(call, TARN_E_CANCELLED, nullptr,
                              "the map was cancelled, or its time is over");
    }
    report(call, at - order.first, results, failure);
    return 0;
  }

  // `value` is the chunk's own, the others are those of all elements of the chunk.
  template <class... Others>
  static R call_for(element&& value, const Others&... others) {
    return Function(static_cast<P&&>(value), others...);
  }

  static void report(tarn_call* call, std::uint64_t done, const map_results<result>& results,
                     const map_failure& failure) {
    map_report head{};
    head.done = done;
    head.code = failure.code;
    head.type_size = static_cast<std::uint32_t>(failure.type.size());
    head.text_size = static_cast<std::uint32_t>(failure.text.size());
    const std::size_t size =
        failure.code != 0 ? failure.type.size() + failure.text.size() : results.size();
    void* place;
    check(::tarn_call_return_buffer(call, sizeof head + size, &place));
    auto* out = static_cast<std::byte*>(place);
    std::memcpy(out, &head, sizeof head);
    out += sizeof head;
    if (failure.code == 0) return results.write(out);
    std::memcpy(out, failure.type.data(), failure.type.size());
    std::memcpy(out + failure.type.size(), failure.text.data(), failure.text.size());
  }
};

template <auto Function, class R, class P, class... Ps>
struct map_task<Function, R (*)(P, Ps...) noexcept> : map_task<Function, R (*)(P, Ps...)> {};

template <auto Function>
tarn_task_fn map_body() noexcept {
  if constexpr (is_mappable_v<decltype(Function)>) {
    return &map_task<Function>::run;
  } else {
    return nullptr;
  }
}

}  // namespace tarn::detail
