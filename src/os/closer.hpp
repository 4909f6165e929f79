// Closer: closes descriptors on threads of its own, because a close can take as long as somebody else likes: the last one of a
// socket with SO_LINGER, one of a file whose file system does not answer; and that of much memory takes 0.2 s a GiB.
//
// Descriptors stand in lanes. A lane is closed in order, and by one thread at a time: who makes a close hang holds up his own
// lane and one thread of kThreadsMax. A wait that a signal ends (SO_LINGER) is ended after kPatienceNs; the kernel then
// goes on in the background. What is to be given back when a descriptor is closed goes with it as a receipt.
//
// One thread owns it and calls it; receipts are dropped on that thread, in collect() or the destructor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "base/fd.hpp"

namespace tarn::os {

class Closer {
 public:
  using Lane = uint64_t;
  using Receipt = std::shared_ptr<void>;

  static constexpr size_t kThreadsMax = 64;            // docs/limits.md
  static constexpr int64_t kPatienceNs = 2'000'000;

  Closer() = default;
  Closer(const Closer&) = delete;
  Closer& operator=(const Closer&) = delete;
  // Waits for what can be closed within a second, and leaves the rest to the end of the process, which waits for
  // nobody's SO_LINGER.
  ~Closer();

  [[nodiscard]] int start();

  // An Fd that owns nothing is nothing to close.
  void close(Lane lane, Fd fd, Receipt receipt = nullptr);

  // Readable when collect() has something to do.
  [[nodiscard]] const Fd& event() const;
  void collect();

  // What was handed over and not collected yet: in all, and without a receipt.
  [[nodiscard]] size_t waiting(Lane lane) const;
  [[nodiscard]] size_t unpaid(Lane lane) const;
  [[nodiscard]] bool idle() const { return counts_.empty(); }

 private:
  struct State;
  struct Count {
    size_t waiting = 0;
    size_t unpaid = 0;
  };
  std::shared_ptr<State> state_;
  std::map<Lane, Count> counts_;
};

}  // namespace tarn::os
