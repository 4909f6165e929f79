// Waiting for tasks and reading what came of them.
//
// A wait looks at the records, spins for as long as a wake-up would cost (shorter waits than that are
// cheaper awake), then marks the records and sleeps. It wakes now and then to see whether the daemon
// is still there: with tarnd gone, nobody would bring another worker.

#include <sched.h>

#include <bit>
#include <cstdlib>
#include <cstring>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "os/clock.hpp"
#include "task/parts.hpp"
#include "task/registry.hpp"
#include "task/submitter.hpp"
#include "task/traced_wait.hpp"

namespace tarn::task {
namespace {

constexpr int64_t kDaemonCheckNs = 100'000'000;
constexpr int64_t kLookAgainNs = 20'000'000;  // in a task: whether it is cancelled, and for what another's finish made ready
constexpr uint32_t kReadAhead = 8;
constexpr uint32_t kReapInCheck = 64;
constexpr int kPausesPerLook = 64;  // about a microsecond: the fast answer comes within that

int timed_out(size_t finished, size_t count, size_t want, int64_t timeout_ns) {
  if (count == 1 && timeout_ns == 0) return fail(TARN_E_TIMED_OUT, "the task is not done yet");
  if (count == 1)
    return fail(TARN_E_TIMED_OUT, "the task was not done after %.9g ms",
                static_cast<double>(timeout_ns) / 1e6);
  return fail(TARN_E_TIMED_OUT,
              "%zu of %zu futures were done when the time had passed, %zu were wanted", finished,
              count, want);
}

int64_t earlier(int64_t a, int64_t b) { return a < b ? a : b; }

// What tarn_result says of a task that failed with `code`. A task may return any number, and most codes would then speak
// of this call (timed out, not initialised) rather than of the task.
int code_of_failure(int code, uint8_t flags) {
  switch (code) {
    case TARN_E_CANCELLED:
    case TARN_E_DEADLINE: return (flags & kCancelled) != 0 ? code : TARN_E_TASK_FAILED;
    case TARN_E_WORKER_CRASHED:
    case TARN_E_DEPENDENCY:
    case TARN_E_TYPE:
    case TARN_E_NO_TASK:
    case TARN_E_FILE_CHANGED: return code;
    default: return TARN_E_TASK_FAILED;
  }
}

// The last line of what a task printed, for the text of its error.
struct LastLine {
  explicit LastLine(const char* output) {
    size_t length = strlen(output);
    while (length > 0 && output[length - 1] == '\n') --length;
    if (length == 0) return;
    const char* line = output + length;
    while (line > output && line[-1] != '\n') --line;
    snprintf(text, sizeof text, "; it printed last: %.*s", static_cast<int>(output + length - line), line);
  }
  char text[256] = "";
};

int fail_with(int code, const char* task, const char* message) {
  constexpr size_t kWordsMax = kErrorTextSizeMax - kTaskNameSizeMax - 16;
  char* words = strlen(message) < kWordsMax ? nullptr : strdup(message);
  if (words != nullptr) cut_middle(words, kWordsMax);
  fail(code, "task '%s': %s", task, words != nullptr ? words : message);
  free(words);
  return code;
}

}  // namespace

// Whether a worker serves on another processor than this: one here cannot run while we spin.
bool Submitter::worker_elsewhere(uint32_t cpu) const {
  for (uint32_t word = 0; word < shm::Doorbell::kWords; ++word)
    for (uint64_t left = view_.board->doorbell.serving(word); left != 0; left &= left - 1) {
      auto member = word * 64 + static_cast<uint32_t>(std::countr_zero(left));
      if (view_.board->workers[member].core.load(kRelaxed) != cpu) return true;
    }
  return false;
}

// Looks at the record until it is finished or sleeping is cheaper. True if it is finished.
bool Submitter::spin_until_finished(uint32_t index, int64_t deadline_ns) {
  TaskRecord& r = record(index);
  uint32_t budget_ns = view_.board->spin_budget_ns.load(kRelaxed);
  if (budget_ns == 0) return State::unpack(r.state.load(kAcquire)).finished();
  for (int i = 0; i < kPausesPerLook; ++i) {
    if (State::unpack(r.state.load(kAcquire)).finished()) return true;
    os::pause();
  }
  if (deadline_ns == 0) return false;
  auto cpu = static_cast<uint32_t>(sched_getcpu());
  if (helper_ == nullptr && view_.board->client_cpu.load(kRelaxed) != cpu + 1) view_.board->client_cpu.store(cpu + 1, kRelaxed);
  if (!worker_elsewhere(cpu)) return false;
  int64_t end = earlier(os::now_ns() + budget_ns, deadline_ns);
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (State::unpack(r.state.load(kAcquire)).finished()) return true;
      os::pause();
    }
  } while (os::now_ns() < end);
  return false;
}

// How many of the futures are finished; with `mark`, the others are marked for notification.
// `unfinished` becomes the position of the first that is not.
size_t Submitter::count_finished(const tarn_future* futures, size_t count, bool mark, size_t& unfinished) {
  size_t finished = 0;
  unfinished = count;
  for (size_t i = 0; i < count; ++i) {
    TaskRecord& r = record(shm::id_index(static_cast<uint32_t>(futures[i].id)));
    bool done = mark ? !mark_notify(r) : State::unpack(r.state.load(kAcquire)).finished();
    if (done) {
      ++finished;
    } else if (unfinished == count) {
      unfinished = i;
    }
  }
  return finished;
}

int Submitter::check_daemon() {
  if (int r = check_broken(); r < 0) return r;
  {
    Gate::Pass pass(gate_);
    if (leftovers_first_ != 0) reap(kReapInCheck);
    if (int r = relieve_streams(); r < 0) return r;
  }
  if (view_.link == nullptr) return 0;
  int r = view_.link->poll();
  if (r == TARN_E_DAEMON_GONE) set_broken(r, last_error(), true);
  return r;
}

// For who looks again and again instead of waiting: what a sleeper does now and then. 1: it was time for it.
int Submitter::look_in_poll() {
  if (streams_open_.load(std::memory_order_relaxed) != 0) [[unlikely]] {
    Gate::Pass pass(gate_);
    if (int r = relieve_streams(); r < 0) return r;
  }
  int64_t now = os::now_ns();
  int64_t last = polled_ns_.load(std::memory_order_relaxed);
  if (now - last < kDaemonCheckNs || !polled_ns_.compare_exchange_strong(last, now, std::memory_order_relaxed)) return 0;
  int r = check_daemon();
  return r < 0 ? r : 1;
}

// Sleeps until `missing` more events than `events` were counted, or for any other reason.
// 0, or TARN_E_LIMIT when too many threads wait.
int Submitter::sleep_for_events(uint32_t events, size_t missing, int64_t deadline_ns) {
  shm::Waiters& waiters = view_.own().waiters;
  uint32_t waiter;
  {
    Gate::Pass pass(gate_);
    if (~waiting_threads_ == 0)
      return fail(TARN_E_LIMIT, "%u threads of this process wait already", shm::Waiters::kCount - 1);
    waiter = static_cast<uint32_t>(std::countr_one(waiting_threads_));
    waiting_threads_ |= uint64_t{1} << waiter;
  }
  uint32_t ticket;
  if (waiters.prepare(waiter, events, static_cast<uint32_t>(missing), ticket)) {
    os::futex_wait(waiters.futex_address(waiter), ticket, deadline_ns);
    waiters.withdraw(waiter);
  }
  Gate::Pass pass(gate_);
  waiting_threads_ &= ~(uint64_t{1} << waiter);
  return 0;
}

// As that, of one event, in a worker's run.
int Submitter::sleep_in_task(uint32_t events, int64_t deadline_ns) {
  helper_->before_sleep();
  int r = sleep_for_events(events, 1, deadline_ns);
  helper_->after_sleep();
  return r;
}

// `want` of them, or all in a task. What is not done is marked, so that each one that finishes counts.
int Submitter::wait_for_some(const tarn_future* futures, size_t count, size_t want, int64_t timeout_ns, bool any_deadline) {
  int64_t deadline_ns = timeout_ns == 0 ? 0 : os::deadline_after(timeout_ns);
  size_t unfinished;
  size_t finished = count_finished(futures, count, false, unfinished);
  bool mark = false;
  // In a task, each event may be one after which there is something to be run here.
  bool is_in_task = helper_ != nullptr && helper_->is_in_task();
  int64_t look_again_ns = is_in_task ? kLookAgainNs : kDaemonCheckNs;
  uint32_t events = 0;
  while (finished < want) {
    if (is_in_task) {
      if (int r = check_end(); r < 0) return r;
      events = view_.own().waiters.events();  // before the look at what runs elsewhere
      if (timeout_ns != 0) help_with(futures, count, want);
      finished = count_finished(futures, count, false, unfinished);
      if (finished >= want) break;
    }
    // All of them wanted: they can be awaited one after the other, without marking any.
    if (want == count && !mark &&
        spin_until_finished(shm::id_index(static_cast<uint32_t>(futures[unfinished].id)), deadline_ns)) {
      size_t more;
      finished = unfinished + count_finished(futures + unfinished, count - unfinished, false, more);
      unfinished += more;
      continue;
    }
    if (timeout_ns == 0 || os::now_ns() >= deadline_ns) {
      if (int r = look_in_poll(); r < 0) return r;
      return timed_out(finished, count, want, timeout_ns);
    }
    mark = true;
    if (!is_in_task) events = view_.own().waiters.events();
    finished = count_finished(futures, count, true, unfinished);
    if (finished >= want) break;
    int64_t next = earlier(deadline_ns, earlier(any_deadline ? end_overdue(futures, count) : os::kForever, os::now_ns() + look_again_ns));
    if (int r = is_in_task ? sleep_in_task(events, next) : sleep_for_events(events, want - finished, next); r < 0)
      return r;
    ErrorGuard guard;
    int gone = check_daemon();
    finished = count_finished(futures, count, false, unfinished);
    if (gone < 0 && finished < want) return gone;
    (void)guard.end(0);  // without tarnd, what is done is done
  }
  return 0;
}

// All of them, outside of a task: from the last to the first, for they finish in about the order in which they were submitted.
// So one is marked, this sleeps until it is done, and then most of the others are as well: a million cost one wake and one look
// each, and those that finish them nothing. If they finish in another order, twice as many are marked each time.
int Submitter::wait_for_all(const tarn_future* futures, size_t count, int64_t timeout_ns, bool any_deadline) {
  auto record_of = [&](size_t i) -> TaskRecord& { return record(shm::id_index(static_cast<uint32_t>(futures[i].id))); };
  int64_t deadline_ns = timeout_ns == 0 ? 0 : os::deadline_after(timeout_ns);
  size_t end = count;  // those from here on are finished
  for (size_t marks = 1;; marks *= 2) {
    auto is_finished = [&](size_t i) { return State::unpack(record_of(i).state.load(kAcquire)).finished(); };
    auto skip_finished = [&] {
      while (end != 0 && is_finished(end - 1)) --end;
    };
    skip_finished();
    while (end != 0 && spin_until_finished(shm::id_index(static_cast<uint32_t>(futures[end - 1].id)), deadline_ns)) skip_finished();
    if (end == 0) return 0;
    if (timeout_ns == 0 || os::now_ns() >= deadline_ns) {
      if (int r = look_in_poll(); r < 0) return r;
      size_t unfinished;
      return timed_out(count_finished(futures, count, false, unfinished), count, count, timeout_ns);
    }
    uint32_t events = view_.own().waiters.events();
    size_t missing = 0;
    for (size_t i = end; i-- > 0 && missing < marks;) missing += mark_notify(record_of(i)) ? 1 : 0;
    if (missing == 0) continue;
    int64_t overdue_ns = any_deadline ? end_overdue(futures, count) : os::kForever;
    if (int r = sleep_for_events(events, missing, earlier(earlier(deadline_ns, overdue_ns), os::now_ns() + kDaemonCheckNs)); r < 0)
      return r;
    ErrorGuard guard;
    int gone = check_daemon();
    skip_finished();
    if (gone < 0 && end != 0) return gone;
    (void)guard.end(0);  // without tarnd, what is done is done
  }
}

int Submitter::wait(const tarn_future* futures, size_t count, size_t want, int64_t timeout_ns, uint8_t* done,
                    size_t* done_count) {
  if (timeout_ns == 0) return wait_untraced(futures, count, want, timeout_ns, done, done_count);
  TracedWait traced(view_, want);
  return wait_untraced(futures, count, want, timeout_ns, done, done_count);
}

int Submitter::wait_untraced(const tarn_future* futures, size_t count, size_t want, int64_t timeout_ns, uint8_t* done,
                             size_t* done_count) {
  if (count != 0 && futures == nullptr) return fail(TARN_E_ARGUMENT, "futures is NULL, but count is %zu", count);
  if (timeout_ns < -1) [[unlikely]]
    return fail(TARN_E_ARGUMENT, "timeout_ns is %lld; 0 does not wait, and -1 waits for ever",
                static_cast<long long>(timeout_ns));
  if (want > count) return fail(TARN_E_ARGUMENT, "cannot wait for %zu of %zu futures", want, count);
  bool any_deadline = false;
  {
    Gate::Pass pass(gate_);
    for (size_t i = 0; i < count; ++i) {
      uint32_t index;
      if (int r = check(futures[i], index); r < 0) return r;
      any_deadline |= private_[index].has_deadline != 0;
    }
  }
  if (any_deadline) (void)end_overdue(futures, count);  // also for who only looks
  bool is_in_task = helper_ != nullptr && helper_->is_in_task();
  bool all = want == count && count > 1 && !is_in_task;
  int outcome = all ? wait_for_all(futures, count, timeout_ns, any_deadline)
                    : wait_for_some(futures, count, want, timeout_ns, any_deadline);
  bool all_done = all && outcome == 0;
  Gate::Pass pass(gate_);
  size_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    // Another thread may have released it meanwhile; its record is another task's then.
    uint32_t index;
    bool is_there = is_alive(futures[i], index);
    bool is_done = !is_there || all_done || state_of(index).finished();
    if (is_there && is_done) see(index);
    if (done != nullptr) done[i] = is_done ? 1 : 0;
    total += is_done;
  }
  if (done_count != nullptr) *done_count = total;
  return outcome;
}

// Spins for as long as a wake-up would cost, then sleeps: as `wait` does for futures.
int Submitter::wait_for(bool (*is_over)(void*), int (*look)(void*), void* context, int64_t timeout_ns) {
  uint32_t budget_ns = view_.board->spin_budget_ns.load(kRelaxed);
  for (int i = 0; budget_ns != 0 && i < kPausesPerLook; ++i) {
    if (is_over(context)) return 0;
    os::pause();
  }
  if (timeout_ns == 0) {
    if (is_over(context)) return 0;
    int r = look_in_poll();
    if (r > 0) r = look(context);
    if (is_over(context)) return 0;
    return r < 0 ? r : TARN_E_TIMED_OUT;
  }
  TracedWait traced(view_, 1);
  int64_t deadline_ns = os::deadline_after(timeout_ns);
  if (budget_ns != 0 && worker_elsewhere(static_cast<uint32_t>(sched_getcpu()))) {
    int64_t end = earlier(os::now_ns() + budget_ns, deadline_ns);
    while (os::now_ns() < end) {
      if (is_over(context)) return 0;
      os::pause();
    }
  }
  for (;;) {
    uint32_t events = view_.own().waiters.events();
    if (is_over(context)) return 0;
    int64_t now = os::now_ns();
    if (now >= deadline_ns) return TARN_E_TIMED_OUT;
    if (int r = sleep_for_events(events, 1, earlier(deadline_ns, now + kDaemonCheckNs)); r < 0) return r;
    if (is_over(context)) return 0;
    ErrorGuard guard;
    int r = check_daemon();
    if (r == 0) r = look(context);
    if (r < 0 && !is_over(context)) return r;
    (void)guard.end(0);
  }
}

// Waits for one future; on success its record is `index` and finished.
int Submitter::wait_one(tarn_future future, uint32_t& index, int64_t timeout_ns) {
  if (timeout_ns < -1) [[unlikely]]
    return fail(TARN_E_ARGUMENT, "timeout_ns is %lld; 0 does not wait, and -1 waits for ever",
                static_cast<long long>(timeout_ns));
  {
    Gate::Pass pass(gate_);
    if (int r = check(future, index); r < 0) return r;
  }
  if (State::unpack(record(index).state.load(kAcquire)).finished()) {
    // Results come faster than they are read, and the next ones most likely lie in the records behind this.
    __builtin_prefetch(&record((index + kReadAhead) % shm::kTaskRecordsMax));
  } else if (private_[index].stream != 0) [[unlikely]] {
    if (int r = await_item(future, timeout_ns, true); r < 0) return r;
  } else if (helper_ != nullptr || !spin_until_finished(index, timeout_ns == 0 ? 0 : os::kForever)) {
    // What takes no longer than a wake-up is no wait in a trace: to look at the word here as well cost a sync call 1 %.
    if (int r = wait(&future, 1, 1, timeout_ns, nullptr, nullptr); r < 0) return r;
  }
  Gate::Pass pass(gate_);
  if (!is_alive(future, index)) [[unlikely]]
    return check(future, index);  // released meanwhile, by another thread
  see(index);
  if (leftovers_first_ != 0) reap(2);
  return 0;
}

// ---- Results ---------------------------------------------------------------------------------

const ErrorText* check_error_text(const tarn_bytes& bytes) {
  auto* text = static_cast<const ErrorText*>(bytes.data);
  uint64_t size = sizeof *text;
  if (bytes.size < size) return nullptr;
  size += uint64_t{text->type_size} + text->message_size + text->task_size;
  if (bytes.size < size || text->type_size == 0 || text->message_size == 0 || text->task_size == 0) return nullptr;
  auto* strings = reinterpret_cast<const char*>(text + 1);
  bool ended = strings[text->type_size - 1] == '\0' &&
               strings[text->type_size + text->message_size - 1] == '\0' && strings[size - sizeof *text - 1] == '\0';
  return ended ? text : nullptr;
}

const ErrorText* Submitter::error_text(uint32_t index) {
  ObjectRef ref = result_ref(index, state_of(index));
  tarn_bytes bytes{};
  if (ref.generation == 0 || adopt_result(index) < 0 || store_.get_kept(ref, bytes) < 0) return nullptr;
  return check_error_text(bytes);
}

// What a task printed last whose worker died; kept with the record, as the other words of its error are.
const char* Submitter::last_output(uint32_t index, const TaskErrorPayload& error) {
  if (error.worker == 0 || view_.link == nullptr) return "";
  for (uint32_t at = private_[index].held; at != 0; at = held_[at].next)
    if (held_[at].kind == Held::Kind::kOutput) return reinterpret_cast<const char*>(static_cast<uintptr_t>(held_[at].a));
  char text[kLastOutputMax];
  view_.link->read_last_output(error.worker, undo_stamp(private_[index].generation, shm::make_id(view_.self, index)), text);
  if (text[0] == '\0') return "";
  char* kept = strdup(text);
  ErrorGuard guard;
  if (kept == nullptr || guard.end(hold(index, Held::Kind::kOutput, reinterpret_cast<uintptr_t>(kept), 0, 0)) == 0) return kept == nullptr ? "" : kept;
  guard.exchange();
  free(kept);
  return "";
}

// What may be why a task crashed: malloc has failed, and it did not look. "" if it had no bound.
void Submitter::say_memory_bound(uint32_t index, std::span<char> text) const {
  text[0] = '\0';
  for (uint32_t at = private_[index].held; at != 0; at = held_[at].next)
    if (held_[at].kind == Held::Kind::kMemory)
      snprintf(text.data(), text.size(), "; a run of it may take %.6g MiB (needs.memory)", static_cast<double>(held_[at].a) / (1 << 20));
}

// The error of a task that failed, as this thread's error.
int Submitter::task_error(uint32_t index) {
  if (int r = check_end(); r < 0) return r;  // which may be why it failed
  tarn_task_error error{};
  error.size = sizeof error;
  TaskErrorPayload payload;
  memcpy(&payload, record(index).payload, sizeof payload);
  error.code = payload.code;
  const ErrorText* text = error_text(index);
  const char* message = "";
  const Definition* definition = find_task(record(index).task);
  const char* task = definition != nullptr ? definition->name : "?";
  if (text != nullptr) {
    auto* strings = reinterpret_cast<const char*>(text + 1);
    message = strings + text->type_size;
    // A worker that does not know the task cannot name it.
    if (message[text->message_size] != '\0' || definition == nullptr)
      task = message + text->message_size;
  }
  uint8_t flags = state_of(index).flags;
  int code = code_of_failure(payload.code, flags);
  // Before how its process ended, which was for that.
  if (*message == '\0' && code == TARN_E_DEADLINE) return fail(code, "task '%s' was not done in the time that it had", task);
  if (*message == '\0' && code == TARN_E_CANCELLED) return fail(code, "task '%s' was cancelled", task);
  LastLine last(last_output(index, payload));
  char bound[64];
  say_memory_bound(index, bound);
  if (payload.signal != 0)
    return fail(code, "task '%s': its worker was killed by signal %d (%s) in attempt %d of %d%s%s", task, payload.signal,
                strsignal(payload.signal), record(index).attempts, record(index).attempts_max, bound, last.text);
  if (payload.code == TARN_E_WORKER_CRASHED)
    return fail(code, "task '%s': its worker exited with status %d in attempt %d of %d%s", task, payload.exit_status,
                record(index).attempts, record(index).attempts_max, last.text);
  if (*message == '\0') return fail(code, "task '%s' failed with code %d", task, payload.code);
  return fail_with(code, task, message);
}

int Submitter::result(tarn_future future, int64_t timeout_ns, tarn_bytes& out) {
  uint32_t index;
  if (int r = wait_one(future, index, timeout_ns); r < 0) return r;
  State state = state_of(index);
  if ((state.flags & (kFailed | kObject)) == 0) [[likely]] {
    out = {record(index).payload, record(index).result_size};
    return 0;
  }
  {
    Gate::Pass pass(gate_);
    if ((state.flags & kFailed) != 0) return task_error(index);
    if (int r = adopt_result(index); r < 0) return r;
  }
  return store_.get_kept(result_ref(index, state), out, timeout_ns);  // which may have to wait for the bytes
}

int Submitter::result_part(tarn_future future, uint32_t part, int64_t timeout_ns, tarn_bytes& out) {
  tarn_bytes whole;
  if (int r = result(future, timeout_ns, whole); r < 0) return r;
  return read_part(whole, part,
                   task_name(record(shm::id_index(static_cast<uint32_t>(future.id))).task), out);
}

int Submitter::result_object(tarn_future future, int64_t timeout_ns, ObjectRef& out) {
  uint32_t index;
  if (int r = wait_one(future, index, timeout_ns); r < 0) return r;
  State state = state_of(index);
  Gate::Pass pass(gate_);
  if ((state.flags & kFailed) != 0) return task_error(index);
  if ((state.flags & kObject) == 0) return store_.put(record(index).payload, record(index).result_size, out);
  if (int r = adopt_result(index); r < 0) return r;
  ObjectRef ref = result_ref(index, state);
  if (int r = store_.share(ref); r < 0) return r;
  out = ref;
  return 0;
}

int Submitter::error(tarn_future future, tarn_task_error& out) {
  Gate::Pass pass(gate_);
  uint32_t index;
  if (int r = check(future, index); r < 0) return r;
  State state = state_of(index);
  if (!state.finished()) return fail(TARN_E_STATE, "the task is not done yet");
  if ((state.flags & kFailed) == 0) return fail(TARN_E_STATE, "the task did not fail");
  TaskErrorPayload payload;
  memcpy(&payload, record(index).payload, sizeof payload);
  const Definition* definition = find_task(record(index).task);
  out.code = payload.code;
  out.cause = payload.code;
  out.signal = payload.signal;
  out.exit_status = payload.exit_status;
  out.attempts = record(index).attempts;
  out.type = "";
  out.message = "";
  out.output = last_output(index, payload);
  out.task = definition != nullptr ? definition->name : "";
  if (const ErrorText* text = error_text(index); text != nullptr) {
    out.type = reinterpret_cast<const char*>(text + 1);
    out.message = out.type + text->type_size;
    if (text->cause != 0) out.cause = text->cause;
    if (out.message[text->message_size] != '\0') out.task = out.message + text->message_size;
  }
  return 0;
}

}  // namespace tarn::task
