/* The fastest plain copy into warm shared memory (a memfd, every page touched before): libc's memcpy, the
 * processor's own block copy, and stores that go past the caches. The best of them is the limit.
 *
 *   copy [--ms N] [--size BYTES]     BYTES a multiple of 64 (104857600)
 */
#include "../measure.h"

#if defined(__x86_64__)
#include <immintrin.h>

static void copy_streaming_sse2(char *to, const char *from, size_t size)
{
  for (size_t i = 0; i < size; i += 64) {
    __m128i a = _mm_loadu_si128((const __m128i *)(const void *)(from + i));
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)(from + i + 16));
    __m128i c = _mm_loadu_si128((const __m128i *)(const void *)(from + i + 32));
    __m128i d = _mm_loadu_si128((const __m128i *)(const void *)(from + i + 48));
    _mm_stream_si128((__m128i *)(void *)(to + i), a);
    _mm_stream_si128((__m128i *)(void *)(to + i + 16), b);
    _mm_stream_si128((__m128i *)(void *)(to + i + 32), c);
    _mm_stream_si128((__m128i *)(void *)(to + i + 48), d);
  }
  _mm_sfence();
}

static void copy_movsb(char *to, const char *from, size_t size)
{
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

__attribute__((target("avx"))) static void copy_streaming_avx(char *to, const char *from, size_t size)
{
  for (size_t i = 0; i < size; i += 64) {
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(from + i + 32));
    _mm256_stream_si256((__m256i *)(void *)(to + i), a);
    _mm256_stream_si256((__m256i *)(void *)(to + i + 32), b);
  }
  _mm_sfence();
}
#endif

static void copy_libc(char *to, const char *from, size_t size) { memcpy(to, from, size); }

typedef struct Kind {
  const char *name;
  void (*copy)(char *to, const char *from, size_t size);
  Measure measure;
} Kind;

int main(int argc, char **argv)
{
  enum { kKinds = 4 };
  static Kind kinds[kKinds];
  int count = 0;
  kinds[count].name = "memcpy";
  kinds[count++].copy = copy_libc;
#if defined(__x86_64__)
  kinds[count].name = "rep movsb";
  kinds[count++].copy = copy_movsb;
  kinds[count].name = "streaming SSE2";
  kinds[count++].copy = copy_streaming_sse2;
  if (__builtin_cpu_supports("avx")) {
    kinds[count].name = "streaming AVX";
    kinds[count++].copy = copy_streaming_avx;
  }
#endif
  size_t size = (size_t)measure_option_int(argc, argv, "--size", 104857600) & ~(size_t)63;
  measure_pin(0);
  char *from = (char *)aligned_alloc(4096, size + 4096);
  int memfd = memfd_create("copy", MFD_CLOEXEC);
  if (from == NULL || memfd < 0 || ftruncate(memfd, (off_t)size) != 0) measure_die("copy: memory");
  char *to = (char *)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memfd, 0);
  if (to == MAP_FAILED) measure_die("mmap");
  memset(from, 1, size);
  memset(to, 2, size);
  for (int k = 0; k < count; ++k) measure_start(&kinds[k].measure, argc, argv);
  while (measure_more(&kinds[0].measure)) {
    for (int k = 0; k < count; ++k) {
      measure_begin(&kinds[k].measure);
      kinds[k].copy(to, from, size);
      measure_end(&kinds[k].measure, (double)size);
    }
  }
  int best = 0;
  double rates[kKinds];
  for (int k = 0; k < count; ++k) {
    rates[k] = 1e9 / measure_median_ns(&kinds[k].measure);
    if (rates[k] > rates[best]) best = k;
    fprintf(stderr, "copy: %-14s %.2f GB/s\n", kinds[k].name, rates[k] / 1e9);
  }
  measure_print("copy", rates[best], "B/s", kinds[best].name);
  return 0;
}
