// Store: what is known about objects, and waiting for them.

#include <algorithm>
#include <atomic>
#include <bit>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/futex.hpp"
#include "store/refusals.hpp"
#include "store/store.hpp"

namespace tarn::store {

int Store::info(const ObjectRef& ref, tarn_object_details& out) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.held(ref);
  if (entry == nullptr) return no_object(ref);
  describe(ref.id, *entry, out);
  return 0;
}

void Store::describe(uint32_t id, const Entry& entry, tarn_object_details& out) {
  uint32_t member = shm::id_member(id);
  const ObjectRecord* record = table_.record(id);
  out.bytes = entry.size;
  out.is_sealed = (entry.flags & ObjectTable::kIsSealed) != 0 ? 1 : 0;
  out.is_file = (entry.flags & ObjectTable::kIsFile) != 0 ? 1 : 0;
  out.node = out.is_file != 0 || entry.slab == kNoSlab ? -1 : slabs_.node(member, entry.slab);
  out.owner = member;
  out.references = entry.refs;
  uint64_t holders = record == nullptr ? 1 : record->life.bits.load(kAcquire);
  // tarnd's own, while it moves the object, is nobody's business.
  out.holders = (holders & kDead) != 0 ? 0 : static_cast<uint32_t>(std::popcount(holders & ~kDaemonHolder));
  bool can_leave = record != nullptr && (entry.flags & ObjectTable::kCanLeave) != 0;
  out.pins = entry.pins;
  bool is_away = can_leave && record->pins.is_away();
  out.is_dropped = is_away && record->pins.is_repeatable() ? 1 : 0;
  out.is_on_disk = is_away && out.is_dropped == 0 ? 1 : 0;
  out.type = record == nullptr ? 0 : record->type;
  out.meta_bytes = record == nullptr ? 0 : record->meta_size;
}

int Store::meta(const ObjectRef& ref, ObjectMeta& out) {
  // The block goes where the payload goes, so what makes that readable makes this readable as well.
  tarn_bytes payload;
  if (int r = get(ref, payload); r < 0) return r;
  Gate::Pass pass(gate_);
  Entry* entry = table_.held(ref);
  const ObjectRecord* record = table_.record(ref.id);
  if (entry == nullptr || record == nullptr) return no_object(ref);
  uint32_t size = record->meta_size;
  ObjectMeta found;
  found.type = record->type;
  if (size != 0) {
    SlabMap::View view = slabs_.view(shm::id_member(ref.id), entry->slab);
    if (view.data == nullptr ||
        !fits_with_meta(entry->size, size, view.size - static_cast<uint64_t>(entry->data - view.data)))
      return fail(TARN_E_PROTOCOL, "an object's metadata reaches beyond its slab");
    if (int r = read_meta(entry->data + meta_offset(entry->size), size, found); r < 0) return r;
  }
  out = found;
  return 0;
}

int Store::resolve_meta(const ObjectRef& ref, ObjectMeta& out, uint64_t& size) {
  tarn_bytes range;
  Resolved how;
  if (int r = resolve(ref, range, how); r < 0) return r;
  unpin_resolved(ref, how);  // the task has pinned it for its run
  const ObjectRecord* record = table_.record(ref.id);
  if (record == nullptr) return no_object(ref);
  // Read once: what is checked is what is used.
  const uint64_t payload_size = record->size;
  const uint32_t meta_bytes = record->meta_size;
  const ObjectPlace place = ObjectPlace::unpack(record->place);
  ObjectMeta found;
  found.type = record->type;
  if (meta_bytes != 0) {
    SlabMap::View view = slabs_.view(shm::id_member(ref.id), place.slab);
    if (view.data == nullptr || place.offset > view.size ||
        !fits_with_meta(payload_size, meta_bytes, view.size - place.offset))
      return fail(TARN_E_PROTOCOL, "an object's metadata reaches beyond its slab");
    if (int r = read_meta(view.data + place.offset + meta_offset(payload_size), meta_bytes, found); r < 0) return r;
  }
  out = found;
  size = payload_size;
  return 0;
}

int Store::get_typed(const ObjectRef& ref, uint32_t type, tarn_bytes& out) {
  {
    Gate::Pass pass(gate_);
    const ObjectRecord* record = table_.record(ref.id);
    if (record == nullptr || table_.held(ref) == nullptr) return no_object(ref);
    if (record->type != type)
      return fail(TARN_E_TYPE, "the object's type is %s, not %s", TypeText(record->type).text, TypeText(type).text);
  }
  return get(ref, out);
}

bool Store::exists(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.held(ref);
  return entry != nullptr && range_fits(ref, entry->size);
}

size_t Store::list(ObjectRef* refs, std::byte* details, size_t stride, size_t capacity) {
  Gate::Pass pass(gate_);
  size_t count = 0;
  for (uint32_t member = 0; member < shm::kMembersMax; ++member) {
    if (!table_.has_held(member)) continue;
    // The entries of others are backed by memory where this process held something; the count says when that was all.
    uint32_t left = table_.held_count(member);
    uint32_t used = table_.used(member);
    for (uint32_t index = 0; index < used && left != 0; ++index) {
      uint32_t id = shm::make_id(member, index);
      Entry* entry = table_.entry_at(id);
      if ((entry->refs | entry->kept) == 0) continue;
      --left;
      if (entry->refs == 0 || (entry->flags & ObjectTable::kIsBeingPut) != 0) continue;
      if (count < capacity) {
        refs[count] = {id, entry->generation, 0, entry->size};
        if (details != nullptr)
          describe(id, *entry, *reinterpret_cast<tarn_object_details*>(details + count * stride));
      }
      ++count;
    }
  }
  return count;
}

// ---- Waiting until something is sealed --------------------------------------------------------

int Store::wait_sealed(const ObjectRef& ref, int64_t deadline_ns) {
  for (;;) {
    uint32_t seen;
    {
      Gate::Pass pass(gate_);
      Entry* entry = table_.held(ref);
      if (entry == nullptr) return no_object(ref);
      if (!range_fits(ref, entry->size)) return bad_range(ref, entry->size);
      if ((entry->flags & ObjectTable::kIsSealed) != 0) return 0;
      if (os::now_ns() >= deadline_ns) return fail(TARN_E_TIMED_OUT, "the object is not sealed yet");
      // Counted behind the gate that whoever seals passes as well: it sees the waiter, or was seen above.
      seen = std::atomic_ref(seals_).load(std::memory_order_relaxed);
      ++seal_waiters_;
    }
    os::futex_wait(&seals_, seen, deadline_ns);
    Gate::Pass pass(gate_);
    --seal_waiters_;
  }
}

void Store::wake_seal_waiters() {
  if (seal_waiters_ == 0) [[likely]]
    return;
  std::atomic_ref(seals_).fetch_add(1, std::memory_order_relaxed);
  os::futex_wake(&seals_, INT32_MAX);
}

int Store::abort(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.held(ref);
  if (entry == nullptr) return no_object(ref);
  if (!range_fits(ref, entry->size)) return bad_range(ref, entry->size);
  if ((entry->flags & ObjectTable::kIsSealed) != 0)
    return fail(TARN_E_STATE, "the object is sealed; release it instead");
  if (entry->kept != 0) return fail(TARN_E_STATE, "the object is an argument of a task that is not done");
  entry->refs = 0;
  let_go(ref);
  return 0;
}

}  // namespace tarn::store
