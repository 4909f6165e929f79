// Clock: monotonic time and deadlines, in nanoseconds; and the hints that spin loops give the processor.
#pragma once

#include <cstdint>
#include <ctime>

namespace tarn::os {

inline constexpr int64_t kForever = INT64_MAX;

inline int64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

// The moment at which a wait of `timeout_ns` ends; a negative timeout never does.
inline int64_t deadline_after(int64_t timeout_ns) {
  if (timeout_ns < 0) return kForever;
  int64_t now = now_ns();
  return timeout_ns > kForever - now ? kForever : now + timeout_ns;
}

// A timestamp that costs a few ns and runs at a constant rate; only differences mean something.
inline uint64_t ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t value;
  asm volatile("mrs %0, cntvct_el0" : "=r"(value));
  return value;
#else
  return static_cast<uint64_t>(now_ns());
#endif
}

// Tells the core that this is a spin loop.
inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

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

}  // namespace tarn::os
