// completion.hpp: futures as they finish.
//
//   for (auto [index, future] : tarn::as_completed(futures)) use(index, future.get());
//
// A step costs by what has finished since the last one, however many futures there are; wait_any in
// a loop looks at all of them each time.
//
// Thread safety: one as_completed is used by one thread at a time.
#pragma once

#include <tarn/tarn.h>
#include <tarn/error.hpp>
#include <tarn/future.hpp>
#include <tarn/session.hpp>

#include <array>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace tarn {

// One that is done, successfully or not, and its position among those that were watched.
template <class Future>
struct completed {
  std::size_t index;
  Future& future;
};

// The futures of a container, each once, in the order in which they are found done. They stay the
// container's, which must not move them meanwhile; one that is moved from or assigned is left out.
// A future is in one of these at a time, and is not awaited by a coroutine meanwhile.
template <detail::futures Futures>
class as_completed {
 public:
  using future_type = std::remove_reference_t<decltype(*std::begin(std::declval<Futures&>()))>;

  // Does not block. Throws bad_argument if the futures are of several clients, error (TARN_E_STATE)
  // if one is awaited already, error (TARN_E_NO_FUTURE) if one is empty. Since 0.1.
  explicit as_completed(Futures& futures) {
    std::vector<tarn_future> handles;
    const auto count =
        static_cast<std::size_t>(std::distance(std::begin(futures), std::end(futures)));
    futures_.reserve(count);
    handles.reserve(count);
    for (auto& future : futures) {
      if (future.client() == nullptr) static_cast<void>(future.is_done());  // says why it cannot be
      if (!futures_.empty() && future.client() != client()) {
        detail::raise(TARN_E_ARGUMENT,
                      "the futures are of several clients; watch those of one at a time");
      }
      session_ = future.session_;
      futures_.push_back(&future);
      handles.push_back(future.handle());
    }
    if (count != 0) detail::check(::tarn_watch_open(client(), handles.data(), count, &watch_));
  }
  as_completed(const as_completed&) = delete;
  as_completed& operator=(const as_completed&) = delete;
  ~as_completed() { ::tarn_watch_close(client(), watch_); }

  // Waits for the next one that is done; nothing if all were returned. Throws timed_out if
  // `timeout` passed, daemon_gone; in a task cancelled, deadline_passed. Since 0.1.
  [[nodiscard]] std::optional<completed<future_type>> next(nanoseconds timeout = forever) {
    if (at_ == found_) {
      at_ = found_ = 0;
      if (watch_ == nullptr) return std::nullopt;
      static_cast<void>(detail::open_client_of(session_, "future", TARN_E_NO_FUTURE));
      detail::check(::tarn_watch_next(watch_, timeout.count(), positions_.data(), positions_.size(),
                                      &found_));
      if (found_ == 0) return std::nullopt;
    }
    const std::size_t index = positions_[at_++];
    return completed<future_type>{index, *futures_[index]};
  }

  // For a loop, once: what next() returns, until there is nothing more.
  class iterator {
   public:
    using difference_type = std::ptrdiff_t;
    using value_type = completed<future_type>;

    iterator() = default;
    explicit iterator(as_completed& all) : all_(&all), current_(all.next()) {}
    [[nodiscard]] value_type operator*() const { return *current_; }
    iterator& operator++() {
      advance();
      return *this;
    }
    void operator++(int) { advance(); }
    friend bool operator==(const iterator& at, std::default_sentinel_t) { return !at.current_; }

   private:
    // No assignment: what is found refers to the future.
    void advance() {
      if (auto next = all_->next()) {
        current_.emplace(*next);
      } else {
        current_.reset();
      }
    }

    as_completed* all_ = nullptr;
    std::optional<value_type> current_;
  };
  [[nodiscard]] iterator begin() { return iterator(*this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }

 private:
  [[nodiscard]] tarn_client* client() const noexcept { return detail::client_of(session_); }

  const session* session_ = nullptr;
  tarn_watch* watch_ = nullptr;
  std::vector<future_type*> futures_;
  std::array<std::size_t, 64> positions_{};  // found done, and not returned
  std::size_t at_ = 0;
  std::size_t found_ = 0;
};

// What came of the first of several futures.
template <class R>
struct first_done {
  std::size_t index;
  R result;
};
template <>
struct first_done<void> {
  std::size_t index;
};

// Waits until one of `futures` is done and returns which one, and its result; of several the first
// in order. Throws its failure if it failed; timed_out if `timeout` passed, bad_argument if there
// is none. Since 0.1.
template <detail::futures Futures>
auto when_any(const Futures& futures, nanoseconds timeout = forever) {
  using R = decltype(std::begin(futures)->get());
  const std::size_t index = wait_any(futures, timeout);
  const auto& first = *std::next(std::begin(futures), static_cast<std::ptrdiff_t>(index));
  if constexpr (std::is_void_v<R>) {
    first.get();
    return first_done<void>{index};
  } else {
    return first_done<R>{index, first.get()};
  }
}

}  // namespace tarn
