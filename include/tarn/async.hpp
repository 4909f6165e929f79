// async.hpp: coroutines that await futures, and a loop for programs that have none.
//
//   tarn::async<double> price(tarn::client& tarn, tarn::object data) {
//     const double mean = co_await tarn.submit(mean_of, data);
//     co_return co_await tarn.submit(price_of, mean);
//   }
//   double result = tarn::run(tarn, price(tarn, data));
//
// A coroutine that awaits goes on inside of client.dispatch(), in the thread that calls it: that of
// run(), or of an event loop that polls client.fd(). A library's own coroutine types may await
// futures, too.
//
// Thread safety: an async belongs to the thread that dispatches.
#pragma once

#include <version>

#if defined(__cpp_impl_coroutine) && defined(__cpp_lib_coroutine)

#include <tarn/tarn.h>
#include <tarn/error.hpp>
#include <tarn/future.hpp>

#include <poll.h>

#include <cerrno>
#include <coroutine>
#include <exception>
#include <iterator>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace tarn {

template <class T>
class async;

namespace detail {

// What all promises have: who waits for the coroutine, and whether anybody can.
class async_promise_base {
 public:
  // Begins at once: several that were called run at the same time, each as far as it comes.
  std::suspend_never initial_suspend() const noexcept { return {}; }

  struct final_awaiter {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept {
      const std::coroutine_handle<> next = ended.promise().waiter;
      if (ended.promise().is_abandoned) ended.destroy();
      return next != nullptr ? next : std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };
  final_awaiter final_suspend() const noexcept { return {}; }

  void unhandled_exception() noexcept { failure = std::current_exception(); }

  std::coroutine_handle<> waiter;
  std::exception_ptr failure;
  bool is_abandoned = false;
};

template <class T>
class async_promise : public async_promise_base {
 public:
  async<T> get_return_object() noexcept;
  template <class Value>
  void return_value(Value&& value) {
    result_.emplace(std::forward<Value>(value));
  }
  T take() {
    if (failure != nullptr) std::rethrow_exception(failure);
    return std::move(*result_);
  }

 private:
  std::optional<T> result_;
};

template <>
class async_promise<void> : public async_promise_base {
 public:
  inline async<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const {
    if (failure != nullptr) std::rethrow_exception(failure);
  }
};

}  // namespace detail

// A coroutine that gives a T, or nothing. It begins when it is called. One whose async goes away
// before it has ended goes on, and nobody learns what came of it: what it refers to must stay for
// as long.
template <class T = void>
class [[nodiscard]] async {
 public:
  using promise_type = detail::async_promise<T>;

  explicit async(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}
  async(async&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  async& operator=(async&& other) noexcept {
    async taken(std::move(other));
    std::swap(coroutine_, taken.coroutine_);
    return *this;
  }
  ~async() {
    if (coroutine_ == nullptr) return;
    if (coroutine_.done()) {
      coroutine_.destroy();
    } else {
      coroutine_.promise().is_abandoned = true;
    }
  }

  // Whether it has ended, successfully or not. Since 0.1.
  [[nodiscard]] bool is_done() const { return checked().done(); }

  // What it gave, once: it is moved. Throws what it threw; error (TARN_E_STATE) if it has not
  // ended. Since 0.1.
  T get() {
    if (!is_done())
      detail::raise(TARN_E_STATE, "the coroutine has not ended; await it, or run(client, ...) it");
    return coroutine_.promise().take();
  }

  // `co_await` gives what get() returns, once it has ended. By one coroutine, once. Since 0.1.
  auto operator co_await() noexcept { return awaiter{*this}; }

 private:
  struct awaiter {
    async& awaited;

    bool await_ready() const { return awaited.is_done(); }
    void await_suspend(std::coroutine_handle<> waiter) const noexcept {
      awaited.coroutine_.promise().waiter = waiter;
    }
    T await_resume() const { return awaited.coroutine_.promise().take(); }
  };

  [[nodiscard]] std::coroutine_handle<promise_type> checked() const {
    if (coroutine_ == nullptr)
      detail::raise(TARN_E_ARGUMENT, "this async is empty: it was moved from");
    return coroutine_;
  }

  std::coroutine_handle<promise_type> coroutine_;
};

template <class T>
async<T> detail::async_promise<T>::get_return_object() noexcept {
  return async<T>(std::coroutine_handle<async_promise>::from_promise(*this));
}
inline async<void> detail::async_promise<void>::get_return_object() noexcept {
  return async<void>(std::coroutine_handle<async_promise>::from_promise(*this));
}

// Dispatches until `coroutine` has ended, and returns what it gave; others that await futures of
// this client go on as well. Sleeps while there is nothing to do. Throws what it threw; daemon_gone
// if it would never end. Since 0.1.
template <class Client, class T>
T run(Client& client, async<T> coroutine) {
  while (!coroutine.is_done()) {
    if (client.dispatch() != 0 || coroutine.is_done()) continue;
    pollfd readable{client.fd(), POLLIN, 0};
    if (::poll(&readable, 1, -1) < 0 && errno != EINTR) {
      detail::raise(TARN_E_SYSTEM, "run: poll failed");
    }
  }
  return coroutine.get();
}

// Awaits all of `futures`, of which the container is kept by the caller, and gives their results,
// in order: a std::vector, or nothing for future<void>. Throws the first failure, in order, once
// those before it are done. Since 0.1.
template <detail::futures Futures>
auto all(const Futures& futures) -> async<std::conditional_t<
    std::is_void_v<decltype(std::begin(futures)->get())>, void,
    std::vector<std::conditional_t<std::is_void_v<decltype(std::begin(futures)->get())>, char,
                                   decltype(std::begin(futures)->get())>>>> {
  if constexpr (std::is_void_v<decltype(std::begin(futures)->get())>) {
    for (const auto& future : futures) co_await future;
  } else {
    std::vector<decltype(std::begin(futures)->get())> results;
    for (const auto& future : futures) results.push_back(co_await future);
    co_return results;
  }
}

}  // namespace tarn

#endif
