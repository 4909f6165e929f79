// EventFeed: what one client that asked for it is told of its objects and of memory, without ever waiting for it.
//
// An event is sent while the client's socket has room. Otherwise the newest one waits here, the others are counted, and
// both are sent when the client has read; so what is kept for a client that never reads is one event. A shortage of memory
// is a state rather than an event: what is told is how it differs from what was told last.
//
// A client that asked for nothing costs a comparison. Loop thread only.
#pragma once

#include <cstdint>
#include <optional>

#include "connection.hpp"
#include "memory_queue.hpp"
#include "wire/messages.hpp"

namespace tarn::daemon {

class EventFeed {
 public:
  static constexpr int64_t kCalmNs = 200'000'000;  // without a request that waits or is refused: the shortage is over

  // `session` pays for all memory that the client and its workers ask for.
  EventFeed(Loop& loop, const MemoryQueue& queue, const Budget& session) : loop_(loop), queue_(queue), session_(session) {}
  EventFeed(const EventFeed&) = delete;
  EventFeed& operator=(const EventFeed&) = delete;

  // From now on those kinds (TARN_EVENT_*) are told to `client`, which stays until stop().
  void subscribe(Connection& client, uint32_t mask);
  // The client is not to be told anything any more.
  void stop();

  [[nodiscard]] bool wants(uint32_t kind) const { return (mask_ & kind) != 0; }

  // Of an object; only what wants() says.
  void tell(uint32_t kind, uint32_t id, uint32_t generation, uint64_t bytes);
  // tarnd was the last to hold an object of the client, which learns of it in shared memory.
  void tell_of_free();

  // A request for memory of the session was submitted, and waits perhaps; or was refused.
  void after_request(uint64_t bytes) {
    if (wants_pressure()) look_whether_it_waits(bytes);
  }
  void after_refusal(int code, uint64_t bytes);

  // The client has read: what could not be sent is.
  void on_room();

 private:
  [[nodiscard]] bool wants_pressure() const;
  void look_whether_it_waits(uint64_t bytes);
  void begin_pressure(uint64_t bytes);
  void look_whether_it_is_over();
  void flush();
  [[nodiscard]] bool has_room();
  void send(wire::Event event);

  Loop& loop_;
  const MemoryQueue& queue_;
  const Budget& session_;
  Connection* client_ = nullptr;
  uint32_t mask_ = 0;
  std::optional<wire::Event> waiting_;
  uint64_t lost_ = 0;  // before that one, or before the next if there is none
  bool is_short_ = false;
  bool is_told_short_ = false;
  uint64_t short_bytes_ = 0;
  int64_t last_ns_ = 0;  // when a request was last seen to wait, or refused
  Loop::Timer calm_;
};

}  // namespace tarn::daemon
