// Store: the objects of a session as one process sees them. Puts, gets, references, results.
//
// Objects lie in slabs: memory with one writer. A process writes into its own slabs only, by its own
// allocator (SlabHeap); everybody else has them mapped read-only. The object record in the creator's
// segment says where the object is and who holds it (Holders). A process counts its own references in
// private memory and holds one bit for all of them.
//
// Thread safety: all functions. The on_* functions are called by the session, possibly by the very
// thread that waits inside another function of the store for an answer of tarnd: they take no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/fd.hpp"
#include "base/gate.hpp"
#include "os/memory.hpp"
#include "shm/ids.hpp"
#include "shm/member_segment.hpp"
#include "store/copy.hpp"
#include "store/file_fault.hpp"
#include "store/object_record.hpp"
#include "store/slab_heap.hpp"
#include "tarn/tarn.h"

namespace tarn::store {

using shm::ObjectRef;

inline constexpr uint64_t kObjectSizeMax = uint64_t{1} << 40;  // docs/limits.md
inline constexpr uint32_t kSlabsMax = 65536;                   // of one member

struct SlabView {
  uint32_t slab = 0;
  os::Mapping mapping;  // writable
  int node = -1;
};

// What the store needs from tarnd; implemented by the session.
class SlabSource {
 public:
  // A slab of at least `size` bytes: warm, mapped, sealed against every other writer.
  [[nodiscard]] virtual int request_slab(uint64_t size, SlabView& out) = 0;
  // Returns once `on_slab_added` was called for that slab. Blocks.
  [[nodiscard]] virtual int learn_slab(uint32_t member, uint32_t slab) = 0;
  // Makes a file known to all members, under a number among the own slabs.
  [[nodiscard]] virtual int share_file(Fd file, uint64_t size, uint32_t& member, uint32_t& slab) = 0;
  // Has at least `objects` object records of the own segment backed by memory.
  [[nodiscard]] virtual int grow_objects(uint32_t objects) = 0;
  // Nothing in this slab is alive any more.
  virtual void drop_slab(uint32_t member, uint32_t slab) = 0;

 protected:
  ~SlabSource() = default;
};

struct Block {  // memory of a slab without an object record
  uint32_t slab;
  uint64_t offset;
  std::byte* data;
};

struct ObjectInfo {
  uint64_t size;
  ObjectPhase phase;
  bool is_file;
  uint32_t references;
  uint64_t holders;
};

class Store {
 public:
  explicit Store(SlabSource& source) : source_(source) {}
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  [[nodiscard]] int init(uint32_t self, uint32_t session, shm::MemberSegment& own);

  // ---- Objects of this process -------------------------------------------------------------
  // Each new object has one reference of this process.
  [[nodiscard]] int put(const void* data, uint64_t size, ObjectRef& out);
  [[nodiscard]] int create(uint64_t size, ObjectRef& out, void*& data);
  [[nodiscard]] int seal(const ObjectRef& object);
  [[nodiscard]] int map_file(Fd file, uint64_t size, ObjectRef& out);

  // ---- Results: held by the client from the start ------------------------------------------
  // `made_for` is the task record (generation 32 | id 32), for the sweep after a crash.
  [[nodiscard]] int make_result(uint64_t size, uint64_t made_for, ObjectRef& out, void*& data);
  [[nodiscard]] int publish_result(const ObjectRef& object);
  void discard_result(const ObjectRef& object);
  // In the client: counts the reference that came with a result.
  [[nodiscard]] int adopt(const ObjectRef& object);

  // ---- Any object --------------------------------------------------------------------------
  // The bytes of the range, in place. Sealed objects only. For as long as somebody holds the object.
  [[nodiscard]] int resolve(const ObjectRef& object, tarn_bytes& out);
  // One reference more, of one this process has already.
  [[nodiscard]] int ref(const ObjectRef& object);
  [[nodiscard]] int release(const ObjectRef& object);
  [[nodiscard]] int info(const ObjectRef& object, ObjectInfo& out);

  // ---- Blocks: arguments that do not fit their record --------------------------------------
  [[nodiscard]] int alloc_block(uint64_t size, Block& out);
  void free_block(const Block& block, uint64_t size);
  [[nodiscard]] int resolve_block(uint32_t member, uint32_t slab, uint64_t offset, uint64_t size,
                                  const std::byte*& data);

  // ---- After a crash -----------------------------------------------------------------------
  // Whether the task record `made_for` refers to this result: nobody else knows of it.
  using IsReferenced = bool (*)(void* context, uint64_t made_for, uint32_t object_id, uint32_t generation);
  // Frees the results that a dead member made and never handed over; gives its slabs back if none of
  // its objects is alive. Repeating it changes nothing.
  void sweep_dead_member(uint32_t member, IsReferenced is_referenced, void* context);

  // ---- Told by the session -----------------------------------------------------------------
  [[nodiscard]] int on_member_added(uint32_t member, shm::MemberSegment* segment);
  void on_member_died(uint32_t member);
  void on_member_gone(uint32_t member);
  [[nodiscard]] int on_slab_added(uint32_t member, uint32_t slab, Fd fd, uint64_t size, bool is_file);
  void on_slab_dropped(uint32_t member, uint32_t slab);
  [[nodiscard]] bool knows_slab(uint32_t member, uint32_t slab) const;

  [[nodiscard]] uint32_t session() const { return session_; }

 private:
  struct MappedSlab {  // zero: not known
    std::atomic<std::byte*> data;
    std::atomic<uint64_t> size;
    std::atomic<int> file_slot;  // of file_fault, + 1; 0: not a file
  };

  struct Member {
    std::atomic<shm::MemberSegment*> segment{nullptr};
    std::atomic<bool> is_dead{false};
    std::atomic<MappedSlab*> slabs{nullptr};  // kSlabsMax entries, reserved with the first
    std::atomic<uint32_t*> references{nullptr};  // by object index, reserved with the first
    os::Mapping slabs_map;
    os::Mapping references_map;
    uint32_t releases_until_look = 0;  // dead: when to look whether anything is alive
  };

  [[nodiscard]] ObjectRecord& record(shm::MemberSegment& segment, uint32_t index) const;
  // The record behind a reference, checked: in use by this generation.
  [[nodiscard]] int find(const ObjectRef& object, ObjectRecord*& out, uint64_t& state) const;
  [[nodiscard]] int allocate_record(uint32_t& index);
  [[nodiscard]] int allocate_memory(uint64_t size, SlabHeap::Place& place);
  [[nodiscard]] int make(uint64_t size, uint64_t holders, uint64_t made_for, ObjectRef& out, void*& data);
  void free_own(uint32_t index);
  void take_returned();
  void look_for_freed();
  void give_back(const ObjectRef& object, ObjectRecord& record);
  void look_at_dead(uint32_t member);
  [[nodiscard]] uint32_t count_alive(uint32_t member) const;
  void drop_slabs_of(uint32_t member);
  [[nodiscard]] int add_mapping(uint32_t member, uint32_t slab, std::byte* data, uint64_t size, bool is_file);
  [[nodiscard]] int mapped(uint32_t member, uint32_t slab, uint64_t offset, uint64_t size, const std::byte*& data);
  [[nodiscard]] int references_of(uint32_t member, uint32_t*& out);

  // Constant after init.
  SlabSource& source_;
  uint32_t self_ = 0;
  uint32_t session_ = 0;
  shm::MemberSegment* own_ = nullptr;

  Member members_[shm::kMembersMax];  // each by its own atomics

  // Guarded by gate_.
  Gate gate_;
  SlabHeap heap_;
  std::vector<os::Mapping> own_slabs_;
  std::vector<uint32_t> free_records_;
  uint32_t records_used_ = 0;
  uint32_t records_backed_ = shm::kObjectsAtStart;
};

}  // namespace tarn::store
