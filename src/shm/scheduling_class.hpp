// SchedulingClass: tasks that ask for the same place, for the same resources, and are equally urgent.
//
// Most tasks run anywhere and ask for nothing: they are in no class, and pay nothing for this. The others wait in the queue of
// their class, whoever submitted them, so that a worker sees by one look at a class whether it may begin one of them now, and
// takes none that it could not begin.
//
// A class is made by the first who wants it, and stays as long as its session. The queue has hints, like all others (hint_ring.hpp):
// what does not fit into it, or was lost with a worker, is found by a look through the records (`unhinted`).
#pragma once

#include <cstdint>

#include "shm/hint_ring.hpp"
#include "shm/resources.hpp"
#include "shm/word.hpp"

namespace tarn::shm {

inline constexpr uint32_t kClassesMax = 127;  // of a session; docs/limits.md. A task has the number of its own, from 1
inline constexpr uint32_t kClassRingSlots = 256;

enum class Place : uint8_t { kAnywhere = 0, kSlot = 1, kNode = 2 };  // TARN_ON_SLOT, TARN_ON_NODE

struct ClassNeeds {
  uint8_t level = 0;      // of priority
  Place place = Place::kAnywhere;
  uint8_t is_strict = 0;  // there, and nowhere else
  uint8_t reserved = 0;
  int32_t number = 0;     // of the slot or node
  ResourceCounts counts{};

  bool operator==(const ClassNeeds&) const = default;
  [[nodiscard]] bool wants_resources() const { return counts != ResourceCounts{}; }
};

template <uint32_t kSlots>
struct alignas(64) ClassQueue {
  static constexpr uint32_t kFree = 0, kMaking = 1, kMade = 2;

  ClassNeeds needs;  // never changed once it is made
  Word<uint32_t> state;
  SharedHintRing<kSlots> ring;
  alignas(64) Word<uint32_t> unhinted;
  Word<uint64_t> scan_cursor;  // where a look through the records goes on: member 32 | index 32

  [[nodiscard]] bool is_made() const { return state.load(kAcquire) == kMade; }
  // Whether tasks of it may be ready.
  [[nodiscard]] bool has_hints() const { return unhinted.load(kAcquire) != 0 || !ring.empty(); }
};

template <uint32_t kCount, uint32_t kSlots>
class ClassQueues {
 public:
  using Class = ClassQueue<kSlots>;


  // The number of the class with these needs, which is made if there is none yet; 0: there are as many as there may be. Two that ask
  // for the same at the same time may each make one, and who dies in it leaves one behind that nobody uses.
  [[nodiscard]] uint32_t find_or_make(const ClassNeeds& needs) {
    for (uint32_t i = 0; i < kCount; ++i) {
      Class& each = classes_[i];
      uint32_t state = each.state.load(kAcquire);
      if (state == Class::kMade && each.needs == needs) return i + 1;
      if (state != Class::kFree || !each.state.compare_exchange(state, Class::kMaking)) continue;
      each.needs = needs;
      each.state.store(Class::kMade, kRelease);
      return i + 1;
    }
    return 0;
  }

  // REQUIRES: 1 <= number <= kCount.
  [[nodiscard]] Class& operator[](uint32_t number) { return classes_[number - 1]; }
  [[nodiscard]] const Class& operator[](uint32_t number) const { return classes_[number - 1]; }

  // Which classes may have tasks that are ready, a bit each from bit 0 for number 1. Set behind the hint.
  [[nodiscard]] bool any_pending() const { return (pending_[0].load(kRelaxed) | pending_[1].load(kRelaxed)) != 0; }
  [[nodiscard]] uint64_t pending(uint32_t word) const { return pending_[word].load(kAcquire); }
  void set_pending(uint32_t number) {
    uint32_t at = (number - 1) / 64;
    uint64_t bit = uint64_t{1} << (number - 1) % 64;
    if ((pending_[at].load(kAcquire) & bit) == 0) (void)pending_[at].fetch_or(bit);
  }
  // Nothing was found in it.
  void clear_pending(uint32_t number) {
    (void)pending_[(number - 1) / 64].fetch_and(~(uint64_t{1} << (number - 1) % 64));
    if ((*this)[number].has_hints()) set_pending(number);
  }

  // The class that gets the next of what is scarce, so that one which wants much is not starved by those that want little; 0: none.
  [[nodiscard]] Word<uint32_t>& first_in_line() { return first_in_line_; }
  [[nodiscard]] const Word<uint32_t>& first_in_line() const { return first_in_line_; }

 private:
  Word<uint64_t> pending_[2];
  Word<uint32_t> first_in_line_;
  Class classes_[kCount];
};

using SchedulingClass = ClassQueue<kClassRingSlots>;
using ClassTable = ClassQueues<kClassesMax, kClassRingSlots>;

}  // namespace tarn::shm
