// Prefetch: telling the processor which cache line will be written next.
#pragma once

namespace tarn::shm {

// Begins to fetch the cache line of `address` for writing, so that a later write or
// compare-and-swap does not wait for it. (The compiler's builtin means a fetch for reading unless it
// is told of the processor; older processors take the instruction as a no-op.)
inline void prefetch_for_write(const void* address) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" : : "m"(*static_cast<const char*>(address)));
#else
  __builtin_prefetch(address, 1);
#endif
}

}  // namespace tarn::shm
