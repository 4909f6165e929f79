/* skewed.h: the work of map.skewed, for the tarn side and the bare limit.
 *
 * So many elements, of which those of the second half take 19 times as long as those of the first: two workers with
 * half of the elements each take 1.9 times the ideal. An element is a chain of multiplications, so that it takes the
 * same number of cycles wherever it runs.
 */
#ifndef TARN_BENCH_SKEWED_H
#define TARN_BENCH_SKEWED_H

#include <stdint.h>

enum { kSkewedElements = 2000, kSkewedLight = 8000, kSkewedHeavy = 19 * kSkewedLight }; /* steps; some 8 us, 0.15 ms */

static inline uint64_t skewed_element(uint64_t index, uint64_t count)
{
  uint64_t value = index;
  uint64_t steps = index < count / 2 ? kSkewedLight : kSkewedHeavy;
  for (uint64_t i = 0; i < steps; ++i) {
    value = value * 6364136223846793005u + 1442695040888963407u;
    __asm__ volatile("" : "+r"(value));
  }
  return value;
}

#endif
