// What a put's copy costs by size: beside memcpy, into memory that is warm.
//
//   copy/SIZE       store::copy
//   libc/SIZE       memcpy
#include "store/copy.hpp"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace tarn::store {
namespace {

template <class Copy>
void measure(benchmark::State& state, Copy copy_bytes) {
  const auto size = static_cast<size_t>(state.range(0));
  std::vector<char> from(size, 'a'), room(size + 64, 'b');
  char* to = room.data() + (64 - reinterpret_cast<uintptr_t>(room.data()) % 64);  // as objects lie
  for (auto _ : state) {
    copy_bytes(to, from.data(), size);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}

void copy(benchmark::State& state) {
  measure(state, [](void* to, const void* from, size_t size) { store::copy(to, from, size); });
}
BENCHMARK(copy)->RangeMultiplier(16)->Range(64, 64 << 20);

void libc(benchmark::State& state) {
  measure(state, [](void* to, const void* from, size_t size) { memcpy(to, from, size); });
}
BENCHMARK(libc)->RangeMultiplier(16)->Range(64, 64 << 20);

}  // namespace
}  // namespace tarn::store

BENCHMARK_MAIN();
