// Clock: monotonic time and deadlines, in nanoseconds.
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

// Seconds of the same clock, as the last tick of the kernel left it: a few ns instead of some 25.
inline uint32_t now_s() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint32_t>(now.tv_sec);
}

// The moment at which a wait of `timeout_ns` ends; a negative timeout never does.
inline int64_t deadline_after(int64_t timeout_ns) {
  if (timeout_ns < 0) return kForever;
  int64_t now = now_ns();
  return timeout_ns > kForever - now ? kForever : now + timeout_ns;
}

// A timestamp that costs a few ns and runs at a constant rate; only differences mean something.
inline uint64_t ticks() {
#if defined(TARN_SIM)  // tests/sim: all time is virtual
  return static_cast<uint64_t>(now_ns());
#elif defined(__x86_64__)
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

}  // namespace tarn::os
