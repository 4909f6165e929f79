#include "store/store.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "os/clock.hpp"
#include "store/refusals.hpp"

namespace tarn::store {
namespace {

// Where objects of 0 bytes are.
alignas(64) constinit std::byte nothing[64] = {};

// One reference of this process more.
int count(uint32_t& references) {
  if (references == UINT32_MAX) return fail(TARN_E_LIMIT, "the object has %u references of this process", references);
  ++references;
  return 0;
}

bool can_leave(uint64_t size, bool is_file) { return size > kStaysMax && !is_file; }

}  // namespace

Store::~Store() = default;

int Store::init(uint32_t self, uint32_t session, shm::MemberSegment& own) {
  self_ = self;
  session_ = session;
  if (int r = heap_.init(); r < 0) return r;
  return table_.init(self, own);
}

// ---- Memory ----------------------------------------------------------------------------------

int Store::alloc(uint64_t size, Placement placement, SlabHeap::Place& out) {
  int r = heap_.alloc(size, out, false, placement);
  return r == SlabHeap::kNeedSlab ? alloc_slow(size, placement, out) : r;
}

int Store::alloc_slow(uint64_t size, Placement placement, SlabHeap::Place& out) {
  heap_.trim();
  drop_spent_slabs();
  int r = heap_.alloc(size, out, false, placement);
  if (r != SlabHeap::kNeedSlab) return r;
  if (r = add_slab(size, placement, false); r < 0) {
    if (r == TARN_E_DAEMON_GONE) return r;
    // What was kept for a better time is all there is now; then what others keep.
    r = heap_.alloc(size, out, true, placement);
    if (r != SlabHeap::kNeedSlab) return r;
    drop_free_slabs(0);
    if (r = add_slab(size, placement, true); r < 0) return r;
  }
  r = heap_.alloc(size, out, true, placement);
  return r == SlabHeap::kNeedSlab ? alloc_slow(size, placement, out) : r;  // another thread came between
}

int Store::add_slab(uint64_t size, Placement placement, bool may_wait) {
  SlabHeap::Wanted wanted = heap_.wanted(size, placement);
  SlabView slab;
  uint64_t least = std::max(SlabHeap::least(size), SlabHeap::kFirstSlab / 4);
  auto request = [&](uint64_t bytes) {
    if (bytes > least) return source_.request_slab(bytes, placement, wire::kSlabGenerous, slab);
    if (!may_wait) return source_.request_slab(bytes, placement, wire::kSlabNow, slab);
    // What it waits for may be what another thread is about to release.
    Gate::Leave leave(gate_);
    return source_.request_slab(bytes, placement, wire::kSlabMayWait, slab);
  };
  // The request may be all right and the policy's generosity too much. Half as much is tried then, not the least at once:
  // while objects go to the disk and keep their places, a process would use up its slabs a few objects each. Always so much
  // that objects of this size fill it.
  for (uint64_t asked = std::max(wanted.size, least);; asked = std::max(least, asked / 2 / least * least)) {
    int r = request(asked);
    if (r == 0) break;
    if (r == TARN_E_DAEMON_GONE || asked <= least) return r;
  }
  std::byte* data = slab.mapping.data();
  uint64_t bytes = slab.mapping.size();
  if (bytes < SlabHeap::least(size)) return fail(TARN_E_PROTOCOL, "tarnd gave a slab that is smaller than was asked for");
  if (int r = slabs_.add_own(self_, slab.slab, std::move(slab.mapping), slab.node); r < 0) return r;
  return heap_.add_slab(slab.slab, data, bytes, wanted.is_giant, placement);
}

void Store::drop_free_slabs(uint64_t keep) {
  uint32_t slab;
  while (heap_.find_free_slab(keep, slab)) {
    heap_.drop_slab(slab);
    slabs_.drop(self_, slab);
    source_.drop_slab(self_, slab);
  }
}

void Store::drop_spent_slabs() {
  uint32_t slab;
  while (heap_.find_spent_slab(slab)) {
    heap_.drop_slab(slab);
    slabs_.drop(self_, slab);
    source_.drop_slab(self_, slab);
  }
}

void Store::set_listener(ObjectListener* listener, bool of_seals, bool of_frees) {
  Gate::Pass pass(gate_);
  of_seals_ = of_seals ? listener : nullptr;
  of_frees_ = of_frees ? listener : nullptr;
}

// ---- Making objects --------------------------------------------------------------------------

int Store::alloc_record(uint32_t& index) {
  int r = table_.alloc(index);
  if (r != ObjectTable::kGrow) [[likely]]
    return r;
  uint32_t wanted = std::min(table_.backed() * 2, shm::kObjectRecordsMax);
  {
    Gate::Leave leave(gate_);  // as add_slab: it may wait for what others release
    if (r = source_.grow_objects(wanted); r < 0) return r;
  }
  table_.grown(std::max(wanted, table_.backed()));
  return table_.alloc(index);
}

// A record with memory; all of the record but its life is written, and the meta block.
int Store::make(uint64_t size, uint32_t& index, const ObjectMeta* meta, Placement placement) {
  settle_dead();
  take_back();
  if (size > kObjectSizeMax)
    return fail(TARN_E_TOO_LARGE, "an object of %llu bytes; at most %llu are allowed",
                static_cast<unsigned long long>(size), static_cast<unsigned long long>(kObjectSizeMax));
  SlabHeap::Place place{kNoSlab, 0, nothing};
  uint32_t meta_bytes = meta == nullptr ? 0 : meta_size(*meta);
  uint64_t total = bytes_with_meta(size, meta_bytes);
  if (total != 0) {
    if (size <= SlabHeap::kSmallMax) placement = Placement::kNear;
    if (int r = alloc(total, placement, place); r < 0) return r;
  }
  if (int r = alloc_record(index); r < 0) {
    if (total != 0) heap_.free(place.slab, place.data);
    return r;
  }
  Entry& entry = table_.own(index);
  entry.data = place.data;
  entry.set_size(size);
  entry.slab = static_cast<uint16_t>(place.slab);
  entry.flags = 0;
  ObjectRecord& record = table_.own_record(index);
  if (can_leave(size, false)) {
    entry.flags = ObjectTable::kCanLeave;
    record.pins.reset();
    record.used_at.store(os::now_s(), kRelaxed);
  }
  record.place = ObjectPlace{place.slab, false, place.offset}.pack();
  record.size = size;
  record.type = meta == nullptr ? 0 : meta->type;
  record.meta_size = meta_bytes;
  if (meta_bytes != 0) [[unlikely]]
    write_meta(place.data + meta_offset(size), *meta);
  return 0;
}

// This process's own, and the reference that its caller gets.
ObjectRef Store::first_reference(uint32_t index) {
  Entry& entry = table_.own(index);
  entry.refs = 1;
  ++table_.held_count(self_);
  return {shm::make_id(self_, index), entry.generation, 0, entry.size};
}

int Store::put(const void* data, uint64_t size, ObjectRef& out, const ObjectMeta* meta, Placement placement) {
  constexpr uint64_t kInsideMax = 16 * 1024;  // beyond, other threads do not wait for the copy
  ObjectRef ref;
  Entry* entry;
  {
    Gate::Pass pass(gate_);
    uint32_t index;
    if (int r = make(size, index, meta, placement); r < 0) return r;
    ref = first_reference(index);
    entry = &table_.own(index);
    ObjectRecord& record = table_.own_record(index);
    record.life.reserve(holder_bit(self_));
    if (size <= kInsideMax) [[likely]] {
      copy(entry->data, data, size);
      entry->flags = ObjectTable::kIsSealed;
      record.life.seal(ref.generation);
      if (of_seals_ != nullptr) [[unlikely]]
        of_seals_->on_sealed(ref);
      out = ref;
      return 0;
    }
    entry->flags |= ObjectTable::kIsBeingPut;
  }
  copy(entry->data, data, size);
  Gate::Pass pass(gate_);
  entry->flags ^= ObjectTable::kIsBeingPut | ObjectTable::kIsSealed;
  table_.own_record(shm::id_index(ref.id)).life.seal(ref.generation);
  if (of_seals_ != nullptr) [[unlikely]]
    of_seals_->on_sealed(ref);
  out = ref;
  return 0;
}

int Store::create(uint64_t size, ObjectRef& out, void*& data, const ObjectMeta* meta, Placement placement) {
  Gate::Pass pass(gate_);
  uint32_t index;
  if (int r = make(size, index, meta, placement); r < 0) return r;
  out = first_reference(index);
  Entry& entry = table_.own(index);
  data = entry.data;
  ObjectRecord& record = table_.own_record(index);
  if ((entry.flags & ObjectTable::kCanLeave) != 0) {
    // The caller has a pointer, and may keep it to read.
    entry.pins = 1;
    record.pins.reset(holder_bit(self_));
  }
  record.life.open(out.generation, holder_bit(self_));
  return 0;
}

int Store::seal(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.held(ref);
  if (entry == nullptr) return no_object(ref);
  if ((entry->flags & ObjectTable::kIsSealed) != 0) return fail(TARN_E_STATE, "the object is sealed already");
  entry->flags |= ObjectTable::kIsSealed;
  table_.own_record(shm::id_index(ref.id)).life.seal(ref.generation);
  if (of_seals_ != nullptr) [[unlikely]]
    of_seals_->on_sealed({ref.id, ref.generation, 0, entry->size});
  wake_seal_waiters();
  return 0;
}

int Store::map_file(Fd file, uint64_t size, ObjectRef& out) {
  Gate::Pass pass(gate_);
  settle_dead();
  take_back();
  Fd ours{dup(file.get())};
  if (!ours.valid()) return fail_errno(code_of_errno(errno), "cannot map a file");
  uint32_t index;
  if (int r = alloc_record(index); r < 0) return r;
  uint32_t id = shm::make_id(self_, index);
  uint32_t member = self_;
  uint32_t slab = 0;
  int r = source_.share_file(std::move(file), size, member, slab);
  if (r < 0) {
    table_.free(index);
    return r;
  }
  SlabMap::View view;
  r = slabs_.add(self_, slab, std::move(ours), size, true);
  if (r == 0) r = slabs_.map(self_, slab, id, view);
  if (r < 0) {
    slabs_.drop(self_, slab);
    source_.drop_slab(self_, slab);
    table_.free(index);
    return r;
  }
  Entry& entry = table_.own(index);
  entry.data = view.data;
  entry.set_size(size);
  entry.slab = static_cast<uint16_t>(slab);
  entry.flags = ObjectTable::kIsSealed | ObjectTable::kIsFile;
  ObjectRecord& record = table_.own_record(index);
  record.place = ObjectPlace{slab, true, 0}.pack();
  record.size = size;
  record.type = 0;
  record.meta_size = 0;
  record.life.reserve(holder_bit(self_));
  out = first_reference(index);
  record.life.seal(out.generation);
  if (of_seals_ != nullptr) [[unlikely]]
    of_seals_->on_sealed(out);
  return 0;
}

// ---- Results ---------------------------------------------------------------------------------

int Store::make_result(uint64_t size, uint32_t made_for, ObjectRef& out, void*& data, uint64_t recipe) {
  Gate::Pass pass(gate_);
  if (holder_bit(shm::id_member(made_for)) == 0) return cannot_hold(shm::id_member(made_for));
  uint32_t index;
  if (int r = make(size, index); r < 0) return r;
  Entry& entry = table_.own(index);
  entry.refs = 0;
  out = {shm::make_id(self_, index), entry.generation, 0, size};
  data = entry.data;
  ObjectRecord& record = table_.own_record(index);
  record.link.store(made_for, kRelaxed);
  if (recipe != 0 && (entry.flags & ObjectTable::kCanLeave) != 0) [[unlikely]] {
    record.recipe = recipe;
    record.pins.reset(kRepeatable);
  }
  record.life.open(out.generation, holder_bit(shm::id_member(made_for)));
  return 0;
}

int Store::publish_result(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  table_.own(shm::id_index(ref.id)).flags |= ObjectTable::kIsSealed;
  table_.own_record(shm::id_index(ref.id)).life.seal(ref.generation, Phase::kOffered);
  return 0;
}

void Store::discard_result(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  uint32_t index = shm::id_index(ref.id);
  ObjectRecord& record = table_.own_record(index);
  if (record.life.drop(shm::id_member(record.link.load(kRelaxed)), self_)) free_own(index);
}

// The record of a result that was set aside for this process and that it has not found yet; nullptr: there is none.
ObjectRecord* Store::find_offered(const ObjectRef& ref) {
  ObjectRecord* record = table_.record(ref.id);
  if (record == nullptr || shm::id_index(ref.id) >= table_.used(shm::id_member(ref.id))) return nullptr;
  if (table_.known(ref) != nullptr) return nullptr;  // it is offered only once
  if ((record->life.bits.load(kAcquire) & holder_bit(self_)) == 0) return nullptr;
  return record->life.adopt(ref.generation) ? record : nullptr;
}

int Store::adopt(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  ObjectRecord* record = find_offered(ref);
  if (record == nullptr) return no_object(ref);
  Entry* entry;
  if (int r = table_.entry(ref.id, entry); r < 0) return r;
  if (shm::id_member(ref.id) != self_) {
    if (int r = fill_entry(ref, *record, *entry); r < 0) return r;
  }
  entry->kept = 1;
  ++table_.held_count(shm::id_member(ref.id));
  return 0;
}

int Store::decline(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  settle_dead();
  ObjectRecord* record = find_offered(ref);
  if (record == nullptr) return no_object(ref);
  table_.note_declined(shm::id_member(ref.id));
  if (record->life.drop(self_, self_)) give_back(shm::id_member(ref.id), shm::id_index(ref.id));
  return 0;
}

// ---- References ------------------------------------------------------------------------------

int Store::ref(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.held(ref);
  if (entry == nullptr) return no_object(ref);
  if (!range_fits(ref, entry->size)) return bad_range(ref, entry->size);
  return count(entry->refs);
}

int Store::unpin(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.held(ref);
  if (entry == nullptr) return no_object(ref);
  if ((entry->flags & ObjectTable::kCanLeave) == 0 || entry->pins == ObjectTable::kPinsMax) return 0;
  if (entry->pins == 0) return fail(TARN_E_STATE, "the object is not pinned: it was unpinned as often as it was got");
  if (--entry->pins == 0) drop_pin(*table_.record(ref.id));
  return 0;
}

int Store::keep(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.held(ref);
  if (entry == nullptr) return no_object(ref);
  if (!range_fits(ref, entry->size)) return bad_range(ref, entry->size);
  return count(entry->kept);
}

int Store::share(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.known(ref);
  return entry == nullptr ? no_object(ref) : count(entry->refs);
}

int Store::acquire(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  if (Entry* known = table_.known(ref); known != nullptr) return count(known->refs);
  uint32_t member = shm::id_member(ref.id);
  ObjectRecord* record = table_.record(ref.id);
  if (record == nullptr || shm::id_index(ref.id) >= table_.used(member)) return no_object(ref);
  if (holder_bit(self_) == 0) return cannot_hold(self_);
  Entry* entry;
  if (int r = hold_first(ref, *record, entry); r < 0) return r;
  entry->refs = 1;
  return 0;
}

// Sets the bit of this process, which has neither reference nor anything else that needs the object yet. The caller counts.
int Store::hold_first(const ObjectRef& ref, ObjectRecord& record, Entry*& entry) {
  uint32_t member = shm::id_member(ref.id);
  if (int r = table_.entry(ref.id, entry); r < 0) return r;
  switch (record.life.take(ref.generation, self_)) {
    case Holders::Taken::kHeld: break;
    case Holders::Taken::kGoneAndFreed: give_back(member, shm::id_index(ref.id)); [[fallthrough]];
    case Holders::Taken::kGone: return fail(TARN_E_GONE, "the object was freed before this process could hold it");
  }
  if (member != self_) {
    if (int r = fill_entry(ref, record, *entry); r < 0) {
      if (record.life.drop(self_, self_)) give_back(member, shm::id_index(ref.id));
      return r;
    }
  }
  ++table_.held_count(member);
  return 0;
}

int Store::release(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.held(ref);
  if (entry == nullptr) return no_object(ref);
  if (--entry->refs == 0 && entry->kept == 0) let_go(ref);
  return 0;
}

void Store::unkeep(const ObjectRef& ref) {
  Gate::Pass pass(gate_);
  Entry* entry = table_.known(ref);
  TARN_ASSERT(entry != nullptr && entry->kept != 0);
  if (--entry->kept == 0 && entry->refs == 0) let_go(ref);
}

// This process's last reference is gone.
void Store::let_go(const ObjectRef& ref) {
  uint32_t member = shm::id_member(ref.id);
  --table_.held_count(member);
  settle_dead();
  ObjectRecord* record = table_.record(ref.id);
  if (record == nullptr) return;
  if (Entry* entry; table_.entry(ref.id, entry) == 0 && (entry->flags & ObjectTable::kCanLeave) != 0) {
    entry->pins = 0;
    if (record->pins.is_pinned_by(self_)) drop_pin(*record);  // while the record is still this object's
  }
  if (record->life.drop(self_, self_)) give_back(member, shm::id_index(ref.id));
}

void Store::drop_pin(ObjectRecord& record) {
  record.used_at.store(os::now_s(), kRelaxed);
  record.pins.unpin(self_);
}

// Nobody holds the object any more.
void Store::give_back(uint32_t member, uint32_t index) {
  if (member == self_) return free_own(index);
  if (is_dead_[member].load(std::memory_order_acquire)) {
    // Counting is a look at every record, so it is done when half of what was alive may have gone, or
    // when this process holds nothing more of it.
    Dead& dead = dead_[member];
    if (++dead.released > dead.alive / 2 || table_.held_count(member) == 0) drop_empty_slabs(member);
    return;
  }
  shm::MemberSegment* segment = table_.segment(member);
  if (segment == nullptr) return;
  ObjectRecord* records = ObjectTable::records(*segment);
  push_returned(segment->returned_objects, [&](uint32_t i) -> Word<uint32_t>& { return records[i].link; }, index);
}

void Store::free_own(uint32_t index) {
  Entry& entry = table_.own(index);
  uint32_t slab = entry.slab;
  if ((entry.flags & ObjectTable::kIsSealed) == 0) [[unlikely]]
    wake_seal_waiters();
  ObjectRecord& record = table_.own_record(index);
  // Nobody holds it, so this does not change any more: not tarnd either is about to move it.
  bool is_away = (entry.flags & ObjectTable::kCanLeave) != 0 && record.pins.is_away();
  if (of_frees_ != nullptr) [[unlikely]]
    of_frees_->on_freed({shm::make_id(self_, index), entry.generation, 0, entry.size});
  record.life.recycle(entry.generation);
  table_.free(index);
  if ((entry.flags & ObjectTable::kIsFile) != 0) {
    slabs_.drop(self_, slab);
    source_.drop_slab(self_, slab);
  } else if (slab != kNoSlab) {
    if (is_away) [[unlikely]] {
      heap_.abandon(slab, entry.data);
      source_.drop_copy(slab, static_cast<uint64_t>(entry.data - heap_.at(slab, 0)));
    } else {
      heap_.free(slab, entry.data);
    }
    drop_spent_slabs();
    if (heap_.bytes_in_free_slabs() > keep_free_) [[unlikely]]
      drop_free_slabs(keep_free_);
  }
}

// Frees what others were the last to hold.
void Store::take_back() {
  shm::MemberSegment& own = *table_.segment(self_);
  if (own.returned_objects.load(kRelaxed) == 0) [[likely]]
    return;
  take_returned(
      own.returned_objects, [&](uint32_t i) -> Word<uint32_t>& { return table_.own_record(i).link; },
      table_.used(self_), [&](uint32_t i) {
        if (table_.own(i).is_live && (table_.own_record(i).life.bits.load(kAcquire) & kDead) != 0) free_own(i);
      });
}

// `member` is dead: what it freed but had no time to return is not in the chain and never will be.
void Store::take_back_from_dead(uint32_t member) {
  take_back();
  uint32_t used = table_.used(self_);
  uint32_t epoch = host_epoch_.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < used; ++i) {
    uint64_t bits = table_.own_record(i).life.bits.load(kAcquire);
    bool is_its = member == shm::kDaemonMember ? is_dead_by_former_daemon(bits, epoch) : bits == dead_by(member);
    if (is_its && table_.own(i).is_live) free_own(i);
  }
}

// ---- Reading ---------------------------------------------------------------------------------

// A slab or file of anybody, mapped. `id` is the object for which it is needed.
int Store::find_slab(uint32_t id, uint32_t member, uint32_t slab, SlabMap::View& out) {
  out = slabs_.view(member, slab);
  if (out.data != nullptr) [[likely]]
    return 0;
  if (!slabs_.knows(member, slab)) {
    if (int r = source_.learn_slab(member, slab); r < 0) return r;
  }
  int r = slabs_.map(member, slab, id, out);
  if (r == TARN_E_FILE_CHANGED) mark_file_changed(id);  // for those who have it mapped, and do not know
  return r;
}

void Store::mark_file_changed(uint32_t id) {
  ObjectRecord* record = table_.record(id);
  if (record == nullptr) return;
  ObjectState now = record->life.state_now();
  uint64_t expected = now.pack();
  if (now.readable())
    (void)record->life.state.compare_exchange(
        expected, ObjectState{now.generation, now.phase, ObjectState::kFileChanged}.pack());
}

// A mapped file: has it shrunk under a reader, of this process or another?
int Store::check_file(uint32_t id, const ObjectRecord& record, const FileGuard* guard) {
  bool here = guard != nullptr && guard->shrank.load(std::memory_order_acquire);
  if (here) mark_file_changed(id);
  if (!here && (record.life.state_now().flags & ObjectState::kFileChanged) == 0) return 0;
  return fail(TARN_E_FILE_CHANGED, "the mapped file became shorter; map files that nobody truncates, or copy them");
}

// Where the bytes of a readable object are in this process.
int Store::locate(const ObjectRef& ref, const ObjectRecord& record, ObjectPlace& place, std::byte*& data) {
  place = ObjectPlace::unpack(record.place);
  if (place.slab == kNoSlab) {
    data = nothing;
    if (record.size == 0 && record.meta_size == 0) return 0;
    return fail(TARN_E_PROTOCOL, "an object of %llu bytes lies nowhere", static_cast<unsigned long long>(record.size));
  }
  SlabMap::View view;
  if (int r = find_slab(ref.id, shm::id_member(ref.id), place.slab, view); r < 0) return r;
  if (place.offset > view.size || !fits_with_meta(record.size, record.meta_size, view.size - place.offset))
    return fail(TARN_E_PROTOCOL, "an object reaches beyond its slab (%llu + %llu of %llu bytes)",
                static_cast<unsigned long long>(place.offset), static_cast<unsigned long long>(record.size),
                static_cast<unsigned long long>(view.size));
  if (place.is_file) {
    if (int r = check_file(ref.id, record, view.guard); r < 0) return r;
  }
  data = view.data + place.offset;
  return 0;
}

// What this process needs to know to use an object of another member, which it holds.
int Store::fill_entry(const ObjectRef& ref, const ObjectRecord& record, Entry& entry) {
  ObjectPlace place;
  std::byte* data;
  if (int r = locate(ref, record, place, data); r < 0) return r;
  entry.data = data;
  entry.set_size(record.size);
  entry.generation = ref.generation;
  entry.slab = static_cast<uint16_t>(place.slab);
  entry.flags = ObjectTable::kIsSealed;
  if (place.is_file) entry.flags |= ObjectTable::kIsFile;
  if (can_leave(record.size, place.is_file)) entry.flags |= ObjectTable::kCanLeave;
  entry.pins = 0;
  return 0;
}

int Store::get(const ObjectRef& ref, tarn_bytes& out) { return get_as(ref, false, out, -1); }

int Store::get_kept(const ObjectRef& ref, tarn_bytes& out, int64_t timeout_ns) { return get_as(ref, true, out, timeout_ns); }

int Store::get_as(const ObjectRef& ref, bool kept, tarn_bytes& out, int64_t timeout_ns) {
  constexpr uint8_t kUsual = ObjectTable::kIsSealed;
  ObjectRecord* record = nullptr;
  std::byte* data;
  {
    Gate::Pass pass(gate_);
    Entry* entry = kept ? table_.known(ref) : table_.held(ref);
    if (entry == nullptr) [[unlikely]]
      return no_object(ref);
    if (!range_fits(ref, entry->size)) [[unlikely]]
      return bad_range(ref, entry->size);
    out = {entry->data + ref.offset, ref.size};
    if (entry->flags == kUsual) [[likely]]
      return 0;
    if ((entry->flags & ObjectTable::kIsSealed) == 0)
      return fail(TARN_E_STATE, "the object is not sealed yet; call tarn_object_seal first");
    if ((entry->flags & ObjectTable::kCanLeave) != 0 && entry->pins != 0) [[likely]] {
      if (entry->pins != ObjectTable::kPinsMax) ++entry->pins;
      return 0;
    }
    record = table_.record(ref.id);
    if (record == nullptr) return no_object(ref);
    if ((entry->flags & ObjectTable::kIsFile) != 0)
      return check_file(ref.id, *record, slabs_.view(shm::id_member(ref.id), entry->slab).guard);
    if (record->pins.pin(self_)) {
      entry->pins = 1;
      return 0;
    }
    // It has to come back. Others use this store meanwhile; so it is kept until then.
    if (int r = count(entry->kept); r < 0) {
      record->pins.unpin(self_);
      return r;
    }
    data = entry->data;
    restoring_.fetch_add(1);
    drop_free_slabs(0);  // memory is short, or it would be there: what this process keeps is what it can have
  }
  int r = bring_back(ref, *record, data, timeout_ns);
  Gate::Pass pass(gate_);
  uint32_t others = restoring_.fetch_sub(1) - 1;
  Entry* entry = table_.known(ref);
  TARN_ASSERT(entry != nullptr && entry->kept != 0);
  if (r == 0 && entry->pins != ObjectTable::kPinsMax) {
    ++entry->pins;
  } else if (r < 0 && entry->pins == 0 && others == 0) {
    drop_pin(*record);  // if another thread is at it, the last release does this
  }
  if (--entry->kept == 0 && entry->refs == 0) let_go(ref);
  return r;
}

int Store::resolve(const ObjectRef& ref, tarn_bytes& out, Resolved& how) {
  how = Resolved::kStays;
  uint32_t member = shm::id_member(ref.id);
  ObjectRecord* record = table_.record(ref.id);
  // Records that were never in use may have no memory behind them.
  if (record == nullptr || shm::id_index(ref.id) >= table_.used(member)) return no_object(ref);
  ObjectState state = record->life.state_now();
  if (state.generation != ref.generation || state.phase == Phase::kFree) return no_object(ref);
  if (!state.readable()) return fail(TARN_E_STATE, "the object is not sealed yet; call tarn_object_seal first");
  if (!range_fits(ref, record->size)) return bad_range(ref, record->size);
  ObjectPlace place;
  std::byte* data;
  if (int r = locate(ref, *record, place, data); r < 0) return r;
  out = {data + ref.offset, ref.size};
  if (!can_leave(record->size, place.is_file)) [[likely]]
    return 0;
  Gate::Pass pass(gate_);
  Entry* entry = table_.known(ref);
  // What was offered to this process, as the result of a task of its own, has its bit already, and is not counted before adopt.
  bool is_offered_here = state.phase == Phase::kOffered && shm::id_member(record->link.load(kRelaxed)) == self_;
  bool is_held = holder_bit(self_) != 0 && !is_offered_here;
  if (entry == nullptr) {
    if (is_held) {
      if (int r = hold_first(ref, *record, entry); r < 0) return r;
    } else {
      if (int r = table_.entry(ref.id, entry); r < 0) return r;
      if (entry->generation != ref.generation) {
        if (member == self_ || (entry->refs | entry->kept) != 0) return no_object(ref);
        // What it said of another object of this record means nothing any more.
        entry->generation = ref.generation;
        entry->pins = 0;
      }
    }
  }
  if (is_held) ++entry->kept;  // a task may hold and release the object, too: the pin is the run's for as long as this
  if (entry->pins == 0 && !record->pins.pin(self_)) {
    drop_free_slabs(0);
    int r;
    {
      Gate::Leave leave(gate_);  // if it has to be made again, by this process, that reads other objects
      r = bring_back(ref, *record, data);
    }
    if (r < 0) {
      drop_pin(*record);
      if (is_held && --entry->kept == 0 && entry->refs == 0) let_go(ref);
      return r;
    }
  }
  if (entry->pins != ObjectTable::kPinsMax) ++entry->pins;
  how = is_held ? Resolved::kHeld : Resolved::kPinned;
  return 0;
}

void Store::unpin_resolved(const ObjectRef& ref, Resolved how) {
  if (how == Resolved::kStays) return;
  Gate::Pass pass(gate_);
  Entry* entry;
  ObjectRecord* record = table_.record(ref.id);
  if (record == nullptr || table_.entry(ref.id, entry) < 0 || entry->generation != ref.generation) return;
  if (entry->pins != 0 && entry->pins != ObjectTable::kPinsMax && --entry->pins == 0) drop_pin(*record);
  if (how == Resolved::kHeld && --entry->kept == 0 && entry->refs == 0) let_go(ref);
}

bool Store::take_file_fault() {
  std::atomic<bool>& any = slabs_.any_shrank();
  if (!any.load(std::memory_order_relaxed)) [[likely]]
    return false;
  any.store(false, std::memory_order_relaxed);
  for_each_shrunk(&any, [](void* self, uint32_t id) { static_cast<Store*>(self)->mark_file_changed(id); }, this);
  return true;
}

// ---- Blocks ----------------------------------------------------------------------------------

int Store::alloc_block(uint64_t size, Block& out) {
  Gate::Pass pass(gate_);
  take_back();
  SlabHeap::Place place;
  if (int r = alloc(size, Placement::kNear, place); r < 0) return r;
  out = {place.slab, place.offset, place.data};
  return 0;
}

void Store::free_block(const Block& block, uint64_t) {
  Gate::Pass pass(gate_);
  heap_.free(block.slab, heap_.at(block.slab, block.offset));
}

int Store::resolve_block(uint32_t member, uint32_t slab, uint64_t offset, uint64_t size, const std::byte*& data) {
  SlabMap::View view;
  if (int r = find_slab(0, member, slab, view); r < 0) return r;
  if (offset > view.size || size > view.size - offset)
    return fail(TARN_E_PROTOCOL, "arguments reach beyond their slab");
  data = view.data + offset;
  return 0;
}

}  // namespace tarn::store
