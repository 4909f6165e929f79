// SessionTrace: whether the members of a session write down what happens, and the memory that they do it in (trace/trace_area.hpp).
//
// A tool asks for some seconds at a time (TRACE_ASK), and has the board's file to read it from. While anybody wants it, each member
// that comes gets a lane. Once nobody does, the word on the board is cleared, and after a while, when no member can be between its
// look at that and a store, the memory is taken back. A tarnd that takes the session over begins with that.
//
// Loop thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "connection.hpp"
#include "loop.hpp"
#include "os/memory.hpp"
#include "shm/board.hpp"
#include "trace/event.hpp"
#include "wire/messages.hpp"

namespace tarn::daemon {

class Session;
struct Payment;

class SessionTrace {
 public:
  explicit SessionTrace(Session& session) : session_(session) {}
  SessionTrace(const SessionTrace&) = delete;
  SessionTrace& operator=(const SessionTrace&) = delete;

  // Answers the tool `asker`; fails with the code and words for a refusal.
  [[nodiscard]] int ask(uint64_t asker, const wire::TraceAsk& wish, Connection& to, uint32_t serial);
  // It is gone.
  void forget(uint64_t asker);

  // A member comes: it may write from its beginning. Best effort.
  void add_member(uint32_t member);
  // What the tarnd before had begun ends.
  void resume();

  // Writes into tarnd's own lane, if anybody wants to know.
  void write(trace::Kind kind, uint64_t run, uint64_t argument, uint32_t member = 0);

 private:
  [[nodiscard]] int begin(uint32_t events_log2);
  [[nodiscard]] int back_some();
  [[nodiscard]] int back(uint32_t member);
  void update();
  void look();
  void take_back();

  Session& session_;
  SharedFd reader_;                       // of the board's file, once somebody has asked
  std::map<uint64_t, int64_t> askers_;    // until when they want it
  uint32_t events_log2_ = 0;              // 0: no lane has memory
  std::shared_ptr<Payment> payments_[shm::kMembersMax];
  os::Mapping own_lane_;
  int64_t off_since_ns_ = 0;
  Loop::Timer timer_;
};

}  // namespace tarn::daemon
