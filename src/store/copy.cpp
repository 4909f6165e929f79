#include "store/copy.hpp"

#include <cstddef>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace tarn::store {

namespace {

constexpr uint64_t kLine = 64;
constexpr uint64_t kStreamMin = 4u << 20;         // no cache keeps that much, so ordinary stores only push others out
constexpr uint64_t kStreamMinWithoutErms = 1u << 20;

#if defined(__x86_64__)

// Each copies whole lines to a destination aligned to a line.
__attribute__((target("avx2"))) void stream_avx2(std::byte* to, const std::byte* from, uint64_t lines) {
  for (uint64_t i = 0; i < lines; ++i, to += kLine, from += kLine) {
    __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), a);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + 32), b);
  }
}

void stream_sse2(std::byte* to, const std::byte* from, uint64_t lines) {
  for (uint64_t i = 0; i < lines; ++i, to += kLine, from += kLine) {
    for (uint64_t at = 0; at < kLine; at += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + at),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at)));
  }
}

void stream(std::byte* to, const std::byte* from, uint64_t lines) {
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  if (has_avx2) {
    stream_avx2(to, from, lines);
  } else {
    stream_sse2(to, from, lines);
  }
  // Streaming stores are not ordered by the release store that will publish them.
  _mm_sfence();
}

// "Enhanced rep movsb": the processor copies whole lines without reading those it overwrites, and keeps
// them in the cache.
bool has_erms() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b >> 9 & 1) != 0;
}

bool copy_in_cache(std::byte* to, const std::byte* from, uint64_t size) {
  static const bool erms = has_erms();
  if (erms && size < kStreamMin) {
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
    return true;
  }
  if (size >= kStreamMinWithoutErms) return false;
  memcpy(to, from, size);
  return true;
}
#else
bool copy_in_cache(std::byte* to, const std::byte* from, uint64_t size) {
  memcpy(to, from, size);
  return true;
}

void stream(std::byte* to, const std::byte* from, uint64_t lines) { memcpy(to, from, lines * kLine); }
#endif

}  // namespace

// Of 100 MB on an EPYC: memcpy 8.4 GB/s, rep movsb 12, streaming 13.7 (12.4 with prefetches); of 1 MiB: 8.5, 30, 22.
void copy_large(void* destination, const void* source, uint64_t size) {
  auto* to = static_cast<std::byte*>(destination);
  auto* from = static_cast<const std::byte*>(source);
  if (copy_in_cache(to, from, size)) return;
  uint64_t head = (kLine - reinterpret_cast<uintptr_t>(to) % kLine) % kLine;
  memcpy(to, from, head);
  uint64_t lines = (size - head) / kLine;
  stream(to + head, from + head, lines);
  uint64_t done = head + lines * kLine;
  memcpy(to + done, from + done, size - done);
}

}  // namespace tarn::store
