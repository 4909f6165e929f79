// Tasks of tasks: a worker submits, waits for what it has submitted by running it, and leaves nothing behind.
//
// What a run submits are its children. They do not outlive it: a run is over when they are, so that whoever has its result, or
// its failure, knows that nothing of it goes on, and a crash leaves nothing that nobody answers for. A child runs in whatever
// worker finds it first; one that the run waits for and that nobody has begun, it runs itself, on its own stack. So a run that
// waits always comes on, if all workers there are wait as well: what it waits for either has not begun, and can be run here, or
// has, later than itself. Such a chain of runs, each begun after the one before, has no way back.
//
// Only what is waited for is run there, not whatever there is: the stack is as deep as the recursion, and a task waits for
// nothing that is not its own. When all of that runs elsewhere the worker sleeps, and its slot has another one (executor_stand_in.cpp).

#include <unistd.h>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "task/submitter.hpp"

namespace tarn::task {
namespace {

constexpr int64_t kLookAgainNs = 20'000'000;  // of a run that waits for its children to end, whether it is cancelled

}  // namespace

int Submitter::set_helper(Helper& helper) {
  if (int r = os::Mapping::reserve(shm::kTaskRecordsMax * sizeof(Sibling), sibling_map_); r < 0) return r;
  siblings_ = reinterpret_cast<Sibling*>(sibling_map_.data());
  helper_ = &helper;
  return 0;
}

// ---- Helping ---------------------------------------------------------------------------------

// Among what a waiting task depends on: one that can be run here, or one that waits in turn. kTaskRecordsMax: all of it runs
// elsewhere, and tells when it is done.
uint32_t Submitter::next_below(uint32_t index) {
  uint32_t waiting = shm::kTaskRecordsMax;
  Gate::Pass pass(gate_);
  for (uint32_t at = private_[index].held; at != 0; at = held_[at].next) {
    if (held_[at].kind != Held::Kind::kTask) continue;
    auto other = static_cast<uint32_t>(held_[at].a);
    switch (state_of(other).phase) {
      case Phase::kReady: return other;
      case Phase::kWaiting: waiting = other; break;
      case Phase::kRunning: (void)mark_notify(record(other)); break;
      default: break;
    }
  }
  return waiting;
}

// Runs the task, or one that it waits for. False if there is nothing to run here.
bool Submitter::help(uint32_t index) {
  while (index != shm::kTaskRecordsMax) {
    switch (state_of(index).phase) {
      case Phase::kReady:
        if (helper_->try_run(index)) return true;
        // Somebody else has it: look again. Or it is not for this worker, or not now (its slot, resources that are taken): then it is
        // run elsewhere, or by a stand-in here.
        if (state_of(index).phase != Phase::kReady) break;
        (void)mark_notify(record(index));
        return false;
      case Phase::kWaiting: index = next_below(index); break;
      case Phase::kRunning: (void)mark_notify(record(index)); return false;
      default: return false;
    }
  }
  return false;
}

// Runs what can be run of them until `want` are finished, or the present run is to end.
void Submitter::help_with(const tarn_future* futures, size_t count, size_t want) {
  size_t finished = 0;
  for (size_t i = 0; i < count && finished < want; ++i) {
    uint32_t index = shm::id_index(static_cast<uint32_t>(futures[i].id));
    while (helper_->code_of_end() == 0 && help(index)) {
    }
    if (state_of(index).finished()) ++finished;
  }
}

int Submitter::check_end() const {
  int code = helper_ != nullptr && helper_->is_in_task() ? helper_->code_of_end() : 0;
  return code == 0 ? 0 : fail(code, "the task that waits is to end: it was cancelled, or its time is over");
}

// ---- Children --------------------------------------------------------------------------------

void Submitter::add_child(uint32_t index) {
  if (children_ == nullptr) return;  // outside of a run: tests
  if (view_.board->nested.load(shm::kRelaxed) == 0) (void)view_.board->nested.fetch_or(1);
  siblings_[index] = {*children_, children_};
  if (*children_ != 0) siblings_[*children_ - 1].link = &siblings_[index].next;
  *children_ = index + 1;
}

void Submitter::remove_child(uint32_t index) {
  Sibling& sibling = siblings_[index];
  if (sibling.link == nullptr) return;
  *sibling.link = sibling.next;
  if (sibling.next != 0) siblings_[sibling.next - 1].link = sibling.link;
  sibling = {};
}

// Its record stays for as long as another task depends on it, or somebody is still telling others about it.
void Submitter::end_child(uint32_t index) {
  remove_child(index);
  if (state_of(index).finished()) see(index);
  if (private_[index].leftover) return;
  if (private_[index].interest != 0) drop_interest(index);
  if (private_[index].stream != 0) close_stream(index);
  private_[index].leftover = 1;
  drop(index);
}

// Runs what can be run of the children, and ends those that are finished. False if there was nothing to do.
bool Submitter::help_children(uint32_t& children) {
  bool any = false;
  for (uint32_t next = children; next != 0;) {
    uint32_t index = next - 1;
    any |= help(index);
    Gate::Pass pass(gate_);
    next = siblings_[index].next;  // none if it was freed meanwhile
    if (siblings_[index].link == nullptr || !state_of(index).finished()) continue;
    end_child(index);
    any = true;
  }
  return any;
}

void Submitter::cancel_children(uint32_t children) {
  Gate::Pass pass(gate_);
  uint16_t claimant;
  for (; children != 0; children = siblings_[children - 1].next) (void)cancel_record(children - 1, kCancelled, claimant);
  ring();
}

void Submitter::end_children(uint32_t& children, bool is_cancelled) {
  if (streams_used_ > 1) close_streams(children);  // who would read them has come back
  if (is_cancelled) cancel_children(children);
  while (children != 0) {
    uint32_t events = view_.own().waiters.events();  // before the look at what runs elsewhere
    if (help_children(children)) continue;
    if (!is_cancelled && helper_->code_of_end() != 0) {
      is_cancelled = true;
      cancel_children(children);
      continue;
    }
    if (!mark_notify(record(children - 1))) continue;
    ErrorGuard guard;
    if (sleep_in_task(events, os::now_ns() + kLookAgainNs) < 0) usleep(kLookAgainNs / 1000);  // as many threads wait as may
    bool is_gone = check_daemon() < 0;
    (void)guard.end(0);
    if (!is_gone) continue;
    // Without tarnd this process ends as soon as the run is over.
    Gate::Pass pass(gate_);
    while (children != 0) end_child(children - 1);
  }
}

}  // namespace tarn::task
