// Pins: which processes need an object's bytes to stay in memory, and whether they are there.
//
// A reference keeps an object findable, a pin keeps its bytes in their place. tarnd may move the bytes of an object that
// nobody pins to a disk and take the pages away (the place stays the object's own); it brings them back when somebody
// pins it again. The result of a task that can be run again is not written: its bytes are dropped, and made once more. All
// in one word of the record: a bit for each member, kAway and kRepeatable.
//
// An object is immutable, so it can be copied while others pin and unpin it; only the last step must know that nobody
// does. Whoever pins an object that is away has set its bit already when it asks tarnd to bring it back, so the bytes
// cannot leave again before it has read them.
//
// Invariants:
// (1) Who has set its bit and found kAway clear, or has been told by tarnd since, reads bytes that stay until it unpins.
// (2) Only tarnd sets and clears kAway: sets it in one step from "nobody pins", before it takes the pages; clears it after
//     it has put them back.
// (3) tarnd holds the object (kDaemonHolder) from before it copies until after it has set kAway or given up, and while it
//     brings it back: so the word is always that of the object it means.
// (4) kRepeatable is set before the object is readable, and taken away once, by the member for which it was made: in one
//     step from "it is there, and nobody else pins it". So what is away with it was dropped, what is away without it has a
//     copy, and whoever makes an object again has pinned it, and finds what it was made from until it unpins it.
//
// Every function may be cut off by SIGKILL at any instruction: a dead process's pin goes with its holder bit.
#pragma once

#include <cstdint>

#include "shm/word.hpp"
#include "store/holders.hpp"

namespace tarn::store {

inline constexpr uint64_t kAway = uint64_t{1} << 63;
inline constexpr uint64_t kRepeatable = uint64_t{1} << 62;  // not a member: tarnd pins nothing

struct Pins {
  Word<uint64_t> word;

  // ---- Owner, before the object is readable.

  // `bits`: of who pins it from the start, or kRepeatable.
  void reset(uint64_t bits = 0) { word.store(bits, kRelaxed); }

  // ---- Any holder; once until it unpins.

  // True if the bytes are there. If not they have to be asked for; the pin is set either way.
  [[nodiscard]] bool pin(uint32_t member) { return (word.fetch_or(holder_bit(member)) & kAway) == 0; }
  // Also on behalf of a member that is dead.
  void unpin(uint32_t member) { (void)word.fetch_and(~holder_bit(member)); }
  [[nodiscard]] bool is_pinned_by(uint32_t member) const { return (word.load(kRelaxed) & holder_bit(member)) != 0; }

  [[nodiscard]] bool is_repeatable() const { return (word.load(kAcquire) & kRepeatable) != 0; }

  // ---- The member for which it was made, `self`: what it was made from is about to go. False: it is needed, or may be.
  [[nodiscard]] bool end_repeats(uint32_t self) {
    uint64_t found = word.load(kAcquire);
    do {
      if ((found & kRepeatable) == 0) return true;
      if ((found & ~(kRepeatable | holder_bit(self))) != 0) return false;
    } while (!word.compare_exchange(found, found & ~kRepeatable));
    return true;
  }

  // ---- tarnd.

  [[nodiscard]] bool is_pinned() const { return (word.load(kAcquire) & ~(kAway | kRepeatable)) != 0; }
  [[nodiscard]] bool is_away() const { return (word.load(kAcquire) & kAway) != 0; }
  // The bytes are safe elsewhere, or can be made again. True if nobody pins them: the pages may go.
  [[nodiscard]] bool leave(bool can_be_made_again = false) {
    uint64_t nobody = can_be_made_again ? kRepeatable : 0;
    return word.compare_exchange(nobody, nobody | kAway);
  }
  // The bytes are back.
  void come_back() { (void)word.fetch_and(~kAway); }
};

}  // namespace tarn::store
