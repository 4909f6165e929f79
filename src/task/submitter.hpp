// Submitter: the owner's side of tasks. Allocates records, submits, waits, reads results, frees.
//
// One per process that submits. The bookkeeping is in private memory: which records are free, who in
// this process still needs one (handles, dependents), and what a task holds until it is done. So a
// crash of anybody else cannot corrupt it, and a crash of this process ends the session as a whole.
//
// Thread safety: all public functions, by any thread of the process (one gate). Callbacks run outside
// the gate.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>
#include <utility>

#include "base/gate.hpp"
#include "os/memory.hpp"
#include "store/store.hpp"
#include "shm/stream_ring.hpp"
#include "tarn/tarn.h"
#include "task/arena.hpp"
#include "task/arguments.hpp"
#include "task/call.hpp"
#include "task/session_view.hpp"

namespace tarn::task {

// The text of a task's error, as it lies in its object: three strings with their NULs.
struct ErrorText {
  uint32_t type_size;  // with NUL, as all of these
  uint32_t message_size;
  uint32_t task_size;
  int32_t cause;  // of TARN_E_DEPENDENCY: the code of the first task that failed; 0: there is no other
};

// Such a text in an object that somebody else has written; nullptr if it is none.
[[nodiscard]] const ErrorText* check_error_text(const tarn_bytes& bytes);

// Who runs tasks in a worker, as its Submitter needs it: a task that waits for tasks runs them itself. Those of a submitter
// are found by their index.
class Helper {
 public:
  // Whether this thread runs a task now.
  [[nodiscard]] virtual bool is_in_task() const = 0;
  // What a wait of the present run has to say to it: TARN_E_CANCELLED, TARN_E_DEADLINE, or 0.
  [[nodiscard]] virtual int code_of_end() const = 0;
  // Claims the task of this process in record `index` and runs it, within the present run. False: somebody else has.
  virtual bool try_run(uint32_t index) = 0;
  // The present run is about to sleep: what this worker has in hand besides is for others, and so is its slot,
  virtual void before_sleep() = 0;
  // which it has again.
  virtual void after_sleep() = 0;
  // Whether another run, and the ones that it waits for, find room on this thread's stack.
  [[nodiscard]] virtual int check_room() const = 0;

 protected:
  ~Helper() = default;
};

// Which of many futures are done, in the order in which that is found out. Made, used and ended by its Submitter; by one thread at a
// time. A future that is released is no longer among them.
class Watch {
 private:
  friend class Submitter;
  uint32_t ready_first = 0;  // of those that are done and not told of: indices into interests_
  uint32_t ready_last = 0;
  size_t left = 0;           // not told of
  size_t count = 0;
  size_t cursor = 0;         // in a task: where the look for one that can be run here goes on
  bool any_deadline = false;
  bool any_passed = false;   // behind the cursor there may be some that could not be run then
  tarn_future* futures = nullptr;
};

class Submitter {
 public:
  Submitter(SessionView& view, store::Store& store) : view_(view), store_(store), arena_(view) {}
  ~Submitter();
  Submitter(const Submitter&) = delete;
  Submitter& operator=(const Submitter&) = delete;

  [[nodiscard]] int init();

  // See tarn.h for what these promise.
  [[nodiscard]] int submit(tarn_task task, const tarn_arg* args, size_t count, const tarn_submit_options* options,
                           tarn_future& out);
  [[nodiscard]] int submit_batch(tarn_task task, const tarn_arg* args, size_t args_each, size_t count,
                                 const tarn_submit_options* options, tarn_future* out, size_t& done);
  [[nodiscard]] int wait(const tarn_future* futures, size_t count, size_t want, int64_t timeout_ns, uint8_t* done,
                         size_t* done_count);
  [[nodiscard]] int result(tarn_future future, int64_t timeout_ns, tarn_bytes& out);
  [[nodiscard]] int result_part(tarn_future future, uint32_t part, int64_t timeout_ns,
                                tarn_bytes& out);
  [[nodiscard]] int result_object(tarn_future future, int64_t timeout_ns, ObjectRef& out);
  [[nodiscard]] int error(tarn_future future, tarn_task_error& out);
  [[nodiscard]] int release(tarn_future future);
  [[nodiscard]] int cancel(tarn_future future, bool kill);
  // Waits until `is_over` says so, of something that is counted in this process's Waiters when it ends. TARN_E_TIMED_OUT without
  // words. `look` is called now and then: what it returns, if negative, ends the wait.
  [[nodiscard]] int wait_for(bool (*is_over)(void*), int (*look)(void*), void* context, int64_t timeout_ns);
  // Why nothing that is submitted would run; 0.
  [[nodiscard]] int check_broken() const { return broken_.load(std::memory_order_acquire) == 0 ? 0 : say_broken(); }
  // Frees what was released before it was done and is done by now; how many.
  uint32_t reap_all();
  // (submitter_told.cpp) `watch` is new; nothing of it is left if this fails.
  [[nodiscard]] int open_watch(const tarn_future* futures, size_t count, Watch& watch);
  [[nodiscard]] int watch_next(Watch& watch, int64_t timeout_ns, size_t* positions, size_t capacity, size_t& count);
  void close_watch(Watch& watch);
  // The same when the submitter has gone.
  static void forget_watch(Watch& watch);
  [[nodiscard]] int then(tarn_future future, tarn_future_fn fn, void* context);
  [[nodiscard]] int dispatch(tarn_client* client, const Fd& event_fd);

  // ---- Streams (submitter_stream.cpp).

  [[nodiscard]] int submit_stream(tarn_task task, const tarn_arg* args, size_t count, const tarn_submit_options* options,
                                  const tarn_stream_options* stream_options, tarn_future& out);
  [[nodiscard]] int stream_next(tarn_future future, int64_t timeout_ns, tarn_bytes& out);
  [[nodiscard]] int stream_next_object(tarn_future future, int64_t timeout_ns, ObjectRef& out);
  [[nodiscard]] int stream_then(tarn_future future, tarn_future_fn fn, void* context);
  // What the task in record `index` has yielded and nobody has read is kept here, and its ring is empty.
  [[nodiscard]] int take_in(uint32_t index);

  // The own segment's, also for graphs.
  [[nodiscard]] Arena& arena() { return arena_; }

  // Object arguments are resolved by the caller's session: handle to internal reference.
  using ObjectOf = int (*)(void* context, const tarn_object& handle, ObjectRef& out);
  void set_object_of(ObjectOf fn, void* context) {
    object_of_ = fn;
    object_context_ = context;
  }

  // ---- In a worker (submitter_nested.cpp): what its tasks submit are their children, which do not outlive them. All of it is
  // for the one thread that runs tasks.

  // Before the first task.
  [[nodiscard]] int set_helper(Helper& helper);
  // A run begins, or goes on after one that it waited for: what is submitted from now on is chained to `*children`, index + 1
  // of the first. Returns what was there before.
  uint32_t* exchange_children(uint32_t* children) { return std::exchange(children_, children); }
  // Ends what the run has submitted: waits until all of it is done, runs it, or cancels it first. Their futures are released.
  void end_children(uint32_t& children, bool is_cancelled);

  // Frees what was released early and is done by now.
  void tidy() {
    Gate::Pass pass(gate_);
    if (leftovers_first_ != 0) [[unlikely]]
      reap(UINT32_MAX);
  }

  // No worker comes: submissions and waits end with this code and text instead of waiting on. Until mend(), unless it is for good.
  void set_broken(int code, const char* text, bool for_good);
  // What tarnd had said is over.
  void mend();

 private:
  [[nodiscard]] int say_broken() const;

  // What this process knows about a record of its own.
  struct Private {
    uint32_t generation;  // of its present or last use
    uint32_t refs;        // the caller's handle, and dependents that are not done
    uint32_t held;        // first of what the task holds until it is found finished; index into held_
    uint32_t next;        // in the free list or among the leftovers
    uint32_t interest;    // who is to be told that it is finished: index into interests_, 0: nobody
    uint32_t stream;      // what it yields into: index into streams_, 0: it is no stream
    uint8_t seen;         // found finished: no longer counted in outstanding_
    uint8_t adopted;      // the reference to its result object is counted
    uint8_t leftover;     // released before it was done
    uint8_t dropped;      // the reference to its result object is given up
    uint8_t has_deadline; // among what is held
    uint8_t told;         // the interest is in the list of those that are ready
    uint8_t repeatable;   // what it was made from stays as long as its result may be dropped and made again
  };

  struct Held {
    enum class Kind : uint32_t { kObject, kTask, kBlock, kGroup, kDeadline, kOutput, kMemory };
    uint32_t next;
    Kind kind;
    uint64_t a;  // object: id | generation << 32; task: index; block: slab; group: word index; deadline: os::now_ns time; output: char*, allocated; memory: bytes that a run may take
    uint64_t b;  // block: offset; group: words
    uint64_t c;  // block: size
  };

  struct Submission {
    tarn_task task;
    uint8_t attempts_max;
    uint32_t kind;  // as in the record
    bool has_limits;  // any
    TaskLimits limits;
    const int32_t* codes;  // of the limits; the caller's,
    const char* labels;    // as these
  };

  // Who is to be told of a future: a callback, or a watch.
  struct Interest {
    tarn_future_fn fn;   // nullptr: none, but
    void* context;       // the Watch; nullptr: the future was released while this was in a list
    tarn_future future;
    uint32_t next;       // of those that are ready, or free
    uint32_t position;   // in the watch; of a callback, kOfItem: also when there is something to read
  };
  static constexpr uint32_t kOfItem = 1;

  // What was yielded: an object that is kept, or the bytes themselves.
  struct StreamItem {
    StreamItem* next;  // of those that were taken in
    ObjectRef object;  // generation 0: there is none
    uint32_t size;
    alignas(8) std::byte bytes[shm::StreamEntry::kInlineMax];
  };

  struct Stream {
    shm::StreamRing* ring;
    uint32_t line;      // where it is in the arena; of one that is free, the next that is
    uint32_t capacity;
    uint32_t index;     // of the record
    uint64_t head;      // items taken out of the ring,
    uint64_t taken;     // and their bytes
    StreamItem* first;  // those that were taken in and not read, allocated
    StreamItem* last;
    uint32_t kept;      // how many those are
    StreamItem current; // read last
    bool is_waiting;    // the current one could not be handed out, and is to be read once more
  };
  static constexpr uint32_t kStreamsMax = 1u << 16;    // docs/limits.md
  static constexpr uint32_t kKeptItemsMax = 1u << 20;  // taken in and not read, of one stream; docs/limits.md

  TaskRecord& record(uint32_t index) { return space().record(index); }
  SegmentSpace space() { return SegmentSpace(view_, view_.self); }

  // Where a record stands in the list of its parent's children.
  struct Sibling {
    uint32_t next;   // index + 1
    uint32_t* link;  // what points here: another's `next`, or the head; nullptr: in no list
  };

  void choose_names();
  [[nodiscard]] tarn_future handle_of(uint32_t index) const;
  // Whether `future` is one, and of which record. In the header, for waits look at a million of them.
  [[nodiscard]] int check(tarn_future future, uint32_t& index) const { return is_alive(future, index) ? 0 : refuse(future); }
  [[nodiscard]] bool is_alive(tarn_future future, uint32_t& index) const {
    auto id = static_cast<uint32_t>(future.id);
    index = shm::id_index(id);
    if (shm::id_member(id) == tag_ && index < records_used_) [[likely]] {
      const Private& mine = private_[index];
      if (mine.refs != 0 && !mine.leftover && mine.generation == static_cast<uint32_t>(future.id >> 32) - salt_) [[likely]]
        return true;
    }
    return false;
  }
  [[nodiscard]] int refuse(tarn_future future) const;
  [[nodiscard]] State state_of(uint32_t index, std::memory_order order = shm::kAcquire);

  [[nodiscard]] int check_submission(tarn_task task, const tarn_arg* args, size_t count, const tarn_submit_options* options,
                                     Submission& out);
  void trace_submission(uint32_t index, const Submission& submission, const tarn_arg* args, size_t count);
  [[nodiscard]] int submit_one(const Submission& submission, const tarn_arg* args, size_t count, tarn_future& out);
  [[nodiscard]] int allocate(uint32_t& index);
  [[nodiscard]] int hold(uint32_t index, Held::Kind kind, uint64_t a, uint64_t b, uint64_t c);
  // submitter_options.cpp
  [[nodiscard]] int read_options(const tarn_submit_options& options, Submission& out) const;
  [[nodiscard]] static int check_retry(const tarn_retry& retry, Submission& out);
  [[nodiscard]] int fill_arguments(uint32_t index, const tarn_arg* args, size_t count, const Submission& submission, uint32_t& futures);
  [[nodiscard]] int fill_block(uint32_t index, const tarn_arg* args, size_t count, const Submission& submission);
  [[nodiscard]] Cancelled cancel_record(uint32_t index, uint8_t flags, uint16_t& claimant);
  [[nodiscard]] int64_t end_overdue(const tarn_future* futures, size_t count);
  [[nodiscard]] int hang_dependencies(uint32_t index, const tarn_arg* args, size_t count, uint32_t futures);
  [[nodiscard]] int allocate_edge(uint32_t& edge);
  [[nodiscard]] int allocate_group(uint32_t leaves, uint32_t& group);
  void put_free(uint32_t index);
  void abandon(uint32_t index);
  // The record has been found finished: it occupies no worker any more.
  void see(uint32_t index) {
    if (private_[index].seen) return;
    private_[index].seen = 1;
    --outstanding_;
    if (private_[index].held != 0 && !keeps_arguments(index)) release_arguments(index);
  }
  [[nodiscard]] bool keeps_arguments(uint32_t index);
  void drop(uint32_t index);
  [[nodiscard]] bool try_free(uint32_t index);
  void release_arguments(uint32_t index);
  void release_held(uint32_t index, uint32_t& tasks);
  void give_back(const Held& held);
  void drop_tasks(uint32_t tasks);
  void leave_over(uint32_t index);
  void drop_result(uint32_t index, State state);
  uint32_t reap(uint32_t count);
  void ring();
  [[nodiscard]] int adopt_result(uint32_t index);
  [[nodiscard]] int task_error(uint32_t index);
  void say_memory_bound(uint32_t index, std::span<char> text) const;
  [[nodiscard]] const ErrorText* error_text(uint32_t index);
  [[nodiscard]] const char* last_output(uint32_t index, const TaskErrorPayload& error);

  [[nodiscard]] int check_end() const;
  [[nodiscard]] bool help(uint32_t index);
  void help_with(const tarn_future* futures, size_t count, size_t want);
  [[nodiscard]] uint32_t next_below(uint32_t index);
  void add_child(uint32_t index);
  void remove_child(uint32_t index);
  void end_child(uint32_t index);
  [[nodiscard]] bool help_children(uint32_t& children);
  void cancel_children(uint32_t children);

  [[nodiscard]] int open_stream(const tarn_stream_options* options, uint32_t& at);
  void free_stream(uint32_t at);
  void close_stream(uint32_t index);
  void close_streams(uint32_t children);
  void wake_stream(uint32_t index);
  [[nodiscard]] int relieve_streams();
  [[nodiscard]] int take_item(Stream& stream, StreamItem& out);
  [[nodiscard]] int next_item(Stream& stream);
  [[nodiscard]] int take_all(Stream& stream);
  void drop_item(StreamItem& item);
  void drop_items(Stream& stream);
  [[nodiscard]] int check_stream(tarn_future future, uint32_t& index) const;
  [[nodiscard]] bool is_there(const shm::StreamRing& ring, uint64_t head, uint32_t index);
  [[nodiscard]] bool spin_for_item(const shm::StreamRing& ring, uint64_t head, uint32_t index, int64_t deadline_ns);
  [[nodiscard]] uint32_t others_serving() const;
  void help_stream(uint32_t index, int64_t& patient_until_ns, int64_t& next_ns);
  [[nodiscard]] int await_item(tarn_future future, int64_t timeout_ns, bool to_end);
  [[nodiscard]] int read_item(tarn_future future, int64_t timeout_ns, Stream*& out);
  [[nodiscard]] bool has_item(uint32_t index) const;
  [[nodiscard]] bool is_of_item(uint32_t interest, uint32_t index) const {
    return interests_[interest].fn != nullptr && interests_[interest].position == kOfItem && has_item(index);
  }

  [[nodiscard]] int add_interest(tarn_future future, const Interest& interest);
  void drop_interest(uint32_t index);
  void free_interest(uint32_t at);
  void find_finished();
  void make_ready_interest(uint32_t index);
  [[nodiscard]] size_t take_ready(Watch& watch, size_t* positions, size_t capacity);
  [[nodiscard]] bool help_watched(Watch& watch);
  [[nodiscard]] bool spin_until_event(uint32_t events, int64_t deadline_ns);

  [[nodiscard]] bool worker_elsewhere(uint32_t cpu) const;
  [[nodiscard]] bool spin_until_finished(uint32_t index, int64_t deadline_ns);
  [[nodiscard]] size_t count_finished(const tarn_future* futures, size_t count, bool mark, size_t& unfinished);
  [[nodiscard]] int sleep_for_events(uint32_t events, size_t missing, int64_t deadline_ns);
  [[nodiscard]] int sleep_in_task(uint32_t events, int64_t deadline_ns);
  [[nodiscard]] int wait_for_some(const tarn_future* futures, size_t count, size_t want, int64_t timeout_ns, bool any_deadline);
  [[nodiscard]] int wait_for_all(const tarn_future* futures, size_t count, int64_t timeout_ns, bool any_deadline);
  [[nodiscard]] int wait_untraced(const tarn_future* futures, size_t count, size_t want, int64_t timeout_ns, uint8_t* done,
                                  size_t* done_count);
  [[nodiscard]] int wait_one(tarn_future future, uint32_t& index, int64_t timeout_ns);
  [[nodiscard]] int check_daemon();
  [[nodiscard]] int look_in_poll();
  [[nodiscard]] ObjectRef result_ref(uint32_t index, State state);

  // Constant after init.
  SessionView& view_;
  store::Store& store_;
  Arena arena_;
  ObjectOf object_of_ = nullptr;
  void* object_context_ = nullptr;
  os::Mapping private_map_;
  os::Mapping edge_next_map_;
  os::Mapping held_map_;
  os::Mapping interest_map_;
  os::Mapping sibling_map_;
  os::Mapping stream_map_;         // with the first stream
  Helper* helper_ = nullptr;       // in a worker
  Sibling* siblings_ = nullptr;    // in a worker
  Private* private_ = nullptr;
  uint32_t* edge_next_ = nullptr;
  Held* held_ = nullptr;
  Interest* interests_ = nullptr;
  Stream* streams_ = nullptr;
  uint32_t tag_ = 0;   // of this client's futures, never 0
  uint32_t salt_ = 0;  // added to their generations

  // Guarded by gate_.
  Gate gate_;
  uint32_t free_records_ = 0;  // index + 1
  uint32_t records_used_ = 0;
  uint32_t records_backed_ = shm::kRecordsAtStart;
  uint32_t free_edges_ = 0;    // edge 0 is never used
  uint32_t edges_used_ = 1;
  uint32_t edges_backed_ = shm::kEdgesAtStart;
  uint32_t free_groups_[20] = {};  // by size class, the first word links
  uint32_t group_words_used_ = 2;
  uint32_t free_held_ = 0;
  uint32_t held_used_ = 1;
  uint32_t free_interests_ = 0;
  uint32_t interests_used_ = 1;
  uint32_t free_streams_ = 0;
  uint32_t streams_used_ = 1;
  std::atomic<uint32_t> streams_open_{0};  // changed inside the gate
  uint32_t ready_first_ = 0;  // callbacks that are to be called
  uint32_t ready_last_ = 0;
  uint32_t leftovers_first_ = 0;  // index + 1, oldest first
  uint32_t leftovers_last_ = 0;
  uint32_t* children_ = nullptr;  // where those of the present run begin
  uint32_t outstanding_ = 0;   // submitted and not yet found finished
  uint64_t waiting_threads_ = uint64_t{1} << shm::Waiters::kPollWaiter;  // indices in use

  std::atomic<int64_t> polled_ns_{0};  // when one who only looks did what a sleeper does now and then
  std::atomic<int> broken_{0};
  mutable Gate broken_gate_;  // the innermost one
  // Guarded by it.
  bool is_broken_for_good_ = false;
  char broken_text_[256] = "";
};

}  // namespace tarn::task
