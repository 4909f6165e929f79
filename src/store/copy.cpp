#include "store/copy.hpp"

#include <cstddef>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tarn::store {

namespace {

constexpr uint64_t kLine = 64;

#if defined(__x86_64__)
constexpr uint64_t kAhead = 1024;

// Each copies whole lines to a destination aligned to a line.
__attribute__((target("avx2"))) void stream_avx2(std::byte* to, const std::byte* from, uint64_t lines) {
  for (uint64_t i = 0; i < lines; ++i, to += kLine, from += kLine) {
    _mm_prefetch(reinterpret_cast<const char*>(from + kAhead), _MM_HINT_NTA);
    __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), a);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + 32), b);
  }
}

void stream_sse2(std::byte* to, const std::byte* from, uint64_t lines) {
  for (uint64_t i = 0; i < lines; ++i, to += kLine, from += kLine) {
    _mm_prefetch(reinterpret_cast<const char*>(from + kAhead), _MM_HINT_NTA);
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
#else
void stream(std::byte* to, const std::byte* from, uint64_t lines) { memcpy(to, from, lines * kLine); }
#endif

}  // namespace

void copy_large(void* destination, const void* source, uint64_t size) {
  auto* to = static_cast<std::byte*>(destination);
  auto* from = static_cast<const std::byte*>(source);
  uint64_t head = (kLine - reinterpret_cast<uintptr_t>(to) % kLine) % kLine;
  memcpy(to, from, head);
  uint64_t lines = (size - head) / kLine;
  stream(to + head, from + head, lines);
  uint64_t done = head + lines * kLine;
  memcpy(to + done, from + done, size - done);
}

}  // namespace tarn::store
