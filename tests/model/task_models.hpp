// Models of a task's life: claim, run, finish, tell, recover, and dependencies (task/task_protocol.hpp).
//
// The workers' loop, the submitter's steps and the reuse of records are those of task/executor.cpp and
// task/submitter.cpp in short; every shared word is touched by the production functions alone.
#pragma once

#include <bit>
#include <cstdint>

#include "explorer.hpp"
#include "task/task_protocol.hpp"

namespace tarn::model {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;
using shm::Word;
using task::Phase;
using task::State;

struct TaskState {
  static constexpr uint32_t kRecords = 3;
  task::TaskRecord records[kRecords];
  shm::UndoLine undo[6];  // one for each member
  task::Edge edges[4];
  Word<uint64_t> group_words[8];
  Word<uint32_t> hints;     // which records may be ready; stands for the rings
  Word<uint32_t> notified;  // stands for Waiters
  uint32_t holding[6];      // hints that a member has taken and not come to
  uint32_t runs[kRecords];
  uint32_t finished[kRecords];
  uint32_t returned;
  uint32_t ended;   // the member whose process ended itself because its run was doomed
};

struct TaskSpace {
  TaskState& s;
  task::TaskRecord& record(uint32_t index) { return s.records[index]; }
  task::Edge& edge(uint32_t index) { return s.edges[index]; }
  task::Group& group(uint32_t index) { return *reinterpret_cast<task::Group*>(&s.group_words[index]); }
  [[nodiscard]] uint32_t id(uint32_t index) const { return index; }
  void publish(uint32_t id) { (void)s.hints.fetch_or(1u << id); }
  void notify(const task::TaskRecord&) { (void)s.notified.fetch_add(1); }
};

inline std::byte argument_byte(uint32_t index) { return static_cast<std::byte>(0x10 + index); }
inline std::byte result_byte(uint32_t index) { return static_cast<std::byte>(0x80 + index); }
inline constexpr std::byte kErrorByte{0xee};

inline void fill(std::byte* to, std::byte value) {
  std::byte bytes[task::kPayloadSize];
  for (auto& byte : bytes) byte = value;
  tarn::memcpy(to, bytes, sizeof bytes);
}
inline bool is_filled(const std::byte* from, std::byte value) {
  std::byte bytes[task::kPayloadSize];
  tarn::memcpy(bytes, from, sizeof bytes);
  for (auto byte : bytes)
    if (byte != value) return false;
  return true;
}

inline void name_tasks(TaskState& s) {
  for (uint32_t i = 0; i < TaskState::kRecords; ++i) {
    std::string name = "record" + std::to_string(i);
    name_words(&s.records[i].state, 8, name + ".state");
    name_words(&s.records[i].dependencies, 8, name + ".dependencies");
    name_words(&s.records[i].edges, 4, name + ".edges");
    name_words(s.records[i].payload, task::kPayloadSize, name + ".payload");
  }
  name_words(s.undo, sizeof s.undo, "undo", sizeof(shm::UndoLine));
  name_words(s.group_words, sizeof s.group_words, "group", 8);
  name_words(&s.hints, 4, "hints");
  name_words(&s.notified, 4, "notified");
}

// A task without dependencies, as the submitter leaves it.
inline void submit_ready(TaskState& s, uint32_t index, uint8_t attempts_max = 4, uint8_t flags = 0) {
  task::TaskRecord& record = s.records[index];
  fill(record.payload, argument_byte(index));
  record.attempts_max = attempts_max;
  record.state.store(State{1, 0, Phase::kReady, flags}.pack(), kRelease);
  (void)s.hints.fetch_or(1u << index);
}

// One that depends on another, which is ready or running, by one edge of that number, as the submitter leaves it.
inline void submit_waiting(TaskState& s, uint32_t index, uint32_t other, uint32_t edge) {
  task::TaskRecord& record = s.records[index];
  fill(record.payload, argument_byte(index));
  record.attempts_max = 4;
  record.dependencies.store(task::initial_dependencies(1, 1), kRelaxed);
  record.state.store(State{1, 0, Phase::kWaiting, 0}.pack(), kRelaxed);
  s.edges[edge] = {task::kNoEdge, index, 1, 0};
  (void)task::hang_edge(s.records[other], s.edges[edge], edge);
  TaskSpace space{s};
  task::satisfy(space, index, 1, task::kSubmittedBit);
}

// As Executor::run. False if the process has to end.
inline bool run_task(TaskState& s, uint32_t me, uint32_t index, bool (*may_run)(const TaskState&, uint32_t)) {
  TaskSpace space{s};
  task::TaskRecord& record = s.records[index];
  State mine;
  if (!task::claim(record, static_cast<uint16_t>(me), mine)) return true;
  task::save_arguments(s.undo[me], record, mine.generation, index);
  ++record.attempts;
  check(is_filled(s.undo[me].payload, argument_byte(index)), "a run does not see its arguments");
  check(may_run == nullptr || may_run(s, index), "a task runs before what it depends on");
  ++s.runs[index];
  fill(record.payload, result_byte(index));
  if (!task::finish(space, record, mine, 0)) return false;
  ++s.finished[index];
  return true;
}

inline void serve_tasks(TaskState& s, uint32_t me, bool (*may_run)(const TaskState&, uint32_t) = nullptr) {
  for (;;) {
    await(s.hints.futex_address());
    uint32_t hints = s.hints.load(kAcquire);
    if (hints != 0) {
      auto index = static_cast<uint32_t>(std::countr_zero(hints));
      if ((s.hints.fetch_and(~(1u << index)) >> index & 1) != 0) {
        s.holding[me] = 1u << index;
        if (!run_task(s, me, index, may_run)) {
          step();
          s.ended = me;
          return;
        }
        s.holding[me] = 0;
      }
    }
    forget();
  }
}

// As Executor::recover.
inline void recover_member(TaskState& s, uint32_t dead, uint32_t me) {
  TaskSpace space{s};
  auto give_up = [](task::TaskRecord& record, uint8_t flags, uint8_t& outcome) {
    if ((flags & task::kCancelled) == 0 && record.attempts < record.attempts_max) return false;
    fill(record.payload, kErrorByte);
    outcome = task::kFailed;
    return true;
  };
  for (uint32_t i = 0; i < TaskState::kRecords; ++i)
    (void)task::recover(space, i, static_cast<uint16_t>(dead), static_cast<uint16_t>(me), &s.undo[dead], give_up);
  // The hints that the dead one had taken; production has the workers look through all records.
  if (s.holding[dead] != 0) (void)s.hints.fetch_or(s.holding[dead]);
}

// ---- One task, workers that die, replacements that die ----------------------------------------

inline const char* settled(const TaskState& s, uint32_t index, bool may_fail) {
  State state = State::unpack(s.records[index].state.load(kRelaxed));
  if (state.phase != Phase::kDone) return "a task is not done, and nobody will ever do it";
  bool failed = (state.flags & task::kFailed) != 0;
  if (failed && !may_fail) return "a task failed although it had attempts left";
  if (!is_filled(s.records[index].payload, failed ? kErrorByte : result_byte(index))) return "a result is torn";
  return nullptr;
}

// Members: 2 and 3 work, 4 replaces 2, 5 replaces 4. `crashes` of 2 and 4 (and 3 when it is over 2).
// The client waits for the result.
inline Report claim_finish_redo(unsigned crashes, uint8_t attempts_max, bool second_worker) {
  Model<TaskState> model({.name = "claim, finish, redo: " + std::to_string(crashes) + " crashes, " +
                                  std::to_string(attempts_max) + " attempts" + (second_worker ? ", two workers" : ""),
                          .crashes_max = crashes});
  model.setup([attempts_max](TaskState& s) {
    name_tasks(s);
    submit_ready(s, 0, attempts_max);
  });
  model.process("client", Kill::kNever, [](TaskState& s) {
    while (task::mark_notify(s.records[0])) {
      await(s.notified.futex_address());
      forget();
    }
    State state = State::unpack(s.records[0].state.load(kAcquire));
    bool failed = (state.flags & task::kFailed) != 0;
    check(is_filled(s.records[0].payload, failed ? kErrorByte : result_byte(0)), "the client reads a torn result");
    s.returned = 1;
  });
  model.process("mortal2", Kill::kAllowed, [](TaskState& s) { serve_tasks(s, 2); });
  model.replacement("replace4", Kill::kAllowed, 1, [](TaskState& s) {
    recover_member(s, 2, 4);
    serve_tasks(s, 4);
  });
  model.replacement("replace5", Kill::kNever, 2, [](TaskState& s) {
    if (is_dead(1)) recover_member(s, 2, 5);
    recover_member(s, 4, 5);
    serve_tasks(s, 5);
  });
  if (second_worker) model.process("worker3", Kill::kNever, [](TaskState& s) { serve_tasks(s, 3); });
  model.finally([attempts_max](const TaskState& s) -> const char* {
    if (s.returned == 0) return "the client still waits";
    if (s.runs[0] > attempts_max) return "a task ran more often than allowed";
    return settled(s, 0, s.records[0].attempts >= attempts_max);
  });
  return model.run();
}

// ---- Cancelling ------------------------------------------------------------------------------

// The client cancels a task that waits for another (`waits`) or is ready, while workers take it, run it, die in it. With `doom` the
// process that runs it ends.
inline Report cancelling(bool doom, bool waits, unsigned crashes, uint8_t attempts_max = 4) {
  Model<TaskState> model({.name = std::string("cancelling: ") + (doom ? "with its process, " : "") +
                                  (waits ? "waiting, " : "") + std::to_string(crashes) + " crashes, " +
                                  std::to_string(attempts_max) + " attempts",
                          .crashes_max = crashes});
  model.setup([waits, attempts_max](TaskState& s) {
    name_tasks(s);
    if (!waits) return submit_ready(s, 0, attempts_max);
    // Record 1 runs first, and tells record 0.
    submit_ready(s, 1);
    submit_waiting(s, 0, 1, 1);
  });
  model.process("client", Kill::kNever, [doom](TaskState& s) {
    TaskSpace space{s};
    task::TaskRecord& record = s.records[0];
    uint16_t claimant = 0;
    step();
    auto flags = static_cast<uint8_t>(task::kCancelled | (doom ? task::kDoomed : 0));
    task::Cancelled outcome =
        task::cancel(space, record, 1, flags, claimant, [](task::TaskRecord& r) { fill(r.payload, kErrorByte); });
    if (outcome == task::Cancelled::kRunning && doom && claimant != 0) {
      // As Session::handle_end_run: between the look and the kill.
      auto is_doomed = [&] {
        State state = State::unpack(record.state.load(kAcquire));
        return state.phase == Phase::kRunning && state.claimant == claimant && (state.flags & task::kDoomed) != 0;
      };
      bool was_doomed = is_doomed();
      step();
      bool is_doomed_still = is_doomed();
      bool is_gone = s.ended == claimant || (claimant == 2 && is_dead(1));  // for ever: looked at last
      check(!was_doomed || is_doomed_still || is_gone, "a process is ended that does something else by now");
    }
    while (task::mark_notify(record)) {
      await(s.notified.futex_address());
      forget(static_cast<uint64_t>(outcome));
    }
    bool failed = (State::unpack(record.state.load(kAcquire)).flags & task::kFailed) != 0;
    check(is_filled(record.payload, failed ? kErrorByte : result_byte(0)), "the client reads a torn result");
    if (outcome == task::Cancelled::kNow) check(failed, "a task that was cancelled before it began has a result");
    if (outcome == task::Cancelled::kTooLate)
      check(!failed || record.attempts >= record.attempts_max, "a task failed that was cancelled too late");
    if (outcome == task::Cancelled::kRunning && doom) check(failed, "a task has a result although its process had to end");
    s.returned = 1;
  });
  model.process("mortal2", Kill::kAllowed, [](TaskState& s) { serve_tasks(s, 2); });
  if (crashes > 0)
    model.replacement("replace4", Kill::kNever, 1, [](TaskState& s) {
      recover_member(s, 2, 4);
      serve_tasks(s, 4);
    });
  model.process("replace5", Kill::kNever, [](TaskState& s) {
    await(&s.ended);
    recover_member(s, s.ended, 5);
    serve_tasks(s, 5);
  });
  model.finally([waits, crashes](const TaskState& s) -> const char* {
    if (s.returned == 0) return "the client still waits";
    if (s.runs[0] > 1 + crashes) return "a task ran twice although nobody died in it";
    if (waits && s.runs[1] == 0) return "what it depended on did not run";
    State state = State::unpack(s.records[0].state.load(kRelaxed));
    return state.phase == Phase::kDone ? nullptr : "a task is not done, and nobody will ever do it";
  });
  return model.run();
}

// ---- Tasks of a worker that dies ----------------------------------------------------------------

// Member 2 has submitted records 0 and 1, which waits for 0; it runs 0 itself if it comes to that, and may die. Worker 3 takes
// what it finds. Whoever replaces 2 (4, or 5 if that one dies in it) orphans both.
inline Report orphans(unsigned crashes) {
  Model<TaskState> model({.name = "orphans: " + std::to_string(crashes) + " crashes", .crashes_max = crashes});
  model.setup([](TaskState& s) {
    name_tasks(s);
    submit_ready(s, 0);
    submit_waiting(s, 1, 0, 1);
  });
  auto orphan_all = [](TaskState& s, uint16_t me) {
    TaskSpace space{s};
    for (uint32_t i = 0; i < 2; ++i) {
      uint16_t claimant = task::orphan(space, i, 2, me, [](task::TaskRecord& r) { fill(r.payload, kErrorByte); });
      check(claimant != 2 && claimant != me, "somebody is ended who is dead, or who says so");
    }
    s.returned = 1;
  };
  auto may_run = [](const TaskState& s, uint32_t index) {
    bool is_doomed = (State::unpack(s.records[index].state.load(kRelaxed)).flags & task::kDoomed) != 0;
    return s.returned == 0 || is_doomed;
  };
  model.process("mortal2", Kill::kAllowed, [may_run](TaskState& s) {
    step();
    (void)run_task(s, 2, 0, may_run);
  });
  model.replacement("replace4", Kill::kAllowed, 0, [orphan_all](TaskState& s) { orphan_all(s, 4); });
  model.replacement("replace5", Kill::kNever, 1, [orphan_all](TaskState& s) {
    orphan_all(s, 5);
    recover_member(s, 4, 5);
  });
  model.process("worker3", Kill::kNever, [may_run](TaskState& s) { serve_tasks(s, 3, may_run); });
  model.process("settle3", Kill::kNever, [](TaskState& s) {
    await(&s.ended);
    recover_member(s, 3, 6);
  });
  model.finally([](const TaskState& s) -> const char* {
    for (uint32_t i = 0; i < 2; ++i) {
      State state = State::unpack(s.records[i].state.load(kRelaxed));
      bool died_with_its_parent = state.phase >= Phase::kRunning && state.claimant == 2 && is_dead(0);
      if (state.phase != Phase::kDone && !died_with_its_parent) return "a task is not done, and nobody will ever do it";
      if (s.runs[i] > 1) return "a task of a dead parent ran twice";
      if (!is_dead(0) && s.runs[i] == 0) return "a task did not run although its parent lived";
    }
    return nullptr;
  });
  return model.run();
}

// ---- Dependencies ----------------------------------------------------------------------------

// As Submitter::hang_dependencies, for tasks `first`..`first + count - 1`.
inline void submit_dependent(TaskState& s, uint32_t index, uint32_t first, uint32_t count) {
  TaskSpace space{s};
  task::TaskRecord& record = s.records[index];
  fill(record.payload, argument_byte(index));
  record.attempts_max = 4;
  record.edges.store(task::kNoEdge, kRelaxed);
  record.dependencies.store(task::initial_dependencies(1, count), kRelaxed);
  record.state.store(State{1, 0, Phase::kWaiting, 0}.pack(), kRelease);
  for (uint32_t i = 0; i < count; ++i) {
    task::Edge& edge = s.edges[1 + i];
    edge.target = index;
    edge.target_generation = 1;
    edge.bit = i;
    if (!task::hang_edge(s.records[first + i], edge, 1 + i)) task::follow_edge(space, edge);
  }
  task::satisfy(space, index, 1, task::kSubmittedBit);
}

inline bool others_have_run(const TaskState& s, uint32_t index) {
  for (uint32_t i = 0; index == 2 && i < 2; ++i)
    if (s.records[i].attempts_max != 0 && s.runs[i] == 0) return false;
  return true;
}

// Task 2 depends on `count` others, which run while it is being submitted.
inline Report dependencies(uint32_t count, unsigned crashes, unsigned workers, unsigned preemptions = kUnbounded) {
  Options options{.name = "dependencies: " + std::to_string(count) + ", " + std::to_string(crashes) + " crashes, " +
                          std::to_string(workers) + " workers"};
  options.crashes_max = crashes;
  options.preemptions_max = preemptions;
  Model<TaskState> model(options);
  model.setup([count](TaskState& s) {
    name_tasks(s);
    for (uint32_t i = 0; i < count; ++i) submit_ready(s, 2 - count + i);
  });
  model.process("client", Kill::kNever, [count](TaskState& s) { submit_dependent(s, 2, 2 - count, count); });
  model.process("mortal2", Kill::kAllowed, [](TaskState& s) { serve_tasks(s, 2, others_have_run); });
  if (crashes > 0)
    model.replacement("replace4", Kill::kNever, 1, [](TaskState& s) {
      recover_member(s, 2, 4);
      serve_tasks(s, 4, others_have_run);
    });
  if (workers > 1) model.process("worker3", Kill::kNever, [](TaskState& s) { serve_tasks(s, 3, others_have_run); });
  model.finally([count, crashes](const TaskState& s) -> const char* {
    for (uint32_t i = 2 - count; i <= 2; ++i) {
      if (const char* wrong = settled(s, i, false); wrong != nullptr) return wrong;
      if (s.runs[i] > 1 + crashes) return "a task ran twice although nobody died in it";
    }
    return nullptr;
  });
  return model.run();
}

// A task that was told of twice, by a slow finisher and by the submitter, is done, freed, and its
// record (and group) used for another, which must not take the second telling for its own.
enum class Reuse { kDirect, kGroup };
inline Report reuse(Reuse kind, bool waits_until_told) {
  Model<TaskState> model({.name = std::string("reuse of a ") + (kind == Reuse::kDirect ? "record" : "group") +
                                  (waits_until_told ? "" : ", without waiting for those it depended on")});
  // Record 0 runs; record 1 depends on it already, so that it is walked; record 2 is the reused one.
  model.setup([](TaskState& s) {
    name_tasks(s);
    submit_ready(s, 0);
    s.records[1].dependencies.store(task::initial_dependencies(1, 1), kRelaxed);
    s.records[1].state.store(State{1, 0, Phase::kWaiting, 0}.pack(), kRelaxed);
    s.edges[1] = {task::kNoEdge, 1, 1, 0};
    (void)task::hang_edge(s.records[0], s.edges[1], 1);
  });
  auto prepare = [kind](TaskState& s, uint32_t generation) {
    task::TaskRecord& record = s.records[2];
    fill(record.payload, argument_byte(2));
    record.dependencies.store(task::initial_dependencies(generation, 1), kRelaxed);
    record.state.store(State{generation, 0, Phase::kWaiting, 0}.pack(), kRelease);
    if (kind == Reuse::kGroup) {
      task::Group& group = TaskSpace{s}.group(1);
      group.target = 2;
      group.target_generation = generation;
      group.bit = 0;
      group.leaves = 2;
      shm::FanIn::init(group.words, 2);
      (void)shm::FanIn::arrive(group.words, 2, 1);
    }
  };
  model.process("client", Kill::kNever, [=](TaskState& s) {
    TaskSpace space{s};
    step();
    prepare(s, 1);
    task::Edge& edge = s.edges[2];
    edge.target = kind == Reuse::kGroup ? 1 : 2;
    edge.target_generation = 1;
    edge.bit = kind == Reuse::kGroup ? task::Edge::kLeaf | 0 : 0;
    if (!task::hang_edge(s.records[0], edge, 2)) task::follow_edge(space, edge);
    task::satisfy(space, 2, 1, task::kSubmittedBit);
    // The client's own turn as a worker, so that one thread less is needed.
    for (;;) {
      State mine;
      if (task::claim(s.records[2], 3, mine)) {
        check(s.finished[1] != 0, "a task runs before what it depends on");
        (void)task::finish(space, s.records[2], mine, 0);
        s.finished[2] = 1;
        break;
      }
      await(s.hints.futex_address());
      if (s.hints.exchange(0) == 0) continue;
    }
    // As Submitter::try_free.
    if (waits_until_told && State::unpack(s.records[0].state.load(kAcquire)).phase != Phase::kDone) return;
    prepare(s, 2);
    task::satisfy(space, 2, 2, task::kSubmittedBit);
    s.returned = 1;
  });
  model.process("worker", Kill::kNever, [](TaskState& s) {
    State mine;
    if (!task::claim(s.records[0], 2, mine)) return;
    s.finished[1] = 1;  // its result would be valid from here on
    TaskSpace space{s};
    (void)task::finish(space, s.records[0], mine, 0);
  });
  model.invariant([](const TaskState& s) -> const char* {
    State state = State::unpack(s.records[2].state.load(kRelaxed));
    return state.generation == 2 && state.phase != Phase::kWaiting ? "the new task is ready before what it depends on"
                                                                   : nullptr;
  });
  model.finally([](const TaskState& s) { return s.finished[2] == 1 ? nullptr : "a dependent task was not told"; });
  return model.run();
}

}  // namespace tarn::model
