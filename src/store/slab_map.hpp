// SlabMap: the slabs and files of all members of the session, as this process knows and maps them.
//
// Own slabs come mapped for writing. Those of others are announced with a descriptor and mapped
// read-only when first needed, once. A table per member by slab number, in reserved address space.
//
// Thread safety: all functions. View is the fast path and takes no lock; whoever reads through it has
// a reference to something in that slab, so that the slab is not dropped meanwhile.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/fd.hpp"
#include "base/gate.hpp"
#include "os/memory.hpp"
#include "shm/ids.hpp"
#include "store/file_guard.hpp"

namespace tarn::store {

class SlabMap {
 public:
  static constexpr uint32_t kNumbers = 1u << 16;

  struct View {
    std::byte* data = nullptr;  // nullptr: not mapped
    uint64_t size = 0;
    FileGuard* guard = nullptr;  // of a mapped file
  };

  SlabMap() = default;
  SlabMap(const SlabMap&) = delete;
  SlabMap& operator=(const SlabMap&) = delete;
  ~SlabMap();

  // Announced by tarnd, to be mapped when needed.
  [[nodiscard]] int add(uint32_t member, uint32_t slab, Fd file, uint64_t size, bool is_file);
  // An own slab.
  [[nodiscard]] int add_own(uint32_t member, uint32_t slab, os::Mapping mapping, int node);
  // Unmaps and forgets it; nothing if it is not known.
  void drop(uint32_t member, uint32_t slab);
  void drop_all(uint32_t member);
  // All that is known now, of members other than `self`, is in doubt until it is announced again; what is not by
  // drop_doubted() is dropped.
  void doubt_all_but(uint32_t self);
  void drop_doubted();

  [[nodiscard]] bool knows(uint32_t member, uint32_t slab) const;
  [[nodiscard]] View view(uint32_t member, uint32_t slab) const {
    const Slot* slot = find(member, slab);
    if (slot == nullptr || slot->state.load(std::memory_order_acquire) != State::kMapped) return {};
    return {slot->mapping.data(), slot->size, slot->guard};
  }
  // Maps what is known already. `object` is the record id of the object that a file is.
  [[nodiscard]] int map(uint32_t member, uint32_t slab, uint32_t object, View& out);

  [[nodiscard]] int node(uint32_t member, uint32_t slab) const;

  // Calls found(slab) for each known slab of `member`.
  template <class Found>
  void for_each(uint32_t member, Found&& found) const {
    if (member >= shm::kMembersMax) return;
    uint32_t end = ends_[member].load(std::memory_order_acquire);
    for (uint32_t slab = 0; slab < end; ++slab)
      if (knows(member, slab)) found(slab);
  }

  // Set when any mapped file of this process shrank.
  [[nodiscard]] std::atomic<bool>& any_shrank() { return any_shrank_; }

 private:
  enum class State : uint32_t { kUnknown = 0, kKnown = 1, kMapped = 2 };

  // All zero at first: memory of os::Mapping::reserve.
  struct Slot {
    std::atomic<State> state;
    int file_plus_one;  // kKnown
    uint64_t size;
    os::Mapping mapping;
    FileGuard* guard;
    int node;
    bool is_file;
    bool is_doubted;
  };

  [[nodiscard]] Slot* find(uint32_t member, uint32_t slab) const {
    if (member >= shm::kMembersMax || slab >= kNumbers) return nullptr;
    Slot* table = tables_[member].load(std::memory_order_acquire);
    return table == nullptr ? nullptr : &table[slab];
  }
  [[nodiscard]] int make_slot(uint32_t member, uint32_t slab, Slot*& out);
  void clear(Slot& slot);
  template <class Found>
  void for_each_known(Found found);

  std::atomic<Slot*> tables_[shm::kMembersMax] = {};
  std::atomic<uint32_t> ends_[shm::kMembersMax] = {};  // slabs below may be known
  std::atomic<bool> any_shrank_{false};

  Gate gate_;  // the innermost one
  // Guarded by gate_, as are the slots except their state.
  os::Mapping table_maps_[shm::kMembersMax];
};

}  // namespace tarn::store
