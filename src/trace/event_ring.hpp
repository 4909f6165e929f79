// EventRing: the last events of one member, one after the other. One writer, which waits for nobody; any number of readers, which
// the writer does not know of.
//
// Invariants:
// (1) Positions only grow; the event at position p lies in slot p % capacity. `end` is the position that is written next.
// (2) All words of an event are stored after `end` has reached its position, and before `end` passes it.
// (3) So a reader that has copied an event and then finds `end` less than a capacity behind its position has copied it whole:
//     what would overwrite it had not begun.
//
// Who is killed in between leaves an event that nobody reads. docs/formats/trace.md
#pragma once

#include <cstdint>

#include "shm/word.hpp"

namespace tarn::trace {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;
using shm::Word;

inline constexpr uint32_t kEventWords = 4;

struct Slot {
  Word<uint64_t> words[kEventWords];
};

struct RawEvent {
  uint64_t words[kEventWords];
};

// REQUIRES: `capacity` is a power of two, and there are as many slots.
inline void append(Word<uint64_t>& end, Slot* slots, uint32_t capacity, const RawEvent& event) {
  uint64_t at = end.load(kRelaxed);
  Slot& slot = slots[at & (capacity - 1)];
  // Each a release: who reads it finds `end` at this position (2).
  for (uint32_t i = 0; i < kEventWords; ++i) slot.words[i].store(event.words[i], kRelease);
  end.store(at + 1, kRelease);
}

struct Copied {
  uint32_t first;  // of those in the buffer that are whole
  uint32_t count;
  uint64_t lost;   // since the last time: overwritten before they were read
};

// Copies what is there from `position` on, at most `most` events, and moves it behind that. The writer is not trusted: whatever
// it does, no more than the ring is read.
inline Copied copy_events(const Word<uint64_t>& end, const Slot* slots, uint32_t capacity, uint64_t& position, RawEvent* to,
                          uint32_t most) {
  uint64_t until = end.load(kAcquire);
  if (until < position) position = 0;  // the memory was taken back, and given again
  uint64_t from = position;
  uint64_t lost = 0;
  if (until - from > capacity) {
    lost = until - from - capacity;
    from = until - capacity;
  }
  if (until - from > most) until = from + most;
  for (uint64_t at = from; at != until; ++at)
    for (uint32_t i = 0; i < kEventWords; ++i) to[at - from].words[i] = slots[at & (capacity - 1)].words[i].load(kAcquire);
  uint64_t passed = end.load(kAcquire) - from;
  uint64_t torn = passed < capacity ? 0 : passed - capacity + 1;
  if (torn > until - from) torn = until - from;
  position = until;
  return {static_cast<uint32_t>(torn), static_cast<uint32_t>(until - from - torn), lost + torn};
}

}  // namespace tarn::trace
