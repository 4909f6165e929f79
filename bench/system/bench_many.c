/* objects.1m.rate, objects.1m.overhead: a million small objects at a time, from nothing. */
#include "../memory.h"
#include "bench.h"

enum { kSize = 64, kBatch = 1000, kSettleMs = 200 };

typedef struct Memory {
  int64_t own; /* of client, worker and tarnd, each for itself */
  int64_t shared;
} Memory;

static Memory memory_now(int daemon_pid, int worker_pid)
{
  Memory memory;
  usleep(kSettleMs * 1000); /* tarnd may still be preparing or giving back pages */
  memory.own = private_bytes(getpid()) + private_bytes(worker_pid) + private_bytes(daemon_pid);
  memory.shared = memfd_bytes(daemon_pid);
  return memory;
}

void bench_many(Bench *bench)
{
  char place[96], note[256];
  int64_t wanted = measure_option_int(bench->argc, bench->argv, "--objects", 1000000);
  size_t count = (size_t)(wanted < kBatch ? 1 : wanted / kBatch) * kBatch;
  unsigned char data[kSize] = {1};
  tarn_object *objects = (tarn_object *)malloc(count * sizeof *objects);
  if (objects == NULL) measure_die("memory");
  /* What is ours is there before anything is measured. */
  memset(objects, 1, count * sizeof *objects);
  memset(bench->measure->batches, 1, sizeof bench->measure->batches);
  bench_open(bench, 1);
  bench_place(bench, 0, place, sizeof place);
  int daemon_pid, worker_pid;
  bench_pids(bench, &daemon_pid, &worker_pid);

  Memory before = memory_now(daemon_pid, worker_pid);
  measure_start(bench->measure, bench->argc, bench->argv);
  int64_t begin_ns = measure_now_ns();
  for (size_t at = 0; at < count;) {
    measure_begin(bench->measure);
    for (size_t end = at + kBatch; at < end; ++at)
      bench_check(tarn_put(bench->client, data, sizeof data, &objects[at]), "tarn_put");
    measure_end(bench->measure, kBatch);
  }
  double seconds = (double)(measure_now_ns() - begin_ns) / 1e9;
  Memory after = memory_now(daemon_pid, worker_pid);

  double own = (double)(after.own - before.own) / (double)count;
  double shared = (double)(after.shared - before.shared) / (double)count;
  snprintf(note, sizeof note,
           "%zu objects, no memory of theirs there before; the median of %d at %.3g M/s, %s", count,
           kBatch, 1e3 / measure_median_ns(bench->measure), place);
  measure_print("objects.1m.rate", (double)count / seconds, "1/s", note);
  snprintf(note, sizeof note,
           "%.4g B private, %.4g B shared with the %d of the object, of client, worker and tarnd",
           own, shared, kSize);
  measure_print("objects.1m.overhead", own + shared - kSize, "B", note);
  for (size_t i = 0; i < count; ++i)
    bench_check(tarn_release(bench->client, objects[i]), "tarn_release");
  free(objects);
}
