// BackOff: tasks that failed and are to be run again, but not before some time has passed.
//
// Such a record is kWaiting, and its dependency word says until when: nobody holds a timer for it. Its owner's segment has one
// word, `retry_at`, that says when to look at its records: never later than the first of them is due. Workers look at it between
// batches of tasks, and before they sleep: who sleeps then, sleeps no longer than that (Executor). It is a hint. What is lost of
// it with a worker that dies, recovery puts right: it has everybody look.
//
// Every function here may be interrupted by SIGKILL at any instruction. tests/model runs them through every interleaving and crash.
#pragma once

#include <algorithm>
#include <cstdint>

#include "task/task_protocol.hpp"

namespace tarn::task {

using shm::kAcquire;
using shm::kRelaxed;

// Time is counted in ticks of about a millisecond (os::now_ns), of which a record keeps 32 bits: 52 days. Never 0.
inline constexpr uint32_t kTickShift = 20;
inline constexpr int64_t kBackOffMaxNs = int64_t{24} * 3600 * 1'000'000'000;  // docs/limits.md
constexpr uint64_t ticks_of(int64_t ns) { return (static_cast<uint64_t>(ns) >> kTickShift) + 1; }
constexpr int64_t ns_of_ticks(uint64_t ticks) { return static_cast<int64_t>(ticks << kTickShift); }

// The dependency word of a record that backs off. Not with its generation, so that nobody takes it for one with bits missing.
constexpr uint64_t back_off_word(uint32_t generation, uint64_t due) { return uint64_t{~generation} << 32 | static_cast<uint32_t>(due); }
constexpr bool backs_off(State state, uint64_t dependencies) {
  return state.phase == Phase::kWaiting && dependencies >> 32 == static_cast<uint32_t>(~state.generation);
}
// Ticks from `now` until it is due; not more than 0: it is.
constexpr int32_t ticks_left(uint64_t dependencies, uint64_t now) {
  return static_cast<int32_t>(static_cast<uint32_t>(dependencies) - static_cast<uint32_t>(now));
}

// `retry_at` is not later than `due` from now on.
inline void look_by(shm::Word<uint64_t>& retry_at, uint64_t due) {
  uint64_t at = retry_at.load(kAcquire);
  while (at == 0 || at > due)
    if (retry_at.compare_exchange(at, due)) return;
}

// Instead of finish, by the claimant: the run has failed, its record still has the arguments, and it shall be run again from
// `due` on. False if it was cancelled meanwhile, or its time is over: then it is to be finished. (Also a doomed run.)
template <class Space>
[[nodiscard]] bool back_off(Space& space, TaskRecord& record, State mine, uint64_t due) {
  record.dependencies.store(back_off_word(mine.generation, due), kRelaxed);  // all its bits had come, and nobody sets one again
  if (!leave_run(record, mine, Phase::kWaiting)) return false;
  look_by(space.retry_at(), due);
  return true;
}

// Makes one record ready, and publishes it, if it backs off and is due. Otherwise returns when it is due; 0: it does not back off.
template <class Space>
uint64_t end_back_off(Space& space, uint32_t index, uint64_t now) {
  TaskRecord& record = space.record(index);
  uint64_t word = record.state.load(kAcquire);
  for (;;) {
    State state = State::unpack(word);
    if (state.phase != Phase::kWaiting) return 0;
    uint64_t dependencies = record.dependencies.load(kAcquire);
    if (!backs_off(state, dependencies)) return 0;
    if (int32_t left = ticks_left(dependencies, now); left > 0) return now + static_cast<uint32_t>(left);
    state.phase = Phase::kReady;
    if (!record.state.compare_exchange(word, state.pack())) continue;  // a flag more, or cancelled
    space.publish(space.id(index));
    return 0;
  }
}

// Looks at the first `used` records of a member, if it is time to. Returns when it is next; 0: none backs off.
template <class Space>
uint64_t end_back_offs(Space& space, uint32_t used, uint64_t now) {
  shm::Word<uint64_t>& retry_at = space.retry_at();
  uint64_t at = retry_at.load(kAcquire);
  if (at == 0 || at > now) return at;
  // Before the look: what backs off from now on is found in it, or has set the word again.
  if (!retry_at.compare_exchange(at, 0)) return at;
  uint64_t first = 0;
  for (uint32_t i = 0; i < used; ++i)
    if (uint64_t due = end_back_off(space, i, now); due != 0) first = first == 0 ? due : std::min(first, due);
  if (first != 0) look_by(retry_at, first);
  return retry_at.load(kAcquire);
}

// Recovery: a dead worker may have been about to say that something backs off, or have begun to look.
template <class Space>
void look_at_once(Space& space) {
  look_by(space.retry_at(), 1);
}

}  // namespace tarn::task
