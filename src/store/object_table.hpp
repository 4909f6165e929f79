// ObjectTable: the object records of all members, and what this process knows about them.
//
// Records lie in the members' segments. Beside each, this process keeps an Entry in private memory:
// its count of references, where it has the bytes mapped, and for own records the free list. So the
// usual get and release touch no shared line.
//
// Not thread-safe, except attach, detach and segment: the owner's lock guards it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "os/memory.hpp"
#include "shm/ids.hpp"
#include "shm/member_segment.hpp"
#include "store/object_record.hpp"

namespace tarn::store {

class ObjectTable {
 public:
  struct Entry {
    std::byte* data;      // the object's bytes in this process
    uint64_t size : 48;   // own and not live: the next free index + 1
    uint64_t pins : 16;   // how often this process said that it needs the bytes; see Store::pin
    uint32_t generation;
    uint32_t refs;        // that the program has
    uint32_t kept;        // that its tasks and futures have. Both 0: of others' objects the rest means nothing
    uint16_t slab;
    bool is_live;         // own: the record is in use
    uint8_t flags;        // EntryFlags

    void set_size(uint64_t bytes) { size = bytes & ((uint64_t{1} << 48) - 1); }
  };
  enum EntryFlags : uint8_t {
    kIsSealed = 1,
    kIsFile = 2,
    kCanLeave = 4,
    kIsBeingPut = 64  // the program has not been told its handle yet
  };
  static constexpr uint32_t kPinsMax = 0xffff;  // then nobody counts any more: pinned until the last release
  static_assert(sizeof(Entry) == 32);

  [[nodiscard]] int init(uint32_t self, shm::MemberSegment& own);

  // The segments of the others, as they come and go.
  void attach(uint32_t member, shm::MemberSegment* segment) {
    members_[member].segment.store(segment, std::memory_order_release);
  }
  void detach(uint32_t member) { members_[member].segment.store(nullptr, std::memory_order_release); }
  [[nodiscard]] shm::MemberSegment* segment(uint32_t member) const {
    return member < shm::kMembersMax ? members_[member].segment.load(std::memory_order_acquire) : nullptr;
  }
  // How many records of a member have ever been in use.
  [[nodiscard]] uint32_t used(uint32_t member) const;

  // The record behind an id; nullptr if there is none.
  [[nodiscard]] ObjectRecord* record(uint32_t id) const {
    shm::MemberSegment* s = segment(shm::id_member(id));
    if (s == nullptr || shm::id_index(id) >= shm::kObjectRecordsMax) return nullptr;
    return &records(*s)[shm::id_index(id)];
  }
  [[nodiscard]] static ObjectRecord* records(shm::MemberSegment& segment) {
    return reinterpret_cast<ObjectRecord*>(segment.object_records);
  }
  [[nodiscard]] ObjectRecord& own_record(uint32_t index) const {
    return records(*own_)[index];
  }

  // The entry of an object that the program has a reference to; nullptr if it has none.
  [[nodiscard]] Entry* held(const shm::ObjectRef& ref) const {
    Entry* entry = known(ref);
    return entry != nullptr && entry->refs != 0 ? entry : nullptr;
  }
  // The entry of an object that this process holds, for the program or for its tasks and futures.
  [[nodiscard]] Entry* known(const shm::ObjectRef& ref) const {
    uint32_t member = shm::id_member(ref.id);
    if (member >= shm::kMembersMax || members_[member].entries == nullptr) return nullptr;
    uint32_t index = shm::id_index(ref.id);
    if (index >= shm::kObjectRecordsMax) return nullptr;
    Entry* entry = &members_[member].entries[index];
    return (entry->refs | entry->kept) != 0 && entry->generation == ref.generation ? entry : nullptr;
  }
  // The entry of an object of a member that this process has held something of; index < used(member).
  [[nodiscard]] Entry* entry_at(uint32_t id) const {
    return &members_[shm::id_member(id)].entries[shm::id_index(id)];
  }
  // The entry for an id of another member, to be filled.
  [[nodiscard]] int entry(uint32_t id, Entry*& out);

  // Own records. `alloc` says kGrow when more must be backed with memory: grown(total).
  static constexpr int kGrow = 1;
  [[nodiscard]] int alloc(uint32_t& index);
  void free(uint32_t index);
  [[nodiscard]] uint32_t backed() const { return backed_; }
  void grown(uint32_t backed) { backed_ = backed; }
  [[nodiscard]] Entry& own(uint32_t index) const { return own_entries_[index]; }

  // Whether this process ever held an object of a member.
  [[nodiscard]] bool has_held(uint32_t member) const { return members_[member].entries != nullptr; }
  // Or let go of one that was set aside for it.
  [[nodiscard]] bool has_declined(uint32_t member) const { return members_[member].has_declined; }
  void note_declined(uint32_t member) { members_[member].has_declined = true; }
  // How many it holds.
  uint32_t& held_count(uint32_t member) { return members_[member].held; }

 private:
  struct Member {
    std::atomic<shm::MemberSegment*> segment{};
    os::Mapping entry_map;
    Entry* entries = nullptr;
    uint32_t held = 0;
    bool has_declined = false;
  };

  [[nodiscard]] int reserve(uint32_t member);

  uint32_t self_ = 0;
  shm::MemberSegment* own_ = nullptr;
  Entry* own_entries_ = nullptr;
  uint32_t used_ = 0;
  uint32_t backed_ = shm::kObjectsAtStart;
  uint32_t free_ = 0;  // index + 1
  uint32_t first_generation_ = 1;
  Member members_[shm::kMembersMax];
};

}  // namespace tarn::store
