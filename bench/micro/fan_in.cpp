// What an arrival at a fan-in tree costs, by its number of leaves.
//
//   arrive/N     all N leaves of a tree, one after the other; time per leaf is the inverse of items_per_second
#include "shm/fan_in.hpp"

#include <benchmark/benchmark.h>

#include <memory>

namespace tarn::shm {
namespace {

void arrive(benchmark::State& state) {
  const auto leaves = static_cast<size_t>(state.range(0));
  auto words = std::make_unique<Word<uint64_t>[]>(FanIn::words_needed(leaves));
  for (auto _ : state) {
    FanIn::init(words.get(), leaves);
    bool fired = false;
    for (size_t i = 0; i < leaves; ++i) fired = FanIn::arrive(words.get(), leaves, i);
    if (!fired) state.SkipWithError("the tree did not fire");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(arrive)->Arg(2)->Arg(64)->Arg(4096)->Arg(1 << 20);

}  // namespace
}  // namespace tarn::shm

BENCHMARK_MAIN();
