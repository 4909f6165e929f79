// Loan: how a run that wants several cores gets the slots of other workers of its session.
//
// One run at a time collects (Collector), as two could each hold what the other waits for. Workers see that between two tasks, and
// before they sleep: each offers the slot where it serves (Loan, in its Seat) and sleeps. Once enough are there the run takes those
// it needs, ends the collection for the next one to begin, and gives them back when it is over.
//
// Invariants:
// (1) A loan bears the collection it is for, and collections are numbered: what is done late, for one that is over, fails or is undone.
// (2) Who offers looks at the collector again before it sleeps (withdraw_unless); who ends a collection withdraws what is still
//     offered, after it. One of them sees the other: no offer outlives its collection.
// (3) An offer may be withdrawn by anybody. What is taken only its borrower gives back, or recovery when that has died.
// (4) A slot in which nobody is on duty, all its workers wait in tasks, is taken without an offer. Who takes it looks again whether
//     somebody is, and who comes on duty looks whether it is taken: one of them sees the other.
// (5) A borrower that waits in its run for others says so, and another run may take its loans: what it waits for may want them.
#pragma once

#include <cstdint>

#include "shm/word.hpp"

namespace tarn::shm {

// Who collects slots: number of the collection 32 | NUMA node 16 | member 16, 0: nobody.
class Collector {
 public:
  static constexpr uint32_t member_of(uint64_t word) { return static_cast<uint16_t>(word); }
  static constexpr int32_t node_of(uint64_t word) { return static_cast<int16_t>(word >> 16); }

  [[nodiscard]] uint64_t now() const { return word_.load(kAcquire); }
  [[nodiscard]] bool is_on() const { return member_of(word_.load(kRelaxed)) != 0; }

  // By `member`, in place of what it saw: nobody, or one that is stopped or dead. `mine` is its collection then.
  [[nodiscard]] bool begin(uint64_t seen, uint32_t member, int32_t node, uint64_t& mine) {
    mine = ((seen >> 32) + 1) << 32 | uint64_t{static_cast<uint16_t>(node)} << 16 | static_cast<uint16_t>(member);
    return word_.compare_exchange(seen, mine);
  }
  // The caller then withdraws what is offered. Nothing happens if it is over.
  void end(uint64_t mine) { (void)word_.compare_exchange(mine, mine >> 32 << 32); }

 private:
  Word<uint64_t> word_;
};

// A slot that is lent: number of the collection 32 | phase 16 | member that collects 16; 0: it is not.
class Loan {
 public:
  [[nodiscard]] bool is_lent() const { return word_.load(kAcquire) != 0; }
  [[nodiscard]] bool is_offered(uint64_t collection) const { return word_.load(kAcquire) == bear(collection, kOffered); }
  // Its borrower waits.
  [[nodiscard]] bool is_idle() const { return phase_of(word_.load(kAcquire)) == kIdle; }

  // By who is on duty in the slot. False if it is lent already.
  bool offer(uint64_t collection) { return change(0, bear(collection, kOffered)); }
  // False if it is not offered any more.
  bool withdraw(uint64_t collection) { return change(bear(collection, kOffered), 0); }
  // What is offered to another one than that.
  void withdraw_unless(uint64_t collection) {
    uint64_t word = word_.load(kAcquire);
    if (phase_of(word) == kOffered && word != bear(collection, kOffered)) (void)change(word, 0);
  }

  // By the collector.
  [[nodiscard]] bool take(uint64_t collection) { return change(bear(collection, kOffered), bear(collection, kTaken)); }
  // What nobody uses, as the caller has seen: whose workers all wait, or whose borrower does.
  [[nodiscard]] bool take_idle(uint64_t collection) {
    uint64_t word = word_.load(kAcquire);
    return (word == 0 || phase_of(word) == kIdle) && change(word, bear(collection, kTaken));
  }

  // By the borrower: it waits for others; it goes on, perhaps on cores that somebody else has by now.
  void set_idle(uint64_t collection, bool is_idle) {
    (void)change(bear(collection, is_idle ? kTaken : kIdle), bear(collection, is_idle ? kIdle : kTaken));
  }
  // False if somebody else has it.
  bool give_back(uint64_t collection) { return change(bear(collection, kTaken), 0) || change(bear(collection, kIdle), 0); }

  // Recovery: whatever it is to `dead`. True if it was anything.
  bool forget(uint32_t dead) {
    uint64_t word = word_.load(kAcquire);
    return word != 0 && Collector::member_of(word) == dead && change(word, 0);
  }

 private:
  enum Phase : uint64_t { kOffered = 1, kTaken = 2, kIdle = 3 };

  static constexpr uint64_t bear(uint64_t collection, Phase phase) {
    return (collection >> 32 << 32) | uint64_t{phase} << 16 | Collector::member_of(collection);
  }
  static constexpr uint64_t phase_of(uint64_t word) { return word >> 16 & 0xffff; }
  bool change(uint64_t from, uint64_t to) { return word_.compare_exchange(from, to); }

  Word<uint64_t> word_;
};

}  // namespace tarn::shm
