// copy: the fastest way to fill warm shared memory that another core will read.
//
// Small and middle sizes as memcpy does it; large ones past the caches, because nothing that big would
// stay in them, and a line that is overwritten whole need not be read first. Any thread.
#pragma once

#include <cstdint>
#include <cstring>

namespace tarn::store {

void copy_large(void* to, const void* from, uint64_t size);

inline constexpr uint64_t kCopyLargeMin = 1u << 20;

// The ranges do not overlap.
inline void copy(void* to, const void* from, uint64_t size) {
  if (size < kCopyLargeMin) [[likely]] {
    if (size != 0) memcpy(to, from, size);
    return;
  }
  copy_large(to, from, size);
}

}  // namespace tarn::store
