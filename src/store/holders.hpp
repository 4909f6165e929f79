// Holders: who keeps an object alive, as operations on the first two words of its record.
//
// A holder is a member of the session, and a bit. Each process counts its own references privately,
// takes the bit with the first and drops it with the last. Whoever takes the last bit away puts kDead
// and its own number in its place, by the same compare-and-swap, and thereby is the one who frees. A
// crash takes one bit away in all records: exact, repeatable, no ledger.
//
//   phase      meaning                                           left by
//   kFree      not in use; the set is dead(...)                  owner: kCreating, or kSealed at once
//   kCreating  being written; nobody else knows it               owner: kSealed, kOffered, or dead;
//                                                                recovery, if the owner died: kFree
//   kOffered   a sealed result that its holder has not found yet its holder: kSealed (adopt);
//                                                                recovery, if no task has it: kFree
//   kSealed    readable by all                                   last holder: dead; then owner: kFree
//
// Invariants:
// (1) The set is empty only in a record that was never used.
// (2) Exactly one call of drop or take says that the caller frees, for each object.
// (3) A set that is dead does not change until the owner uses the record again. So it says who freed,
//     and if that member dies before it has told the owner, the owner finds what is its own.
// (4) A bit is only taken by somebody who got the reference from a holder. A take that comes too late
//     finds the set dead, or another generation, and is refused; it never revives an object. A bit that
//     it set in a record that was used again is dropped at once, or after a crash with all others of
//     that member; it may delay the end of that object, but never brings it about.
//
// Every function may be cut off by SIGKILL at any instruction. tests/model runs them through every
// interleaving and crash.
#pragma once

#include <cstdint>

#include "shm/ids.hpp"
#include "shm/word.hpp"

namespace tarn::store {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;
using shm::Word;

enum class Phase : uint8_t { kFree = 0, kCreating = 1, kOffered = 2, kSealed = 3 };

// The state word: generation 32 | flags 16 | 0 8 | phase 8.
struct ObjectState {
  static constexpr uint16_t kFileChanged = 1;  // a mapped file shrank under a reader

  uint32_t generation;
  Phase phase;
  uint16_t flags;

  [[nodiscard]] constexpr uint64_t pack() const {
    return uint64_t{generation} << 32 | uint64_t{flags} << 16 | static_cast<uint8_t>(phase);
  }
  [[nodiscard]] static constexpr ObjectState unpack(uint64_t word) {
    return {static_cast<uint32_t>(word >> 32), static_cast<Phase>(static_cast<uint8_t>(word)),
            static_cast<uint16_t>(word >> 16)};
  }
  [[nodiscard]] bool readable() const { return phase >= Phase::kOffered; }
};

inline constexpr uint64_t kDead = uint64_t{1} << 63;
inline constexpr uint64_t kDaemonHolder = uint64_t{1} << 62;
inline constexpr uint32_t kHoldersMax = 62;  // members below this index can hold; docs/limits.md

// The bit of a member; 0 if it cannot hold.
constexpr uint64_t holder_bit(uint32_t member) {
  if (member == shm::kDaemonMember) return kDaemonHolder;
  return member < kHoldersMax ? uint64_t{1} << member : 0;
}

// The set of an object that `member` freed; for tarnd daemon_of(its epoch): another tarnd's are told from its own.
constexpr uint64_t dead_by(uint32_t member) { return kDead | member; }
constexpr uint32_t daemon_of(uint32_t host_epoch) { return host_epoch << 8 | shm::kDaemonMember; }
// Whether `bits` say that a tarnd freed it that is not the one of `host_epoch`.
constexpr bool is_dead_by_former_daemon(uint64_t bits, uint32_t host_epoch) {
  return (bits & kDead) != 0 && (bits & 0xff) == shm::kDaemonMember && bits != dead_by(daemon_of(host_epoch));
}

struct Holders {
  Word<uint64_t> state;  // ObjectState
  Word<uint64_t> bits;

  [[nodiscard]] ObjectState state_now() const { return ObjectState::unpack(state.load(kAcquire)); }

  // ---- Owner of the record only.

  // A free record becomes an object with these holders, to be written and sealed.
  void open(uint32_t generation, uint64_t holders) {
    bits.store(holders, kRelease);
    state.store(ObjectState{generation, Phase::kCreating, 0}.pack(), kRelease);
  }

  // For an object that is made in one go: its holders; then the caller writes the record, then seals.
  void reserve(uint64_t holders) { bits.store(holders, kRelease); }

  // The object, complete, is readable from now on.
  void seal(uint32_t generation, Phase phase = Phase::kSealed) {
    state.store(ObjectState{generation, phase, 0}.pack(), kRelease);
  }

  // A dead object's record is free for the next one.
  void recycle(uint32_t generation) {
    state.store(ObjectState{generation, Phase::kFree, 0}.pack(), kRelease);
  }

  // ---- Anybody.

  enum class Taken {
    kHeld,         // the bit is set
    kGone,         // the object does not exist any more
    kGoneAndFreed  // nor does the one that took its place: the caller had held it up, and frees it
  };

  // The first reference of process `self`, got from somebody who held one when it was handed over.
  // The caller has no reference to any object of this record, or one of this generation.
  [[nodiscard]] Taken take(uint32_t generation, uint32_t self) { return take(generation, self, self); }
  // `freed_by` is how `self` signs what it frees.
  [[nodiscard]] Taken take(uint32_t generation, uint32_t self, uint32_t freed_by) {
    uint64_t bit = holder_bit(self);
    uint64_t found = bits.load(kAcquire);
    do {
      if ((found & kDead) != 0) return Taken::kGone;
    } while (!bits.compare_exchange(found, found | bit));
    ObjectState now = state_now();
    if (now.generation == generation && now.readable()) return Taken::kHeld;
    // The record is another object's by now.
    if ((found & bit) == 0 && drop(self, freed_by)) return Taken::kGoneAndFreed;
    return Taken::kGone;
  }

  // `holder` does not hold the object any more: because its last reference is gone (self == holder),
  // because it is dead, or because what was made for it is discarded by the owner. True if nobody is
  // left: the caller, process `self`, frees.
  [[nodiscard]] bool drop(uint32_t holder, uint32_t self) {
    uint64_t bit = holder_bit(holder);
    uint64_t found = bits.load(kAcquire);
    uint64_t rest;
    do {
      if ((found & kDead) != 0 || (found & bit) == 0) return false;
      rest = found & ~bit;
    } while (!bits.compare_exchange(found, rest != 0 ? rest : dead_by(self)));
    return rest == 0;
  }

  // The holder to whom a result was offered has found it.
  [[nodiscard]] bool adopt(uint32_t generation) {
    uint64_t offered = ObjectState{generation, Phase::kOffered, 0}.pack();
    uint64_t sealed = ObjectState{generation, Phase::kSealed, 0}.pack();
    return state.compare_exchange(offered, sealed) || offered == sealed;
  }

  // The owner is dead, and nobody will ever find the object that `seen` shows, which is in kCreating
  // or kOffered. False if it was found after all.
  [[nodiscard]] bool abandon(ObjectState seen) {
    uint64_t expected = seen.pack();
    return state.compare_exchange(expected, ObjectState{seen.generation, Phase::kFree, seen.flags}.pack());
  }
};

// Returned objects: their memory goes back to their owner, who did not free them. A chain through the
// records: anybody pushes, the owner takes all. If a member dies between the free and the push, the
// owner finds dead_by(that member) when it looks through its records.
//
// `link(index)` is the Word<uint32_t> of that record; entries are index + 1, 0 ends the chain.
template <class Link>
void push_returned(Word<uint32_t>& head, Link&& link, uint32_t index) {
  uint32_t first = head.load(kRelaxed);
  do {
    link(index).store(first, kRelaxed);
  } while (!head.compare_exchange(first, index + 1));
}

// Owner: empties the chain and calls `found(index)` for each entry. `limit` is the number of records: a
// chain that is longer, or names others, has been tampered with.
template <class Link, class Found>
void take_returned(Word<uint32_t>& head, Link&& link, uint32_t limit, Found&& found) {
  uint32_t left = limit;
  for (uint32_t at = head.exchange(0); at != 0 && at <= limit && left > 0; --left) {
    uint32_t next = link(at - 1).load(kRelaxed);
    found(at - 1);
    at = next;
  }
}

}  // namespace tarn::store
