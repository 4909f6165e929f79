// Models of tasks that back off before they run again (task/back_off.hpp): that none is forgotten.
//
// A worker claims a task, which fails and shall run again later; others look at the records meanwhile. Time does not pass in a
// model: a due time is before or after the moment at which somebody looks.
#pragma once

#include "task/back_off.hpp"
#include "task_models.hpp"

namespace tarn::model {

struct BackOffState : TaskState {
  Word<uint64_t> retry_at;
};

struct BackOffSpace : TaskSpace {
  explicit BackOffSpace(BackOffState& state) : TaskSpace{state}, retry(state) {}
  BackOffState& retry;
  Word<uint64_t>& retry_at() { return retry.retry_at; }
};

inline constexpr uint64_t kDue = 5;    // when the tasks may run again,
inline constexpr uint64_t kEarly = 3;  // and moments at which somebody looks
inline constexpr uint64_t kNow = 9;

// As Executor::run of a task that fails. Its arguments must be there the next time.
inline void fail_for_now(BackOffState& s, uint32_t me, uint32_t index) {
  BackOffSpace space(s);
  task::TaskRecord& record = s.records[index];
  State mine;
  if (!task::claim(record, static_cast<uint16_t>(me), mine)) return;
  task::save_arguments(s.undo[me], record, mine.generation, index);
  if (task::back_off(space, record, mine, kDue)) return;
  fill(record.payload, kErrorByte);
  (void)task::finish(space, record, mine, task::kFailed);
}

// As the replacement of a dead worker.
inline void recover_and_look(BackOffState& s, uint32_t dead, uint32_t me) {
  BackOffSpace space(s);
  recover_member(s, dead, me);
  task::look_at_once(space);
  // Production has the workers look through all records for those without a hint.
  for (uint32_t i = 0; i < TaskState::kRecords; ++i)
    if (State::unpack(s.records[i].state.load(kAcquire)).phase == Phase::kReady) space.publish(i);
}

// Whoever looks at this word sees in time that record `index` backs off; or a hint tells that it is ready.
inline const char* is_noticed(const BackOffState& s, uint32_t index) {
  State state = State::unpack(s.records[index].state.load(kRelaxed));
  uint64_t at = s.retry_at.load(kRelaxed);
  if (task::backs_off(state, s.records[index].dependencies.load(kRelaxed)))
    return at != 0 && at <= kDue ? nullptr : "a task backs off, and nobody will look at it in time";
  if (state.phase == Phase::kReady) return (s.hints.load(kRelaxed) >> index & 1) != 0 ? nullptr : "a task is ready, and nobody knows";
  if (state.phase == Phase::kRunning) return "a task is not done, and nobody will ever do it";
  return nullptr;
}

// Member 2 runs task 0, and 3 task 1; both back off. Member 4 looks at them, too early or in time, and may die in it; then 5
// recovers. With `cancels` the client cancels task 0 at any time.
inline Report back_offs(unsigned crashes, bool in_time, bool cancels) {
  Model<BackOffState> model({.name = "back-off: " + std::to_string(crashes) + " crashes, looked at " + (in_time ? "in time" : "too early") +
                                     (cancels ? ", cancelled" : ""),
                             .crashes_max = crashes});
  uint64_t now = in_time ? kNow : kEarly;
  model.setup([cancels](BackOffState& s) {
    name_tasks(s);
    name_words(&s.retry_at, 8, "retry_at");
    submit_ready(s, 0);
    if (!cancels) submit_ready(s, 1);
    s.hints.store(0, kRelaxed);
  });
  model.process("mortal2", Kill::kAllowed, [](BackOffState& s) { fail_for_now(s, 2, 0); });
  if (cancels) {
    model.process("client", Kill::kNever, [](BackOffState& s) {
      BackOffSpace space(s);
      uint16_t claimant;
      (void)task::cancel(space, s.records[0], 1, task::kCancelled, claimant, [](task::TaskRecord& record) { fill(record.payload, kErrorByte); });
    });
  } else {
    model.process("worker3", Kill::kNever, [](BackOffState& s) { fail_for_now(s, 3, 1); });
  }
  model.process("mortal4", Kill::kAllowed, [now](BackOffState& s) {
    BackOffSpace space(s);
    (void)task::end_back_offs(space, 2, now);
  });
  for (int dead : {0, 2})
    model.replacement(dead == 0 ? "replace2" : "replace4", Kill::kNever, dead, [dead](BackOffState& s) {
      recover_and_look(s, dead == 0 ? 2 : 4, 5);
    });
  model.finally([cancels](const BackOffState& s) -> const char* {
    for (uint32_t i = 0; i < (cancels ? 1u : 2u); ++i) {
      State state = State::unpack(s.records[i].state.load(kRelaxed));
      // Of a task that nobody has claimed the first hint is still on its way.
      bool is_untouched = state.phase == Phase::kReady && s.records[i].dependencies.load(kRelaxed) == 0;
      if (const char* what = is_noticed(s, i); what != nullptr && !is_untouched) return what;
      if (state.phase != Phase::kDone && !is_filled(s.records[i].payload, argument_byte(i))) return "a task has lost its arguments";
      if (cancels && state.phase != Phase::kDone) return "a cancelled task goes on";
    }
    return nullptr;
  });
  return model.run();
}

}  // namespace tarn::model
