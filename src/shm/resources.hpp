// Resources: how much there is of what tasks ask for by name and count, and which worker has what of it.
//
// Each worker writes what it has into words of its own, so a death takes back exactly that: recovery clears them. Who wants
// something adds up those of all and writes its own in one go, which only who has the gate may do. Who holds the gate and dies is
// pushed aside. Nobody waits at it: who finds it taken does something else, and is woken when it is free again.
//
// tarnd says how much the session may have (`lent`), and may lower that at any time: what was taken before stays taken.
//
// Invariants:
// (1) What a member has is written by itself only, and by recovery once it is dead.
// (2) It grows only while its member has the gate, and while the sum of all is within what is lent.
#pragma once

#include <array>
#include <cstdint>

#include "shm/ids.hpp"
#include "shm/word.hpp"

namespace tarn::shm {

inline constexpr uint32_t kResourcesMax = 16;     // kinds of them on a host; docs/limits.md
inline constexpr size_t kResourceNameMax = 31;    // bytes; docs/limits.md
using ResourceCounts = std::array<uint32_t, kResourcesMax>;

template <uint32_t kMembers>
class ResourceTable {
 public:
  struct Kind {
    char name[kResourceNameMax + 1];  // "": there is none; written by tarnd before anybody maps this
    Word<uint32_t> total;             // of the host
    Word<uint32_t> lent;              // to this session
  };

  enum class Taken { kYes, kLacking, kBusy };

  // Takes `asked` for `self`, or nothing of it. kBusy: somebody else is at it. Otherwise, after a full fence, the caller looks who could
  // not come to it meanwhile. `is_member(i)` says whether member i is not known to be dead.
  template <class IsMember>
  [[nodiscard]] Taken take(uint32_t self, const ResourceCounts& asked, IsMember is_member) {
    uint32_t holder = 0;
    if (!gate_.compare_exchange(holder, self) && (is_member(holder) || !gate_.compare_exchange(holder, self))) return Taken::kBusy;
    bool fits = are_free(asked);
    if (fits)
      for (uint32_t i = 0; i < kResourcesMax; ++i)
        if (asked[i] != 0) held_[i][self].store(held_[i][self].load(kRelaxed) + asked[i], kRelease);
    gate_.store(0, kRelease);
    return fits ? Taken::kYes : Taken::kLacking;
  }

  // What `self` has taken. Afterwards it looks who may go on: with a full fence in between.
  void give_back(uint32_t self, const ResourceCounts& taken) {
    for (uint32_t i = 0; i < kResourcesMax; ++i)
      if (taken[i] != 0) held_[i][self].store(held_[i][self].load(kRelaxed) - taken[i], kRelease);
  }

  // Recovery: what a dead member had.
  void forget(uint32_t dead) {
    for (auto& members : held_)
      if (members[dead].load(kRelaxed) != 0) members[dead].store(0, kRelease);
    uint32_t holder = dead;
    (void)gate_.compare_exchange(holder, 0);
  }

  // Whether `take` would take it now.
  [[nodiscard]] bool may_take(const ResourceCounts& asked) const { return is_gate_open() && are_free(asked); }

  // Whether so much is free.
  [[nodiscard]] bool are_free(const ResourceCounts& asked) const {
    for (uint32_t i = 0; i < kResourcesMax; ++i)
      if (asked[i] != 0 && used(i) + asked[i] > kinds_[i].lent.load(kAcquire)) return false;
    return true;
  }

  // Of which kinds tarnd may have more, and has not been asked yet: a bit each.
  [[nodiscard]] uint32_t to_be_wished_for(const ResourceCounts& asked) const {
    uint32_t kinds = 0;
    for (uint32_t i = 0; i < kResourcesMax; ++i)
      if (asked[i] != 0 && kinds_[i].lent.load(kAcquire) < kinds_[i].total.load(kAcquire)) kinds |= 1u << i;
    return kinds & ~wished_for_.load(kAcquire);
  }
  // True if nobody else has done so: the caller then says RESOURCE_WISH.
  [[nodiscard]] bool begin_wish(uint32_t kinds) { return kinds != 0 && (wished_for_.fetch_or(kinds) & kinds) != kinds; }
  // A wish with these kinds was met, or nobody knows of it any more: whoever still lacks something says so again.
  void end_wish(uint32_t kinds) { (void)wished_for_.fetch_and(~kinds); }

  // How much of it members have.
  [[nodiscard]] uint64_t used(uint32_t kind) const {
    uint64_t sum = 0;
    for (const auto& count : held_[kind]) sum += count.load(kAcquire);
    return sum;
  }

  // Whether nobody is about to take something, by what `lent` may have been before.
  [[nodiscard]] bool is_gate_open() const { return gate_.load(kAcquire) == 0; }

  [[nodiscard]] Kind& kind(uint32_t index) { return kinds_[index]; }
  [[nodiscard]] const Kind& kind(uint32_t index) const { return kinds_[index]; }

 private:
  Word<uint32_t> gate_;  // the member that has it; 0: nobody
  Word<uint32_t> wished_for_;  // kinds, a bit each
  Kind kinds_[kResourcesMax];
  alignas(64) Word<uint32_t> held_[kResourcesMax][kMembers];
};

using Resources = ResourceTable<kMembersMax>;

}  // namespace tarn::shm
