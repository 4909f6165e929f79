// Seat: a slot of a session, and the workers that have it in turn.
//
// The worker of rank 0 has the slot. While it sleeps in a task, for what runs elsewhere, the one of rank 1 serves instead of it,
// its stand-in; while that sleeps in a task as well, rank 2; and so on. Who is not on duty sleeps, and is not counted among
// those that look for work.
//
// Invariants:
// (1) A worker writes the bit and the place of its own rank only.
// (2) A worker goes off duty by itself, between tasks: it says that it is busy, then looks for hints once more and wakes
//     another one for those. So whoever published them because it seemed idle is served.
// (3) A stand-in that sleeps on duty has said before that it is busy. So it may be sent off by who takes the slot back, who
//     clears its bit in Doorbell::parked: then it sleeps on, and nobody counts on it. If that bit was gone it had been woken, and
//     (2) holds.
// (4) A bit that a dead worker left keeps its stand-in on duty; the next worker of that rank clears it.
// (5) While the slot is lent to a run elsewhere (shm/loan.hpp) nobody is on duty; whoever would be sleeps until it is given back.
#pragma once

#include <bit>
#include <cstdint>

#include "shm/ids.hpp"
#include "shm/loan.hpp"
#include "shm/word.hpp"

namespace tarn::shm {

class alignas(64) Seat {
 public:
  static constexpr uint32_t kRanks = 4;  // processes for one slot; docs/limits.md

  [[nodiscard]] bool is_on_duty(uint32_t rank) const {
    uint32_t below = (1u << rank) - 1;
    return (waiting_.load(kAcquire) & below) == below && !loan_.is_lent();
  }
  // The member that is on duty, or would be if the slot were not lent; 0: all wait, or it has not started.
  [[nodiscard]] uint32_t member_on_duty() const {
    auto rank = static_cast<uint32_t>(std::countr_one(waiting_.load(kAcquire)));
    uint32_t member = rank < kRanks ? members_[rank].load(kAcquire) : 0;
    return member < kMembersMax ? member : 0;
  }
  // Whether all that have been started here wait in tasks.
  [[nodiscard]] bool all_wait() const {
    uint32_t waiting = waiting_.load(kAcquire);
    return waiting != 0 && (std::countr_one(waiting) >= static_cast<int>(kRanks) || members_[std::countr_one(waiting)].load(kAcquire) == 0);
  }

  // Each of these returns the member whose duty begins, or ends, thereby; 0: nobody's. The caller wakes it, or sends it off.
  // The worker of `rank` is `member` from now on, and does not wait: ends.
  [[nodiscard]] uint32_t occupy(uint32_t rank, uint32_t member) {
    members_[rank].store(member, kRelease);
    return take_back(rank);
  }
  // It is about to sleep in a task: begins.
  [[nodiscard]] uint32_t lend(uint32_t rank) {
    uint32_t bit = 1u << rank;
    return member_after(waiting_.fetch_or(bit) | bit, rank);
  }
  // It has woken up: ends.
  [[nodiscard]] uint32_t take_back(uint32_t rank) { return member_after(waiting_.fetch_and(~(1u << rank)), rank); }

  // The rank that would be on duty instead of `rank`, which waits, and that no worker has ever had; 0: there is one.
  [[nodiscard]] uint32_t vacancy(uint32_t rank) const {
    uint32_t next = next_rank(waiting_.load(kAcquire) | 1u << rank, rank);
    return next != 0 && members_[next].load(kAcquire) == 0 ? next : 0;
  }

  [[nodiscard]] Loan& loan() { return loan_; }
  [[nodiscard]] const Loan& loan() const { return loan_; }

  // For the tools.
  [[nodiscard]] uint32_t waiting() const { return waiting_.load(kRelaxed); }

 private:
  // The first rank that does not wait, if that is behind `rank`; 0: none.
  static uint32_t next_rank(uint32_t waiting, uint32_t rank) {
    auto next = static_cast<uint32_t>(std::countr_one(waiting));
    return next > rank && next < kRanks ? next : 0;
  }
  // Nobody rather than an index that somebody has scribbled.
  [[nodiscard]] uint32_t member_after(uint32_t waiting, uint32_t rank) const {
    uint32_t next = next_rank(waiting, rank);
    uint32_t member = next == 0 ? 0 : members_[next].load(kAcquire);
    return member < kMembersMax ? member : 0;
  }

  Loan loan_;
  Word<uint32_t> waiting_;  // a bit for each rank
  Word<uint32_t> members_[kRanks];
};

}  // namespace tarn::shm
