// Holders: who holds an object, as one bit for each member, in one word.
//
// A process counts its own references in private memory; it sets its bit with the first and clears it
// with the last. So a crash clears one bit, exactly once however often it is repeated, and there is
// no count that a dead process could have left wrong.
//
// Invariants:
// (1) A reference is taken only from somebody who holds one: while it is being taken, the word is not
//     empty, unless the giver dies meanwhile.
// (2) The word becomes kDead by a compare-and-swap from empty, once; whoever succeeds frees. A take
//     that finds kDead has lost: the object is gone.
// (3) A late take may set a bit beside kDead or in a record that was reused. The generation in the
//     record's state word tells (store/object_table.hpp), and the taker clears its bit again: a stale
//     bit for a moment, never a live object freed.
#pragma once

#include <cstdint>

#include "shm/word.hpp"

namespace tarn::store {

class Holders {
 public:
  static constexpr uint64_t kDead = uint64_t{1} << 63;
  static constexpr uint64_t kDaemon = uint64_t{1} << 62;  // tarnd, for names and detached objects
  static constexpr uint32_t kMembersMax = 62;             // members that can hold; docs/limits.md

  static constexpr uint64_t bit(uint32_t member) { return uint64_t{1} << member; }

  // Before the record is visible to anybody.
  void init(uint64_t bits) { word_.store(bits, shm::kRelease); }

  // Takes a reference for `bits`. False if the object is dead; the caller then gives the bits back.
  [[nodiscard]] bool take(uint64_t bits) { return (word_.fetch_or(bits) & kDead) == 0; }

  // Gives `bits` back. True if the caller was the last and must free the object: exactly one caller is.
  [[nodiscard]] bool drop(uint64_t bits) {
    uint64_t left = word_.fetch_and(~bits) & ~bits;
    if (left != 0) return false;
    uint64_t empty = 0;
    return word_.compare_exchange(empty, kDead);
  }

  [[nodiscard]] uint64_t bits() const { return word_.load(shm::kAcquire); }

 private:
  shm::Word<uint64_t> word_;
};

}  // namespace tarn::store
