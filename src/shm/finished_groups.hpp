// FinishedGroups: where among the records of a member some have finished that it asked to be told of.
//
// A bit for each group of 64 records, and above them a bit for each 64 groups. Whoever finishes a record that is marked
// with kNotify sets both; the member takes what is set and looks at the records there. So what it pays is by what has
// finished, not by what it waits for. The bits are hints, as those of Waiters: one that is set twice, or for a record that
// nobody asks about any more, costs a look.
//
// Invariants:
// (1) A record is finished before its group's bit is looked at, and that before the bit above: the one who looks clears in
//     the other order, and at the records last. So either he finds the record, or a bit is still set.
// (2) A bit that is set already is not written again. Nobody concludes from it that the one above is set, too: whoever set it
//     may be about to, or have died.
#pragma once

#include <bit>
#include <cstdint>

#include "shm/word.hpp"

namespace tarn::shm {

template <uint32_t kRecords>
class FinishedGroups {
 public:
  static constexpr uint32_t kGroupSize = 64;

  // By whoever has finished record `index`, before the event is counted.
  void mark(uint32_t index) {
    uint32_t group = index / kGroupSize;
    set(groups_[group / 64], uint64_t{1} << group % 64);
    set(above_[group / 4096], uint64_t{1} << group / 64 % 64);
  }

  // By the member: calls look(index) with the first record of each group that was marked, which then is not any more.
  template <class Look>
  void take(Look look) {
    for (uint32_t i = 0; i < kAbove; ++i) {
      if (above_[i].load(kAcquire) == 0) continue;
      for (uint64_t above = above_[i].exchange(0); above != 0; above &= above - 1) {
        uint32_t word = i * 64 + static_cast<uint32_t>(std::countr_zero(above));
        for (uint64_t groups = groups_[word].exchange(0); groups != 0; groups &= groups - 1)
          look((word * 64 + static_cast<uint32_t>(std::countr_zero(groups))) * kGroupSize);
      }
    }
  }

 private:
  static constexpr uint32_t kWords = (kRecords + kGroupSize * 64 - 1) / (kGroupSize * 64);
  static constexpr uint32_t kAbove = (kWords + 63) / 64;

  static void set(Word<uint64_t>& word, uint64_t bit) {
    if ((word.load(kSeqCst) & bit) == 0) (void)word.fetch_or(bit);
  }

  alignas(64) Word<uint64_t> above_[kAbove];
  alignas(64) Word<uint64_t> groups_[kWords];
};

}  // namespace tarn::shm
