/* put.64, get.64, put.bw.SIZE, create_seal.SIZE: objects in warm memory. What is put is released between the
 * batches, so that the memory is used again and again. */
#include "bench.h"
#include "kernel_count.h"

enum { kObjects = 1000, kSmall = 64 };

static tarn_object objects[kObjects];

static void put_small(tarn_client *client)
{
  unsigned char data[kSmall] = {1};
  for (int i = 0; i < kObjects; ++i) bench_check(tarn_put(client, data, sizeof data, &objects[i]), "tarn_put");
}

static void release_small(tarn_client *client)
{
  for (int i = 0; i < kObjects; ++i) bench_check(tarn_release(client, objects[i]), "tarn_release");
}

void bench_put_64(Bench *bench)
{
  char note[96];
  bench_open(bench, 1);
  bench_place(bench, 0, note, sizeof note);
  put_small(bench->client);
  release_small(bench->client);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    measure_begin(bench->measure);
    put_small(bench->client);
    measure_end(bench->measure, kObjects);
    release_small(bench->client);
  }
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}

void bench_get_64(Bench *bench)
{
  char note[96];
  unsigned sum = 0;
  bench_open(bench, 1);
  bench_place(bench, 0, note, sizeof note);
  put_small(bench->client);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    measure_begin(bench->measure);
    for (int i = 0; i < kObjects; ++i) {
      tarn_bytes bytes;
      bench_check(tarn_get(bench->client, objects[i], &bytes), "tarn_get");
      sum += *(const unsigned char *)bytes.data; /* a pointer nobody follows would cost nothing */
    }
    measure_end(bench->measure, kObjects);
  }
  if (sum % kObjects != 0) exit(1);
  release_small(bench->client);
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}

void bench_put_bw(Bench *bench)
{
  char note[96];
  size_t size = bench_size(bench);
  char *data = (char *)aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
  if (data == NULL) measure_die("put.bw: memory");
  memset(data, 1, size);
  bench_open(bench, 1);
  bench_place(bench, 0, note, sizeof note);
  for (int warm = -1;; ++warm) { /* the first one faults the memory in */
    tarn_object object;
    if (warm == 0) measure_start(bench->measure, bench->argc, bench->argv);
    if (warm >= 0 && !measure_more(bench->measure)) break;
    measure_begin(bench->measure);
    bench_check(tarn_put(bench->client, data, size, &object), "tarn_put");
    if (warm >= 0) measure_end(bench->measure, (double)size);
    bench_check(tarn_release(bench->client, object), "tarn_release");
  }
  free(data);
  measure_print(bench->name, 1e9 / measure_median_ns(bench->measure), "B/s", note);
}

void *bench_create_and_seal(tarn_client *client, size_t size, tarn_object *object)
{
  void *data;
  bench_check(tarn_object_create(client, size, object, &data), "tarn_object_create");
  bench_check(tarn_object_seal(client, *object), "tarn_object_seal");
  return data;
}

static void release_all(tarn_client *client, uint32_t count)
{
  for (uint32_t i = 0; i < count; ++i)
    bench_check(tarn_release(client, objects[i]), "tarn_release");
}

/* What the timed calls do, once more, counted: the counting itself would cost more than they do. */
static void count_kernel(Bench *bench, size_t size, uint32_t count)
{
  char name[64], note[128];
  uint32_t calls = 0;
  long faults = 0, entered = 0;
  for (; calls < kObjects; calls += count) {
    for (uint32_t i = 0; i < count; ++i) {
      kernel_count_begin();
      bench_create_and_seal(bench->client, size, &objects[i]);
      KernelCount counted = kernel_count_end();
      faults += counted.faults;
      entered += counted.calls;
    }
    release_all(bench->client, count);
  }
  snprintf(name, sizeof name, "%s.kernel", bench->name);
  snprintf(note, sizeof note, "of %u times: %ld page faults, %ld with system calls%s", calls, faults,
           entered,
           kernel_counts_calls() ? "" : " (which this kernel does not let us count)");
  measure_print(name, (double)(faults + entered) / calls, "1", note);
}

void bench_create_seal(Bench *bench)
{
  char note[96];
  size_t size = bench_size(bench);
  uint32_t count = bench_object_count(size);
  bench_open(bench, 1);
  bench_place(bench, 0, note, sizeof note);
  for (int warm = -1;; ++warm) {
    if (warm == 0) measure_start(bench->measure, bench->argc, bench->argv);
    if (warm >= 0 && !measure_more(bench->measure)) break;
    measure_begin(bench->measure);
    for (uint32_t i = 0; i < count; ++i) bench_create_and_seal(bench->client, size, &objects[i]);
    if (warm >= 0) measure_end(bench->measure, count);
    release_all(bench->client, count);
  }
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
  count_kernel(bench, size, count);
}
