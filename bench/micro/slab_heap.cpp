// What finding room for an object costs, in memory that is not touched.
//
//   alloc_free/SIZE       one block, allocated and freed
//   alloc_many/SIZE       512 blocks, then all of them freed in the same order
#include "store/slab_heap.hpp"

#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <vector>

namespace tarn::store {
namespace {

constexpr uint64_t kSlabSize = uint64_t{1} << 30;

// A heap with one slab of address space.
class Fixture {
 public:
  explicit Fixture(benchmark::State& state)
      : memory_(mmap(nullptr, kSlabSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) {
    if (memory_ == MAP_FAILED || heap_.init() < 0 ||
        heap_.add_slab(1, static_cast<std::byte*>(memory_), kSlabSize, false) < 0)
      state.SkipWithError("no heap");
  }
  ~Fixture() {
    if (memory_ != MAP_FAILED) munmap(memory_, kSlabSize);
  }
  Fixture(const Fixture&) = delete;
  Fixture& operator=(const Fixture&) = delete;

  SlabHeap& heap() { return heap_; }

 private:
  SlabHeap heap_;
  void* memory_;
};

void alloc_free(benchmark::State& state) {
  Fixture fixture(state);
  const auto size = static_cast<uint64_t>(state.range(0));
  for (auto _ : state) {
    SlabHeap::Place place;
    if (fixture.heap().alloc(size, place) != 0) state.SkipWithError("no room");
    fixture.heap().free(place.slab, place.data);
  }
}
BENCHMARK(alloc_free)->Arg(64)->Arg(4096)->Arg(1 << 20)->Arg(100 << 20);

void alloc_many(benchmark::State& state) {
  Fixture fixture(state);
  const auto size = static_cast<uint64_t>(state.range(0));
  std::vector<SlabHeap::Place> places(512);
  for (auto _ : state) {
    for (auto& place : places)
      if (fixture.heap().alloc(size, place) != 0) state.SkipWithError("no room");
    for (auto& place : places) fixture.heap().free(place.slab, place.data);
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(places.size()));
}
BENCHMARK(alloc_many)->Arg(64)->Arg(4096)->Arg(1 << 20);

}  // namespace
}  // namespace tarn::store

BENCHMARK_MAIN();
