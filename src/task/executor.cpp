#include "task/executor.hpp"

#include <stdio_ext.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/process.hpp"
#include "os/stack.hpp"
#include "shm/prefetch.hpp"
#include "task/arguments.hpp"
#include "task/back_off.hpp"
#include "task/parts.hpp"
#include "task/run_watch.hpp"
#include "task/submitter.hpp"

namespace tarn::task {
namespace {

constexpr int kPausesPerLook = 32;
constexpr int64_t kTakingNs = 100'000;  // many times what taking hints lasts
constexpr int64_t kRoomPatienceNs = 30'000'000'000;  // of a task whose arguments find no room in memory; docs/limits.md
constexpr uint32_t kRoomPauseUs = 250'000;  // about what 200 MB take from a disk
// A batch of hints is taken at once when they together last no longer than this: taking is then a
// small part of the work, and a long task cannot hold up the ones behind it.
constexpr uint64_t kShortBatchTicks = 50'000;  // some tens of microseconds on anything
constexpr size_t kStackKept = size_t{1} << 20;  // for what a task does beside waiting; docs/limits.md
constexpr uint32_t kDeep = 100;                 // runs within runs: then the stack is not left as large as it has become

// A task forked, and its child came back from it as well: two processes would serve as one worker, over the same
// records, and each take what the other writes for its own. The child touches nothing shared and leaves.
[[noreturn]] void leave_forked_child(const Definition& task) {
  fprintf(stderr,
          "tarn: process %d, forked by task '%s', returned from the task and was ended; end it "
          "with _exit\n",
          static_cast<int>(getpid()), task.name);
  _exit(1);
}

}  // namespace

Executor::Executor(SessionView& view, store::Store& store, uint32_t slot, int core, int node)
    : view_(view),
      store_(store),
      line_(view.board->workers[view.self]),
      core_(core),
      short_batch_ticks_(kShortBatchTicks) {
  line_.slot.store(slot, shm::kRelaxed);
  line_.core.store(static_cast<uint32_t>(core), shm::kRelaxed);
  line_.node.store(static_cast<uint32_t>(node), shm::kRelaxed);
  line_.pid.store(static_cast<uint32_t>(getpid()), shm::kRelease);
}

void Executor::stop() {
  stopping_.store(1, kRelease);
  shm::wake_worker(*view_.board, view_.self);
}

// ---- Finding work ----------------------------------------------------------------------------

// Own hints first (they are warm here), then everybody's in turn.
size_t Executor::take_hints(uint32_t level, Ids ids) {
  auto take = [&](uint32_t member) {
    return shm::with_lane(*view_.segments[member], level, [&](auto& lane) { return lane.ring.take(ids, batch_limit_); });
  };
  size_t count = take(view_.self);
  for (uint32_t i = 0; count == 0 && i < view_.members_end; ++i) {
    if (++next_ring_ >= view_.members_end) next_ring_ = 0;
    if (next_ring_ == view_.self || view_.segments[next_ring_] == nullptr) continue;
    count = take(next_ring_);
    // Stay with a ring that had something.
    if (count != 0) --next_ring_;
  }
  return count;
}

// Ready records without hints: the ring was full, or a worker died with hints in its hands.
template <class Lane>
size_t Executor::look_through_records(Lane& lane, uint32_t member, uint32_t level, Ids ids) {
  uint32_t unhinted = lane.unhinted.load(shm::kAcquire);
  if (unhinted == 0) return 0;
  SegmentSpace space(view_, member);
  uint32_t used = std::min(view_.segments[member]->records_used.load(shm::kAcquire), shm::kTaskRecordsMax);
  uint32_t at = lane.scan_cursor.load(shm::kRelaxed);
  size_t count = 0;
  for (uint32_t looked = 0; looked < used && count < shm::kBatchMax; ++looked) {
    if (at >= used) at = 0;
    TaskRecord& record = space.record(at);
    if (State::unpack(record.state.load(shm::kAcquire)).phase == Phase::kReady &&
        lane_of(record.kind.load(shm::kRelaxed)) == level << kClassBits)
      ids[count++] = space.id(at);
    ++at;
  }
  lane.scan_cursor.store(at, shm::kRelaxed);
  // All records were looked at and none was ready: done, unless more were left without a hint meanwhile.
  if (count == 0) (void)lane.unhinted.compare_exchange(unhinted, 0);
  return count;
}

size_t Executor::look_through_records(uint32_t level, Ids ids) {
  size_t count = 0;
  for (uint32_t member = 0; member < view_.members_end && count == 0; ++member)
    if (shm::MemberSegment* segment = view_.segments[member]; segment != nullptr)
      count = shm::with_lane(*segment, level, [&](auto& lane) { return look_through_records(lane, member, level, ids); });
  return count;
}

// What other workers took and have not come to.
size_t Executor::steal(Ids ids) const {
  for (uint32_t member = shm::kFirstWorker; member < view_.members_end; ++member) {
    if (member == view_.self || view_.segments[member] == nullptr) continue;
    shm::WorkerLine& other = view_.board->workers[member];
    size_t count = 0;
    for (auto& word : other.batch) {
      uint32_t id = word.load(shm::kAcquire);
      uint32_t owner = shm::id_member(id);
      if (id == 0 || owner >= shm::kMembersMax || view_.segments[owner] == nullptr) continue;
      if (shm::id_index(id) >= shm::kTaskRecordsMax) continue;
      SegmentSpace space(view_, owner);
      if (State::unpack(space.record(shm::id_index(id)).state.load(shm::kAcquire)).phase == Phase::kReady)
        ids[count++] = id;
    }
    if (count != 0) return count;
  }
  return 0;
}

// The levels in use, a bit each.
uint32_t Executor::levels() const { return view_.board->levels.load(shm::kAcquire) % (1u << shm::kLevels) | 1u << shm::kUsualLevel; }

// What is most urgent first. Between taking several hints and saying so others see neither: who is about to sleep waits for that.
size_t Executor::find(Ids ids) {
  if (view_.board->retries.load(shm::kRelaxed) != 0) [[unlikely]]
    end_back_offs();
  if (batch_limit_ > 1) line_.taking.store(1, shm::kRelaxed);  // seen before the hints are gone: that is a compare-and-swap
  size_t count = find_in_lanes(ids);
  if (count <= 1) line_.taking.store(0, shm::kRelaxed);
  return count;
}

size_t Executor::find_in_lanes(Ids ids) {
  if (any_class_pending()) [[unlikely]]
    return find_with_classes(ids);
  for (uint32_t left = levels(); left != 0;) {
    auto level = static_cast<uint32_t>(std::bit_width(left) - 1);
    if (size_t count = find_in_level(level, ids); count != 0) return count;
    left ^= 1u << level;
  }
  return 0;
}

size_t Executor::find_in_level(uint32_t level, Ids ids) {
  size_t count = take_hints(level, ids);
  return count != 0 ? count : look_through_records(level, ids);
}

bool Executor::anything_to_do() const {
  if (view_.board->membership.load(shm::kAcquire) != membership_seen_) return true;
  return stopping_.load(shm::kAcquire) != 0 || hints_left() || is_slot_wanted() ||
         (any_class_pending() && class_tasks_left()) || graph_nodes_left();
}

bool Executor::hints_left() const {
  auto has_some = [](auto& lane) { return lane.unhinted.load(shm::kAcquire) != 0 || !lane.ring.empty(); };
  for (uint32_t left = levels(); left != 0; left &= left - 1) {
    auto level = static_cast<uint32_t>(std::countr_zero(left));
    for (uint32_t member = 0; member < view_.members_end; ++member) {
      const shm::MemberSegment* segment = view_.segments[member];
      if (segment != nullptr && shm::with_lane(*segment, level, has_some)) return true;
    }
  }
  return false;
}

// ---- Waiting for work ------------------------------------------------------------------------

// Looks for hints for as long as a wake-up would cost. At most one worker of the session does this,
// and not on the processor where the client waits. True if there is something to do.
bool Executor::spin() {
  shm::Board& board = *view_.board;
  uint32_t budget_ns = board.spin_budget_ns.load(shm::kRelaxed);
  if (budget_ns == 0 || rank_ != 0 || board.client_cpu.load(shm::kRelaxed) == static_cast<uint32_t>(core_ + 1)) return false;
  uint32_t nobody = 0;
  if (!board.spinner.compare_exchange(nobody, view_.self)) {
    // The place may bear the mark of a worker that died in it.
    bool alive = nobody < shm::kMembersMax && view_.segments[nobody] != nullptr;
    if (alive || !board.spinner.compare_exchange(nobody, view_.self)) return false;
  }
  bool found = false;
  int64_t end = os::now_ns() + budget_ns;
  // Without sched_yield: who does that where somebody else runs waits for all of that one's time slice.
  do {
    for (int i = 0; i < kPausesPerLook && !found; ++i) {
      found = anything_to_do();
      if (!found) os::pause();
    }
  } while (!found && os::now_ns() < end);
  uint32_t self = view_.self;
  (void)board.spinner.compare_exchange(self, 0);
  return found;
}

// Whether members came or went; then `r` is what became of reading about that.
bool Executor::look_at_members(int& r) {
  uint32_t membership = view_.board->membership.load(shm::kAcquire);
  if (membership == membership_seen_) return false;
  membership_seen_ = membership;
  r = view_.link == nullptr ? 0 : view_.link->poll();
  return true;
}

void Executor::sleep(uint32_t ticket, int64_t until_ns) {
  bool traced = view_.is_traced();
  if (traced) [[unlikely]]
    trace_begin(trace::Kind::kPark, 0, 0, 0);
  os::futex_wait(line_.futex.futex_address(), ticket, until_ns);
  if (traced) [[unlikely]]
    view_.tracer.write(trace::Kind::kWake);
}

// What begins here says which process and which slot that is: members come and go.
void Executor::trace_begin(trace::Kind kind, uint64_t run, uint32_t task, uint32_t attempt, uint32_t detail) {
  view_.tracer.write(kind, run, trace::pack_process(getpid(), line_.slot.load(kRelaxed), attempt), task, detail);
}

void Executor::trace_end(const tarn_call& call, int code) {
  view_.tracer.write(trace::Kind::kRunEnd, run_of(call), static_cast<uint64_t>(int64_t{code}), 0, code < 0 ? 1 : 0);
}

int Executor::idle() {
  if (int r; look_at_members(r)) return r;
  if ((any_class_pending() && run_of_others()) || spin()) return 0;
  if (submitter_ != nullptr) submitter_->tidy();  // what others were still telling about when the run was over
  if (run_stolen() || look_through_graphs()) return 0;
  uint32_t ticket = line_.futex.load(shm::kAcquire);
  // While it sleeps it may be sent off, and is then to look like one that has no time (shm/seat.hpp).
  if (rank_ != 0) line_.busy.store(1, shm::kRelaxed);
  view_.board->doorbell.announce(view_.self);
  int64_t wakes_ns = next_look();
  // Also once more at what others are taking, or have taken, in this order: who woke this one may have done so for one of those. One
  // that is taking, and may have lost its core meanwhile, is not waited for awake.
  bool is_being_taken = is_anyone_taking();
  Ids ids;
  if (!anything_to_do() && steal(ids) == 0) sleep(ticket, is_being_taken ? std::min(wakes_ns, os::now_ns() + kTakingNs) : wakes_ns);
  view_.board->doorbell.withdraw(view_.self);
  if (view_.board->unwatched.load(shm::kRelaxed) != 0) [[unlikely]]
    if (int r = tell_awake(); r < 0) return r;
  // Where tasks submit tasks, those who take several hints wake others for them; those in rings have wake-ups of their own.
  bool is_nested = view_.board->nested.load(shm::kRelaxed) != 0;
  // This one was to look again at what another was taking, and has been woken for something else, which may last: it looks now, and if it
  // still cannot see that, somebody else is to.
  bool is_distracted = is_being_taken && line_.futex.load(shm::kAcquire) != ticket;
  if ((is_nested || is_distracted) && (rank_ == 0 || seat_->is_on_duty(rank_))) (void)run_stolen();
  if (is_distracted && is_anyone_taking()) wake_another();
  // It goes on with something else: another one is to mind the time.
  if (wakes_ns != os::kForever && hints_left()) wake_another();
  return 0;
}

// Not of one that was stopped, or is dead.
bool Executor::is_anyone_taking() const {
  for (uint32_t word = 0; word < shm::Doorbell::kWords; ++word)
    for (uint64_t left = view_.board->doorbell.looking(word); left != 0; left &= left - 1) {
      auto member = word * 64 + static_cast<uint32_t>(std::countr_zero(left));
      if (member != view_.self && view_.board->workers[member].taking.load(shm::kAcquire) != 0) return true;
    }
  return false;
}

bool Executor::run_stolen() {
  Ids ids;
  size_t count = steal(ids);
  if (count != 0) run_batch(ids, count);
  return count != 0;
}

// Whoever is first.
int Executor::tell_awake() {
  uint32_t unwatched = 1;
  if (!view_.board->unwatched.compare_exchange(unwatched, 0) || view_.link == nullptr) return 0;
  return view_.link->tell_awake();
}

// Until tarnd says that this worker serves. What it has ordered is there then, and is done before the first task, which may last; and
// nobody overlooks what this one takes.
int Executor::await_serving() {
  for (;;) {
    uint32_t ticket = line_.futex.load(shm::kAcquire);
    bool is_to_begin = is_serving(view_.self) || stopping_.load(shm::kAcquire) != 0;
    if (int r = 0; look_at_members(r) && r < 0) return r;
    if (is_to_begin) return view_.link == nullptr ? 0 : view_.link->poll();
    os::futex_wait(line_.futex.futex_address(), ticket, os::kForever);
  }
}

int Executor::serve() {
  thread_ = pthread_self();
  count_errors_by(&tasks_done_);
  struct Uncounted {
    ~Uncounted() { count_errors_by(nullptr); }
  } at_the_end;
  if (int r = await_serving(); r < 0) return r;
  while (stopping_.load(shm::kRelaxed) == 0) {
    if (is_off_duty()) {
      if (int r = rest(); r < 0) return r;
      continue;
    }
    if (run_available() != 0) continue;
    if (int r = idle(); r < 0) return r;
  }
  return 0;
}

uint32_t Executor::run_available() {
  thread_ = pthread_self();
  Ids ids;
  size_t count = find(ids);
  uint32_t ran = count == 0 ? 0 : std::max<uint32_t>(run_batch(ids, count), 1);
  // In turn with those: neither holds up the other.
  return view_.board->graphs.load(shm::kAcquire) == 0 ? ran : ran + run_graphs();
}

// ---- Running ---------------------------------------------------------------------------------

// More is there than this worker will come to soon, and somebody sleeps: one wakes the next.
void Executor::wake_another() {
  shm::Doorbell& doorbell = view_.board->doorbell;
  if (!doorbell.anyone_to_wake()) return;
  if (uint32_t worker = doorbell.pick(); worker != 0) shm::wake_worker(*view_.board, worker);
}

// Whether somebody sleeps who could come to what this worker has in hand, or something more urgent may be there.
bool Executor::is_needed_elsewhere() const {
  return view_.board->levels.load(shm::kRelaxed) != 0 || view_.board->doorbell.anyone_parked();
}

// What is left of the batch was taken because those before it were short, and one was not. As hints may be doubled and lost,
// nothing else is to be done.
void Executor::hand_back() {
  for (; batch_count_ != 0; --batch_count_, ++batch_) {
    uint32_t owner = shm::id_member(*batch_);
    if (owner >= shm::kMembersMax || shm::id_index(*batch_) >= shm::kTaskRecordsMax || view_.segments[owner] == nullptr) continue;
    SegmentSpace(view_, owner).publish(*batch_);
  }
}

uint32_t Executor::run_batch(const Ids ids, size_t count) {
  uint64_t begin = os::ticks();
  // Before the look for more: that is the other half of shm::is_anyone_idle, and a full fence where it is called.
  line_.busy.store(1, shm::kRelaxed);
  bool is_nested = view_.board->nested.load(shm::kRelaxed) != 0;
  if (is_nested) shm::full_fence();
  if (any_class_pending()) [[unlikely]]
    offer_class_tasks();
  if (count > 1) {
    for (size_t i = 0; i < count; ++i) line_.batch[i].store(ids[i], shm::kRelaxed);
    line_.taking.store(0, shm::kRelease);
    for (size_t i = 0; i < count; ++i) {
      uint32_t owner = shm::id_member(ids[i]);
      if (owner < shm::kMembersMax && view_.segments[owner] != nullptr)
        shm::prefetch_for_write(
            &view_.segments[owner]->task_records[size_t{shm::id_index(ids[i])} % shm::kTaskRecordsMax * shm::kRecordSize]);
    }
  }
  // Also after a single hint: a producer that saw this worker awake counted on it for that one only, and
  // may have spent its wake-up for the next on this worker as well, on its way to sleep. Where tasks submit tasks, several
  // may have counted on it, each for one: what it has in hand and does not come to, the other one can steal.
  const shm::Doorbell& doorbell = view_.board->doorbell;
  if (is_nested && count > 1 ? doorbell.anyone_to_wake() : doorbell.anyone_parked() && hints_left()) wake_another();
  uint32_t ran = 0;
  batch_ = ids;
  batch_count_ = count;
  while (batch_count_ != 0) {
    --batch_count_;
    ran += run(*batch_++);  // which may hand the others back
    if (batch_count_ != 0 && is_needed_elsewhere() && os::ticks() - begin > short_batch_ticks_) hand_back();
    if (view_.published > 0) {
      // This worker comes to one of them next; others may take the rest.
      if (view_.published > 1 || batch_count_ != 0) wake_another();
      view_.published = 0;
    }
  }
  if (count > 1)
    for (size_t i = 0; i < count; ++i) line_.batch[i].store(0, shm::kRelaxed);
  line_.busy.store(0, shm::kRelaxed);
  bool is_short = os::ticks() - begin < short_batch_ticks_;
  batch_limit_ = is_short ? std::min(batch_limit_ * 2, shm::kBatchMax) : std::max(batch_limit_ / 2, 1u);
  return ran;
}

uint64_t Executor::run_of(const tarn_call& call) {
  return undo_stamp(State::unpack(call.record->state.load(kRelaxed)).generation, call.made_for);
}

// What was printed since the last time is its.
void Executor::mark_output_of(const tarn_call& call) {
  // Workers end by a signal, and stdio keeps what does not go to a terminal.
  if (__fpending(stdout) != 0) fflush(stdout);
  if (marks_.is_anything_printed()) [[unlikely]]
    marks_.mark(run_of(call), call.definition == nullptr ? 0 : call.definition->number);
}

// The function itself, with what any task is to have done when it comes back.
int Executor::run_definition(tarn_call& call) {
  call.has_begun = true;
  int code = call.definition->fn(&call);
  if (os::fork_count != call.forks) [[unlikely]]
    leave_forked_child(*call.definition);
  if (code > 0) [[unlikely]]
    code = fail_call(call, TARN_E_TASK_FAILED, nullptr, "the task returned %d; 0 or a negative code is wanted", code);
  // A call of Tarn's that failed in it, and whose code it returned as its own: what that said is not to be lost.
  if (code < 0 && call.error_message == nullptr && code != TARN_E_CANCELLED && code != TARN_E_DEADLINE && is_last_error(code))
    code = fail_call(call, code, nullptr, "%s", last_error());
  mark_output_of(call);  // before anybody can know that it is done
  if (store_.take_file_fault() || call.file_fault)
    code = fail_call(call, TARN_E_FILE_CHANGED, nullptr, "a mapped file shrank while the task read it");
  return code;
}

int Executor::run_claimed(tarn_call& call, TaskRecord& record, const std::byte* payload, uint32_t owner) {
  if (call.definition == nullptr)
    return fail_call(call, TARN_E_NO_TASK, nullptr,
                     "it is not defined in the worker (number %08x); define it before tarn_init, "
                     "in every process",
                     record.task);
  uint32_t signature = record.kind.load(kRelaxed) & kSignatureMask;
  if (signature != 0 && call.definition->signature != 0 && signature != fold_signature(call.definition->signature))
    return fail_call(call, TARN_E_TYPE, nullptr,
                     "argument or result types of the caller (%08x) are not those of the task (%08x)", signature,
                     fold_signature(call.definition->signature));
  if (record.arg_format == kBlock) [[unlikely]]
    return run_with_block(call, record, payload, owner);
  int code = get_arguments(call, record, payload, owner);
  return code == 0 ? run_definition(call) : code;
}

// Where there is a block there may be limits.
int Executor::run_with_block(tarn_call& call, TaskRecord& record, const std::byte* payload, uint32_t owner) {
  TaskLimits limits{};
  int code = begin_limits(call, record, payload, owner, limits);
  if (code == 0 && (limits.cores != 0 || limits.memory != 0)) return run_with_needs(call, record, payload, owner, limits);
  if (code == 0) code = get_arguments(call, record, payload, owner);
  return code == 0 ? run_definition(call) : code;
}

// Claims and runs the task behind a hint. False if the hint was stale.
bool Executor::run(uint32_t id) {
  uint32_t owner = shm::id_member(id);
  uint32_t index = shm::id_index(id);
  if (owner >= shm::kMembersMax || index >= shm::kTaskRecordsMax) return false;
  if (view_.know(owner) < 0 || view_.segments[owner] == nullptr) return false;
  SegmentSpace space(view_, owner);
  TaskRecord& record = space.record(index);
  State mine;
  if (!claim(record, static_cast<uint16_t>(view_.self), mine)) return false;
  uint32_t number = class_of(record.kind.load(kRelaxed));
  if (number != 0 && !begin_class(number)) [[unlikely]]
    return put_back(record, mine, id), false;
  // What this process has submitted itself is never run again after its death: a copy here is enough.
  alignas(8) std::byte own_payload[kPayloadSize];
  std::byte* payload = own_payload;
  if (owner == view_.self) {
    memcpy(own_payload, record.payload, sizeof own_payload);
  } else {
    shm::UndoLine& undo = view_.own().undo;
    save_arguments(undo, record, mine.generation, id);
    payload = undo.payload;
  }
  if (record.attempts != UINT8_MAX) ++record.attempts;

  tarn_call call;
  begin_call(call, record, record.task, id, record.attempts);
  uint32_t* outer_children = enter(call);
  bool traced = view_.is_traced();
  if (traced) [[unlikely]]
    trace_begin(trace::Kind::kRunBegin, run_of(call), record.task, record.attempts);
  int code = run_claimed(call, record, payload, owner);
  if (call.stream.ring != nullptr) [[unlikely]]
    end_stream(call);
  if (call.children != 0) [[unlikely]]
    submitter_->end_children(call.children, code < 0);
  if (code != TARN_E_DEADLINE && (State::unpack(record.state.load(kAcquire)).flags & kLate) != 0) [[unlikely]]
    code = fail_call(call, TARN_E_DEADLINE, nullptr, "it took longer than it may");
  drop_arguments(call);  // before the submitter can know, and let go of them
  if (number != 0) [[unlikely]]
    end_class(number);
  line_.tasks_done.store(++tasks_done_, shm::kRelaxed);  // who knows that it is done finds it counted
  if (traced) [[unlikely]]
    trace_end(call, code);
  finish_run(call, record, mine, owner, code);
  run_watch::end(call.watched);
  leave(call, outer_children);
  return true;
}

void Executor::begin_call(tarn_call& call, const TaskRecord& record, uint32_t task, uint32_t made_for, uint32_t attempt) {
  call.view = &view_;
  call.store = &store_;
  call.definition = find_task(task);
  call.arg_count = 0;
  call.args = call.inline_args;
  call.pinned_count = 0;
  call.pinned = call.inline_pinned;
  call.record = &record;
  call.graph = nullptr;
  call.node = nullptr;
  call.first_record = current_ == nullptr ? &record : current_->first_record;
  call.client = client_;
  call.outer = current_;
  call.graph_cancelled = current_ == nullptr ? nullptr : current_->graph_cancelled;
  call.graph_epoch = current_ == nullptr ? 0 : current_->graph_epoch;
  call.children = 0;
  call.file_fault = false;
  call.has_begun = false;
  call.watched.record = nullptr;
  call.stream.ring = nullptr;
  call.attempt = attempt;
  call.made_for = made_for;
  call.recipe = 0;
  call.again = nullptr;
  call.forks = os::fork_count;
  call.result_size = 0;
  call.result_object.generation = 0;
  call.error_code = 0;
  call.error_type = nullptr;
  call.error_message = nullptr;
  call.error_task = nullptr;
  call.error_cause = 0;
}

// To tarn-output: whose it is what is printed without a mark.
void Executor::say_what_runs(const tarn_call& call) {
  line_.run.store(run_of(call), kRelaxed);
  line_.run_task.store(call.definition == nullptr ? 0 : call.definition->number, kRelaxed);
}

// Begins the run, and returns what `leave` needs when it is over.
uint32_t* Executor::enter(tarn_call& call) {
  if (current_ != nullptr) [[unlikely]]
    mark_output_of(*current_);  // so far
  current_ = &call;
  say_what_runs(call);
  if (++depth_ > depth_max_) depth_max_ = depth_;
  return submitter_ == nullptr ? nullptr : submitter_->exchange_children(&call.children);
}

void Executor::leave(tarn_call& call, uint32_t* outer_children) {
  if (submitter_ != nullptr) (void)submitter_->exchange_children(outer_children);
  current_ = call.outer;
  if (current_ != nullptr) [[unlikely]]
    say_what_runs(*current_);
  if (--depth_ == 0 && depth_max_ > kDeep) [[unlikely]]
    os::trim_stack();
  if (depth_ == 0) {
    depth_max_ = 0;
    if (submitter_ != nullptr) submitter_->tidy();
  }
}

// ---- Runs within runs ------------------------------------------------------------------------

int Executor::set_submitter(Submitter& submitter, tarn_client* client) {
  if (int r = submitter.set_helper(*this); r < 0) return r;
  submitter_ = &submitter;
  client_ = client;
  return 0;
}

bool Executor::is_in_task() const { return current_ != nullptr && pthread_equal(pthread_self(), thread_) != 0; }

int Executor::code_of_end() const { return task::code_of_end(*current_); }

bool Executor::try_run(uint32_t index) {
  current_->file_fault |= store_.take_file_fault();
  bool ran = run(shm::make_id(view_.self, index));
  ring();
  return ran;
}

// What became ready by a run within this one may be for others: this one goes on with something else.
void Executor::ring() {
  if (view_.published == 0) return;
  view_.published = 0;
  wake_another();
}

void Executor::before_sleep() {
  if (view_.board->retries.load(shm::kRelaxed) != 0) end_back_offs();  // nobody else may be there to
  hand_back();
  hand_back_nodes();
  ring();
  set_loans_idle(true);
  lend_slot();
  wake_collector();
}

void Executor::after_sleep() {
  take_slot_back();
  set_loans_idle(false);
}

int Executor::check_room() const {
  if (!is_in_task() || os::stack_left() >= kStackKept) return 0;
  return fail(TARN_E_LIMIT, "tasks that wait for tasks are %u deep here, and there is no room on the stack for more", depth_);
}

// The bytes of an object that an argument or a result refers to: perhaps made by a worker that has
// started only just now.
int Executor::resolve(tarn_call& call, const ObjectRef& ref, tarn_bytes& out) {
  if (int r = view_.know(shm::id_member(ref.id)); r < 0) return r;
  store::Store::Resolved how;
  if (int r = store_.resolve(ref, out, how); r < 0) return r;
  if (how != store::Store::Resolved::kStays) call.pinned[call.pinned_count++] = {ref, how};  // one place for each argument
  return 0;
}

// From here on the run is late once its time is over; one whose deadline has passed already does not begin.
int Executor::begin_limits(tarn_call& call, TaskRecord& record, const std::byte* payload, uint32_t owner, TaskLimits& limits) {
  BlockRef ref;
  memcpy(&ref, payload, sizeof ref);
  if (ref.limits == 0) return 0;
  const std::byte* block;
  if (int r = store_.resolve_block(owner, ref.slab, ref.offset, ref.size, block); r < 0)
    return fail_call(call, r, nullptr, "arguments: %s", last_error());
  if (!block_limits(block, ref, limits)) return fail_call(call, TARN_E_PROTOCOL, nullptr, "the limits lie outside their block");
  if (limits.stream != 0) {
    if (int r = begin_stream(call, owner, limits.stream - 1, *this, submitter_); r < 0) return fail_call(call, r, nullptr, "%s", last_error());
  }
  if (limits.recipe != 0) call.recipe = store::ObjectPlace{ref.slab, false, ref.offset + limits.recipe}.pack();
  int64_t now = os::now_ns();
  if (limits.deadline_ns != 0 && now >= limits.deadline_ns) {
    (void)flag_run(record, State::unpack(record.state.load(kAcquire)).generation, static_cast<uint16_t>(view_.self), kCancelled | kLate);
    return fail_call(call, TARN_E_DEADLINE, nullptr, "its deadline passed %.3g ms before it could begin",
                     static_cast<double>(now - limits.deadline_ns) / 1e6);
  }
  int64_t end = os::kForever;
  if (limits.timeout_ns > 0) end = os::deadline_after(limits.timeout_ns);
  if (limits.deadline_ns != 0) end = std::min(end, limits.deadline_ns);
  if (end == os::kForever) return 0;
  if (int r = run_watch::begin(call.watched, record, static_cast<uint16_t>(view_.self), end); r < 0) return fail_call(call, r, nullptr, "%s", last_error());
  return 0;
}

// Objects that have left memory find no room while other tasks have theirs: this one then lets go of what it has, so that
// the others get on, and comes again; not at once, nor all at the same time, or nobody would have all of his.
int Executor::get_arguments(tarn_call& call, const TaskRecord& record, const std::byte* payload, uint32_t owner) {
  int64_t begin = 0;
  uint32_t attempts = 1;
  for (uint32_t window_us = kRoomPauseUs;; window_us = std::min(window_us * 2, 8 * kRoomPauseUs), ++attempts) {
    int code = read_arguments(call, record, payload, owner);
    if (code != TARN_E_STORE_FULL && code != TARN_E_QUOTA) [[likely]]
      return code;
    // It has not begun: the task itself cannot look.
    if (int end = task::code_of_end(call); end < 0) {
      forget_error(call);
      return end;
    }
    int64_t now = os::now_ns();
    if (begin == 0) begin = now;
    // The text so far is that of the last request alone.
    if (now > begin + kRoomPatienceNs)
      return fail_call(call, code, nullptr, "%s; in all the task tried %u times in %.0f s",
                       call.error_message != nullptr ? call.error_message : "no room for its arguments", attempts,
                       static_cast<double>(now - begin) / 1e9);
    drop_arguments(call);
    forget_error(call);
    usleep(static_cast<useconds_t>((os::ticks() ^ uint64_t{view_.self} << 7) % 1021 * window_us / 1021));
  }
}

void Executor::drop_arguments(tarn_call& call) {
  for (size_t i = 0; i < call.pinned_count; ++i) store_.unpin_resolved(call.pinned[i].ref, call.pinned[i].how);
  if (call.pinned != call.inline_pinned) free(call.pinned);
  if (call.args != call.inline_args) free(call.args);
  call.pinned_count = 0;
  call.pinned = call.inline_pinned;
  call.arg_count = 0;
  call.args = call.inline_args;
}

int Executor::read_arguments(tarn_call& call, const TaskRecord& record, const std::byte* payload, uint32_t owner) {
  uint8_t format = record.arg_format;
  if (format <= kOneValueMax) [[likely]] {
    call.arg_count = 1;
    call.args[0] = {payload, format};
    return 0;
  }
  if (format == kBlock) return read_block(call, payload, owner);
  call.arg_count = inline_count(format, payload);
  if (format == kOneObject) {
    ObjectRef ref;
    memcpy(&ref, payload, sizeof ref);
    if (int r = resolve(call, ref, call.args[0]); r < 0)
      return fail_call(call, r, nullptr, "argument 0: %s", last_error());
    return 0;
  }
  for (size_t i = 0; i < call.arg_count && i < kCallArgsInline; ++i) call.args[i] = inline_value(format, payload, i);
  return 0;
}

int Executor::read_block(tarn_call& call, const std::byte* payload, uint32_t owner) {
  BlockRef ref;
  memcpy(&ref, payload, sizeof ref);
  const std::byte* block;
  if (int r = store_.resolve_block(owner, ref.slab, ref.offset, ref.size, block); r < 0)
    return fail_call(call, r, nullptr, "arguments: %s", last_error());
  if (ref.count > kCallArgsInline) {
    auto* args = static_cast<tarn_bytes*>(malloc(ref.count * sizeof(tarn_bytes)));
    auto* pinned = static_cast<tarn_call::Pinned*>(malloc(ref.count * sizeof(tarn_call::Pinned)));
    if (args == nullptr || pinned == nullptr) {
      free(args);
      free(pinned);
      return fail_call(call, TARN_E_NO_MEMORY, nullptr, "no memory for %u arguments", ref.count);
    }
    call.args = args;
    call.pinned = pinned;
  }
  for (uint32_t i = 0; i < ref.count; ++i) {
    BlockEntry entry;
    if (!block_entry(block, ref.size, i, entry))
      return fail_call(call, TARN_E_PROTOCOL, nullptr, "argument %u lies outside its block", i);
    int r = 0;
    if (entry.kind == TARN_ARG_VALUE) {
      call.args[i] = {block + entry.offset, entry.size};
    } else if (entry.kind == TARN_ARG_OBJECT) {
      r = resolve(call, ObjectRef{entry.id, entry.generation, entry.offset, entry.size}, call.args[i]);
    } else {
      r = read_result_of(call, call.args[i], owner, entry);
      if (r == TARN_E_DEPENDENCY) return r;
    }
    if (r < 0) return fail_call(call, r, nullptr, "argument %u: %s", i, last_error());
  }
  call.arg_count = ref.count;
  return 0;
}

// Fails `call` for what `other` failed for, in the words of the first task that failed.
int Executor::fail_with_cause(tarn_call& call, const TaskRecord& other) {
  TaskErrorPayload error;
  memcpy(&error, other.payload, sizeof error);
  const char* task = task_name(other.task);
  const char* type = nullptr;
  const char* message = nullptr;
  call.error_cause = error.code;
  tarn_bytes bytes{};
  if (error.text.generation != 0 && resolve(call, error.text, bytes) == 0 && bytes.size > sizeof(ErrorText)) {
    auto* text = static_cast<const ErrorText*>(bytes.data);
    uint64_t strings_size = uint64_t{text->type_size} + text->message_size + text->task_size;
    if (text->cause != 0) call.error_cause = text->cause;
    if (sizeof *text + strings_size <= bytes.size && text->task_size > 0) {
      type = reinterpret_cast<const char*>(text + 1);
      message = type + text->type_size;
      task = message + text->message_size;
    }
  }
  uint8_t flags = State::unpack(other.state.load(kAcquire)).flags;
  if ((flags & kCancelled) != 0) call.error_cause = code_of_cancelled(flags);  // before how its process ended, which was for that
  if (message != nullptr) {
    fail_call(call, TARN_E_DEPENDENCY, type, "%s", message);
  } else if (call.error_cause == TARN_E_DEADLINE) {
    fail_call(call, TARN_E_DEPENDENCY, nullptr, "it was not done in the time that it had");
  } else if (call.error_cause == TARN_E_CANCELLED) {
    fail_call(call, TARN_E_DEPENDENCY, nullptr, "it was cancelled");
  } else if (error.signal != 0) {
    fail_call(call, TARN_E_DEPENDENCY, nullptr, "its worker was killed by signal %d", error.signal);
  } else if (error.code == TARN_E_WORKER_CRASHED) {
    fail_call(call, TARN_E_DEPENDENCY, nullptr, "its worker exited with status %d", error.exit_status);
  } else {
    fail_call(call, TARN_E_DEPENDENCY, nullptr, "it failed with code %d", error.code);
  }
  call.error_task = strdup(task);
  return TARN_E_DEPENDENCY;
}

// The result of another task of the same owner, which holds it for us, or a part of it.
int Executor::read_result_of(tarn_call& call, tarn_bytes& out, uint32_t owner,
                             const BlockEntry& entry) {
  if (entry.id >= shm::kTaskRecordsMax)
    return fail(TARN_E_PROTOCOL, "there is no task record %u", entry.id);
  const TaskRecord& other = SegmentSpace(view_, owner).record(entry.id);
  State state = State::unpack(other.state.load(shm::kAcquire));
  if (state.generation != entry.generation || !state.finished())
    return fail(TARN_E_PROTOCOL, "the task it comes from is not done");
  if ((state.flags & kFailed) != 0) return fail_with_cause(call, other);
  if ((state.flags & kObject) == 0) {
    out = {other.payload, other.result_size};
  } else {
    ObjectRef ref;
    memcpy(&ref, other.payload, sizeof ref);
    if (int r = resolve(call, ref, out); r < 0) return r;
  }
  return entry.part == 0 ? 0 : read_part(out, entry.part - 1, task_name(other.task), out);
}

void Executor::finish_run(tarn_call& call, TaskRecord& record, State mine, uint32_t owner, int code) {
  SegmentSpace space(view_, owner);
  uint8_t outcome = 0;
  if (code >= 0) [[likely]] {
    if (call.result_object.generation != 0) {
      // Visible to its holders before the record says where it is.
      if (int r = store_.publish_result(call.result_object); r < 0) {
        code = fail_call(call, r, nullptr, "result: %s", last_error());
      } else {
        memcpy(record.payload, &call.result_object, sizeof call.result_object);
        outcome = kObject;
      }
    } else {
      record.result_size = static_cast<uint8_t>(call.result_size);
      if (call.result_size == 8) {
        memcpy(record.payload, call.result, 8);
      } else {
        memcpy(record.payload, call.result, sizeof record.payload);
      }
    }
  }
  if (code < 0) [[unlikely]] {
    if (call.result_object.generation != 0) store_.discard_result(call.result_object);
    if (call.has_begun && record.arg_format == kBlock && back_off(record, mine, owner, code)) return forget_error(call);
    write_error(call, record.payload, code);
    outcome = kFailed;
  }
  forget_error(call);
  if (!finish(space, record, mine, outcome)) [[unlikely]]
    run_watch::end_process();
}

// The payload of a failed task, with its words in an object when it had any and there is room.
void Executor::write_error(tarn_call& call, std::byte* to, int code) {
  line_.tasks_failed.store(line_.tasks_failed.load(kRelaxed) + 1, kRelaxed);
  TaskErrorPayload payload{};
  payload.code = code;
  const char* strings[3] = {call.error_type == nullptr ? "" : call.error_type,
                            call.error_message == nullptr ? "" : call.error_message,
                            call.error_task != nullptr   ? call.error_task
                            : call.definition == nullptr ? ""
                                                         : call.definition->name};
  uint32_t sizes[3];
  uint64_t size = sizeof(ErrorText);
  for (int i = 0; i < 3; ++i) {
    sizes[i] = static_cast<uint32_t>(strlen(strings[i]) + 1);
    size += sizes[i];
  }
  void* data;
  if (call.error_message != nullptr && store_.make_result(size, call.made_for, payload.text, data) == 0) {
    ErrorText text{sizes[0], sizes[1], sizes[2], call.error_cause};
    memcpy(data, &text, sizeof text);
    char* at = static_cast<char*>(data) + sizeof text;
    for (int i = 0; i < 3; ++i) {
      memcpy(at, strings[i], sizes[i]);
      at += sizes[i];
    }
    if (store_.publish_result(payload.text) < 0) payload.text = {};
  }
  memcpy(to, &payload, sizeof payload);
}

}  // namespace tarn::task
