/* stream.items: a task yields items of 32 bytes, and the client reads them. */
#include "bench.h"

enum { kBatch = 20000 };

/* Without an end: until nobody reads. */
int bench_yield(tarn_call *call)
{
  uint64_t item[4];
  for (uint64_t next = 1;; ++next) {
    for (unsigned i = 0; i < 4; ++i) item[i] = next + i;
    int r = tarn_call_yield(call, item, sizeof item);
    if (r < 0) return r;
  }
}

void bench_stream(Bench *bench)
{
  char place[96], note[128];
  tarn_stream_options window = {.size = sizeof window, .items = (uint32_t)measure_option_int(bench->argc, bench->argv, "--window", 256)};
  bench_open(bench, 1);
  bench_place(bench, 0, place, sizeof place);
  snprintf(note, sizeof note, "a window of %u, %s", window.items, place);
  tarn_client *client = bench->client;
  tarn_future future;
  bench_check(tarn_submit_stream(client, tarn_task_id("bench.yield"), NULL, 0, NULL, &window, &future), "tarn_submit_stream");
  uint64_t received = 0, sum = 0;
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    measure_begin(bench->measure);
    for (uint64_t end = received + kBatch; received < end;) {
      tarn_bytes bytes;
      uint64_t item[4];
      bench_check(tarn_stream_next(client, future, -1, &bytes), "tarn_stream_next");
      memcpy(item, bytes.data, sizeof item);
      ++received;
      for (unsigned i = 0; i < 4; ++i) sum += item[i] - received - i;
    }
    measure_end(bench->measure, kBatch);
  }
  bench_check(tarn_future_release(client, future), "tarn_future_release");
  if (sum != 0) {
    fprintf(stderr, "tarn_bench: an item is wrong\n");
    exit(1);
  }
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}
