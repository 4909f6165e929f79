// Waiters: how the threads of one member sleep until enough of its tasks are done.
//
// A thread marks the records that it waits for with kNotify. Whoever finishes a marked record counts
// it in `events`, and wakes those sleeping threads whose target the count has reached. The count and
// the targets are hints: a thread that wakes looks at its records again, so counting twice, waking
// too early or waking for somebody else's event costs a look and nothing more. What must not happen
// is a marked record that is finished and not counted; recovery counts again for a worker that died
// in between.
//
// Invariants:
// (1) A marked record is counted after it is finished, at least once.
// (2) A thread reads `events` before it looks at its records, and sets its bit in `parked` after its
//     target; then it looks at `events` once more. A finisher counts first and looks at `parked`
//     after. Both orders are held by read-modify-writes.
// (3) Whoever clears the bit wakes: one wake call for each time a thread sleeps.
//
// Index kPollWaiter stands for the client's pollable descriptor instead of a thread.
#pragma once

#include <bit>
#include <cstdint>

#include "shm/word.hpp"

namespace tarn::shm {

class Waiters {
 public:
  static constexpr uint32_t kCount = 64;  // threads of one process that wait at the same time, and the poll waiter
  static constexpr uint32_t kPollWaiter = kCount - 1;

  struct alignas(64) Waiter {
    Word<uint32_t> target;
    Word<uint32_t> futex;
  };

  // The waiting side. `now` is `events()` read before looking at the records, `missing` how many more
  // are needed. Returns false if enough happened meanwhile: look again instead of sleeping.
  // `ticket` is what to sleep on: futex_wait(futex_address(index), ticket).
  [[nodiscard]] bool prepare(uint32_t index, uint32_t now, uint32_t missing, uint32_t& ticket) {
    Waiter& waiter = waiters_[index];
    ticket = waiter.futex.load(kAcquire);
    waiter.target.store(now + missing, kRelease);
    parked_.fetch_or(uint64_t{1} << index);
    if (!reached(events_.load(kSeqCst), now + missing)) return true;
    withdraw(index);
    return false;
  }
  void withdraw(uint32_t index) { parked_.fetch_and(~(uint64_t{1} << index)); }

  [[nodiscard]] uint32_t events() const { return events_.load(kAcquire); }
  [[nodiscard]] uint32_t* futex_address(uint32_t index) { return waiters_[index].futex.futex_address(); }
  [[nodiscard]] const Word<uint32_t>& futex(uint32_t index) const { return waiters_[index].futex; }

  // The finishing side: counts one event and returns the set of waiters to wake, each of which the
  // caller must pass to `release` and then wake.
  [[nodiscard]] uint64_t count_event() {
    uint32_t now = events_.fetch_add(1) + 1;
    uint64_t wake = 0;
    for (uint64_t left = parked_.load(kSeqCst); left != 0; left &= left - 1) {
      auto index = static_cast<uint32_t>(std::countr_zero(left));
      uint64_t bit = uint64_t{1} << index;
      if (reached(now, waiters_[index].target.load(kAcquire)) && (parked_.fetch_and(~bit) & bit) != 0)
        wake |= bit;
    }
    return wake;
  }

  // Everybody who sleeps, whatever the target: for recovery and for tarnd.
  [[nodiscard]] uint64_t count_all() {
    events_.fetch_add(1);
    return parked_.exchange(0);
  }

  // Lets the futex wait of `index` end; a wake call must follow.
  void release(uint32_t index) { waiters_[index].futex.fetch_add(1); }

 private:
  static bool reached(uint32_t now, uint32_t target) { return static_cast<int32_t>(now - target) >= 0; }

  alignas(64) Word<uint32_t> events_;
  Word<uint64_t> parked_;
  Waiter waiters_[kCount];
};

}  // namespace tarn::shm
