// Store: the objects of a session as one process sees them.
//
// Objects lie in slabs: memory with one writer. A process writes into its own slabs only, by its own
// allocator (SlabHeap); everybody else has them mapped read-only (SlabMap). The object record in the
// segment of its maker says where it is and who holds it (Holders); a process counts its own references
// in private memory (ObjectTable). Memory and news come from tarnd through SlabSource, which the session
// implements. docs/internals/store.md tells it as a whole.
//
// Thread safety: all functions. The on_* functions are called by the session whenever it has read its
// socket, also while this Store waits for an answer: they never take gate_, only that of SlabMap.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/fd.hpp"
#include "base/gate.hpp"
#include "os/memory.hpp"
#include "shm/ids.hpp"
#include "shm/member_segment.hpp"
#include "store/copy.hpp"
#include "store/object_meta.hpp"
#include "store/object_table.hpp"
#include "store/slab_heap.hpp"
#include "store/slab_map.hpp"
#include "tarn/tarn.h"
#include "wire/messages.hpp"

namespace tarn::store {

using shm::ObjectRef;

// A slab that tarnd granted to this process: mapped for writing, warm.
struct SlabView {
  uint32_t slab = 0;
  os::Mapping mapping;
  int node = -1;
};

// What the store needs from tarnd. May call the on_* functions of the store while it waits.
class SlabSource {
 public:
  // A new slab of at least `size` bytes, writable by nobody else, placed as `placement` says.
  [[nodiscard]] virtual int request_slab(uint64_t size, Placement placement, wire::SlabHow how, SlabView& out) = 0;
  // Takes in what tarnd has sent until Store::knows_slab(member, slab).
  [[nodiscard]] virtual int learn_slab(uint32_t member, uint32_t slab) = 0;
  // Has every member map the first `size` bytes of `file`, under a slab number of this process.
  [[nodiscard]] virtual int share_file(Fd file, uint64_t size, uint32_t& member, uint32_t& slab) = 0;
  // Has the first `objects` object records of the own segment backed by memory.
  [[nodiscard]] virtual int grow_objects(uint32_t objects) = 0;
  // Nothing in that slab or file is alive: nobody needs it any more.
  virtual void drop_slab(uint32_t member, uint32_t slab) = 0;
  // Brings an object back into memory that this process has pinned, and waits for it. One that was dropped has to be made
  // again: by this process, or another one is at it and it is asked for once more.
  static constexpr int kMakeAgain = 1;
  static constexpr int kAskAgain = 2;
  [[nodiscard]] virtual int restore(const ObjectRef& ref, uint32_t slab, uint64_t offset) = 0;
  // What this process has made again, `bytes` of its own slabs, is copied to the object's place; `what` says both.
  [[nodiscard]] virtual int bring(const wire::Made& what) = 0;
  // It has not: others may try.
  virtual void give_up(const wire::Made& what) = 0;
  // An object of this process that is not in memory was freed: nobody needs its copy any more.
  virtual void drop_copy(uint32_t slab, uint64_t offset) = 0;

 protected:
  ~SlabSource() = default;
};

// Who makes objects again that were dropped. Called without the gate of the store, which has pinned the object.
class Maker {
 public:
  // 0 when the object is there. `timeout_ns`, unless it is -1, is for who waits for others, and not for who makes it.
  [[nodiscard]] virtual int make_again(const ObjectRef& ref, const ObjectRecord& record, int64_t timeout_ns) = 0;
  // What ends the wait for another process that makes one: a negative code, or 0.
  [[nodiscard]] virtual int code_of_wait() const = 0;
  // Around such a wait, once it has lasted for a while.
  virtual void before_wait() {}
  virtual void after_wait() {}

 protected:
  ~Maker() = default;
};

// Who is told what happens to objects that this process makes. Called behind the gate of the store, which it does not use.
class ObjectListener {
 public:
  virtual void on_sealed(const ObjectRef& ref) = 0;
  virtual void on_freed(const ObjectRef& ref) = 0;

 protected:
  ~ObjectListener() = default;
};

// Memory without a record, for the arguments of one task.
struct Block {
  uint32_t slab;
  uint64_t offset;
  std::byte* data;
};

class Store {
 public:
  explicit Store(SlabSource& source) : source_(source) {}
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  [[nodiscard]] int init(uint32_t self, uint32_t session, shm::MemberSegment& own);
  [[nodiscard]] uint32_t session() const { return session_; }
  // How much memory in empty slabs is kept for later; before the first object.
  void set_keep_free(uint64_t bytes) { keep_free_ = bytes; }

  // Before the first object that may have been dropped.
  void set_maker(Maker& maker) { maker_ = &maker; }

  // Who is told from now on, and of what.
  void set_listener(ObjectListener* listener, bool of_seals, bool of_frees);

  // ---- Objects of this process. The caller gets one reference each. `meta`, if there is one, has been checked. Those of up
  // to SlabHeap::kSmallMax bytes are near, whatever `placement` says: a few pages are not worth spreading.

  [[nodiscard]] int put(const void* data, uint64_t size, ObjectRef& out, const ObjectMeta* meta = nullptr,
                        Placement placement = Placement::kNear);
  [[nodiscard]] int create(uint64_t size, ObjectRef& out, void*& data, const ObjectMeta* meta = nullptr,
                           Placement placement = Placement::kNear);
  [[nodiscard]] int seal(const ObjectRef& ref);
  // The first `size` bytes of a file, mapped by every process that reads it. size > 0.
  [[nodiscard]] int map_file(Fd file, uint64_t size, ObjectRef& out);

  // ---- References of this process. A range counts on the whole object.

  // The bytes of a range that the program holds, pinned: they stay in their place until as many calls of unpin, or the
  // last release. Waits if they have to come back to memory. TARN_E_NO_OBJECT, TARN_E_STATE, TARN_E_FILE_CHANGED, and those
  // of SlabSource::restore.
  [[nodiscard]] int get(const ObjectRef& ref, tarn_bytes& out);
  [[nodiscard]] int unpin(const ObjectRef& ref);
  // The same as `get` for an object that a future of this process keeps; with `timeout_ns` as of Maker::make_again.
  [[nodiscard]] int get_kept(const ObjectRef& ref, tarn_bytes& out, int64_t timeout_ns = -1);
  // One reference more to an object that the program holds.
  [[nodiscard]] int ref(const ObjectRef& ref);
  // The first reference of this process, taken while somebody else is known to hold the object.
  [[nodiscard]] int acquire(const ObjectRef& ref);
  [[nodiscard]] int release(const ObjectRef& ref);
  // The same for a task or a future of this process, which does not count as the program's: who releases more often
  // than he may is told so, whatever tasks still need the object. `share` gives the program one of its own.
  [[nodiscard]] int keep(const ObjectRef& ref);
  void unkeep(const ObjectRef& ref);
  [[nodiscard]] int share(const ObjectRef& ref);

  // ---- What is known about objects that the program holds (store_life.cpp).

  // Fills everything but `size`.
  [[nodiscard]] int info(const ObjectRef& ref, tarn_object_details& out);
  // Label and metadata, in place, and the type: valid as the bytes are. Errors as of get.
  [[nodiscard]] int meta(const ObjectRef& ref, ObjectMeta& out);
  // As get, if the object has that tag; TARN_E_TYPE if not.
  [[nodiscard]] int get_typed(const ObjectRef& ref, uint32_t type, tarn_bytes& out);
  // Whether the program holds the object, and the range lies inside it.
  [[nodiscard]] bool exists(const ObjectRef& ref);
  // All that the program holds, each as a whole: the first `capacity` into `refs`, and their details, `stride` bytes apart
  // (nullptr: not wanted). Returns how many there are.
  [[nodiscard]] size_t list(ObjectRef* refs, std::byte* details, size_t stride, size_t capacity);
  // Sleeps until the object is sealed by another thread. TARN_E_TIMED_OUT; TARN_E_NO_OBJECT also if it is dropped meanwhile.
  [[nodiscard]] int wait_sealed(const ObjectRef& ref, int64_t deadline_ns);
  // Drops an unsealed object, with all references of the program. TARN_E_STATE if it is sealed or an argument of a task.
  [[nodiscard]] int abort(const ObjectRef& ref);

  // ---- Results, made by a worker for whoever submitted the task.

  // An unsealed object that the submitter will hold; the worker does not (if it is not the submitter itself). `made_for` is
  // the record id of the task whose result it will be, for recovery. TARN_E_LIMIT: the submitter cannot hold objects. With a
  // `recipe` it may be dropped and made again, if it is large enough to leave memory.
  [[nodiscard]] int make_result(uint64_t size, uint32_t made_for, ObjectRef& out, void*& data, uint64_t recipe = 0);
  // Seals it. The caller now makes the submitter find it, in the task record.
  [[nodiscard]] int publish_result(const ObjectRef& ref);
  // Drops it unsealed.
  void discard_result(const ObjectRef& ref);
  // Submitter: what make_result set aside for this process is now kept, for its future.
  [[nodiscard]] int adopt(const ObjectRef& ref);
  // Or nobody will ask for it: this process lets go of it, and need not have it mapped for that.
  [[nodiscard]] int decline(const ObjectRef& ref);

  // ---- Results that are made again (store_again.cpp).

  // Submitter: what it was made from is about to go. False if it was dropped, or others make it: not yet.
  [[nodiscard]] bool end_repeats(const ObjectRef& ref);
  // Whoever has made it again: the bytes are in `block`, which stays the caller's. Waits until the object is there. A negative
  // `code` says instead that it was not made.
  [[nodiscard]] int bring(const ObjectRef& ref, const ObjectRecord& record, const Block& block, uint64_t size);
  void give_up(const ObjectRef& ref, const ObjectRecord& record, int code);

  // ---- Reading in a task, and arguments.

  // The bytes of a range that the caller knows to be held by somebody until it is done with them, and then tells
  // unpin_resolved how it got them.
  enum class Resolved : uint8_t {
    kStays,   // the object cannot leave memory
    kPinned,  // pinned, and counted as nobody's
    kHeld     // pinned, and held by this process
  };
  [[nodiscard]] int resolve(const ObjectRef& ref, tarn_bytes& out, Resolved& how);
  void unpin_resolved(const ObjectRef& ref, Resolved how);
  // What such an object says about itself, and the size of all of it.
  [[nodiscard]] int resolve_meta(const ObjectRef& ref, ObjectMeta& out, uint64_t& size);
  [[nodiscard]] int alloc_block(uint64_t size, Block& out);
  void free_block(const Block& block, uint64_t size);
  [[nodiscard]] int resolve_block(uint32_t member, uint32_t slab, uint64_t offset, uint64_t size,
                                  const std::byte*& data);
  // True once after a mapped file turned out to have shrunk under a read of this process.
  [[nodiscard]] bool take_file_fault();

  // ---- After a crash.

  // Whether the task with that record id is done and leads to this object: nobody else knows of it.
  using IsReferenced = bool (*)(void* context, uint32_t made_for, uint32_t object_id, uint32_t generation);
  // Worker: takes away what a dead member held, frees what it made and nobody will find, and gives its
  // slabs back when nothing in them is alive. Repeating it changes nothing. The dead member's tasks
  // are recovered before.
  void sweep_dead_member(uint32_t member, IsReferenced is_referenced, void* context);

  // Does what news from tarnd left to do. Call it after reading the socket, without holding the
  // session's gate; allocations and releases do it as well.
  void settle();
  // The same for who waits for tarnd, holding the session's gate and not this store's: what this process keeps may be what it
  // waits for. If another thread is inside, that or the next news does it.
  void settle_in_wait();

  // ---- News from tarnd, by the session.

  [[nodiscard]] int on_member_added(uint32_t member, shm::MemberSegment* segment);
  void on_member_died(uint32_t member);
  void on_reclaim();
  void on_member_gone(uint32_t member);
  [[nodiscard]] int on_slab_added(uint32_t member, uint32_t slab, Fd file, uint64_t size, bool is_file);
  void on_slab_dropped(uint32_t member, uint32_t slab);
  // Another tarnd announces all slabs again, between these two.
  void on_another_daemon(uint32_t host_epoch);
  void on_all_announced();
  [[nodiscard]] bool knows_slab(uint32_t member, uint32_t slab) const { return slabs_.knows(member, slab); }

 private:
  // What is left of a dead member: how often somebody let go of an object of its since this process
  // last counted those that live.
  struct Dead {
    uint32_t alive;
    uint32_t released;
  };

  using Entry = ObjectTable::Entry;

  [[nodiscard]] int alloc(uint64_t size, Placement placement, SlabHeap::Place& out);
  [[nodiscard]] int alloc_slow(uint64_t size, Placement placement, SlabHeap::Place& out);
  [[nodiscard]] int add_slab(uint64_t size, Placement placement, bool may_wait);
  [[nodiscard]] int alloc_record(uint32_t& index);
  [[nodiscard]] int make(uint64_t size, uint32_t& index, const ObjectMeta* meta = nullptr,
                         Placement placement = Placement::kNear);
  [[nodiscard]] ObjectRef first_reference(uint32_t index);
  [[nodiscard]] ObjectRecord* find_offered(const ObjectRef& ref);
  [[nodiscard]] int get_as(const ObjectRef& ref, bool kept, tarn_bytes& out, int64_t timeout_ns);
  [[nodiscard]] int bring_back(const ObjectRef& ref, const ObjectRecord& record, std::byte* data, int64_t timeout_ns = -1);
  void drop_pin(ObjectRecord& record);
  [[nodiscard]] int hold_first(const ObjectRef& ref, ObjectRecord& record, Entry*& entry);
  void let_go(const ObjectRef& ref);
  void free_own(uint32_t index);
  void drop_free_slabs(uint64_t keep);
  void drop_spent_slabs();
  void take_back();
  void take_back_from_dead(uint32_t member);
  void give_back(uint32_t member, uint32_t index);
  [[nodiscard]] int find_slab(uint32_t id, uint32_t member, uint32_t slab, SlabMap::View& out);
  [[nodiscard]] int locate(const ObjectRef& ref, const ObjectRecord& record, ObjectPlace& place, std::byte*& data);
  [[nodiscard]] int fill_entry(const ObjectRef& ref, const ObjectRecord& record, Entry& entry);
  [[nodiscard]] int check_file(uint32_t id, const ObjectRecord& record, const FileGuard* guard);
  void mark_file_changed(uint32_t id);
  void describe(uint32_t id, const Entry& entry, tarn_object_details& out);
  void wake_seal_waiters();
  void settle_all();
  void settle_dead() {
    if (any_died_.load(std::memory_order_relaxed)) [[unlikely]]
      settle_deaths();
  }
  void settle_deaths();
  void give_free_memory_back();
  void drop_empty_slabs(uint32_t member);

  // Constant after init.
  SlabSource& source_;
  Maker* maker_ = nullptr;
  uint32_t session_ = 0;
  uint32_t self_ = 0;
  uint64_t keep_free_ = uint64_t{1} << 30;

  // Own synchronisation.
  SlabMap slabs_;
  std::atomic<bool> any_died_{false};                       // since settle_dead looked
  std::atomic<bool> reclaim_{false};  // somebody wants empty slabs back, since settle looked
  std::atomic<bool> died_[shm::kMembersMax] = {};           // since settle_dead looked
  std::atomic<bool> look_at_all_dead_{false};               // also where this process never held anything
  std::atomic<uint32_t> host_epoch_{0};                     // of the tarnd that followed another
  std::atomic<bool> is_dead_[shm::kMembersMax] = {};
  std::atomic<uint32_t> restoring_{0};  // threads that wait for an object to come back

  Gate gate_;
  // Guarded by gate_.
  SlabHeap heap_;
  ObjectTable table_;
  Dead dead_[shm::kMembersMax] = {};
  ObjectListener* of_seals_ = nullptr;  // who is told; nullptr: nobody
  ObjectListener* of_frees_ = nullptr;
  uint32_t seal_waiters_ = 0;  // threads that sleep until something is sealed or dropped
  uint32_t seals_ = 0;         // counts that while there are any; they sleep on it
};

}  // namespace tarn::store
