#include "store/copy.hpp"

#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace tarn::store {

#if defined(__x86_64__)
namespace {

// Below this, the destination fits the caches and ordinary stores win.
constexpr size_t kStreamSizeMin = 1 << 20;
constexpr size_t kLine = 64;
constexpr size_t kAhead = 512;

// Each copies whole lines to a destination aligned to a line.
__attribute__((target("avx2"))) void stream_avx2(std::byte* to, const std::byte* from, size_t lines) {
  for (size_t i = 0; i < lines; ++i, to += kLine, from += kLine) {
    _mm_prefetch(reinterpret_cast<const char*>(from + kAhead), _MM_HINT_NTA);
    __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), a);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + 32), b);
  }
}

void stream_sse2(std::byte* to, const std::byte* from, size_t lines) {
  for (size_t i = 0; i < lines * 4; ++i, to += 16, from += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

}  // namespace

void copy(void* destination, const void* source, size_t size) {
  auto* to = static_cast<std::byte*>(destination);
  auto* from = static_cast<const std::byte*>(source);
  if (size >= kStreamSizeMin) {
    size_t head = (kLine - reinterpret_cast<uintptr_t>(to) % kLine) % kLine;
    memcpy(to, from, head);
    size_t lines = (size - head) / kLine;
    static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
    if (has_avx2) {
      stream_avx2(to + head, from + head, lines);
    } else {
      stream_sse2(to + head, from + head, lines);
    }
    _mm_sfence();  // non-temporal stores are not ordered by the release store that publishes them
    to += head + lines * kLine;
    from += head + lines * kLine;
    size -= head + lines * kLine;
  }
  if (size != 0) memcpy(to, from, size);
}
#else
void copy(void* destination, const void* source, size_t size) {
  if (size != 0) memcpy(destination, source, size);
}
#endif

}  // namespace tarn::store
