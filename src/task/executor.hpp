// Executor: the worker's side of tasks. Finds hints, claims records, runs, finishes, sleeps.
//
// One per worker process, used by its one thread.
#pragma once

#include <cstdint>

#include <pthread.h>

#include "os/affinity.hpp"
#include "store/store.hpp"
#include "task/call.hpp"
#include "task/output_marks.hpp"
#include "task/session_view.hpp"
#include "task/submitter.hpp"

namespace tarn::task {

struct TaskLimits;

class Executor final : public Helper, public store::Maker {
 public:
  Executor(SessionView& view, store::Store& store, uint32_t slot, int core, int node);
  ~Executor();

  // Tasks may submit tasks, by `submitter`, of this process: as `client`, which they are given. Before the first task.
  [[nodiscard]] int set_submitter(Submitter& submitter, tarn_client* client);

  // Its slot is that seat of the session's, where it has that rank (shm/seat.hpp). Before the first task; else it has the slot for itself.
  void set_seat(uint32_t seat, uint32_t rank);

  // What the tasks print is read by tarn-output, which is told whose it is. Before the first task.
  [[nodiscard]] int mark_output() { return marks_.begin(); }

  // Settles what a dead member left behind. Repeated by the next worker if this one dies in it.
  [[nodiscard]] int recover_member(uint32_t dead, int signal, int exit_status);

  // Runs tasks until tarnd is gone; returns the error that said so.
  [[nodiscard]] int serve();

  // For tests that drive a worker step by step: runs what can be found now; how many tasks it ran.
  uint32_t run_available();

  // Helper: in the thread that serves.
  [[nodiscard]] bool is_in_task() const override;
  [[nodiscard]] int code_of_end() const override;
  bool try_run(uint32_t index) override;
  void before_sleep() override;
  void after_sleep() override;
  [[nodiscard]] int check_room() const override;

  // Maker (executor_make.cpp): in the thread that serves, within a run.
  [[nodiscard]] int make_again(const ObjectRef& ref, const store::ObjectRecord& record, int64_t timeout_ns) override;
  [[nodiscard]] int code_of_wait() const override;
  void before_wait() override { before_sleep(); }
  void after_wait() override { after_sleep(); }

  // Whether a run in this thread is of a task of that member.
  [[nodiscard]] bool runs_for(uint32_t member) const {
    for (const tarn_call* call = current_; call != nullptr; call = call->outer)
      if (shm::id_member(call->made_for) == member) return true;
    return false;
  }

  // Ends `serve` soon; from any thread, for tests with workers as threads.
  void stop();

 private:
  using Ids = uint32_t[shm::kBatchMax];

  [[nodiscard]] size_t find(Ids ids);
  [[nodiscard]] size_t find_in_lanes(Ids ids);
  [[nodiscard]] size_t find_in_level(uint32_t level, Ids ids);
  [[nodiscard]] bool is_anyone_taking() const;
  [[nodiscard]] uint32_t levels() const;
  [[nodiscard]] size_t take_hints(uint32_t level, Ids ids);
  class Graphs;  // executor_graph.cpp

  // executor_class.cpp
  enum class Whose { kOwn, kAll };  // tasks that are to run here, or also those that only prefer another place
  [[nodiscard]] bool any_class_pending() const {
    return view_.board->classes_in_use.load(kRelaxed) != 0 && view_.board->classes.any_pending();
  }
  template <class F>
  bool any_class(F f) const;
  [[nodiscard]] bool is_place_for(uint32_t number, Whose whose) const;
  [[nodiscard]] uint32_t levels_of_classes() const;
  [[nodiscard]] size_t find_with_classes(Ids ids);
  [[nodiscard]] size_t take_of_classes(uint32_t level, Whose whose, Ids ids);
  [[nodiscard]] size_t look_through_records(shm::SchedulingClass& queue, uint32_t number, Ids ids);
  bool run_of_others();
  [[nodiscard]] bool class_tasks_left() const;
  void offer_class_tasks();
  [[nodiscard]] bool begin_class(uint32_t number);
  void end_class(uint32_t number);
  void fall_in_line(uint32_t number);
  void leave_line(uint32_t number);
  void wish_for(const shm::ResourceCounts& counts);
  void ring_classes();
  void recover_classes(uint32_t dead);

  template <class Lane>
  [[nodiscard]] size_t look_through_records(Lane& lane, uint32_t member, uint32_t level, Ids ids);
  [[nodiscard]] size_t look_through_records(uint32_t level, Ids ids);
  [[nodiscard]] size_t steal(Ids ids) const;
  bool run_stolen();
  [[nodiscard]] bool anything_to_do() const;
  [[nodiscard]] bool hints_left() const;
  [[nodiscard]] bool look_at_members(int& r);
  [[nodiscard]] int await_serving();
  [[nodiscard]] int idle();
  [[nodiscard]] int tell_awake();
  // executor_stand_in.cpp
  void lend_slot();
  void take_slot_back();
  void send_off(uint32_t member);
  [[nodiscard]] int rest();
  // executor_loan.cpp
  struct Borrowed {  // slots of others that a run has
    Borrowed* outer;  // of a run that waits for this one
    int64_t since_ns;
    int64_t rang_ns;      // when those who are to lend were woken last
    uint64_t collection;  // 0: none so far
    uint64_t seats[shm::kMembersMax / 64];
  };
  [[nodiscard]] bool is_off_duty() {
    if (view_.board->collector.is_on()) [[unlikely]]
      offer_between_runs();
    return (rank_ != 0 || is_perhaps_lent_) && is_away();
  }
  [[nodiscard]] bool is_away();
  [[nodiscard]] bool is_slot_wanted() const { return view_.board->collector.is_on() && is_own_slot_wanted(); }
  [[nodiscard]] bool is_own_slot_wanted() const;
  [[nodiscard]] bool is_serving(uint32_t member) const;
  void offer_slot();
  void offer_between_runs();
  void withdraw_stale_offer();
  void wake_on_duty(uint32_t seat);
  void wake_collector();
  [[nodiscard]] int borrow_slots(tarn_call& call, uint32_t cores, Borrowed& out);
  void return_slots(Borrowed& out);
  void set_loans_idle(bool is_idle);
  [[nodiscard]] bool collect(Borrowed& out, int32_t node, uint32_t missing);
  [[nodiscard]] bool begin_collection(Borrowed& out, int32_t node);
  void end_collection(uint64_t collection);
  void withdraw_offers(uint64_t collection);
  [[nodiscard]] bool is_free(uint32_t seat, uint64_t collection) const;
  [[nodiscard]] bool take_slot(uint32_t seat, uint64_t collection);
  [[nodiscard]] bool has_slot(uint32_t seat) const;
  [[nodiscard]] uint32_t first_to_collect() const;
  void wake_next_to_collect();
  void recover_loans(uint32_t dead);
  // executor_needs.cpp
  [[nodiscard]] int run_with_needs(tarn_call& call, TaskRecord& record, const std::byte* payload, uint32_t owner, const TaskLimits& limits);
  [[nodiscard]] int run_on_cores(tarn_call& call, const TaskLimits& limits, const Borrowed& borrowed);
  [[nodiscard]] int run_in_memory(tarn_call& call, const TaskLimits& limits);
  void add_cpus(const Borrowed& borrowed, os::Cpus& cpus) const;
  void sleep(uint32_t ticket, int64_t until_ns);
  [[gnu::cold]] void trace_end(const tarn_call& call, int code);
  [[gnu::cold]] void trace_begin(trace::Kind kind, uint64_t run, uint32_t task, uint32_t attempt, uint32_t detail = 0);
  // executor_back_off.cpp
  [[nodiscard]] bool find_back_off(const TaskRecord& record, uint32_t owner, int code, int64_t& delay_ns);
  [[nodiscard]] bool back_off(TaskRecord& record, State mine, uint32_t owner, int code);
  void end_back_offs();
  [[nodiscard]] int64_t next_look() const;
  [[nodiscard]] bool spin();

  [[nodiscard]] bool is_needed_elsewhere() const;
  void hand_back();
  uint32_t run_batch(const Ids ids, size_t count);
  [[nodiscard]] bool run(uint32_t id);
  void put_back(TaskRecord& record, State mine, uint32_t id);
  [[nodiscard, gnu::always_inline]] inline int run_claimed(tarn_call& call, TaskRecord& record, const std::byte* payload, uint32_t owner);
  void ring();
  void orphan_tasks_of(uint32_t dead);
  [[nodiscard]] int resolve(tarn_call& call, const ObjectRef& ref, tarn_bytes& out);
  [[nodiscard]] int run_with_block(tarn_call& call, TaskRecord& record, const std::byte* payload, uint32_t owner);
  [[nodiscard]] int begin_limits(tarn_call& call, TaskRecord& record, const std::byte* payload, uint32_t owner, TaskLimits& limits);
  [[nodiscard]] int get_arguments(tarn_call& call, const TaskRecord& record, const std::byte* payload, uint32_t owner);
  static uint64_t run_of(const tarn_call& call);
  void mark_output_of(const tarn_call& call);
  void say_what_runs(const tarn_call& call);
  void drop_arguments(tarn_call& call);
  [[nodiscard]] int read_arguments(tarn_call& call, const TaskRecord& record, const std::byte* payload, uint32_t owner);
  [[nodiscard]] int read_block(tarn_call& call, const std::byte* payload, uint32_t owner);
  int fail_with_cause(tarn_call& call, const TaskRecord& other);
  [[nodiscard]] int read_result_of(tarn_call& call, tarn_bytes& out, uint32_t owner,
                                   const BlockEntry& entry);
  void finish_run(tarn_call& call, TaskRecord& record, State mine, uint32_t owner, int code);
  void write_error(tarn_call& call, std::byte* payload, int code);
  void begin_call(tarn_call& call, const TaskRecord& record, uint32_t task, uint32_t made_for, uint32_t attempt);
  uint32_t* enter(tarn_call& call);
  void leave(tarn_call& call, uint32_t* outer_children);
  [[nodiscard]] int run_definition(tarn_call& call);

  // executor_make.cpp
  [[nodiscard]] int find_recipe(const store::ObjectRecord& object, MadeAgain& again, const TaskRecord*& record);
  [[nodiscard]] int run_again(MadeAgain& again, const TaskRecord& record, uint64_t size);

  // executor_graph.cpp
  [[nodiscard]] bool make_graphs();
  [[nodiscard]] uint32_t run_graphs();
  [[nodiscard]] bool graph_nodes_left() const;
  [[nodiscard]] bool look_through_graphs();
  void hand_back_nodes();
  void recover_graphs(uint32_t dead, int signal, int exit_status);
  [[nodiscard]] bool is_referenced_by_node(uint32_t made_for, uint32_t object_id, uint32_t object_generation) const;

  void wake_another();
  [[nodiscard]] bool is_referenced_by_stream(uint32_t made_for, uint32_t object_id, uint32_t object_generation) const;
  static bool is_referenced(void* self, uint32_t made_for, uint32_t object_id, uint32_t object_generation);

  SessionView& view_;
  store::Store& store_;
  shm::WorkerLine& line_;
  int core_;
  shm::Seat* seat_ = nullptr;
  uint32_t rank_ = 0;
  int64_t lent_ns_ = 0;           // when the slot was lent
  int64_t asked_ns_ = 0;          // for a stand-in, the last time
  uint32_t seat_number_ = 0;
  bool is_perhaps_lent_ = false;  // the slot, to a run elsewhere
  Borrowed* borrowed_ = nullptr;  // what the innermost run that wanted several cores has of others
  uint32_t next_ring_ = 0;        // where the next look for hints begins
  uint32_t last_class_ = 0;       // and for tasks of classes: behind that one
  bool classes_first_ = false;    // in turn with all others of their level
  uint32_t batch_limit_ = 1;      // hints to take at a time: more while tasks are short
  uint64_t short_batch_ticks_;    // a batch is short if it took less
  const uint32_t* batch_ = nullptr;  // hints in hand that it has not come to
  size_t batch_count_ = 0;
  uint64_t tasks_done_ = 0;
  Submitter* submitter_ = nullptr;
  tarn_client* client_ = nullptr;
  tarn_call* current_ = nullptr;  // the innermost run
  OutputMarks marks_;
  uint32_t depth_ = 0;            // runs within runs
  uint32_t depth_max_ = 0;        // since the first of them began
  pthread_t thread_{};            // that serves
  int64_t looks_again_ns_ = 0;    // at tasks that back off: not before
  uint32_t membership_seen_ = 0;
  Graphs* graphs_ = nullptr;      // once there was one
  Word<uint32_t> stopping_;
};

}  // namespace tarn::task
