// What a call to an actor costs in its queue, when nobody else touches that: compare with micro_hint_ring, where order and loss do not
// count.
//
//   push_take/N     N calls are made, then taken, one by one
//   empty           a look into an empty queue: what an actor does that spins
#include "shm/call_queue.hpp"

#include <benchmark/benchmark.h>

namespace tarn::shm {
namespace {

using Queue = CallQueue<ActorCalls>;

struct Blocks {
  ActorCalls blocks[9];
  ActorCalls& block(uint32_t line) { return blocks[line]; }
};

void push_take(benchmark::State& state) {
  static Blocks space;
  Queue queue;
  CallPlace end = queue.open(1), place = queue.begin();
  uint32_t line = 1;
  const auto burst = static_cast<uint32_t>(state.range(0));
  for (auto _ : state) {
    for (uint32_t i = 0; i < burst; ++i) {
      if (Queue::is_full(end)) {
        line = line % 8 + 1;
        for (auto& each : space.blocks[line].calls) each.store(0, kRelaxed);
        space.blocks[line].next.store(0, kRelaxed);
        Queue::link(space, end, line);
      }
      Queue::push(space, end, pack_call(i, 1));
    }
    for (uint32_t i = 0; i < burst; ++i, ++place.at) {
      benchmark::DoNotOptimize(Queue::peek(space, place));
      queue.settle(place);
    }
  }
  state.SetItemsProcessed(state.iterations() * burst);
}
BENCHMARK(push_take)->Arg(1)->Arg(16)->Arg(256);

void empty(benchmark::State& state) {
  static Blocks space;
  Queue queue;
  (void)queue.open(1);
  CallPlace place = queue.begin();
  for (auto _ : state) benchmark::DoNotOptimize(Queue::peek(space, place));
}
BENCHMARK(empty);

}  // namespace
}  // namespace tarn::shm

BENCHMARK_MAIN();
