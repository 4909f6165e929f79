// The life of a task record, as operations on its words: claim, finish, tell others, recover.
//
// Every function here may be interrupted by SIGKILL at any instruction and be repeated by recovery:
// that is what the phases are for. tests/model runs them through every interleaving and crash.
//
// `Space` is where the records are: the segment of one member as seen by the caller. It offers
//   TaskRecord& record(uint32_t index)       Edge& edge(uint32_t index)      Group& group(uint32_t index)
//   uint32_t id(uint32_t index)              the record's id, for hints
//   void publish(uint32_t id)                pushes a hint into the caller's own ring and rings the doorbell
//   void notify(const TaskRecord& record)    tells the owner that it has finished: FinishedGroups, then an event in Waiters
#pragma once

#include <cstdint>
#include <cstring>

#include "shm/fan_in.hpp"
#include "shm/member_segment.hpp"
#include "task/task_record.hpp"

namespace tarn::task {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;

// What follows when a task finishes: one of the dependency bits of another task of the same owner, or
// a leaf of its fan-in group. Allocated by the owner, freed with the record it hangs on.
struct Edge {
  static constexpr uint32_t kLeaf = 1u << 31;  // in `bit`: `target` is a group, the rest is the leaf

  uint32_t next;               // another edge, or kNoEdge
  uint32_t target;             // index of the dependent record, or of the group
  uint32_t target_generation;  // of the dependent record
  uint32_t bit;                // 0..31, or kLeaf | leaf
};
static_assert(sizeof(Edge) == shm::kEdgeSize);

// More than 31 dependencies: a tree whose root stands for one bit of the dependent record.
struct Group {
  uint32_t target;
  uint32_t target_generation;
  uint32_t bit;
  uint32_t leaves;
  Word<uint64_t> words[1];  // FanIn::words_needed(leaves)
};
inline constexpr uint32_t kGroupHeaderWords = 2;

// One bit is the submitter's own: set last, when all edges hang where they belong.
inline constexpr uint32_t kSubmittedBit = 31;
inline constexpr uint32_t kDirectDependenciesMax = 31;

// The dependency word of a new record with `count` direct dependencies: their bits and the
// submitter's are missing.
constexpr uint64_t initial_dependencies(uint32_t generation, uint32_t count) {
  uint32_t missing = ((uint32_t{1} << count) - 1) | uint32_t{1} << kSubmittedBit;
  return uint64_t{generation} << 32 | static_cast<uint32_t>(~missing);
}

// ---- Claiming --------------------------------------------------------------------------------

// Claims a ready record for `member`. On success the record's plain fields are the caller's.
[[nodiscard]] inline bool claim(TaskRecord& record, uint16_t member, State& mine) {
  uint64_t word = record.state.load(kAcquire);
  for (;;) {
    State state = State::unpack(word);
    if (state.phase != Phase::kReady) return false;
    mine = {state.generation, member, Phase::kRunning, state.flags};
    if (record.state.compare_exchange(word, mine.pack())) return true;
  }
}

// Instead of finish, by the claimant, whose run has not changed the record: it leaves it to others in `phase`. False if the task was
// cancelled meanwhile, or its time is over: then it is to be finished. (Also a doomed run.)
[[nodiscard]] inline bool leave_run(TaskRecord& record, State mine, Phase phase) {
  uint64_t word = mine.pack();
  for (;;) {
    State state = State::unpack(word);  // while a record is claimed, others only add flags
    if ((state.flags & (kCancelled | kDoomed | kLate)) != 0) return false;
    State next = {mine.generation, 0, phase, state.flags};
    if (record.state.compare_exchange(word, next.pack())) return true;
  }
}

inline uint64_t undo_stamp(uint32_t generation, uint32_t id) { return uint64_t{generation} << 32 | id; }

// After the claim, before anything is written: keeps the arguments for a second run.
// A stale stamp needs no clearing first: it names a record that this member has finished.
inline void save_arguments(shm::UndoLine& undo, const TaskRecord& record, uint32_t generation, uint32_t id) {
  memcpy(undo.payload, record.payload, kPayloadSize);
  undo.stamp.store(undo_stamp(generation, id), kRelease);
}

// ---- Finishing -------------------------------------------------------------------------------

// Makes the dependent ready if nothing is missing any more, and publishes it whenever it is ready:
// whoever filled the last bit may have died before it came to that.
template <class Space>
void make_ready(Space& space, uint32_t index, uint32_t generation) {
  TaskRecord& record = space.record(index);
  uint64_t word = record.state.load(kAcquire);
  for (;;) {
    State state = State::unpack(word);
    if (state.generation != generation) return;
    if (state.phase == Phase::kWaiting) {
      state.phase = Phase::kReady;
      if (!record.state.compare_exchange(word, state.pack())) continue;
    }
    if (state.phase == Phase::kReady) space.publish(space.id(index));
    return;
  }
}

// Sets dependency bit `bit` of a record. A record that was reused since has another generation: it
// cannot have run without this bit, so there is nothing left to do.
template <class Space>
void satisfy(Space& space, uint32_t index, uint32_t generation, uint32_t bit) {
  Word<uint64_t>& dependencies = space.record(index).dependencies;
  uint64_t word = dependencies.load(kAcquire);
  uint64_t next;
  do {
    if (word >> 32 != generation) return;
    next = word | uint64_t{1} << bit;
  } while (next != word && !dependencies.compare_exchange(word, next));
  if (static_cast<uint32_t>(next) == ~uint32_t{0}) make_ready(space, index, generation);
}

template <class Space>
void follow_edge(Space& space, const Edge& edge) {
  if ((edge.bit & Edge::kLeaf) == 0) {
    satisfy(space, edge.target, edge.target_generation, edge.bit);
    return;
  }
  Group& group = space.group(edge.target);
  if (shm::FanIn::arrive(group.words, group.leaves, edge.bit & ~Edge::kLeaf))
    satisfy(space, group.target, group.target_generation, group.bit);
}

// Tells everybody who waits for a finished record, then marks it done. By its claimant, or by
// recovery after it stamped the record with itself. Repeating any part does no harm.
template <class Space>
void tell(Space& space, TaskRecord& record, State mine) {
  uint64_t word = record.state.load(kAcquire);
  if ((State::unpack(word).flags & kEdges) != 0) {
    for (uint32_t i = record.edges.load(kAcquire); i != kNoEdge;) {
      const Edge& edge = space.edge(i);
      i = edge.next;
      follow_edge(space, edge);
    }
  }
  if ((State::unpack(word).flags & kNotify) != 0) space.notify(record);
  for (;;) {
    State state = State::unpack(word);
    if (state.generation != mine.generation || state.claimant != mine.claimant || state.phase != Phase::kFinished)
      return;
    state.phase = Phase::kDone;
    if (record.state.compare_exchange(word, state.pack())) return;
  }
}

// Ends a claimed run whose result is in the payload. `outcome` is a set of kFailed and kObject. False if the run was doomed
// meanwhile: then its process must end, and recovery settles the record, as if it had died before it came here. (Who claims a
// record to cancel it has the flag in `mine`.)
template <class Space>
[[nodiscard]] bool finish(Space& space, TaskRecord& record, State mine, uint8_t outcome) {
  uint64_t word = mine.pack();
  for (;;) {
    // While a record is claimed, others only add flags.
    State state = State::unpack(word);
    if ((state.flags & ~mine.flags & kDoomed) != 0) return false;
    bool quiet = (state.flags & (kNotify | kEdges)) == 0;
    State next = {mine.generation, mine.claimant, quiet ? Phase::kDone : Phase::kFinished,
                  static_cast<uint8_t>(state.flags | outcome)};
    if (!record.state.compare_exchange(word, next.pack())) continue;
    if (!quiet) tell(space, record, next);
    return true;
  }
}

// ---- Cancelling ------------------------------------------------------------------------------

// Adds `flags` to a record that `claimant` still runs. False if it does not any more.
[[nodiscard]] inline bool flag_run(TaskRecord& record, uint32_t generation, uint16_t claimant, uint8_t flags) {
  uint64_t word = record.state.load(kAcquire);
  for (;;) {
    State state = State::unpack(word);
    if (state.generation != generation || state.claimant != claimant || state.phase != Phase::kRunning) return false;
    state.flags |= flags;
    if (record.state.compare_exchange(word, state.pack())) return true;
  }
}

// kNow: it had not begun and never will; it has failed. kRunning: it runs, and its `claimant` can see that it is cancelled, and if
// it was doomed by this call must end; 0: there is nobody to be ended.
enum class Cancelled { kTooLate, kNow, kRunning };

// By the owner, `me`. A task that has not begun is claimed and fails: `write_error(record)` writes a TaskErrorPayload. One that
// runs is told, and with kDoomed in `flags` its process ends itself. `flags` has kCancelled.
template <class Space, class WriteError>
Cancelled cancel(Space& space, TaskRecord& record, uint16_t me, uint8_t flags, uint16_t& claimant, WriteError write_error) {
  uint64_t word = record.state.load(kAcquire);
  for (;;) {
    State state = State::unpack(word);
    if (state.finished()) return Cancelled::kTooLate;
    bool runs = state.phase == Phase::kRunning;
    if (runs && (state.flags & kDoomed) != 0) {
      // Doomed before, and its process is being ended for that; or recovery has just given it up, which looks the same, and is
      // a process that goes on with something else.
      claimant = 0;
      return (state.flags & kCancelled) != 0 ? Cancelled::kRunning : Cancelled::kTooLate;
    }
    State next = state;
    next.flags |= flags;
    if (!runs) {
      next.phase = Phase::kRunning;
      next.claimant = me;
      next.flags |= kDoomed;  // should we die in this, the record fails all the same
    }
    if (!record.state.compare_exchange(word, next.pack())) continue;
    claimant = next.claimant;
    if (runs) return Cancelled::kRunning;
    write_error(record);
    (void)finish(space, record, next, kFailed);
    return Cancelled::kNow;
  }
}

// ---- The owner's side ------------------------------------------------------------------------

// Asks for `notify` when the record finishes. False if it has finished already.
[[nodiscard]] inline bool mark_notify(TaskRecord& record) {
  uint64_t word = record.state.load(kAcquire);
  for (;;) {
    State state = State::unpack(word);
    if (state.finished()) return false;
    if ((state.flags & kNotify) != 0) return true;
    state.flags |= kNotify;
    if (record.state.compare_exchange(word, state.pack())) return true;
  }
}

// Hangs `edge` (its index) on a record that may be finishing. False if it had finished: the caller
// then follows the edge itself, which may happen twice and does no harm.
[[nodiscard]] inline bool hang_edge(TaskRecord& record, Edge& edge, uint32_t index) {
  edge.next = record.edges.load(kRelaxed);  // the owner alone writes the list
  record.edges.store(index, kRelease);
  uint64_t word = record.state.load(kAcquire);
  for (;;) {
    State state = State::unpack(word);
    if (state.finished()) return false;
    // Also when the flag is set already: the swap is what orders the list before the finish.
    state.flags |= kEdges;
    if (record.state.compare_exchange(word, state.pack())) return true;
  }
}

// ---- Recovery --------------------------------------------------------------------------------

// A task whose submitter `dead` is certainly dead: it fails without having begun (`write_error` as of cancel), or the run of it
// is doomed. Returns who runs it and must end, or 0. Once all tasks of `dead` were treated, in whatever order, none of them
// begins any more: one that a finish makes ready meanwhile is found here later, or was found before and has failed. To be
// repeated does no harm.
template <class Space, class WriteError>
uint16_t orphan(Space& space, uint32_t index, uint16_t dead, uint16_t me, WriteError write_error) {
  TaskRecord& record = space.record(index);
  if (State::unpack(record.state.load(kAcquire)).phase == Phase::kFree) return 0;  // for ever
  uint16_t claimant;
  if (cancel(space, record, me, kCancelled | kDoomed, claimant, write_error) != Cancelled::kRunning) return 0;
  // Also one that was doomed before: whoever did so may have died before he said so. It may be somebody who is just giving the
  // task up after a crash; to end that one as well costs nothing but another crash.
  State state = State::unpack(record.state.load(kAcquire));
  return state.phase == Phase::kRunning && state.claimant != dead && state.claimant != me ? state.claimant : uint16_t{0};
}

enum class Recovered { kNothing, kAgain, kGivenUp, kTold };

// Settles one record of another member after the certain death of `dead`, on behalf of `me`. `undo` is the dead
// member's line. A run is repeated (kAgain: the record is ready, and published) unless it was cancelled or started
// `attempts_max` times: `give_up(record, flags, outcome)` then writes a TaskErrorPayload, says kFailed, and the record fails.
// Idempotent: if `me` dies in here, the next one settles what bears its mark.
template <class Space, class GiveUp>
Recovered recover(Space& space, uint32_t index, uint16_t dead, uint16_t me, const shm::UndoLine* undo, GiveUp give_up) {
  TaskRecord& record = space.record(index);
  uint64_t word = record.state.load(kAcquire);
  State state = State::unpack(word);
  if (state.claimant != dead) return Recovered::kNothing;
  // Again from the start when a flag has come: it may say that the task shall not run again.
  for (; state.phase == Phase::kRunning; state = State::unpack(word)) {
    if (undo != nullptr && undo->stamp.load(kAcquire) == undo_stamp(state.generation, space.id(index)))
      memcpy(record.payload, undo->payload, kPayloadSize);
    uint8_t outcome = 0;
    bool again = !give_up(record, state.flags, outcome);
    State next = {state.generation, again ? uint16_t{0} : me, again ? Phase::kReady : Phase::kRunning, state.flags};
    // Ours now, and no run any more that could be doomed.
    if (!again) next.flags |= kDoomed;
    if (!record.state.compare_exchange(word, next.pack())) continue;
    if (again) {
      space.publish(space.id(index));
      return Recovered::kAgain;
    }
    (void)finish(space, record, next, outcome);
    return Recovered::kGivenUp;
  }
  if (state.phase == Phase::kFinished) {
    State next = state;
    next.claimant = me;
    while (!record.state.compare_exchange(word, next.pack())) next.flags = State::unpack(word).flags;
    tell(space, record, next);
    return Recovered::kTold;
  }
  return Recovered::kNothing;
}

}  // namespace tarn::task
