/* get.other.SIZE, get.other.spread: reading what another process made. A worker makes the objects
 * as its results; the client, which is where tarn_get can be called, reads them. */
#include "bench.h"

enum { kObjectsMax = 1000, kGets = 1000 };

static tarn_object objects[kObjectsMax];

/* Gets each of `count` objects in turn, kGets times in all, and reads its first byte: a pointer
 * that nobody follows would cost nothing. */
static unsigned get_all(tarn_client *client, const tarn_object *from, uint32_t count)
{
  unsigned sum = 0;
  for (uint32_t i = 0, at = 0; i < kGets; ++i) {
    tarn_bytes bytes;
    bench_check(tarn_get(client, from[at], &bytes), "tarn_get");
    sum += *(const unsigned char *)bytes.data;
    if (++at == count) at = 0;
  }
  return sum;
}

static void check_sum(unsigned sum)
{
  if (sum == kGets) return; /* every object is filled with 1 */
  fprintf(stderr, "tarn_bench: what was read is wrong\n");
  exit(1);
}

int bench_make_result(tarn_call *call)
{
  tarn_bytes argument = tarn_call_arg(call, 0);
  uint64_t size;
  void *data;
  if (argument.size != sizeof size) return tarn_call_fail(call, TARN_E_TYPE, NULL, "wants 8 bytes");
  memcpy(&size, argument.data, sizeof size);
  int result = tarn_call_return_buffer(call, size, &data);
  if (result < 0) return result;
  memset(data, 1, size);
  return 0;
}

tarn_object bench_make(tarn_client *client, size_t size)
{
  uint64_t wanted = size;
  tarn_arg argument = tarn_arg_value(&wanted, sizeof wanted);
  tarn_future future;
  tarn_object object;
  bench_check(tarn_submit(client, tarn_task_id("bench.make"), &argument, 1, NULL, &future),
              "tarn_submit");
  bench_check(tarn_future_object(client, future, -1, &object), "tarn_future_object");
  bench_check(tarn_future_release(client, future), "tarn_future_release");
  return object;
}

void bench_get_other(Bench *bench)
{
  char place[96], note[192];
  size_t size = bench_size(bench);
  uint32_t count = bench_object_count(size);
  bench_open(bench, 1);
  bench_place(bench, 0, place, sizeof place);
  for (uint32_t i = 0; i < count; ++i) objects[i] = bench_make(bench->client, size);
  check_sum(get_all(bench->client, objects, count)); /* the first get of each slab maps it */
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    measure_begin(bench->measure);
    unsigned sum = get_all(bench->client, objects, count);
    measure_end(bench->measure, kGets);
    check_sum(sum);
  }
  for (uint32_t i = 0; i < count; ++i)
    bench_check(tarn_release(bench->client, objects[i]), "tarn_release");
  snprintf(note, sizeof note, "%u objects of the worker in turn, %s", count, place);
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}

/* In one process and batch after batch, so that nothing but the size makes the difference. */
void bench_get_spread(Bench *bench)
{
  enum { kSmall = 64 };
  static Measure small;
  char place[96], note[192];
  size_t size = (size_t)measure_option_int(bench->argc, bench->argv, "--size", 1 << 30);
  bench_open(bench, 1);
  bench_place(bench, 0, place, sizeof place);
  objects[0] = bench_make(bench->client, kSmall);
  objects[1] = bench_make(bench->client, size);
  for (int i = 0; i < 2; ++i) check_sum(get_all(bench->client, &objects[i], 1));
  measure_start(&small, bench->argc, bench->argv);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    for (int i = 0; i < 2; ++i) {
      Measure *measure = i == 0 ? &small : bench->measure;
      measure_begin(measure);
      unsigned sum = get_all(bench->client, &objects[i], 1);
      measure_end(measure, kGets);
      check_sum(sum);
    }
  }
  for (int i = 0; i < 2; ++i) bench_check(tarn_release(bench->client, objects[i]), "tarn_release");
  double small_ns = measure_median_ns(&small), large_ns = measure_median_ns(bench->measure);
  snprintf(note, sizeof note, "%.3g ns for 64 bytes, %.3g ns for %zu, %s", small_ns, large_ns, size,
           place);
  measure_print(bench->name, large_ns / small_ns, "1", note);
}
