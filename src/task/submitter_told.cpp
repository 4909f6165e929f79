// Being told of futures as they finish: callbacks, and watches over many.
//
// A record that somebody asks about is marked, and has an interest: who it is. Whoever finishes it marks its group in
// shm::FinishedGroups; the look through those groups puts the interests of what has finished into the list of the callbacks
// that are to be called, or of its watch. So a look costs by what has finished, whatever else there is.

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "task/submitter.hpp"
#include "task/traced_wait.hpp"

namespace tarn::task {
namespace {

constexpr int64_t kDaemonCheckNs = 100'000'000;
constexpr int64_t kLookAgainNs = 20'000'000;  // in a task: whether it is cancelled, and for what another's finish made ready
constexpr uint32_t kReapInDispatch = 64;
constexpr int kPausesPerLook = 64;

}  // namespace

// ---- Interests -------------------------------------------------------------------------------

// Behind the gate. The event is made here if the task is done already: nobody may be between a dispatch and a poll.
int Submitter::add_interest(tarn_future future, const Interest& interest) {
  uint32_t index;
  if (int r = check(future, index); r < 0) return r;
  if (private_[index].interest != 0)
    return fail(TARN_E_STATE, "the future has a callback or is watched already; one of them is possible at a time");
  uint32_t at = free_interests_;
  if (at != 0) {
    free_interests_ = interests_[at].next;
  } else {
    at = interests_used_++;  // there are as many as records
  }
  interests_[at] = interest;
  private_[index].interest = at;
  private_[index].told = 0;
  if (!mark_notify(record(index))) make_ready_interest(index);
  return 0;
}

void Submitter::free_interest(uint32_t at) {
  interests_[at].next = free_interests_;
  free_interests_ = at;
}

// The future goes. One that is in a list stays there, and is left out when its turn comes.
void Submitter::drop_interest(uint32_t index) {
  uint32_t at = private_[index].interest;
  Interest& interest = interests_[at];
  private_[index].interest = 0;
  if (interest.fn == nullptr && interest.context != nullptr) --static_cast<Watch*>(interest.context)->left;
  interest.fn = nullptr;
  interest.context = nullptr;
  if (private_[index].told == 0) free_interest(at);
}

void Submitter::make_ready_interest(uint32_t index) {
  if (state_of(index).finished()) see(index);  // of a stream that is to be read it need not be
  private_[index].told = 1;
  uint32_t at = private_[index].interest;
  Interest& interest = interests_[at];
  auto* watch = interest.fn == nullptr ? static_cast<Watch*>(interest.context) : nullptr;
  uint32_t& first = watch != nullptr ? watch->ready_first : ready_first_;
  uint32_t& last = watch != nullptr ? watch->ready_last : ready_last_;
  interest.next = 0;
  (last != 0 ? interests_[last].next : first) = at;
  last = at;
}

void Submitter::find_finished() {
  view_.own().finished.take([this](uint32_t first) {
    uint32_t end = std::min(first + shm::FinishedGroups<shm::kTaskRecordsMax>::kGroupSize, records_used_);
    for (uint32_t index = first; index < end; ++index) {
      const Private& mine = private_[index];
      // Not acquire: the finisher orders the record before the group's bit, and this has taken that.
      if (mine.interest == 0 || mine.told != 0) continue;
      if (state_of(index, shm::kSeqCst).finished() || is_of_item(mine.interest, index)) make_ready_interest(index);
    }
  });
}

// ---- Callbacks -------------------------------------------------------------------------------

int Submitter::then(tarn_future future, tarn_future_fn fn, void* context) {
  if (fn == nullptr) return fail(TARN_E_ARGUMENT, "fn is NULL");
  Gate::Pass pass(gate_);
  if (int r = add_interest(future, {fn, context, future, 0, 0}); r < 0) return r;
  if (ready_first_ != 0) space().notify();
  return 0;
}

int Submitter::dispatch(tarn_client* client, const Fd& event_fd) {
  eventfd_t ignored;
  (void)eventfd_read(event_fd.get(), &ignored);  // EAGAIN: it was not readable
  int called = 0;
  {
    Gate::Pass pass(gate_);
    reap(kReapInDispatch);
    if (int r = relieve_streams(); r < 0) return r;
  }
  for (;;) {
    uint32_t events = view_.own().waiters.events();
    {
      Gate::Pass pass(gate_);
      find_finished();
    }
    for (;;) {
      Interest callback;
      {
        Gate::Pass pass(gate_);
        uint32_t at = ready_first_;
        if (at == 0) break;
        callback = interests_[at];
        ready_first_ = callback.next;
        if (ready_first_ == 0) ready_last_ = 0;
        // A callback that ran before may have released this one's future.
        if (callback.fn != nullptr) private_[shm::id_index(static_cast<uint32_t>(callback.future.id))].interest = 0;
        free_interest(at);
      }
      if (callback.fn == nullptr) continue;
      callback.fn(client, callback.future, callback.context);
      ++called;
    }
    uint32_t ticket;
    if (view_.own().waiters.prepare(shm::Waiters::kPollWaiter, events, 1, ticket)) return called;
  }
}

// ---- Watches ---------------------------------------------------------------------------------

int Submitter::open_watch(const tarn_future* futures, size_t count, Watch& watch) {
  constexpr size_t kInsideMax = 1024;  // other threads have their turn
  if (count != 0) {
    watch.futures = static_cast<tarn_future*>(malloc(count * sizeof *futures));
    if (watch.futures == nullptr) return fail(TARN_E_NO_MEMORY, "no memory to watch %zu futures", count);
    memcpy(watch.futures, futures, count * sizeof *futures);
  }
  int code = 0;
  while (code == 0 && watch.count < count) {
    Gate::Pass pass(gate_);
    for (size_t end = std::min(count, watch.count + kInsideMax); watch.count < end; ++watch.count) {
      auto position = static_cast<uint32_t>(watch.count);
      code = add_interest(futures[watch.count], {nullptr, &watch, futures[watch.count], 0, position});
      if (code < 0) break;
      ++watch.left;
      watch.any_deadline |= private_[shm::id_index(static_cast<uint32_t>(futures[watch.count].id))].has_deadline != 0;
    }
  }
  if (code < 0) close_watch(watch);
  return code;
}

void Submitter::close_watch(Watch& watch) {
  {
    Gate::Pass pass(gate_);
    // Those that are done and not told of, then the others.
    for (uint32_t at = watch.ready_first; at != 0;) {
      Interest& interest = interests_[at];
      uint32_t next = interest.next;
      if (interest.context != nullptr) private_[shm::id_index(static_cast<uint32_t>(interest.future.id))].interest = 0;
      free_interest(at);
      at = next;
    }
    for (size_t i = 0; i < watch.count; ++i) {
      uint32_t index = shm::id_index(static_cast<uint32_t>(watch.futures[i].id));
      uint32_t at = private_[index].interest;
      if (at != 0 && interests_[at].fn == nullptr && interests_[at].context == &watch) drop_interest(index);
    }
  }
  forget_watch(watch);
}

void Submitter::forget_watch(Watch& watch) {
  free(watch.futures);
  watch = Watch();
}

// Behind the gate: the positions of those that are done, and not told of before.
size_t Submitter::take_ready(Watch& watch, size_t* positions, size_t capacity) {
  size_t count = 0;
  while (count < capacity && watch.ready_first != 0) {
    uint32_t at = watch.ready_first;
    const Interest& interest = interests_[at];
    watch.ready_first = interest.next;
    if (watch.ready_first == 0) watch.ready_last = 0;
    if (interest.context != nullptr) {
      private_[shm::id_index(static_cast<uint32_t>(interest.future.id))].interest = 0;
      positions[count++] = interest.position;
      --watch.left;
    }
    free_interest(at);
  }
  return count;
}

// In a task: runs one of those that are watched, the next that can be. False if there is none.
bool Submitter::help_watched(Watch& watch) {
  for (; watch.cursor < watch.count; ++watch.cursor) {
    uint32_t index = shm::id_index(static_cast<uint32_t>(watch.futures[watch.cursor].id));
    uint32_t at = private_[index].interest;
    if (at == 0 || interests_[at].fn != nullptr || interests_[at].context != &watch || state_of(index).finished()) continue;
    if (help(index)) return true;
    watch.any_passed = true;
  }
  return false;
}

// Looks at the count of events until it moves or sleeping is cheaper.
bool Submitter::spin_until_event(uint32_t events, int64_t deadline_ns) {
  uint32_t budget_ns = view_.board->spin_budget_ns.load(kRelaxed);
  if (budget_ns == 0 || deadline_ns == 0 || !worker_elsewhere(static_cast<uint32_t>(sched_getcpu()))) return false;
  int64_t end = std::min(os::now_ns() + budget_ns, deadline_ns);
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (view_.own().waiters.events() != events) return true;
      os::pause();
    }
    sched_yield();
  } while (os::now_ns() < end);
  return false;
}

int Submitter::watch_next(Watch& watch, int64_t timeout_ns, size_t* positions, size_t capacity, size_t& count) {
  if (timeout_ns < -1)
    return fail(TARN_E_ARGUMENT, "timeout_ns is %lld; 0 does not wait, and -1 waits for ever", static_cast<long long>(timeout_ns));
  int64_t deadline_ns = timeout_ns == 0 ? 0 : os::deadline_after(timeout_ns);
  bool is_in_task = helper_ != nullptr && helper_->is_in_task();
  int64_t look_again_ns = is_in_task ? kLookAgainNs : kDaemonCheckNs;
  int gone = 0;
  std::optional<TracedWait> traced;
  for (;;) {
    uint32_t events = view_.own().waiters.events();
    int64_t overdue_ns = watch.any_deadline ? end_overdue(watch.futures, watch.count) : os::kForever;
    {
      Gate::Pass pass(gate_);
      if (watch.ready_first == 0) find_finished();
      size_t taken = take_ready(watch, positions, capacity);
      if (taken != 0 || watch.left == 0 || capacity == 0) {
        count = taken;
        return 0;
      }
    }
    if (gone < 0) return gone;
    if (timeout_ns != 0 && !traced) traced.emplace(view_, 1);
    if (is_in_task) {
      if (int r = check_end(); r < 0) return r;
      if (timeout_ns != 0) {
        if (help_watched(watch)) continue;
        if (watch.any_passed) {  // which others may have made ready
          watch.cursor = 0;
          watch.any_passed = false;
          if (help_watched(watch)) continue;
        }
      }
    }
    if (timeout_ns == 0 || os::now_ns() >= deadline_ns) {
      if (int r = look_in_poll(); r < 0) return r;
      return fail(TARN_E_TIMED_OUT, "%zu of %zu watched futures were not done when the time had passed", watch.left, watch.count);
    }
    if (spin_until_event(events, deadline_ns)) continue;
    int64_t next_ns = std::min({deadline_ns, overdue_ns, os::now_ns() + look_again_ns});
    if (int r = is_in_task ? sleep_in_task(events, next_ns) : sleep_for_events(events, 1, next_ns); r < 0) return r;
    gone = check_daemon();  // once more: what is done is done
  }
}

}  // namespace tarn::task
