// stream.hpp: tasks that yield items one by one, and reading them meanwhile.
//
//   void words(tarn::yielder<std::string>& yield, std::string_view text) {
//     for (std::string_view word : split(text)) yield(word);
//   }
//   TARN_TASK(words);
//
//   for (const std::string& word : tarn.submit(words, text)) use(word);
//
// What holds for windows, crashes and ends is said in stream.h. A stream that goes away is read by
// nobody: the next yield of its task throws no_reader, which ends the task.
//
// Thread safety: one stream is used by one thread at a time; a yielder by the thread of its task.
#pragma once

#include <tarn/tarn.h>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/future.hpp>
#include <tarn/object.hpp>
#include <tarn/session.hpp>
#include <tarn/task.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace tarn {

// How much a task may have yielded that was not read; then it waits. 0: 256 items, 16 MiB.
struct window {
  std::uint32_t items = 0;  // 1 to 4096
  std::uint64_t bytes = 0;  // a single item may be larger
};

// Where a task yields to: its first parameter, by reference. It returns nothing else.
template <class T>
class yielder {
  static_assert(serializable<T>,
                "tarn: the items of this task cannot travel between processes; give their type a "
                "tarn::codec");
  static_assert(detail::array_view<T> || !detail::borrows<T>(),
                "tarn: an item cannot hold views; yield std::string or std::vector in there");

 public:
  explicit yielder(tarn_call* call) noexcept : call_(call) {}
  yielder(const yielder&) = delete;
  yielder& operator=(const yielder&) = delete;

  // Yields `item`, which is copied; waits while the window is full. Throws no_reader, cancelled or
  // deadline_passed: let them through, they end the task; also store_full, over_limit. Since 0.1.
  template <class A>
  void operator()(A&& item) const requires detail::value_for<A, T> {
    const detail::held_t<A&&, T> value(static_cast<A&&>(item));
    if constexpr (detail::raw<T>) {
      const tarn_bytes bytes = detail::bytes_of(value);
      detail::check(::tarn_call_yield(call_, bytes.data, bytes.size));
    } else {
      void* place;
      detail::check(::tarn_call_yield_buffer(call_, detail::encoded_size<T>(value), &place));
      encoder(static_cast<std::byte*>(place)).template write<T>(value);
      detail::check(::tarn_call_yield_filled(call_));
    }
  }
  // Chosen when the item is of another type.
  void operator()(...) const = delete;

 private:
  tarn_call* call_;
};

// What a task yields, from the first item to the last, each once.
template <class T>
class [[nodiscard]] stream {
 public:
  using value_type = detail::owner_t<T>;

  // Refers to no task. Since 0.1.
  stream() noexcept = default;
  // Takes over `handle` of the C interface. Since 0.1.
  stream(const session& session, tarn_future handle) noexcept : future_(session, handle) {}

  // Waits for the next item and returns a copy of it; nothing when the task has succeeded and all
  // were read. Throws task_error, cancelled or deadline_passed when it has failed, after what it had
  // yielded before; timed_out if `timeout` passed, and nothing was lost. Since 0.1.
  [[nodiscard]] std::optional<value_type> next(nanoseconds timeout = forever) {
    tarn_bytes bytes;
    if (!read(timeout, bytes)) return std::nullopt;
    return detail::decode_whole<value_type>(bytes);
  }

  // The same in place, as std::string_view or std::span: no copy, valid until the next read, or for
  // as long as this stream. Since 0.1.
  [[nodiscard]] auto next_view(nanoseconds timeout = forever)  //
      requires detail::array_shaped<T> {
    tarn_bytes bytes;
    using view = std::optional<detail::view_t<T>>;
    return read(timeout, bytes) ? view(detail::decode_whole<detail::view_t<T>>(bytes)) : view();
  }

  // The same as an object, which stays. No copy, unless it is small. Since 0.1.
  [[nodiscard]] std::optional<object> next_object(nanoseconds timeout = forever)  //
      requires detail::raw<T> {
    tarn_object handle;
    const int code =
        ::tarn_stream_next_object(open_client(), future_.handle(), timeout.count(), &handle);
    if (code == TARN_E_END) return std::nullopt;
    if (code < 0) detail::raise_failure(client(), future_.handle(), code);
    return object(*detail::session_of(future_), handle);
  }

  // For a loop, once: what next() returns, until there is nothing more. Throws as next(). Since 0.1.
  class iterator {
   public:
    using difference_type = std::ptrdiff_t;
    using value_type = typename stream::value_type;

    iterator() = default;
    explicit iterator(stream& all) : all_(&all), current_(all.next()) {}
    [[nodiscard]] value_type& operator*() const { return *current_; }
    iterator& operator++() {
      current_ = all_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const iterator& at, std::default_sentinel_t) { return !at.current_; }

   private:
    stream* all_ = nullptr;
    mutable std::optional<value_type> current_;
  };
  [[nodiscard]] iterator begin() { return iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

  // Whether this refers to a task: not if it was moved from. Since 0.1.
  [[nodiscard]] bool valid() const noexcept { return future_.valid(); }

  // As those of a future. What the task had yielded can be read all the same. Since 0.1.
  bool cancel() const { return future_.cancel(); }
  bool kill() const { return future_.kill(); }

  // For calls of the C interface; it stays this one's. Since 0.1.
  [[nodiscard]] tarn_future handle() const noexcept { return future_.handle(); }
  [[nodiscard]] tarn_client* client() const noexcept { return future_.client(); }

#if defined(__cpp_impl_coroutine)
  // `co_await` gives what next() returns. The coroutine goes on inside of client.dispatch(), in the
  // thread that calls it. By one coroutine at a time. Since 0.1.
  auto operator co_await() noexcept { return awaiter{*this, {}, false}; }
#endif

 private:
  struct awaiter {
    stream& awaited;
    std::optional<value_type> item;
    bool is_there;

    bool await_ready() {
      try {
        item = awaited.next(nanoseconds(0));
        is_there = true;
      } catch (const timed_out&) {
      }
      return is_there;
    }
    template <class Handle>
    void await_suspend(Handle coroutine) const {
      detail::check(::tarn_stream_then(
          awaited.open_client(), awaited.handle(),
          [](tarn_client*, tarn_future, void* address) { Handle::from_address(address).resume(); },
          coroutine.address()));
    }
    std::optional<value_type> await_resume() {
      return is_there ? std::move(item) : awaited.next();
    }
  };

  [[nodiscard]] tarn_client* open_client() const {
    return detail::open_client_of(detail::session_of(future_), "stream", TARN_E_NO_FUTURE);
  }

  // False at the end.
  [[nodiscard]] bool read(nanoseconds timeout, tarn_bytes& bytes) {
    const int code = ::tarn_stream_next(open_client(), future_.handle(), timeout.count(), &bytes);
    if (code == TARN_E_END) return false;
    if (code < 0) detail::raise_failure(client(), future_.handle(), code);
    return true;
  }

  future<void> future_;
};

namespace detail {

// A function that yields as a task.
template <auto Function, class T, class... Ps>
struct task<Function, void (*)(yielder<T>&, Ps...)> {
  static_assert(((!std::is_lvalue_reference_v<Ps> ||
                  std::is_const_v<std::remove_reference_t<Ps>>)&&...),
                "tarn: a task cannot change its arguments; take them by value or const reference");
  static_assert(
      ((std::is_same_v<std::remove_cvref_t<Ps>, object> || serializable<Ps>)&&...),
      "tarn: a parameter of this task cannot travel between processes; give it a tarn::codec");

  // Not that of a function that returns a T.
  static constexpr std::uint32_t signature = signature_of<std::optional<T>, std::byte, Ps...>();

  static int run(tarn_call* call) {
    return parameters<Ps...>::pass(call, [&](Ps&&... arguments) {
      yielder<T> yield(call);
      Function(yield, static_cast<Ps&&>(arguments)...);
    });
  }
};

// Submits with arguments that live until this returns.
template <class... Sent>
tarn_future submit_stream(tarn_client* client, const task_entry& task, tarn_submit_options& options,
                          const window& size, const Sent&... sent) {
  const std::array<tarn_arg, sizeof...(Sent)> args{sent.arg()...};
  options.signature = task.signature;
  tarn_stream_options how{};
  how.size = sizeof how;
  how.items = size.items;
  how.bytes = size.bytes;
  tarn_future handle;
  check(::tarn_submit_stream(client, task.id, args.data(), args.size(), &options, &how, &handle));
  return handle;
}

}  // namespace detail
}  // namespace tarn
