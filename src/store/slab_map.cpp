#include "store/slab_map.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "tarn/tarn.h"

namespace tarn::store {

SlabMap::~SlabMap() {
  for (uint32_t member = 0; member < shm::kMembersMax; ++member) drop_all(member);
}

int SlabMap::make_slot(uint32_t member, uint32_t slab, Slot*& out) {
  if (member >= shm::kMembersMax || slab >= kNumbers)
    return fail(TARN_E_PROTOCOL, "tarnd announced slab %u of member %u; neither number can be", slab, member);
  if (!table_maps_[member].valid()) {
    if (int r = os::Mapping::reserve(sizeof(Slot) * kNumbers, table_maps_[member]); r < 0) return r;
    tables_[member].store(reinterpret_cast<Slot*>(table_maps_[member].data()), std::memory_order_release);
  }
  out = find(member, slab);
  ends_[member].store(std::max(ends_[member].load(std::memory_order_relaxed), slab + 1), std::memory_order_release);
  return 0;
}

int SlabMap::add(uint32_t member, uint32_t slab, Fd file, uint64_t size, bool is_file) {
  Gate::Pass pass(gate_);
  Slot* slot = nullptr;
  if (int r = make_slot(member, slab, slot); r < 0) return r;
  slot->is_doubted = false;
  if (slot->state.load(std::memory_order_relaxed) != State::kUnknown) return 0;  // told twice
  slot->file_plus_one = file.release() + 1;
  slot->size = size;
  slot->node = -1;
  slot->is_file = is_file;
  slot->state.store(State::kKnown, std::memory_order_release);
  return 0;
}

int SlabMap::add_own(uint32_t member, uint32_t slab, os::Mapping mapping, int node) {
  Gate::Pass pass(gate_);
  Slot* slot = nullptr;
  if (int r = make_slot(member, slab, slot); r < 0) return r;
  if (slot->state.load(std::memory_order_relaxed) != State::kUnknown)
    return fail(TARN_E_PROTOCOL, "tarnd gave out slab %u of member %u twice", slab, member);
  slot->size = mapping.size();
  slot->mapping = std::move(mapping);
  slot->node = node;
  slot->is_file = false;
  slot->state.store(State::kMapped, std::memory_order_release);
  return 0;
}

void SlabMap::clear(Slot& slot) {
  slot.state.store(State::kUnknown, std::memory_order_release);
  if (slot.guard != nullptr) unguard_file(std::exchange(slot.guard, nullptr));
  slot.mapping.reset();
  slot.is_doubted = false;
  Fd file{std::exchange(slot.file_plus_one, 0) - 1};
}

void SlabMap::drop(uint32_t member, uint32_t slab) {
  Gate::Pass pass(gate_);
  Slot* slot = find(member, slab);
  if (slot != nullptr && slot->state.load(std::memory_order_relaxed) != State::kUnknown) clear(*slot);
}

void SlabMap::drop_all(uint32_t member) {
  Gate::Pass pass(gate_);
  uint32_t end = ends_[member].exchange(0, std::memory_order_relaxed);
  for (uint32_t slab = 0; slab < end; ++slab) {
    Slot* slot = find(member, slab);
    if (slot->state.load(std::memory_order_relaxed) != State::kUnknown) clear(*slot);
  }
}

template <class Found>
void SlabMap::for_each_known(Found found) {
  Gate::Pass pass(gate_);
  for (uint32_t member = 0; member < shm::kMembersMax; ++member) {
    uint32_t end = ends_[member].load(std::memory_order_relaxed);
    for (uint32_t slab = 0; slab < end; ++slab)
      if (Slot* slot = find(member, slab); slot->state.load(std::memory_order_relaxed) != State::kUnknown) found(member, *slot);
  }
}

void SlabMap::doubt_all_but(uint32_t self) {
  for_each_known([self](uint32_t member, Slot& slot) { slot.is_doubted = member != self; });
}

void SlabMap::drop_doubted() {
  for_each_known([this](uint32_t, Slot& slot) {
    if (slot.is_doubted) clear(slot);
  });
}

bool SlabMap::knows(uint32_t member, uint32_t slab) const {
  const Slot* slot = find(member, slab);
  return slot != nullptr && slot->state.load(std::memory_order_acquire) != State::kUnknown;
}

int SlabMap::node(uint32_t member, uint32_t slab) const {
  const Slot* slot = find(member, slab);
  return slot != nullptr && slot->state.load(std::memory_order_acquire) != State::kUnknown ? slot->node : -1;
}

int SlabMap::map(uint32_t member, uint32_t slab, uint32_t object, View& out) {
  Gate::Pass pass(gate_);
  Slot* slot = find(member, slab);
  if (slot == nullptr || slot->state.load(std::memory_order_relaxed) == State::kUnknown)
    return fail(TARN_E_PROTOCOL, "slab %u of member %u is not known", slab, member);
  if (slot->state.load(std::memory_order_relaxed) == State::kKnown) {
    Fd file{slot->file_plus_one - 1};
    slot->file_plus_one = 0;
    os::Mapping mapping;
    int r = os::Mapping::map(file, slot->size, os::Access::kRead, mapping);
    // Memory that tarnd made keeps its size; a file may have shrunk.
    if (r == TARN_E_PROTOCOL && slot->is_file)
      r = fail(TARN_E_FILE_CHANGED, "a mapped file is shorter than the %llu bytes it had when it became an object",
               static_cast<unsigned long long>(slot->size));
    if (r == 0 && slot->is_file) r = guard_file(mapping.data(), slot->size, object, &any_shrank_, slot->guard);
    if (r < 0) {
      slot->file_plus_one = file.release() + 1;
      return r;
    }
    slot->mapping = std::move(mapping);
    slot->state.store(State::kMapped, std::memory_order_release);
  }
  out = {slot->mapping.data(), slot->size, slot->guard};
  return 0;
}

}  // namespace tarn::store
