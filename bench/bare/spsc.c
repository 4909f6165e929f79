/* The most that one process can hand to another item by item: a ring of items of 32 bytes, written and read as a whole. Each record
 * carries its position, so that the reader reads no index; the writer looks how far the reader is only when the ring seems full.
 *
 *   spsc [--ms N] [--window N]     N records, a power of two up to 4096 (256)
 */
#include "../measure.h"

#include <signal.h>
#include <stdatomic.h>

enum { kWindowMax = 4096, kBatch = 20000 };

typedef struct Record {
  _Alignas(64) _Atomic uint64_t position; /* from 1; written last */
  uint64_t body[4];
} Record;

typedef struct Shared {
  _Alignas(64) _Atomic uint64_t read; /* how many were */
  Record records[kWindowMax];
} Shared;

static void produce(Shared *shared, uint64_t window)
{
  uint64_t read = 0;
  for (uint64_t next = 1;; ++next) {
    while (next - read > window) {
      read = atomic_load_explicit(&shared->read, memory_order_acquire);
      if (next - read > window) measure_pause();
    }
    Record *record = &shared->records[next % window];
    for (unsigned i = 0; i < 4; ++i) record->body[i] = next + i;
    atomic_store_explicit(&record->position, next, memory_order_release);
  }
}

int main(int argc, char **argv)
{
  static Measure measure;
  uint64_t window = (uint64_t)measure_option_int(argc, argv, "--window", 256);
  if (window == 0 || window > kWindowMax || (window & (window - 1)) != 0) {
    fprintf(stderr, "spsc: --window takes a power of two up to %d\n", kWindowMax);
    return 2;
  }
  Shared *shared = (Shared *)measure_shared(sizeof(Shared));
  int here = measure_cpu(0), there = measure_cpu(1);
  pid_t child = measure_fork(1);
  if (child == 0) {
    produce(shared, window);
  }
  measure_pin(0);
  uint64_t received = 0, sum = 0;
  measure_start(&measure, argc, argv);
  while (measure_more(&measure)) {
    measure_begin(&measure);
    for (uint64_t end = received + kBatch; received < end;) {
      Record *record = &shared->records[(received + 1) % window];
      while (atomic_load_explicit(&record->position, memory_order_acquire) != received + 1) measure_pause();
      ++received;
      for (unsigned i = 0; i < 4; ++i) sum += record->body[i] - received - i;
      atomic_store_explicit(&shared->read, received, memory_order_release);
    }
    measure_end(&measure, kBatch);
  }
  kill(child, SIGKILL);
  if (sum != 0) {
    fprintf(stderr, "spsc: an item was wrong\n");
    return 1;
  }
  char note[80];
  snprintf(note, sizeof note, "a window of %u, cores %d %d", (unsigned)window, here, there);
  measure_print("spsc", measure_median_ns(&measure), "ns", note);
  return 0;
}
