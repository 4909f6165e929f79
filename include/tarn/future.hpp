// future.hpp: the results of tasks, and waiting for them.
//
// Waiting takes a time, tarn::forever by default. A future that goes away leaves its task running.
//
// Thread safety: one future is used by one thread at a time.
#pragma once

#include <tarn/tarn.h>
#include <tarn/codec.hpp>
#include <tarn/error.hpp>
#include <tarn/object.hpp>
#include <tarn/results.hpp>
#include <tarn/session.hpp>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace tarn {

template <class R>
class future;

namespace detail {

template <class Futures>
using future_of_t = std::remove_cvref_t<decltype(*std::begin(std::declval<Futures&>()))>;

template <class T>
inline constexpr bool is_future_v = false;
template <class R>
inline constexpr bool is_future_v<future<R>> = true;

template <class T>
concept futures = is_future_v<future_of_t<T>>;

}  // namespace detail

template <detail::futures Futures>
class as_completed;

namespace detail {
template <class R>
const session* session_of(const future<R>& future) noexcept;
}  // namespace detail

// The result of a task that returns R, now or later.
template <class R>
class future {
 public:
  // Refers to no task. Since 0.1.
  future() noexcept = default;

  // Takes over `handle` of the C interface. Since 0.1.
  future(const session& session, tarn_future handle) noexcept
      : session_(&session), handle_(handle) {}

  future(future&& other) noexcept
      : session_(std::exchange(other.session_, nullptr)),
        handle_(std::exchange(other.handle_, {})) {}
  future& operator=(future&& other) noexcept {
    future taken(std::move(other));
    std::swap(session_, taken.session_);
    std::swap(handle_, taken.handle_);
    return *this;
  }
  ~future() {
    if (client() != nullptr) ::tarn_future_release(client(), handle_);
  }

  // Whether this refers to a task: not if it was moved from. Since 0.1.
  [[nodiscard]] bool valid() const noexcept { return session_ != nullptr; }

  // Whether the task is done, successfully or not. Since 0.1.
  [[nodiscard]] bool is_done() const { return wait_for(nanoseconds(0)); }

  // Waits until the task is done. Since 0.1.
  void wait() const { static_cast<void>(wait_for(forever)); }

  // Waits until the task is done, and returns true, or until `timeout` passed, and returns false.
  // Since 0.1.
  [[nodiscard]] bool wait_for(nanoseconds timeout) const {
    const int result =
        ::tarn_wait(open_client(), &handle_, 1, 1, timeout.count(), nullptr, nullptr);
    if (result == TARN_E_TIMED_OUT) return false;
    detail::check(result);
    return true;
  }

  // Waits for the result and returns a copy of it; views come as std::string or std::vector. One that
  // has left memory is read from the disk. Throws task_error if the task failed, cancelled, or
  // deadline_passed; timed_out if `timeout`
  // passed before it was done; store_full, over_limit or error (TARN_E_LOST) if the result cannot come
  // back. Since 0.1.
  detail::owner_t<R> get(nanoseconds timeout = forever) const {
    const tarn_bytes bytes = result(timeout);
    if constexpr (!std::is_void_v<R>) return detail::decode_result<detail::owner_t<R>>(bytes);
  }

  // One of several results, to be read or given to other tasks while this future stays. Does not
  // wait. Since 0.1.
  template <std::size_t I>
  [[nodiscard]] tarn::part<std::tuple_element_t<I, R>> part()
      const& requires detail::is_results_v<R> {
    static_cast<void>(open_client());  // says why it cannot be
    return {*session_, handle_, I};
  }
  template <std::size_t I>
  void part() && = delete;

  // Waits for the result and returns it in place, as std::string_view or std::span: no copy, valid
  // for as long as this future, which keeps it in memory from now on. Throws as get(). Since 0.1.
  [[nodiscard]] auto get_view(
      nanoseconds timeout = forever) const& requires detail::array_shaped<R> {
    return detail::decode_whole<detail::view_t<R>>(result(timeout));
  }
  auto get_view(nanoseconds timeout = forever) && = delete;

  // Waits for the result and makes it an object. No copy, unless it is small; reads and pins nothing.
  // Throws task_error, timed_out as get(), and what client.put throws for a small one. Since 0.1.
  [[nodiscard]] object get_object(nanoseconds timeout = forever) const requires detail::raw<R> {
    tarn_object handle;
    const int code = ::tarn_future_object(open_client(), handle_, timeout.count(), &handle);
    if (code < 0) detail::raise_failure(client(), handle_, code);
    return object(*session_, handle);
  }

  // Cancels the task, as tarn_cancel does, and returns true; false if it is done already. What has
  // not begun never does; what runs can see it (this_task::is_cancelled). get() then throws
  // `cancelled`, unless the task has a result all the same. Since 0.1.
  bool cancel() const { return cancel(0); }

  // The same, and ends the process that runs it: the task has no result then. Throws daemon_gone.
  // Since 0.1.
  bool kill() const { return cancel(TARN_CANCEL_KILL); }

  // For calls of the C interface; the future stays this one's. Since 0.1.
  [[nodiscard]] tarn_future handle() const noexcept { return handle_; }
  [[nodiscard]] tarn_client* client() const noexcept { return detail::client_of(session_); }

#if defined(__cpp_impl_coroutine)
  // `co_await` gives what get() returns. The coroutine goes on inside of client.dispatch(), in the
  // thread that calls it. A future is awaited once at most. Since 0.1.
  auto operator co_await() const noexcept { return awaiter{*this}; }
#endif

 private:
  template <detail::futures Futures>
  friend class as_completed;
  template <class T>
  friend const session* detail::session_of(const future<T>& future) noexcept;

  struct awaiter {
    const future& awaited;

    bool await_ready() const { return awaited.is_done(); }
    template <class Handle>
    void await_suspend(Handle coroutine) const {
      detail::check(::tarn_future_then(
          awaited.open_client(), awaited.handle_,
          [](tarn_client*, tarn_future, void* address) { Handle::from_address(address).resume(); },
          coroutine.address()));
    }
    detail::owner_t<R> await_resume() const { return awaited.get(); }
  };

  [[nodiscard]] tarn_client* open_client() const {
    return detail::open_client_of(session_, "future", TARN_E_NO_FUTURE);
  }

  bool cancel(std::uint32_t flags) const {
    const int result = ::tarn_cancel(open_client(), handle_, flags);
    if (result == TARN_E_STATE) return false;
    detail::check(result);
    return true;
  }

  tarn_bytes result(nanoseconds timeout) const {
    tarn_bytes bytes;
    const int code = ::tarn_result(open_client(), handle_, timeout.count(), &bytes);
    if (code < 0) detail::raise_failure(client(), handle_, code);
    return bytes;
  }

  const session* session_ = nullptr;
  tarn_future handle_{};
};

namespace detail {

template <class R>
const session* session_of(const future<R>& future) noexcept {
  return future.session_;
}

// Waits for `want` of `range` and returns which are done.
template <futures Futures>
std::vector<std::uint8_t> wait_for_some(const Futures& range, std::size_t want,
                                        nanoseconds timeout) {
  std::vector<tarn_future> handles;
  handles.reserve(std::size(range));
  tarn_client* client = nullptr;
  for (const auto& future : range) {
    if (future.client() == nullptr) static_cast<void>(future.is_done());  // says why it cannot be
    if (client != nullptr && future.client() != client) {
      raise(TARN_E_ARGUMENT, "the futures are of several clients; wait for those of one at a time");
    }
    client = future.client();
    handles.push_back(future.handle());
  }
  if (want > handles.size()) {
    raise(TARN_E_ARGUMENT, "cannot wait for " + std::to_string(want) + " of " +
                               std::to_string(handles.size()) + " futures");
  }
  std::vector<std::uint8_t> done(handles.size());
  if (handles.empty()) return done;
  const int result = ::tarn_wait(client, handles.data(), handles.size(), want, timeout.count(),
                                 done.data(), nullptr);
  if (result != TARN_E_TIMED_OUT) check(result);
  return done;
}

}  // namespace detail

// Waits until at least `count` of `futures` are done, successfully or not, or until `timeout`
// passed. Returns the indices of all that are done, which are fewer than `count` only if the time
// passed. Throws bad_argument if there are fewer than `count`. Since 0.1.
template <detail::futures Futures>
[[nodiscard]] std::vector<std::size_t> wait(const Futures& futures, std::size_t count,
                                            nanoseconds timeout = forever) {
  std::vector<std::size_t> indices;
  const std::vector<std::uint8_t> done = detail::wait_for_some(futures, count, timeout);
  for (std::size_t i = 0; i < done.size(); ++i) {
    if (done[i] != 0) indices.push_back(i);
  }
  return indices;
}

// Waits until one of `futures` is done, successfully or not, and returns the index of the first
// such. Throws timed_out if `timeout` passed, bad_argument if there is none. Since 0.1.
template <detail::futures Futures>
[[nodiscard]] std::size_t wait_any(const Futures& futures, nanoseconds timeout = forever) {
  const std::vector<std::size_t> done = wait(futures, 1, timeout);
  if (done.empty()) detail::raise(TARN_E_TIMED_OUT, "wait_any: no future was done in time");
  return done.front();
}

// Waits until all of `futures` are done and returns their results, in order: a std::vector, or
// nothing for future<void>. Throws the first failure, in order; timed_out if `timeout` passed.
// Since 0.1.
template <detail::futures Futures>
auto when_all(const Futures& futures, nanoseconds timeout = forever) {
  using R = decltype(std::begin(futures)->get());
  const std::vector<std::uint8_t> done =
      detail::wait_for_some(futures, std::size(futures), timeout);
  for (const std::uint8_t one : done) {
    if (one == 0) detail::raise(TARN_E_TIMED_OUT, "when_all: not all futures were done in time");
  }
  if constexpr (std::is_void_v<R>) {
    for (const auto& future : futures) future.get();
  } else {
    std::vector<R> results;
    results.reserve(std::size(futures));
    for (const auto& future : futures) results.push_back(future.get());
    return results;
  }
}

}  // namespace tarn
