// What a hint costs when nobody else touches the ring.
//
//   push_take/N     N pushes, then one take of N (up to kBatchMax at a time)
//   empty           a look into an empty ring: what a spinning worker does
#include "shm/hint_ring.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>

namespace tarn::shm {
namespace {

using Ring = HintRing<2048>;

void push_take(benchmark::State& state) {
  static Ring ring;
  static Ring::Producer producer;
  const auto burst = static_cast<uint32_t>(state.range(0));
  uint32_t ids[16];
  for (auto _ : state) {
    for (uint32_t i = 0; i < burst; ++i)
      if (!ring.push(producer, i)) state.SkipWithError("the ring is full");
    for (uint32_t left = burst; left > 0;) left -= static_cast<uint32_t>(ring.take(ids, std::min<size_t>(left, 16)));
    benchmark::DoNotOptimize(ids);
  }
  state.SetItemsProcessed(state.iterations() * burst);
}
BENCHMARK(push_take)->Arg(1)->Arg(16)->Arg(256);

void empty(benchmark::State& state) {
  static Ring ring;
  for (auto _ : state) benchmark::DoNotOptimize(ring.empty());
}
BENCHMARK(empty);

}  // namespace
}  // namespace tarn::shm

BENCHMARK_MAIN();
