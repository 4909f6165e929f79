#include "store/object_table.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "tarn/tarn.h"

namespace tarn::store {

int ObjectTable::init(uint32_t self, shm::MemberSegment& own) {
  self_ = self;
  own_ = &own;
  if (int r = reserve(self); r < 0) return r;
  own_entries_ = members_[self].entries;
  attach(self, &own);
  // Another start for every process, so that a handle that outlived one member says nothing about the
  // next with its number.
  first_generation_ = static_cast<uint32_t>(os::now_ns() >> 10);
  return 0;
}

int ObjectTable::reserve(uint32_t member) {
  Member& m = members_[member];
  if (m.entries != nullptr) return 0;
  if (int r = os::Mapping::reserve(sizeof(Entry) * shm::kObjectRecordsMax, m.entry_map); r < 0) return r;
  m.entries = reinterpret_cast<Entry*>(m.entry_map.data());
  return 0;
}

uint32_t ObjectTable::used(uint32_t member) const {
  const shm::MemberSegment* s = segment(member);
  return s == nullptr ? 0 : std::min(s->objects_used.load(shm::kAcquire), shm::kObjectRecordsMax);
}

int ObjectTable::entry(uint32_t id, Entry*& out) {
  uint32_t member = shm::id_member(id);
  if (member >= shm::kMembersMax || shm::id_index(id) >= shm::kObjectRecordsMax)
    return fail(TARN_E_NO_OBJECT, "no object has the id %08x", id);
  if (int r = reserve(member); r < 0) return r;
  out = &members_[member].entries[shm::id_index(id)];
  return 0;
}

int ObjectTable::alloc(uint32_t& index) {
  if (free_ != 0) [[likely]] {
    index = free_ - 1;
    free_ = static_cast<uint32_t>(own_entries_[index].size);
  } else {
    if (used_ == shm::kObjectRecordsMax)
      return fail(TARN_E_LIMIT, "%u objects are alive, no more fit; release some", used_);
    if (used_ == backed_) return kGrow;
    index = used_++;
    own_entries_[index].generation = first_generation_ - 1;
    own_->objects_used.store(used_, shm::kRelease);
  }
  Entry& e = own_entries_[index];
  if (++e.generation == 0) e.generation = 1;  // 0 means no object
  e.is_live = true;
  return 0;
}

void ObjectTable::free(uint32_t index) {
  Entry& e = own_entries_[index];
  e.is_live = false;
  e.refs = 0;
  e.kept = 0;
  e.pins = 0;
  e.size = free_;
  free_ = index + 1;
}

}  // namespace tarn::store
