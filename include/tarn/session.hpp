// session.hpp: what a client shares with its objects, writers and futures.
//
// They must not outlive their client, but often do: close() in the middle of a function, a member
// declared before the client. So they do not refer to the C interface's client but to this, which
// stays: once the client is closed, calls fail with TARN_E_NOT_INITIALISED and destructors do
// nothing.
//
// Thread safety: any thread; but as with tarn_close, no other thread may be inside a call when it
// closes.
#pragma once

#include <tarn/tarn.h>
#include <tarn/error.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace tarn {

class session {
 public:
  // Returns the record of a client that was just made. It is never freed: some 100 bytes for
  // each client that a process makes.
  static session& open(tarn_client* client) {
    auto* opened = new session(client);
    opened->next_ = newest_.load(std::memory_order_relaxed);
    while (!newest_.compare_exchange_weak(opened->next_, opened, std::memory_order_release,
                                          std::memory_order_relaxed)) {
    }
    return *opened;
  }

  // The record of the client that the tasks of a worker have: one in the process, for as long as it
  // lasts. Since 0.1.
  static session& of_worker(tarn_client* client) {
    static session& opened = open(client);
    return opened;
  }

  // The C interface's client, or NULL once it is closed. Since 0.1.
  [[nodiscard]] tarn_client* handle() const noexcept {
    return client_.load(std::memory_order_acquire);
  }

  // Closes the client, if it is open. Since 0.1.
  void close() noexcept {
    ::tarn_close(client_.exchange(nullptr, std::memory_order_acq_rel));
    static_cast<void>(exchange_event_function(nullptr));
  }

  using event_function = std::function<void(const tarn_event&)>;

  // Keeps what on_event was given, and returns what was kept before. Since 0.1.
  std::shared_ptr<event_function> exchange_event_function(
      std::shared_ptr<event_function> next) noexcept {
    const std::lock_guard lock(events_);
    return std::exchange(event_function_, std::move(next));
  }

  // The callback of the C interface; `context` is the session. Since 0.1.
  static void call_event_function(tarn_client*, const tarn_event* event, void* context) noexcept {
    auto* self = static_cast<session*>(context);
    std::shared_ptr<event_function> function;
    {
      const std::lock_guard lock(self->events_);
      function = self->event_function_;  // which may replace itself while it runs
    }
    if (function != nullptr) (*function)(*event);
  }

 private:
  explicit session(tarn_client* client) noexcept : client_(client) {}

  // All sessions, so that leak checkers see that they are meant to stay.
  static inline constinit std::atomic<session*> newest_ = nullptr;

  std::atomic<tarn_client*> client_;
  std::mutex events_;
  std::shared_ptr<event_function> event_function_;  // guarded by events_
  session* next_ = nullptr;
};

namespace detail {

inline tarn_client* client_of(const session* session) noexcept {
  return session != nullptr ? session->handle() : nullptr;
}

// The client behind something that refers to one. Throws `no_code` if `what` was moved from or never made, and
// error (TARN_E_NOT_INITIALISED) if its client was closed.
inline tarn_client* open_client_of(const session* session, const char* what, int no_code) {
  if (session == nullptr) [[unlikely]] {
    raise(no_code, std::string("this ") + what + " is empty: it was moved from, or never made");
  }
  tarn_client* client = session->handle();
  if (client == nullptr) [[unlikely]] {
    raise(TARN_E_NOT_INITIALISED, std::string("the client of this ") + what + " was closed");
  }
  return client;
}

}  // namespace detail
}  // namespace tarn
