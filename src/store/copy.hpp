// copy: the fastest way to fill warm shared memory that another core will read.
//
// Small sizes as memcpy does it. Beyond, in ways that do not read a line first that is overwritten whole:
// by the processor's own block copy as long as caches can keep it, then past the caches. Any thread.
#pragma once

#include <cstdint>
#include <cstring>

namespace tarn::store {

void copy_large(void* to, const void* from, uint64_t size);

inline constexpr uint64_t kCopyLargeMin = 16u << 10;

// The ranges do not overlap.
inline void copy(void* to, const void* from, uint64_t size) {
  if (size < kCopyLargeMin) [[likely]] {
    if (size != 0) memcpy(to, from, size);
    return;
  }
  copy_large(to, from, size);
}

}  // namespace tarn::store
