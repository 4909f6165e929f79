// Closer: where the loop leaves descriptors that take long to close, or as long as a user likes (os/closer.hpp).
//
// A user has two lanes. In one is what came from him: a close there may hang for ever, on a file system of his own say. In
// the other is what ends whatever he does: memory, and connections with what he sent and nobody received. He waits for both
// himself: what is charged for a descriptor stays charged until it is closed. Loop thread only, the dropping of a SharedFd too.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <vector>

#include "base/fd.hpp"
#include "ledger.hpp"
#include "loop.hpp"
#include "os/closer.hpp"

namespace tarn::daemon {

using SharedFd = std::shared_ptr<const Fd>;

// For what is tarnd's own and small: closed by whoever drops it last.
inline SharedFd share(Fd fd) { return std::make_shared<const Fd>(std::move(fd)); }

class Closer {
 public:
  using Receipt = os::Closer::Receipt;
  enum class Kind : uint8_t { kOurs, kForeign };

  // Descriptors of one user that hang and were never charged: beyond, nothing more is received from him.
  static constexpr size_t kUnpaidMax = 256;

  explicit Closer(Loop& loop);  // throws std::runtime_error
  Closer(const Closer&) = delete;
  Closer& operator=(const Closer&) = delete;

  // `receipt` is dropped once `fd` is closed.
  void close(uid_t user, Kind kind, Fd fd, Receipt receipt = nullptr);
  // Closed by this when the last copy is dropped.
  [[nodiscard]] SharedFd share(uid_t user, Kind kind, Fd fd, Receipt receipt = nullptr);

  [[nodiscard]] bool is_stuck(uid_t user) const { return closer_.unpaid(lane(user, Kind::kForeign)) >= kUnpaidMax; }
  // Whether memory of `user` is about to be given back.
  [[nodiscard]] bool is_closing_memory(uid_t user) const;
  // Shuts `socket` down, and closes it when the other side has received what lies in it, or has closed its own end: until
  // then the descriptors there count for this process, and `in_flight` is not given back.
  void close_once_received(uid_t user, Fd socket, Receipt receipt, Charge in_flight);
  // Of whomever: `call` comes once something has been closed.
  void call_after_next(std::function<void()> call);
  [[nodiscard]] bool idle() const { return unreceived_.empty() && closer_.idle(); }

 private:
  struct Unreceived {
    uid_t user;
    Fd socket;
    Receipt receipt;
    Charge in_flight;
  };

  void look_at_unreceived();
  [[nodiscard]] static os::Closer::Lane lane(uid_t user, Kind kind) {
    return os::Closer::Lane{user} * 2 + (kind == Kind::kForeign ? 1 : 0);
  }

  Loop& loop_;
  Loop::Watch watch_;
  Loop::Timer look_;
  std::vector<Unreceived> unreceived_;
  std::vector<std::function<void()>> calls_;
  os::Closer closer_;
};

}  // namespace tarn::daemon
