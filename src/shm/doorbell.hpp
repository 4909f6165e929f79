// Doorbell: how workers sleep until there is something to do, and how producers wake them.
//
// A producer publishes a hint, then looks whether anybody sleeps; a worker says that it is about to
// sleep, then looks for hints once more. One of the two sees the other: the store-load pair is
// ordered by light_fence on the producer's side, which is free, and heavy_fence on the sleeper's. Where
// several sessions share the cores, workers sleep after every other task, and each heavy fence would
// interrupt the other cores: there both sides pay for an ordinary fence instead (set_order).
//
// Invariants:
// (1) A worker whose bit is set in `parked` sleeps, or is about to look for work once more.
// (2) Whoever clears the bit wakes: at most one wake call for each time a worker sleeps.
// (3) A waker may die or be stopped between clearing the bit and waking. tarnd sees that and rings
//     for everybody (ring_all); a needless wake only makes a worker look.
// (4) Who reads kSleepersFence did so before tarnd's heavy fence, which then ordered its hints, or sees all
//     workers that had announced themselves while both fenced. So a worker that reads kBothFence after its
//     announcement needs no heavy fence.
//
// Any thread may ring; each worker parks itself only.
#pragma once

#include <bit>
#include <cstdint>

#include "shm/ids.hpp"
#include "shm/word.hpp"

namespace tarn::shm {

class Doorbell {
 public:
  static constexpr uint32_t kWords = kMembersMax / 64;

  // How many workers are awake: serving, and not about to sleep.
  [[nodiscard]] uint32_t awake() const {
    uint32_t count = 0;
    for (uint32_t i = 0; i < kWords; ++i)
      count += static_cast<uint32_t>(std::popcount(serving_[i].load(kRelaxed) & ~parked_[i].load(kRelaxed)));
    return count;
  }

  // Those of them that are awake, 64 a word.
  [[nodiscard]] uint64_t looking(uint32_t word) const { return serving_[word].load(kRelaxed) & ~parked_[word].load(kRelaxed); }

  // The workers that serve, 64 a word.
  [[nodiscard]] uint64_t serving(uint32_t word) const { return serving_[word].load(kRelaxed); }

  [[nodiscard]] bool anyone_parked() const {
    uint64_t any = 0;
    for (uint32_t i = 0; i < kWords; ++i) any |= parked_[i].load(kRelaxed);
    return any != 0;
  }
  [[nodiscard]] uint64_t parked(uint32_t word) const { return parked_[word].load(kRelaxed); }

  // The producer's side, once its hints are published and before it looks who sleeps.
  void order_for_producer() const {
    light_fence();
    if (order_.load(kRelaxed) != kSleepersFence) full_fence();
  }
  // Then: whether anybody sleeps who may not have seen them.
  [[nodiscard]] bool anyone_to_wake() const {
    order_for_producer();
    return anyone_parked();
  }
  // And the same of one.
  [[nodiscard]] bool is_parked(uint32_t member) const { return (parked_[member / 64].load(kRelaxed) >> member % 64 & 1) != 0; }

  // Takes one sleeping worker out of `parked`: its member index, or 0 if none sleeps. The caller then
  // wakes it. `avoid` is taken only if nobody else sleeps.
  [[nodiscard]] uint32_t pick(uint32_t avoid = 0) {
    for (int pass = 0; pass < 2; ++pass) {
      for (uint32_t i = 0; i < kWords; ++i) {
        uint64_t candidates = parked_[i].load(kRelaxed);
        if (pass == 0 && avoid / 64 == i) candidates &= ~(uint64_t{1} << avoid % 64);
        while (candidates != 0) {
          uint64_t bit = candidates & (~candidates + 1);
          if ((parked_[i].fetch_and(~bit) & bit) != 0)
            return i * 64 + static_cast<uint32_t>(std::countr_zero(bit));
          candidates &= ~bit;
        }
      }
    }
    return 0;
  }

  // The same for one worker: false if it does not sleep, or somebody else wakes it.
  [[nodiscard]] bool pick_one(uint32_t member) {
    uint64_t bit = uint64_t{1} << member % 64;
    return (parked_[member / 64].fetch_and(~bit) & bit) != 0;
  }

  // The worker's side, in this order: announce, look once more, sleep on its own futex word (or not,
  // if there was something), withdraw.
  void announce(uint32_t member) {
    parked_[member / 64].fetch_or(uint64_t{1} << member % 64);
    full_fence();
    if (order_.load(kAcquire) != kBothFence) heavy_fence();
  }
  void withdraw(uint32_t member) { parked_[member / 64].fetch_and(~(uint64_t{1} << member % 64)); }

  // By tarnd only: `member` serves from now on, or does not (it died, or was stopped by a signal).
  void set_serving(uint32_t member, bool serving) {
    uint64_t bit = uint64_t{1} << member % 64;
    if (serving) {
      serving_[member / 64].fetch_or(bit);
    } else {
      serving_[member / 64].fetch_and(~bit);
    }
  }

  // By tarnd only: whether producers fence as well, so that it costs little to fall asleep. It may die in this; the next one
  // begins again.
  void set_order(bool both) {
    order_.store(kChanging, kSeqCst);
    if (both) heavy_fence();
    order_.store(both ? kBothFence : kSleepersFence, kSeqCst);
  }

 private:
  static constexpr uint32_t kSleepersFence = 0, kChanging = 1, kBothFence = 2;

  alignas(64) Word<uint64_t> parked_[kWords];
  Word<uint32_t> order_;  // which producers read along with those
  alignas(64) Word<uint64_t> serving_[kWords];
};

}  // namespace tarn::shm
