// Bytes that tell which object they are of, and where in it.
#pragma once

#include <cinttypes>
#include <cstdint>
#include <cstdio>

namespace tarn::test {

inline constexpr uint64_t kPatternStep = 0x9e3779b97f4a7c15u;     // odd
inline constexpr uint64_t kPatternInverse = 0xf1de83e19937733du;  // of that: the first word times this is the seed

inline void fill(void* data, uint64_t size, uint64_t seed) {
  auto* words = static_cast<uint64_t*>(data);
  for (uint64_t i = 0; i < size / 8; ++i) words[i] = seed * kPatternStep + i;
}

// Says where they begin to be others, and how many are.
inline bool is_filled(const void* data, uint64_t size, uint64_t seed) {
  auto* words = static_cast<const uint64_t*>(data);
  uint64_t wrong = 0;
  uint64_t first = 0;
  for (uint64_t i = 0; i < size / 8; ++i) {
    if (words[i] == seed * kPatternStep + i) continue;
    if (wrong++ == 0) first = i;
  }
  if (wrong != 0)
    printf("at %#" PRIx64 " of %#" PRIx64 ": %#" PRIx64 "; %" PRIu64 " bytes are wrong\n", first * 8, size, words[first], wrong * 8);
  return wrong == 0;
}

}  // namespace tarn::test
