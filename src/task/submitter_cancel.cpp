// Cancelling tasks: because their owner does not want them any more, or because their time is over.

#include <algorithm>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "task/submitter.hpp"

namespace tarn::task {

Cancelled Submitter::cancel_record(uint32_t index, uint8_t flags, uint16_t& claimant) {
  SegmentSpace space = this->space();
  return task::cancel(space, record(index), static_cast<uint16_t>(view_.self), flags, claimant,
                      [flags](TaskRecord& cancelled) { write_code(cancelled, code_of_cancelled(flags)); });
}

int Submitter::cancel(tarn_future future, bool kill) {
  uint16_t claimant = 0;
  uint32_t index;
  uint32_t generation;
  {
    Gate::Pass pass(gate_);
    if (int r = check(future, index); r < 0) return r;
    generation = private_[index].generation;
    Cancelled outcome = cancel_record(index, static_cast<uint8_t>(kCancelled | (kill ? kDoomed : 0)), claimant);
    if (outcome == Cancelled::kTooLate) return fail(TARN_E_STATE, "the task is done already");
    if (outcome == Cancelled::kNow) {
      see(index);
      ring();  // those that depend on it
      return 0;
    }
    if (private_[index].stream != 0) wake_stream(index);
  }
  return kill && claimant != 0 && view_.link != nullptr ? view_.link->end_run(claimant, shm::make_id(view_.self, index), generation) : 0;
}

// Tasks among them that are not done in time and do not run fail. Returns the next deadline of one; those that run have a timer.
int64_t Submitter::end_overdue(const tarn_future* futures, size_t count) {
  int64_t next = os::kForever;
  int64_t now = 0;
  Gate::Pass pass(gate_);
  for (size_t i = 0; i < count; ++i) {
    uint32_t index = shm::id_index(static_cast<uint32_t>(futures[i].id));
    if (private_[index].has_deadline == 0) [[likely]]
      continue;
    State state = state_of(index);
    if (state.finished() || state.phase == Phase::kRunning) continue;
    if (now == 0) now = os::now_ns();
    for (uint32_t at = private_[index].held; at != 0; at = held_[at].next) {
      if (held_[at].kind != Held::Kind::kDeadline) continue;
      auto deadline = static_cast<int64_t>(held_[at].a);
      uint16_t claimant;
      if (now < deadline) {
        next = std::min(next, deadline);
      } else if (cancel_record(index, kCancelled | kLate, claimant) == Cancelled::kNow) {
        see(index);  // which may take what it holds away
      }
      break;
    }
  }
  ring();
  return next;
}

}  // namespace tarn::task
