/* The least that a small object can cost: the next 64 bytes of a warm shared memory, filled and published by
 * one store (store.64); and reading 64 bytes that lie there, through an index that says where (load.64).
 *
 *   alloc_store [--ms N]
 */
#include "../measure.h"

#include <stdatomic.h>

enum { kBlocks = 1024 };

typedef struct Block {
  _Alignas(64) unsigned char bytes[64];
} Block;

typedef struct Shared {
  Block blocks[kBlocks];
  _Atomic uint32_t published[kBlocks];
} Shared;

int main(int argc, char **argv)
{
  static Measure measure;
  Shared *shared = (Shared *)measure_shared(sizeof(Shared));
  int core = measure_pin(0);
  char note[32];
  snprintf(note, sizeof note, "core %d", core);
  unsigned char data[64] = {1};
  measure_start(&measure, argc, argv);
  while (measure_more(&measure)) {
    measure_begin(&measure);
    for (uint32_t i = 0; i < kBlocks; ++i) {
      memcpy(shared->blocks[i].bytes, data, sizeof data);
      atomic_store_explicit(&shared->published[i], i, memory_order_release);
    }
    measure_end(&measure, kBlocks);
  }
  measure_print("store.64", measure_median_ns(&measure), "ns", note);
  unsigned char sum = 0;
  measure_start(&measure, argc, argv);
  while (measure_more(&measure)) {
    measure_begin(&measure);
    for (uint32_t i = 0; i < kBlocks; ++i) {
      memcpy(data, shared->blocks[atomic_load_explicit(&shared->published[i], memory_order_acquire)].bytes, 64);
      sum = (unsigned char)(sum + data[0] + data[63]);
    }
    measure_end(&measure, kBlocks);
  }
  measure_print("load.64", measure_median_ns(&measure), "ns", note);
  return sum == 255; /* never: every block begins with 1, and 1024 of them sum up to 0 */
}
