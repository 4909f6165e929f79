#include "store/store.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/assert.hpp"
#include "base/error.hpp"

namespace tarn::store {
namespace {

int no_such_object(const ObjectRef& object) {
  return fail(TARN_E_NO_OBJECT, "no such object (member %u, index %u, generation %u): it was released, or never was",
              shm::id_member(object.id), shm::id_index(object.id), object.generation);
}

}  // namespace

int Store::init(uint32_t self, uint32_t session, shm::MemberSegment& own) {
  self_ = self;
  session_ = session;
  own_ = &own;
  return on_member_added(self, &own);
}

Store::~Store() {
  // The own slabs' mappings go with own_slabs_; those of others are ours to unmap.
  for (uint32_t member = 0; member < shm::kMembersMax; ++member)
    if (members_[member].slabs.load() != nullptr)
      for (uint32_t slab = 0; slab < kSlabsMax; ++slab) {
        // The table is reserved address space: reading an untouched page of it costs nothing lasting,
        // but most processes know a handful of slabs, so stop at a long gap.
        if (slab > 64 && members_[member].slabs.load()[slab - 64].size.load() == 0 &&
            members_[member].slabs.load()[slab].size.load() == 0)
          break;
        on_slab_dropped(member, slab);
      }
}

ObjectRecord& Store::record(shm::MemberSegment& segment, uint32_t index) const {
  return reinterpret_cast<ObjectRecord*>(segment.object_records)[index];
}

int Store::find(const ObjectRef& object, ObjectRecord*& out, uint64_t& state) const {
  uint32_t member = shm::id_member(object.id);
  uint32_t index = shm::id_index(object.id);
  if (member >= shm::kMembersMax || index >= shm::kObjectRecordsMax) return no_such_object(object);
  shm::MemberSegment* segment = members_[member].segment.load(std::memory_order_acquire);
  if (segment == nullptr) return no_such_object(object);
  // Records that were never in use may have no memory behind them.
  if (index >= segment->objects_used.load(shm::kAcquire)) return no_such_object(object);
  out = &record(*segment, index);
  state = out->state.load(shm::kAcquire);
  ObjectPhase phase = object_phase(state);
  if (object_generation(state) != object.generation || (phase != ObjectPhase::kCreating && phase != ObjectPhase::kSealed))
    return no_such_object(object);
  return 0;
}

int Store::references_of(uint32_t member, uint32_t*& out) {
  Member& m = members_[member];
  out = m.references.load(std::memory_order_acquire);
  if (out != nullptr) [[likely]]
    return 0;
  if (int r = os::Mapping::reserve(shm::kObjectRecordsMax * sizeof(uint32_t), m.references_map); r < 0) return r;
  out = reinterpret_cast<uint32_t*>(m.references_map.data());
  m.references.store(out, std::memory_order_release);
  return 0;
}

// ---- Making objects --------------------------------------------------------------------------

int Store::allocate_record(uint32_t& index) {
  if (!free_records_.empty()) {
    index = free_records_.back();
    free_records_.pop_back();
    return 0;
  }
  if (records_used_ == shm::kObjectRecordsMax) look_for_freed();
  if (!free_records_.empty()) return allocate_record(index);
  if (records_used_ == shm::kObjectRecordsMax)
    return fail(TARN_E_LIMIT, "%u objects of this process are alive, no more fit; release some", records_used_);
  if (records_used_ == records_backed_) {
    uint32_t wanted = std::min(records_backed_ * 2, shm::kObjectRecordsMax);
    if (int r = source_.grow_objects(wanted); r < 0) return r;
    records_backed_ = wanted;
  }
  index = records_used_++;
  own_->objects_used.store(records_used_, shm::kRelease);
  return 0;
}

int Store::allocate_memory(uint64_t size, SlabHeap::Place& place) {
  if (heap_.allocate(size, place)) [[likely]]
    return 0;
  look_for_freed();
  if (heap_.allocate(size, place)) return 0;
  SlabView slab;
  if (int r = source_.request_slab(heap_.slab_size_for(size), slab); r < 0) return r;
  if (slab.slab >= kSlabsMax) return fail(TARN_E_PROTOCOL, "tarnd numbered a slab %u", slab.slab);
  if (!heap_.add_slab(slab.slab, slab.mapping.data(), slab.mapping.size() / SlabHeap::kPage * SlabHeap::kPage))
    return fail(TARN_E_NO_MEMORY, "no memory to manage a slab of %llu bytes",
                static_cast<unsigned long long>(slab.mapping.size()));
  if (int r = add_mapping(self_, slab.slab, slab.mapping.data(), slab.mapping.size(), false); r < 0) return r;
  own_slabs_.push_back(std::move(slab.mapping));
  if (heap_.allocate(size, place)) return 0;
  return fail(TARN_E_STORE_FULL, "a fresh slab has no room for %llu bytes", static_cast<unsigned long long>(size));
}

// A record and memory of its own, in kCreating.
int Store::make(uint64_t size, uint64_t holders, uint64_t made_for, ObjectRef& out, void*& data) {
  if (size > kObjectSizeMax)
    return fail(TARN_E_TOO_LARGE, "an object of %llu bytes; at most %llu are allowed",
                static_cast<unsigned long long>(size), static_cast<unsigned long long>(kObjectSizeMax));
  if (own_->returned_objects.load(shm::kRelaxed) != 0) take_returned();
  uint32_t index;
  if (int r = allocate_record(index); r < 0) return r;
  SlabHeap::Place place;
  if (int r = allocate_memory(size, place); r < 0) {
    free_records_.push_back(index);
    return r;
  }
  ObjectRecord& object = record(*own_, index);
  uint32_t generation = object_generation(object.state.load(shm::kRelaxed)) + 1;
  if (generation == 0) generation = 1;
  object.holders.init(holders);
  object.offset = place.offset;
  object.size = size;
  object.slab = place.slab;
  object.is_file = 0;
  object.made_for = made_for;
  object.state.store(pack_object_state(generation, ObjectPhase::kCreating), shm::kRelease);
  out = {shm::make_id(self_, index), generation, 0, size};
  data = place.data;
  return 0;
}

int Store::create(uint64_t size, ObjectRef& out, void*& data) {
  Gate::Pass pass(gate_);
  uint32_t* references;
  if (int r = references_of(self_, references); r < 0) return r;
  if (int r = make(size, Holders::bit(self_), 0, out, data); r < 0) return r;
  references[shm::id_index(out.id)] = 1;
  return 0;
}

int Store::put(const void* data, uint64_t size, ObjectRef& out) {
  void* to;
  ObjectRef object;
  if (int r = create(size, object, to); r < 0) return r;
  // Outside the gate: a large copy must not keep other threads from their objects.
  copy(to, data, size);
  record(*own_, shm::id_index(object.id))
      .state.store(pack_object_state(object.generation, ObjectPhase::kSealed), shm::kRelease);
  out = object;
  return 0;
}

int Store::seal(const ObjectRef& object) {
  Gate::Pass pass(gate_);
  ObjectRecord* found = nullptr;
  uint64_t state = 0;
  if (int r = find(object, found, state); r < 0) return r;
  if (shm::id_member(object.id) != self_)
    return fail(TARN_E_STATE, "the object was made by another process, which alone can seal it");
  if (object_phase(state) != ObjectPhase::kCreating) return fail(TARN_E_STATE, "the object is sealed already");
  found->state.store(pack_object_state(object.generation, ObjectPhase::kSealed), shm::kRelease);
  return 0;
}

int Store::map_file(Fd file, uint64_t size, ObjectRef& out) {
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED)
    return fail_errno(TARN_E_FILE, "cannot map a file of %llu bytes", static_cast<unsigned long long>(size));
  Gate::Pass pass(gate_);
  uint32_t* references;
  uint32_t member;
  uint32_t slab;
  uint32_t index;
  int r = references_of(self_, references);
  if (r == 0) r = allocate_record(index);
  if (r == 0) {
    r = source_.share_file(std::move(file), size, member, slab);
    if (r == 0) r = add_mapping(self_, slab, static_cast<std::byte*>(data), size, true);
    if (r < 0) free_records_.push_back(index);
  }
  if (r < 0) {
    munmap(data, size);
    return r;
  }
  ObjectRecord& object = record(*own_, index);
  uint32_t generation = object_generation(object.state.load(shm::kRelaxed)) + 1;
  if (generation == 0) generation = 1;
  object.holders.init(Holders::bit(self_));
  object.offset = 0;
  object.size = size;
  object.slab = slab;
  object.is_file = 1;
  object.made_for = 0;
  references[index] = 1;
  object.state.store(pack_object_state(generation, ObjectPhase::kSealed), shm::kRelease);
  out = {shm::make_id(self_, index), generation, 0, size};
  return 0;
}

// ---- Results ---------------------------------------------------------------------------------

int Store::make_result(uint64_t size, uint64_t made_for, ObjectRef& out, void*& data) {
  Gate::Pass pass(gate_);
  return make(size, Holders::bit(shm::kClientMember), made_for, out, data);
}

int Store::publish_result(const ObjectRef& object) {
  record(*own_, shm::id_index(object.id))
      .state.store(pack_object_state(object.generation, ObjectPhase::kSealed), shm::kRelease);
  return 0;
}

void Store::discard_result(const ObjectRef& object) {
  Gate::Pass pass(gate_);
  free_own(shm::id_index(object.id));
}

int Store::adopt(const ObjectRef& object) {
  Gate::Pass pass(gate_);
  ObjectRecord* found = nullptr;
  uint64_t state = 0;
  if (int r = find(object, found, state); r < 0) return r;
  uint32_t* references;
  if (int r = references_of(shm::id_member(object.id), references); r < 0) return r;
  ++references[shm::id_index(object.id)];
  return 0;
}

// ---- References ------------------------------------------------------------------------------

int Store::ref(const ObjectRef& object) {
  Gate::Pass pass(gate_);
  ObjectRecord* found = nullptr;
  uint64_t state = 0;
  if (int r = find(object, found, state); r < 0) return r;
  uint32_t* references;
  if (int r = references_of(shm::id_member(object.id), references); r < 0) return r;
  uint32_t& count = references[shm::id_index(object.id)];
  if (count == 0) return no_such_object(object);
  if (count == UINT32_MAX) return fail(TARN_E_LIMIT, "the object has %u references of this process", count);
  ++count;
  return 0;
}

int Store::release(const ObjectRef& object) {
  Gate::Pass pass(gate_);
  ObjectRecord* found = nullptr;
  uint64_t state = 0;
  if (int r = find(object, found, state); r < 0) return r;
  uint32_t member = shm::id_member(object.id);
  uint32_t* references;
  if (int r = references_of(member, references); r < 0) return r;
  uint32_t& count = references[shm::id_index(object.id)];
  if (count == 0) return no_such_object(object);
  if (--count == 0 && found->holders.drop(Holders::bit(self_))) give_back(object, *found);
  if (member != self_ && members_[member].is_dead.load(std::memory_order_relaxed)) look_at_dead(member);
  return 0;
}

// Nobody holds the object: its owner takes it back, here or when it next looks.
void Store::give_back(const ObjectRef& object, ObjectRecord& found) {
  uint32_t member = shm::id_member(object.id);
  uint32_t index = shm::id_index(object.id);
  if (member == self_) {
    free_own(index);
    return;
  }
  uint64_t state = pack_object_state(object.generation, ObjectPhase::kSealed);
  if (!found.state.compare_exchange(state, pack_object_state(object.generation, ObjectPhase::kFreed))) return;
  shm::MemberSegment& segment = *members_[member].segment.load(std::memory_order_acquire);
  uint32_t first = segment.returned_objects.load(shm::kAcquire);
  do {
    found.next_returned = first;
  } while (!segment.returned_objects.compare_exchange(first, index + 1));
}

void Store::free_own(uint32_t index) {
  ObjectRecord& object = record(*own_, index);
  uint32_t generation = object_generation(object.state.load(shm::kRelaxed));
  object.state.store(pack_object_state(generation, ObjectPhase::kFree), shm::kRelease);
  if (object.is_file != 0) {
    on_slab_dropped(self_, object.slab);
    source_.drop_slab(self_, object.slab);
  } else {
    heap_.free(object.slab, object.offset, object.size);
  }
  free_records_.push_back(index);
}

void Store::take_returned() {
  for (uint32_t next = own_->returned_objects.exchange(0); next != 0;) {
    uint32_t index = next - 1;
    if (index >= records_used_) return;
    ObjectRecord& object = record(*own_, index);
    next = object.next_returned;
    if (object_phase(object.state.load(shm::kAcquire)) == ObjectPhase::kFreed) free_own(index);
  }
}

// Memory is short: also finds what a holder that died had no time to return.
void Store::look_for_freed() {
  take_returned();
  for (uint32_t index = 0; index < records_used_; ++index) {
    ObjectRecord& object = record(*own_, index);
    ObjectPhase phase = object_phase(object.state.load(shm::kAcquire));
    bool is_dead = phase == ObjectPhase::kSealed && (object.holders.bits() & Holders::kDead) != 0 &&
                   object.made_for == 0;
    if (phase == ObjectPhase::kFreed || is_dead) free_own(index);
  }
}

// ---- Reading ---------------------------------------------------------------------------------

int Store::mapped(uint32_t member, uint32_t slab, uint64_t offset, uint64_t size, const std::byte*& data) {
  for (bool asked = false;; asked = true) {
    MappedSlab* slabs = members_[member].slabs.load(std::memory_order_acquire);
    std::byte* base = slabs == nullptr ? nullptr : slabs[slab].data.load(std::memory_order_acquire);
    if (base != nullptr) [[likely]] {
      uint64_t limit = slabs[slab].size.load(std::memory_order_relaxed);
      if (offset > limit || size > limit - offset)
        return fail(TARN_E_PROTOCOL, "an object reaches beyond its slab (%llu + %llu of %llu bytes)",
                    static_cast<unsigned long long>(offset), static_cast<unsigned long long>(size),
                    static_cast<unsigned long long>(limit));
      if (int slot = slabs[slab].file_slot.load(std::memory_order_relaxed);
          slot != 0 && file_mapping_shrank(slot - 1))
        return fail(TARN_E_FILE_CHANGED, "the mapped file became shorter; map files that nobody truncates, or copy them");
      data = base + offset;
      return 0;
    }
    if (asked) return fail(TARN_E_NO_OBJECT, "slab %u of member %u is gone", slab, member);
    if (int r = source_.learn_slab(member, slab); r < 0) return r;
  }
}

int Store::resolve(const ObjectRef& object, tarn_bytes& out) {
  ObjectRecord* found = nullptr;
  uint64_t state = 0;
  if (int r = find(object, found, state); r < 0) return r;
  if (object_phase(state) != ObjectPhase::kSealed)
    return fail(TARN_E_STATE, "the object is not sealed yet; call tarn_object_seal first");
  uint64_t size = found->size;
  if (object.offset > size || object.size > size - object.offset)
    return fail(TARN_E_ARGUMENT, "bytes %llu to %llu of an object of %llu",
                static_cast<unsigned long long>(object.offset),
                static_cast<unsigned long long>(object.offset + object.size), static_cast<unsigned long long>(size));
  if (found->slab >= kSlabsMax) return fail(TARN_E_PROTOCOL, "an object in slab %u", found->slab);
  const std::byte* data;
  if (int r = mapped(shm::id_member(object.id), found->slab, found->offset + object.offset, object.size, data); r < 0)
    return r;
  out = {data, object.size};
  return 0;
}

int Store::info(const ObjectRef& object, ObjectInfo& out) {
  Gate::Pass pass(gate_);
  ObjectRecord* found = nullptr;
  uint64_t state = 0;
  if (int r = find(object, found, state); r < 0) return r;
  uint32_t* references;
  if (int r = references_of(shm::id_member(object.id), references); r < 0) return r;
  out = {found->size, object_phase(state), found->is_file != 0, references[shm::id_index(object.id)],
         found->holders.bits() & ~Holders::kDead};
  return 0;
}

// ---- Blocks ----------------------------------------------------------------------------------

int Store::alloc_block(uint64_t size, Block& out) {
  Gate::Pass pass(gate_);
  SlabHeap::Place place;
  if (int r = allocate_memory(size, place); r < 0) return r;
  out = {place.slab, place.offset, place.data};
  return 0;
}

void Store::free_block(const Block& block, uint64_t size) {
  Gate::Pass pass(gate_);
  heap_.free(block.slab, block.offset, size);
}

int Store::resolve_block(uint32_t member, uint32_t slab, uint64_t offset, uint64_t size, const std::byte*& data) {
  if (member >= shm::kMembersMax || slab >= kSlabsMax)
    return fail(TARN_E_PROTOCOL, "arguments in slab %u of member %u", slab, member);
  return mapped(member, slab, offset, size, data);
}

// ---- After a crash ---------------------------------------------------------------------------

uint32_t Store::count_alive(uint32_t member) const {
  shm::MemberSegment* segment = members_[member].segment.load(std::memory_order_acquire);
  if (segment == nullptr) return 0;
  uint32_t used = std::min(segment->objects_used.load(shm::kAcquire), shm::kObjectRecordsMax);
  uint32_t alive = 0;
  for (uint32_t i = 0; i < used; ++i) {
    const ObjectRecord& object = record(*segment, i);
    uint64_t bits = object.holders.bits();
    if (object_phase(object.state.load(shm::kAcquire)) == ObjectPhase::kSealed && bits != 0 &&
        (bits & Holders::kDead) == 0)
      ++alive;
  }
  return alive;
}

void Store::drop_slabs_of(uint32_t member) {
  MappedSlab* slabs = members_[member].slabs.load(std::memory_order_acquire);
  if (slabs == nullptr) return;
  for (uint32_t slab = 0; slab < kSlabsMax && slabs[slab].size.load(std::memory_order_relaxed) != 0; ++slab)
    if (slabs[slab].data.load(std::memory_order_relaxed) != nullptr) source_.drop_slab(member, slab);
}

// A reference to an object of a dead member went: was it the last thing alive in its slabs?
void Store::look_at_dead(uint32_t member) {
  uint32_t& until = members_[member].releases_until_look;
  if (until > 1) {
    --until;
    return;
  }
  until = count_alive(member);
  if (until == 0) drop_slabs_of(member);
}

void Store::sweep_dead_member(uint32_t member, IsReferenced is_referenced, void* context) {
  shm::MemberSegment* segment = members_[member].segment.load(std::memory_order_acquire);
  if (segment == nullptr) return;
  uint32_t used = std::min(segment->objects_used.load(shm::kAcquire), shm::kObjectRecordsMax);
  for (uint32_t i = 0; i < used; ++i) {
    ObjectRecord& object = record(*segment, i);
    uint64_t state = object.state.load(shm::kAcquire);
    if (object_phase(state) != ObjectPhase::kSealed || object.made_for == 0) continue;
    uint32_t id = shm::make_id(member, i);
    if (is_referenced(context, object.made_for, id, object_generation(state))) continue;
    (void)object.holders.drop(Holders::bit(shm::kClientMember));
  }
  if (count_alive(member) == 0) drop_slabs_of(member);
}

// ---- Told by the session ---------------------------------------------------------------------

int Store::on_member_added(uint32_t member, shm::MemberSegment* segment) {
  if (member >= shm::kMembersMax) return fail(TARN_E_PROTOCOL, "there is no member %u", member);
  members_[member].is_dead.store(false, std::memory_order_relaxed);
  members_[member].releases_until_look = 0;
  members_[member].segment.store(segment, std::memory_order_release);
  return 0;
}

void Store::on_member_died(uint32_t member) {
  if (member < shm::kMembersMax) members_[member].is_dead.store(true, std::memory_order_relaxed);
}

void Store::on_member_gone(uint32_t member) {
  if (member < shm::kMembersMax) members_[member].segment.store(nullptr, std::memory_order_release);
}

int Store::add_mapping(uint32_t member, uint32_t slab, std::byte* data, uint64_t size, bool is_file) {
  Member& m = members_[member];
  MappedSlab* slabs = m.slabs.load(std::memory_order_acquire);
  if (slabs == nullptr) {
    if (int r = os::Mapping::reserve(kSlabsMax * sizeof(MappedSlab), m.slabs_map); r < 0) return r;
    slabs = reinterpret_cast<MappedSlab*>(m.slabs_map.data());
    m.slabs.store(slabs, std::memory_order_release);
  }
  int slot = is_file ? register_file_mapping(data, size) : -1;
  if (is_file && slot < 0) return fail(TARN_E_LIMIT, "too many files are mapped; release some, or copy them");
  slabs[slab].size.store(size, std::memory_order_relaxed);
  slabs[slab].file_slot.store(slot + 1, std::memory_order_relaxed);
  slabs[slab].data.store(data, std::memory_order_release);
  return 0;
}

int Store::on_slab_added(uint32_t member, uint32_t slab, Fd fd, uint64_t size, bool is_file) {
  if (member >= shm::kMembersMax || slab >= kSlabsMax || size == 0)
    return fail(TARN_E_PROTOCOL, "tarnd announced slab %u of member %u with %llu bytes", slab, member,
                static_cast<unsigned long long>(size));
  on_slab_dropped(member, slab);
  void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED)
    return fail_errno(code_of_errno(errno), "cannot map a slab of %llu bytes", static_cast<unsigned long long>(size));
  if (int r = add_mapping(member, slab, static_cast<std::byte*>(data), size, is_file); r < 0) {
    munmap(data, size);
    return r;
  }
  return 0;
}

void Store::on_slab_dropped(uint32_t member, uint32_t slab) {
  if (member >= shm::kMembersMax || slab >= kSlabsMax) return;
  MappedSlab* slabs = members_[member].slabs.load(std::memory_order_acquire);
  if (slabs == nullptr || slabs[slab].data.load(std::memory_order_relaxed) == nullptr) return;
  int slot = slabs[slab].file_slot.load(std::memory_order_relaxed);
  // Own slabs belong to own_slabs_; own files, and all of others, are unmapped here.
  if (member == self_ && slot == 0) return;
  std::byte* data = slabs[slab].data.exchange(nullptr);
  if (slot != 0) unregister_file_mapping(slot - 1);
  munmap(data, slabs[slab].size.load(std::memory_order_relaxed));
}

bool Store::knows_slab(uint32_t member, uint32_t slab) const {
  MappedSlab* slabs = members_[member].slabs.load(std::memory_order_acquire);
  return slabs != nullptr && slabs[slab].data.load(std::memory_order_acquire) != nullptr;
}

}  // namespace tarn::store
