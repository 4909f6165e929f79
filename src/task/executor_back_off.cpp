// Tasks that failed and are run again after a while: how long they wait, and who looks when it is over (task/back_off.hpp).
//
// No worker waits for one. Who has nothing to do sleeps until the next is due; who was woken for something else passes that on to
// another who sleeps. If all are busy, a task that is due has to wait for one of them anyway.

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "task/arguments.hpp"
#include "task/back_off.hpp"
#include "task/executor.hpp"

namespace tarn::task {
namespace {

constexpr int64_t kRestInLooks = 2;  // after a look at many records: so many times as long as it took

// After so many runs that were after an error themselves. Not by pow: libtarn needs the C library and nothing else.
int64_t delay_after(const TaskLimits& limits, int runs) {
  auto longest = static_cast<double>(std::clamp<int64_t>(limits.back_off_max_ns, 0, kBackOffMaxNs));
  auto delay = static_cast<double>(limits.back_off_ns);
  for (int i = 0; i < runs && delay < longest; ++i) delay *= limits.back_off_factor;
  return delay >= 0 ? static_cast<int64_t>(std::min(delay, longest)) : 0;  // not what a scribbled block makes of it
}

// Between half of it and all, so that those which failed together do not come together again.
int64_t with_jitter(int64_t delay_ns) {
  uint64_t mixed = (os::ticks() ^ static_cast<uint64_t>(delay_ns)) * 0x9e3779b97f4a7c15u;
  return delay_ns / 2 + static_cast<int64_t>(static_cast<double>(delay_ns - delay_ns / 2) * static_cast<double>(mixed >> 40) / 0x1p24);
}

}  // namespace

// Whether the task in `record` is to be run again after the error `code`, and after how long.
bool Executor::find_back_off(const TaskRecord& record, uint32_t owner, int code, int64_t& delay_ns) {
  BlockRef ref;
  const std::byte* block;
  TaskLimits limits;
  memcpy(&ref, record.payload, sizeof ref);
  if (ref.limits == 0) return false;
  ErrorGuard guard;
  if (guard.end(store_.resolve_block(owner, ref.slab, ref.offset, ref.size, block)) < 0 || !block_limits(block, ref, limits)) {
    guard.exchange();
    return false;
  }
  int runs = record.attempts_max - limits.attempts_max;
  if (runs < 0 || runs >= limits.error_runs_max || record.attempts_max == UINT8_MAX || !counts_for_retry(block, ref, limits, code)) return false;
  delay_ns = with_jitter(delay_after(limits, runs));
  return limits.deadline_ns == 0 || os::now_ns() + delay_ns < limits.deadline_ns;
}

bool Executor::back_off(TaskRecord& record, State mine, uint32_t owner, int code) {
  int64_t delay_ns = 0;
  if (!find_back_off(record, owner, code, delay_ns)) return false;
  if (view_.board->retries.load(kRelaxed) == 0) (void)view_.board->retries.fetch_or(1);
  ++record.attempts_max;  // crashes count apart
  SegmentSpace space(view_, owner);
  int64_t due_ns = os::now_ns() + delay_ns;
  if (view_.is_traced()) [[unlikely]]
    view_.tracer.write(trace::Kind::kBackOff, undo_stamp(mine.generation, space.id(space.index_of(record))), static_cast<uint64_t>(due_ns));
  if (!task::back_off(space, record, mine, ticks_of(due_ns))) return false;
  wake_another();  // whoever sleeps does so without a look at the time, perhaps
  return true;
}

void Executor::end_back_offs() {
  int64_t begin_ns = os::now_ns();
  if (begin_ns < looks_again_ns_) return;
  uint64_t now = ticks_of(begin_ns);
  bool any_left = false;
  bool has_looked = false;
  for (uint32_t member = 0; member < view_.members_end; ++member) {
    shm::MemberSegment* segment = view_.segments[member];
    if (segment == nullptr) continue;
    uint64_t at = segment->retry_at.load(kAcquire);
    if (at == 0 || at > now) continue;
    SegmentSpace space(view_, member);
    any_left |= task::end_back_offs(space, std::min(segment->records_used.load(kAcquire), shm::kTaskRecordsMax), now) != 0;
    has_looked = true;
  }
  if (!has_looked) return;
  looks_again_ns_ = os::now_ns();
  looks_again_ns_ += kRestInLooks * (looks_again_ns_ - begin_ns);
  // More than this worker can begin at once; or it may be busy when the next is due.
  if (view_.published > 1 || any_left) wake_another();
  view_.published = 0;
}

// When who sleeps now is to look again, os::now_ns time.
int64_t Executor::next_look() const {
  if (view_.board->retries.load(kAcquire) == 0) [[likely]]
    return os::kForever;
  uint64_t first = 0;
  for (uint32_t member = 0; member < view_.members_end; ++member) {
    uint64_t at = view_.segments[member] == nullptr ? 0 : view_.segments[member]->retry_at.load(kAcquire);
    if (at != 0) first = first == 0 ? at : std::min(first, at);
  }
  return first == 0 ? os::kForever : std::max(ns_of_ticks(first), looks_again_ns_);
}

}  // namespace tarn::task
