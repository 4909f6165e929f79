// What the life of a task record costs in one process: the swaps alone, without cache lines that travel.
//
//   claim_finish            claim, save the arguments, finish
//   claim_finish_notify     the same for a record that somebody sleeps for
//   claim_finish_edge       the same for a record with one dependent, which becomes ready
#include "task/task_protocol.hpp"

#include <benchmark/benchmark.h>

namespace tarn::task {
namespace {

// Two records and an edge, nobody to tell.
struct Space {
  TaskRecord records[2];
  Edge edges[2];
  Group groups[1];
  uint64_t published = 0;
  uint64_t notified = 0;

  TaskRecord& record(uint32_t index) { return records[index]; }
  Edge& edge(uint32_t index) { return edges[index]; }
  Group& group(uint32_t index) { return groups[index]; }
  uint32_t id(uint32_t index) { return index; }
  void publish(uint32_t) { ++published; }
  void notify(const TaskRecord&) { ++notified; }
};

void run(Space& space, shm::UndoLine& undo, uint32_t generation, uint8_t flags) {
  TaskRecord& record = space.records[0];
  record.state.store(State{generation, 0, Phase::kReady, flags}.pack(), kRelease);
  State mine;
  if (!claim(record, 2, mine)) return;
  save_arguments(undo, record, mine.generation, space.id(0));
  benchmark::DoNotOptimize(finish(space, record, mine, 0));
}

void claim_finish(benchmark::State& state) {
  static Space space;
  static shm::UndoLine undo;
  uint32_t generation = 0;
  for (auto _ : state) run(space, undo, ++generation, 0);
}
BENCHMARK(claim_finish);

void claim_finish_notify(benchmark::State& state) {
  static Space space;
  static shm::UndoLine undo;
  uint32_t generation = 0;
  for (auto _ : state) run(space, undo, ++generation, kNotify);
  if (space.notified == 0) state.SkipWithError("nobody was told");
}
BENCHMARK(claim_finish_notify);

void claim_finish_edge(benchmark::State& state) {
  static Space space;
  static shm::UndoLine undo;
  uint32_t generation = 0;
  for (auto _ : state) {
    ++generation;
    space.edges[1] = {kNoEdge, 1, generation, 0};
    space.records[0].edges.store(1, kRelaxed);
    TaskRecord& dependent = space.records[1];
    dependent.dependencies.store(initial_dependencies(generation, 1) | uint64_t{1} << kSubmittedBit, kRelaxed);
    dependent.state.store(State{generation, 0, Phase::kWaiting, 0}.pack(), kRelaxed);
    run(space, undo, generation, kEdges);
  }
  if (space.published == 0) state.SkipWithError("the dependent did not become ready");
}
BENCHMARK(claim_finish_edge);

}  // namespace
}  // namespace tarn::task

BENCHMARK_MAIN();
