// FanIn: a tree of bit words that fires when all its leaves have arrived; wide fan-in at 64 a word.
//
// Bits, not counters: arriving twice changes nothing, so a crash is repaired by arriving again.
// Arrivals spread over n / 64 words; only the arrival that fills a word goes on to its parent.
//
// Invariants:
// (1) Bits are only ever set while the tree is in use. Bits that stand for nobody are set from the
//     start (init), so a full word is always ~0.
// (2) Whoever finds a word full after its own fetch_or climbs, whether or not it was the one who
//     filled it: the one who did may have died before climbing. So the tree fires at least once, by
//     the last arrival or by its repetition, and `arrive` may return true more than once: what
//     follows must be idempotent.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/word.hpp"

namespace tarn::shm {

class FanIn {
 public:
  // How many words a tree of `leaves` takes; leaves >= 1.
  static constexpr size_t words_needed(size_t leaves) {
    size_t words = 0;
    do {
      leaves = (leaves + 63) / 64;
      words += leaves;
    } while (leaves > 1);
    return words;
  }

  // Prepares `words` (at least words_needed(leaves)) before anybody else sees them.
  static void init(Word<uint64_t>* words, size_t leaves) {
    do {
      size_t count = (leaves + 63) / 64;
      for (size_t i = 0; i < count; ++i) words[i].store(0, kRelaxed);
      if (leaves % 64 != 0) words[count - 1].store(~uint64_t{0} << leaves % 64, kRelaxed);
      words += count;
      leaves = count;
    } while (leaves > 1);
  }

  // Leaf `index` has arrived. True if the whole tree is full now.
  [[nodiscard]] static bool arrive(Word<uint64_t>* words, size_t leaves, size_t index) {
    for (;;) {
      size_t count = (leaves + 63) / 64;
      uint64_t bit = uint64_t{1} << index % 64;
      if ((words[index / 64].fetch_or(bit) | bit) != ~uint64_t{0}) return false;
      if (count == 1) return true;
      words += count;
      leaves = count;
      index /= 64;
    }
  }
};

}  // namespace tarn::shm
