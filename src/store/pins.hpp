// Pins: which processes need an object's bytes to stay in memory, and whether they are there.
//
// A reference keeps an object findable, a pin keeps its bytes in their place. tarnd may move the bytes of an object that
// nobody pins to a disk and take the pages away (the place stays the object's own); it brings them back when somebody
// pins it again. All in one word of the record: a bit for each member, and kAway.
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
//
// Every function may be cut off by SIGKILL at any instruction: a dead process's pin goes with its holder bit.
#pragma once

#include <cstdint>

#include "shm/word.hpp"
#include "store/holders.hpp"

namespace tarn::store {

inline constexpr uint64_t kAway = uint64_t{1} << 63;

struct Pins {
  Word<uint64_t> word;

  // ---- Owner, before the object is readable.

  void reset(uint64_t pinned_by = 0) { word.store(pinned_by, kRelaxed); }

  // ---- Any holder; once until it unpins.

  // True if the bytes are there. If not they have to be asked for; the pin is set either way.
  [[nodiscard]] bool pin(uint32_t member) { return (word.fetch_or(holder_bit(member)) & kAway) == 0; }
  // Also on behalf of a member that is dead.
  void unpin(uint32_t member) { (void)word.fetch_and(~holder_bit(member)); }
  [[nodiscard]] bool is_pinned_by(uint32_t member) const { return (word.load(kRelaxed) & holder_bit(member)) != 0; }

  // ---- tarnd.

  [[nodiscard]] bool is_pinned() const { return (word.load(kAcquire) & ~kAway) != 0; }
  [[nodiscard]] bool is_away() const { return (word.load(kAcquire) & kAway) != 0; }
  // The bytes are safe elsewhere. True if nobody pins them: the pages may go.
  [[nodiscard]] bool leave() {
    uint64_t nobody = 0;
    return word.compare_exchange(nobody, kAway);
  }
  // The bytes are back.
  void come_back() { (void)word.fetch_and(~kAway); }
};

}  // namespace tarn::store
