// The life of a node of a graph, as operations on its words: claim, finish, tell its followers, recover.
//
// Every function here may be interrupted by SIGKILL at any instruction and be repeated by recovery. tests/model runs them
// through every interleaving and crash.
//
// `Space` is the graph as the caller sees it:
//   GraphNode& node(uint32_t index)
//   const uint32_t* successors(const GraphNode&)
//   void publish(uint32_t index)   the node is ready: the caller comes to it, or says so to others
//   void over()                    the end is finished: wakes who waits
#pragma once

#include <cstdint>

#include "task/graph_record.hpp"
#include "task/task_record.hpp"

namespace tarn::task {

// What the arrivals word of a node begins with in each run.
constexpr uint32_t initial_arrivals(uint32_t predecessors) { return ~kOneFailed & ~((uint32_t{1} << predecessors) - 1); }
constexpr bool has_all(uint64_t arrivals) { return (static_cast<uint32_t>(arrivals) | kOneFailed) == ~uint32_t{0}; }
constexpr bool is_later(uint32_t epoch, uint32_t than) { return static_cast<int32_t>(epoch - than) > 0; }

// Bit `bit` of a follower has arrived. True if all have; also if they had before, since whoever brought the last one may have
// died before it came to what follows. A word of a later run is left alone: this run is over.
inline bool arrive(GraphNode& node, uint32_t epoch, uint32_t bit, bool has_failed) {
  uint32_t mine = uint32_t{1} << bit | (has_failed ? kOneFailed : 0);
  uint64_t word = node.arrivals.load(shm::kAcquire);
  for (;;) {
    auto at = static_cast<uint32_t>(word >> 32);
    if (at != epoch && is_later(at, epoch)) return false;
    uint32_t bits = at == epoch ? static_cast<uint32_t>(word) : initial_arrivals(node.predecessors());
    uint64_t next = uint64_t{epoch} << 32 | bits | mine;
    if (next == word || node.arrivals.compare_exchange(word, next)) return has_all(next);
  }
}

// Whether everything that the node waits for has arrived in run `epoch`. `has_failed`: and something of it failed.
[[nodiscard]] inline bool is_complete(const GraphNode& node, uint32_t epoch, bool& has_failed) {
  has_failed = false;
  if (node.predecessors() == 0) return true;
  uint64_t arrivals = node.arrivals.load(shm::kAcquire);
  has_failed = (arrivals & kOneFailed) != 0;
  return arrivals >> 32 == epoch && has_all(arrivals);
}

// Claimable in that run. Every run goes through all nodes, so what has not begun bears the epoch before: one that bears another
// is of a run that the caller has not heard of.
constexpr bool is_claimable(NodeState state, uint32_t epoch) {
  return state.epoch == epoch ? state.phase == NodePhase::kAgain : state.epoch == epoch - 1;
}

[[nodiscard]] inline bool is_ready(const GraphNode& node, uint32_t epoch) {
  bool has_failed;
  return is_claimable(NodeState::unpack(node.state.load(shm::kAcquire)), epoch) && is_complete(node, epoch, has_failed);
}

// Claims a node for `member`. A hint may be doubled, stale or of another run: only this decides.
[[nodiscard]] inline bool claim(GraphNode& node, uint32_t epoch, uint8_t member, NodeState& mine, bool& has_failed) {
  if (!is_complete(node, epoch, has_failed)) return false;
  uint64_t word = node.state.load(shm::kAcquire);
  NodeState state = NodeState::unpack(word);
  if (!is_claimable(state, epoch)) return false;
  uint8_t before = state.epoch == epoch ? state.attempts : uint8_t{0};
  mine = {epoch, member, static_cast<uint8_t>(before + 1), NodePhase::kRunning, 0};
  return node.state.compare_exchange(word, mine.pack());  // whoever was faster has it
}

// Tells the followers of a finished node; by its claimant, or by recovery. Repeating it does no harm.
template <class Space>
void tell_followers(Space& space, GraphNode& node, uint32_t epoch, bool has_failed) {
  if ((node.shape & GraphNode::kEnd) != 0) return space.over();
  for (const uint32_t* at = space.successors(node);; ++at) {
    GraphNode& next = space.node(successor_node(*at));
    // Also one that was complete before, unless somebody has it: see arrive.
    if (arrive(next, epoch, successor_bit(*at), has_failed) &&
        is_claimable(NodeState::unpack(next.state.load(shm::kAcquire)), epoch))
      space.publish(successor_node(*at));
    if (is_last_successor(*at)) return;
  }
}

// Ends a claimed run whose result is in the node. A store is enough: while the claimant lives nobody else writes the word.
template <class Space>
void finish(Space& space, GraphNode& node, NodeState mine, uint8_t outcome) {
  mine.phase = NodePhase::kFinished;
  mine.flags = outcome;
  node.state.store(mine.pack(), shm::kRelease);
  tell_followers(space, node, mine.epoch, (outcome & kFailed) != 0);
}

// Takes the next roots of a part: how many, from `first` in the list of roots on. They are hints once taken: who dies with
// them in hand leaves them to recovery.
[[nodiscard]] inline uint32_t take_roots(RootCursor& cursor, uint32_t epoch, uint32_t& first) {
  uint64_t word = cursor.word.load(shm::kAcquire);
  for (;;) {
    auto at = static_cast<uint32_t>(word >> 32);
    if (at != epoch && is_later(at, epoch)) return 0;
    uint32_t next = at == epoch ? static_cast<uint32_t>(word) : cursor.begin;
    uint32_t count = cursor.end - next < kRootsAtATime ? cursor.end - next : kRootsAtATime;
    if (count == 0) return 0;
    first = next;
    if (cursor.word.compare_exchange(word, uint64_t{epoch} << 32 | (next + count))) return count;
  }
}
[[nodiscard]] inline bool has_roots(const RootCursor& cursor, uint32_t epoch) {
  uint64_t word = cursor.word.load(shm::kAcquire);
  return cursor.begin != cursor.end && !(word >> 32 == epoch && static_cast<uint32_t>(word) == cursor.end);
}

// Settles one node after the certain death of `dead`, on behalf of `me`. One that it ran is run again, unless it was started
// `attempts_max` times: `give_up(node, state)` then writes the error and the node fails. What it had finished is told again, and
// what is ready is published, since the hint may have died. Idempotent: if `me` dies in here, the next one does the same.
template <class Space, class GiveUp>
void recover(Space& space, uint32_t index, uint32_t epoch, uint8_t dead, uint8_t me, uint32_t attempts_max, GiveUp give_up) {
  GraphNode& node = space.node(index);
  uint64_t word = node.state.load(shm::kAcquire);
  NodeState state = NodeState::unpack(word);
  if (state.epoch == epoch && state.claimant == dead) {
    if (state.phase == NodePhase::kFinished) return tell_followers(space, node, epoch, (state.flags & kFailed) != 0);
    if (state.phase == NodePhase::kRunning) {
      bool again = state.attempts < attempts_max;
      if (!again) give_up(node, state);
      NodeState next = {epoch, again ? uint8_t{0} : me, state.attempts, again ? NodePhase::kAgain : NodePhase::kFinished,
                        again ? uint8_t{0} : static_cast<uint8_t>(kFailed)};
      node.state.store(next.pack(), shm::kRelease);  // its claimant is dead, and one at a time recovers
      if (again) return space.publish(index);
      return tell_followers(space, node, epoch, true);
    }
  }
  if (is_ready(node, epoch)) space.publish(index);
}

}  // namespace tarn::task
