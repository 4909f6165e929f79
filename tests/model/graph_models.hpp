// Models of a graph's run: claim, finish, tell followers, recover, and one run after another (task/graph_protocol.hpp).
//
// The workers' loop and the client are those of task/graph_loop.hpp and task/graphs.cpp in short; every shared word is touched
// by the production functions alone.
#pragma once

#include <bit>
#include <cstdint>

#include "explorer.hpp"
#include "task/graph_protocol.hpp"

namespace tarn::model {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;
using shm::Word;
using task::NodePhase;
using task::NodeState;

// The shapes: a chain (0 -> 1 -> end), a fork and join (0 -> 1, 2 -> end), two roots (0, 1 -> end).
enum class Shape { kChain, kDiamond, kRoots };

struct GraphState {
  static constexpr uint32_t kNodes = 4;
  task::GraphNode nodes[kNodes];
  uint32_t successors[8];
  task::RootCursor cursor;
  uint32_t count;
  uint32_t before[kNodes];  // what has to be finished before a node begins, a bit each
  Word<uint32_t> epoch;
  Word<uint32_t> hints;     // stands for the rings
  Word<uint32_t> overs;     // stands for Waiters
  uint32_t runs[3][kNodes];  // by epoch
  uint32_t returned;
};

struct GraphSpace {
  GraphState& s;
  task::GraphNode& node(uint32_t index) { return s.nodes[index]; }
  const uint32_t* successors(const task::GraphNode& node) { return &s.successors[node.successors]; }
  void publish(uint32_t index) { (void)s.hints.fetch_or(1u << index); }
  void over() { (void)s.overs.fetch_add(1); }
};

constexpr uint32_t kWakeHint = 1u << 31;  // there are roots: nobody's node

inline void build(GraphState& s, Shape shape) {
  uint32_t used = 0;
  auto add = [&](uint32_t index, uint32_t predecessors, std::initializer_list<uint32_t> followers) {
    task::GraphNode& node = s.nodes[index];
    node.shape = static_cast<uint8_t>(predecessors | (followers.size() == 0 ? task::GraphNode::kEnd : 0));
    node.successors = used;
    for (uint32_t entry : followers) s.successors[used++] = entry;
    if (followers.size() != 0) s.successors[used - 1] |= 1;
  };
  auto to = [](uint32_t node, uint32_t bit) { return task::pack_successor(node, bit, false); };
  switch (shape) {
    case Shape::kChain:
      add(0, 0, {to(1, 0)}), add(1, 1, {to(2, 0)}), add(2, 1, {});
      s.count = 3, s.before[1] = 1, s.before[2] = 2;
      break;
    case Shape::kDiamond:
      add(0, 0, {to(1, 0), to(2, 0)}), add(1, 1, {to(3, 0)}), add(2, 1, {to(3, 1)}), add(3, 2, {});
      s.count = 4, s.before[1] = s.before[2] = 1, s.before[3] = 6;
      break;
    case Shape::kRoots:
      add(0, 0, {to(2, 0)}), add(1, 0, {to(2, 1)}), add(2, 2, {});
      s.count = 3, s.cursor.end = 2, s.before[2] = 3;
      break;
  }
  for (uint32_t i = 0; i < s.count; ++i) {
    name_words(&s.nodes[i].state, 8, "node" + std::to_string(i) + ".state");
    name_words(&s.nodes[i].arrivals, 8, "node" + std::to_string(i) + ".arrivals");
  }
  name_words(&s.cursor.word, 8, "cursor");
  name_words(&s.epoch, 4, "epoch");
  name_words(&s.hints, 4, "hints");
  name_words(&s.overs, 4, "overs");
}

inline void write_result(task::GraphNode& node, uint32_t epoch) {
  std::byte bytes[16];
  for (auto& byte : bytes) byte = static_cast<std::byte>(epoch);
  tarn::memcpy(node.result, bytes, sizeof bytes);
}
inline bool has_result(const task::GraphNode& node, uint32_t epoch) {
  std::byte bytes[16];
  tarn::memcpy(bytes, node.result, sizeof bytes);
  for (auto byte : bytes)
    if (byte != static_cast<std::byte>(epoch)) return false;
  return true;
}

// As GraphLoop::run_node.
inline void run_node(GraphState& s, uint32_t epoch, uint32_t me, uint32_t index) {
  GraphSpace space{s};
  NodeState mine;
  bool has_failed;
  if (!task::claim(s.nodes[index], epoch, static_cast<uint8_t>(me), mine, has_failed)) return;
  for (uint32_t i = 0; i < s.count; ++i)
    if ((s.before[index] >> i & 1) != 0 && !has_failed) check(has_result(s.nodes[i], epoch), "a node runs before what it follows");
  ++s.runs[epoch][index];
  write_result(s.nodes[index], epoch);
  task::finish(space, s.nodes[index], mine, has_failed ? task::kFailed : 0);
}

// The loop of a worker. Roots lie at the cursor, or were hinted at when the run began.
inline void serve_graph(GraphState& s, uint32_t me) {
  for (;;) {
    await(s.hints.futex_address());
    uint32_t hints = s.hints.load(kAcquire);
    auto index = static_cast<uint32_t>(std::countr_zero(hints));
    if (hints == kWakeHint) {
      uint32_t epoch = s.epoch.load(kAcquire);
      uint32_t first = 0;
      uint32_t count = task::take_roots(s.cursor, epoch, first);
      for (uint32_t i = 0; i < count; ++i) run_node(s, epoch, me, first + i);
      if (count == 0) {
        (void)s.hints.fetch_and(~kWakeHint);
        if (task::has_roots(s.cursor, s.epoch.load(kAcquire))) (void)s.hints.fetch_or(kWakeHint);
      }
    } else if (hints != 0 && (s.hints.fetch_and(~(1u << index)) >> index & 1) != 0) {
      // Only now: it may be a hint of a run that began since.
      run_node(s, s.epoch.load(kAcquire), me, index);
    }
    forget();
  }
}

inline void begin_run(GraphState& s, uint32_t epoch) {
  s.epoch.store(epoch, kRelease);
  (void)s.hints.fetch_or(s.cursor.end != 0 ? kWakeHint : 1u);
}

inline bool is_over(const GraphState& s, uint32_t epoch) {
  NodeState end = NodeState::unpack(s.nodes[s.count - 1].state.load(kAcquire));
  return end.epoch == epoch && end.phase == NodePhase::kFinished;
}

inline void recover_graph(GraphState& s, uint32_t dead, uint32_t me, uint32_t attempts_max) {
  GraphSpace space{s};
  uint32_t epoch = s.epoch.load(kAcquire);
  if (epoch == 0) return;
  for (uint32_t i = 0; i < s.count; ++i)
    task::recover(space, i, epoch, static_cast<uint8_t>(dead), static_cast<uint8_t>(me), attempts_max,
                  [](task::GraphNode&, NodeState) {});
  if (s.cursor.end != 0) (void)s.hints.fetch_or(kWakeHint);
}

// `epochs` runs, one after the other. Members: 2 may die, 3 does not, 4 replaces 2 and may die, 5 replaces 4.
inline Report graph_runs(Shape shape, unsigned crashes, uint32_t epochs, bool second_worker, uint32_t attempts_max = 4,
                         unsigned preemptions = kUnbounded) {
  Model<GraphState> model({.name = "graph, shape " + std::to_string(static_cast<int>(shape)) + ", " + std::to_string(epochs) +
                                   " runs, " + std::to_string(crashes) + " crashes" + (second_worker ? ", two workers" : ""),
                           .crashes_max = crashes,
                           .preemptions_max = preemptions});
  model.setup([shape](GraphState& s) { build(s, shape); });
  model.process("client", Kill::kNever, [epochs](GraphState& s) {
    for (uint32_t epoch = 1; epoch <= epochs; ++epoch) {
      begin_run(s, epoch);
      while (!is_over(s, epoch)) {
        await(s.overs.futex_address());
        (void)s.overs.fetch_and(0);
        forget(epoch);
      }
    }
    s.returned = 1;
  });
  model.process("mortal2", Kill::kAllowed, [](GraphState& s) { serve_graph(s, 2); });
  if (second_worker) model.process("worker3", Kill::kNever, [](GraphState& s) { serve_graph(s, 3); });
  if (crashes > 0)
    model.replacement("replace4", crashes > 1 ? Kill::kAllowed : Kill::kNever, 1, [attempts_max](GraphState& s) {
      recover_graph(s, 2, 4, attempts_max);
      serve_graph(s, 4);
    });
  if (crashes > 1)
    model.replacement("replace5", Kill::kNever, second_worker ? 3 : 2, [attempts_max](GraphState& s) {
      recover_graph(s, 2, 5, attempts_max);
      recover_graph(s, 4, 5, attempts_max);
      serve_graph(s, 5);
    });
  model.finally([epochs, crashes](const GraphState& s) -> const char* {
    if (s.returned == 0) return "the client still waits for a run";
    for (uint32_t epoch = 1; epoch <= epochs; ++epoch)
      for (uint32_t i = 0; i < s.count; ++i) {
        if (s.runs[epoch][i] == 0 && crashes == 0) return "a run is over, and a node of it never ran";
        if (s.runs[epoch][i] > 1 + crashes) return "a node ran twice although its worker lived";
      }
    return nullptr;
  });
  return model.run();
}

}  // namespace tarn::model
