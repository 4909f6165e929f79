// Poison: tells the address sanitizer which bytes nobody may touch. Without it these are nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace tarn {

inline void poison([[maybe_unused]] const std::byte* data, [[maybe_unused]] uint64_t size) {
#ifdef __SANITIZE_ADDRESS__
  __asan_poison_memory_region(data, size);
#endif
}

inline void unpoison([[maybe_unused]] const std::byte* data, [[maybe_unused]] uint64_t size) {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(data, size);
#endif
}

}  // namespace tarn
