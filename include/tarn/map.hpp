// map.hpp: a task for each of many elements, in the client. Included by tarn.hpp.
//
//   // root(0), root(1), ...
//   std::vector<double> roots = tarn.map(root, tarn::indices(1'000'000));
//   // a container of values
//   std::vector<Word> words = tarn.map(parse, lines);
//   // an object, 512 elements at a time
//   std::vector<double> means = tarn.map(mean, tarn::slices(samples, 512));
//   // an array row by row; b goes to each call
//   std::vector<Row> product = tarn.map(times, tarn::rows<double>(a), b);
//
// The elements are cut into chunks that workers take when they have time for another. How long one
// takes, nobody knows before: so a chunk runs for a while only, and what is left of it then is cut
// anew, the finer the less there is. The while is a part of the time that the map has taken, so
// that chunks are few, and the last of them short beside it.
//
// Thread safety: that of client. In a task, with the client of the task, whose worker runs chunks
// as well.
#pragma once

#include <tarn/tarn.h>
#include <tarn/array.hpp>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/map_chunk.hpp>
#include <tarn/object.hpp>
#include <tarn/session.hpp>
#include <tarn/task.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tarn {

// ---- What can be mapped, beside containers and objects -----------------------------------------

// The numbers from `first` to the one before `last`.
struct index_range {
  std::uint64_t first;
  std::uint64_t last;
};

// The numbers from 0 to count - 1. Since 0.1.
[[nodiscard]] inline index_range indices(std::uint64_t count) noexcept {
  return {0, count};
}
// The numbers from `first` to last - 1, none if `last` is not larger. Since 0.1.
[[nodiscard]] inline index_range indices(std::uint64_t first, std::uint64_t last) noexcept {
  return {first, std::max(first, last)};
}

// An object, so much of it at a time.
struct object_slices {
  const object* from;
  std::size_t count;         // elements of a slice, of the type that the task takes
  std::size_t element_size;  // 0: that of the task's type; rows: of the array's
  std::size_t offset;        // bytes before the first slice
  std::size_t end;           // bytes behind the last
};

// `source`, `count` elements at a time: of T where the task takes a span of T, else bytes. The last
// slice may have fewer. Valid for as long as the object. Throws bad_argument if the count is 0.
// Since 0.1.
[[nodiscard]] inline object_slices slices(const object& source, std::size_t count) {
  if (count == 0)
    detail::raise(TARN_E_ARGUMENT, "slices: the count is 0; ask for one element or more");
  return {&source, count, 0, 0, source.size()};
}
object_slices slices(object&& source, std::size_t count) = delete;

// The array in `source` along its first dimension: rows of a matrix. The task takes a span of T.
// Valid for as long as the object. Throws type_error if it is no array of T, has no dimensions, or
// its elements do not lie one behind the other in C order. Since 0.1.
template <array_element T>
[[nodiscard]] object_slices rows(const object& source) {
  const array_view<T> cells(source);
  if (cells.rank() == 0) detail::raise(TARN_E_TYPE, "rows: the array has no dimensions");
  const std::span<const T> elements = cells.elements();
  const std::size_t count = cells.shape()[0] == 0 ? 0 : elements.size() / cells.shape()[0];
  const auto* begin = reinterpret_cast<const char*>(elements.data());
  const auto offset = elements.empty() ? 0 : static_cast<std::size_t>(begin - source.view().data());
  return {&source, std::max<std::size_t>(count, 1), sizeof(T), offset,
          offset + elements.size_bytes()};
}
template <array_element T>
object_slices rows(object&& source) = delete;

// ---- What can go wrong --------------------------------------------------------------------------

// An element of a map failed, and so the map: what is in task_error, and which element it was.
class map_error : public task_error {
 public:
  map_error(const tarn_task_error& e, std::uint64_t index, const std::string& which)
      : task_error(e), index_(index), text_(std::string(task_error::what()) + " (" + which + ")") {}

  // Its position, from 0. If several failed, that of one of them. Since 0.1.
  [[nodiscard]] std::uint64_t index() const noexcept { return index_; }
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

 private:
  std::uint64_t index_;
  std::string text_;
};

namespace detail {

// ---- The elements, as they are sent -------------------------------------------------------------

// What is mapped, as chunks are told, and how many elements that are. `argument` is the object.
struct map_input {
  std::uint64_t count = 0;
  map_order order{};
  object kept;
  tarn_arg argument = ::tarn_arg_value(nullptr, 0);
};

inline void take_object(map_input& input, const object& source) {
  input.kept = source.is_argument() ? source.keep() : source;
  input.argument = ::tarn_arg_object(input.kept.handle());
}

template <class P>
inline constexpr std::size_t size_in_bytes = 1;
template <array_view P>
inline constexpr std::size_t size_in_bytes<P> = sizeof(element_t<P>);
template <array_shaped P>
requires(!array_view<P>) inline constexpr std::size_t size_in_bytes<P> = sizeof(element_t<P>);

template <class P>
map_input slices_input(const object_slices& source) {
  map_input input;
  const std::size_t element = source.element_size != 0 ? source.element_size : size_in_bytes<P>;
  if (source.count > SIZE_MAX / element) {
    raise(TARN_E_TOO_LARGE, std::to_string(source.count) + " elements of " +
                                std::to_string(element) + " bytes are too many for a slice");
  }
  const std::size_t bytes = source.end - source.offset;
  input.order.source = map_source::slices;
  input.order.base = source.offset;
  input.order.stride = source.count * element;
  input.order.end = source.end;
  input.count = bytes / input.order.stride + (bytes % input.order.stride != 0);
  take_object(input, *source.from);
  return input;
}

// Each by its codec, behind the table.
template <class P, class Values>
map_input packed_input(client& client, const Values& values);

// `Source` as the elements P of a map. Which types that can be, client.map says.
template <class P, class Source>
map_input make_input(client& client, const Source& source) {
  if constexpr (std::is_same_v<Source, index_range>) {
    map_input input;
    input.order.source = map_source::indices;
    input.order.base = source.first;
    input.count = source.last - source.first;
    return input;
  } else if constexpr (std::is_same_v<Source, object_slices>) {
    return slices_input<P>(source);
  } else if constexpr (std::is_same_v<Source, object>) {
    if (source.size() % sizeof(P) != 0) {
      raise(TARN_E_TYPE, "map: " + std::to_string(source.size()) +
                             " bytes are no whole number of elements of " +
                             std::to_string(sizeof(P)) + " bytes");
    }
    return slices_input<P>({&source, sizeof(P), 1, 0, source.size()});
  } else {
    return packed_input<P>(client, source);
  }
}

// ---- Running ------------------------------------------------------------------------------------

// Cuts what is mapped into chunks, submits them, and collects what comes of them. One map; by one
// thread.
class map_run {
 public:
  map_run(tarn_client* client, const task_entry& task, const tarn_submit_options& options,
          const map_order& order, std::vector<tarn_arg> args)
      : client_(client), task_(task), options_(options), order_(order), args_(std::move(args)) {
    tarn_client_info info{};
    info.size = sizeof info;
    check(::tarn_client_get_info(client, &info));
    workers_ = std::max<std::size_t>(info.workers, 1);
    in_task_ = current_call != nullptr && ::tarn_call_client(current_call) == client;
    args_[0] = ::tarn_arg_value(&order_, sizeof order_);
    // Else for ever: what is wrong with it, the first submission says.
    if (options.deadline_ns > 0) end_ = begin_ + std::chrono::nanoseconds(options.deadline_ns);
  }
  map_run(const map_run&) = delete;
  map_run& operator=(const map_run&) = delete;

  // Chunks that are left, because one failed: those that have not begun never do, the others end
  // soon.
  ~map_run() {
    for (const chunk& one : running_) static_cast<void>(::tarn_cancel(client_, one.future, 0));
    for (const chunk& one : running_) ::tarn_future_release(client_, one.future);
  }

  // Calls take(first, count, results) for each range of elements that are done, in whatever order.
  template <class Take>
  void run(std::uint64_t count, Take take) {
    const std::uint64_t pieces = std::min<std::uint64_t>(count, wanted());
    for (std::uint64_t i = 0; i < pieces; ++i) {
      left_.push_back({count / pieces * i + std::min(i, count % pieces),
                       count / pieces * (i + 1) + std::min(i + 1, count % pieces)});
    }
    while (!left_.empty() || !running_.empty()) {
      submit_some();
      for (const chunk& one : wait_for_some()) {
        owner done(client_, one.future);
        collect(one, take);
      }
      if (failure_.code != 0) raise_element();
    }
  }

 private:
  struct range {
    std::uint64_t first;
    std::uint64_t last;
  };
  struct chunk {
    tarn_future future;
    range elements;
  };
  // Gives a future back.
  struct owner {
    owner(tarn_client* client, tarn_future future) noexcept : client_(client), future_(future) {}
    owner(const owner&) = delete;
    owner& operator=(const owner&) = delete;
    ~owner() { ::tarn_future_release(client_, future_); }
    tarn_client* client_;
    tarn_future future_;
  };

  // How many chunks there should be, so that no worker waits for this thread.
  [[nodiscard]] std::size_t wanted() const noexcept { return 4 * workers_; }

  // In a task this thread runs chunks itself, and cannot cut anew what others leave meanwhile: they
  // are longer.
  [[nodiscard]] std::int64_t budget_ns() const {
    using namespace std::chrono_literals;
    const auto elapsed = std::chrono::steady_clock::now() - begin_;
    const std::chrono::nanoseconds budget =
        in_task_ ? std::clamp<std::chrono::nanoseconds>(elapsed / 16, 1ms, 50ms)
                 : std::clamp<std::chrono::nanoseconds>(elapsed / 32, 500us, 20ms);
    return budget.count();
  }

  void submit_some() {
    while (!left_.empty() && running_.size() < wanted()) {
      range next = left_.front();
      left_.pop_front();
      const std::uint64_t size = next.last - next.first;
      if (size > 1 && left_.size() + running_.size() + 1 < wanted()) {
        left_.push_front({next.first + size / 2, next.last});
        next.last = next.first + size / 2;
        left_.push_front(next);
        continue;
      }
      submit(next);
    }
  }

  void submit(range elements) {
    order_.first = elements.first;
    order_.last = elements.last;
    order_.budget_ns = budget_ns();
    tarn_submit_options how = options_;
    if (options_.deadline_ns > 0) {
      const auto left = end_ - std::chrono::steady_clock::now();
      how.deadline_ns = std::max<std::int64_t>(std::chrono::nanoseconds(left).count(), 1);
    }
    // A crash of one element takes the chunk along: which one it was is seen when each is alone.
    if (elements.last - elements.first > 1) how.retries = -1;
    tarn_future future;
    check(::tarn_submit(client_, task_.map_id, args_.data(), args_.size(), &how, &future));
    running_.push_back({future, elements});
  }

  // Those that are done, at least one; they are no longer among `running_`.
  [[nodiscard]] std::vector<chunk> wait_for_some() {
    handles_.clear();
    for (const chunk& one : running_) handles_.push_back(one.future);
    is_done_.resize(handles_.size());
    check(::tarn_wait(client_, handles_.data(), handles_.size(), 1, -1, is_done_.data(), nullptr));
    std::vector<chunk> done;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < running_.size(); ++i) {
      if (is_done_[i] != 0) {
        done.push_back(running_[i]);
      } else {
        running_[kept++] = running_[i];
      }
    }
    running_.resize(kept);
    return done;
  }

  template <class Take>
  void collect(const chunk& one, Take& take) {
    const range elements = one.elements;
    tarn_bytes bytes;
    if (const int code = ::tarn_result(client_, one.future, -1, &bytes); code < 0) {
      return collect_failure(one, code);
    }
    map_report report;
    std::memcpy(&report, bytes.data, sizeof report);
    const tarn_bytes rest{static_cast<const std::byte*>(bytes.data) + sizeof report,
                          bytes.size - sizeof report};
    if (report.code != 0) {
      note_failure(elements.first + report.done, report, static_cast<const char*>(rest.data));
      return;
    }
    if (elements.first + report.done < elements.last) {
      left_.push_front({elements.first + report.done, elements.last});
    }
    take(elements.first, report.done, rest);
  }

  // A chunk that failed as a whole.
  void collect_failure(const chunk& one, int code) {
    const range elements = one.elements;
    const std::uint64_t size = elements.last - elements.first;
    const bool may_run_again = options_.retries != -1;
    if (code == TARN_E_WORKER_CRASHED && size > 1 && may_run_again) {
      left_.push_front({elements.first + size / 2, elements.last});
      left_.push_front({elements.first, elements.first + size / 2});
      return;
    }
    tarn_task_error error{};
    error.size = sizeof error;
    if (code == TARN_E_WORKER_CRASHED && ::tarn_future_error(client_, one.future, &error) == 0) {
      error.task = task_.name;
      throw map_error(error, elements.first,
                      size == 1 ? which(elements.first)
                                : "one of the elements " + std::to_string(elements.first) + " to " +
                                      std::to_string(elements.last - 1));
    }
    raise_failure(client_, one.future, code);
  }

  static std::string which(std::uint64_t index) { return "element " + std::to_string(index); }

  // Of those that are known, the first.
  void note_failure(std::uint64_t index, const map_report& report, const char* text) {
    if (failure_.code != 0 && failed_ < index) return;
    failed_ = index;
    failure_ = {report.code, std::string(text, report.type_size),
                std::string(text + report.type_size, report.text_size)};
  }

  [[noreturn]] void raise_element() const {
    tarn_task_error error{};
    error.size = sizeof error;
    error.code = error.cause = failure_.code;
    error.attempts = 1;
    error.type = failure_.type.c_str();
    error.message = failure_.text.c_str();
    error.task = task_.name;
    throw map_error(error, failed_, which(failed_));
  }

  tarn_client* client_;
  const task_entry& task_;
  tarn_submit_options options_;
  map_order order_;
  std::vector<tarn_arg> args_;
  std::size_t workers_;
  bool in_task_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point end_{};  // if there is a deadline
  std::deque<range> left_;
  std::vector<chunk> running_;
  std::vector<tarn_future> handles_;  // of those, for the wait
  std::vector<std::uint8_t> is_done_;
  map_failure failure_;
  std::uint64_t failed_ = 0;
};

// ---- Results ------------------------------------------------------------------------------------

// What came of a map, part by part in any order, and in the order of the elements when all are
// there.
template <class R>
class map_collection {
 public:
  using values = std::vector<owner_t<R>>;

  void take(std::uint64_t first, std::uint64_t count, tarn_bytes bytes) {
    values part;
    part.reserve(count);
    decoder in(bytes);
    for (std::uint64_t i = 0; i < count; ++i) {
      if constexpr (plain<R>) {
        part.push_back(in.template read_packed<R>());
      } else {
        part.push_back(in.template read<owner_t<R>>());
      }
    }
    parts_.emplace_back(first, std::move(part));
  }

  [[nodiscard]] values all(std::uint64_t count) {
    std::sort(parts_.begin(), parts_.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    if (parts_.size() == 1) return std::move(parts_.front().second);
    values all;
    all.reserve(count);
    for (auto& [first, part] : parts_) {
      all.insert(all.end(), std::make_move_iterator(part.begin()),
                 std::make_move_iterator(part.end()));
      part = {};
    }
    return all;
  }

 private:
  std::vector<std::pair<std::uint64_t, values>> parts_;
};

template <>
class map_collection<void> {
 public:
  void take(std::uint64_t, std::uint64_t, tarn_bytes) {}
  void all(std::uint64_t) {}
};

// ---- Which sources have elements for which parameter -------------------------------------------

template <class Source>
concept value_container =
    !std::is_same_v<Source, index_range> && !std::is_same_v<Source, object_slices> &&
    !std::is_same_v<Source, object> && requires(const Source& s) {
  std::begin(s);
  std::end(s);
};

template <class Element>
inline constexpr bool is_handle_v =
    is_object_v<Element> || is_future_v<std::remove_cvref_t<Element>> ||
    is_part_v<std::remove_cvref_t<Element>>;

template <class Source>
concept handle_container =
    value_container<Source> && is_handle_v<decltype(*std::begin(std::declval<const Source&>()))>;

template <class Source, class P>
consteval bool has_elements_for() {
  if constexpr (std::is_same_v<Source, index_range>) {
    return mapped_index<P>;
  } else if constexpr (std::is_same_v<Source, object>) {
    return plain<P>;
  } else if constexpr (std::is_same_v<Source, object_slices>) {
    return array_shaped<P> || std::is_same_v<P, object>;
  } else if constexpr (value_container<Source> && !handle_container<Source>) {
    return value_for<decltype(*std::begin(std::declval<const Source&>())), P>;
  } else {
    return false;
  }
}

template <class Source, class P>
concept mapped_source = has_elements_for<Source, std::remove_cvref_t<P>>();

}  // namespace detail
}  // namespace tarn
