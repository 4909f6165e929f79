/* task.sync.spin, task.sync.parked, task.async: calls of a task that adds one to 8 bytes. */
#include "bench.h"

enum { kCalls = 1000, kFlightMax = 4096 };

void bench_sync_spin(Bench *bench)
{
  char note[96];
  bench_open(bench, 1);
  bench_place(bench, 0, note, sizeof note);
  for (uint64_t i = 0; i < 10 * kCalls; ++i) bench_call(bench->client, i);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    measure_begin(bench->measure);
    for (uint64_t i = 0; i < kCalls; ++i) bench_call(bench->client, i);
    measure_end(bench->measure, kCalls);
  }
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}

static void call_after_sleep(Bench *bench, int same_core)
{
  char note[96];
  useconds_t sleep_us = (useconds_t)measure_option_int(bench->argc, bench->argv, "--sleep-us", 500);
  bench_open(bench, 1);
  bench_place(bench, same_core, note, sizeof note);
  measure_start(bench->measure, bench->argc, bench->argv);
  for (uint64_t i = 0; measure_more(bench->measure); ++i) {
    usleep(sleep_us);
    measure_begin(bench->measure);
    bench_call(bench->client, i);
    measure_end(bench->measure, 1);
  }
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}

void bench_sync_parked(Bench *bench) { call_after_sleep(bench, 0); }

void bench_sync_parked_same(Bench *bench) { call_after_sleep(bench, 1); }

void bench_async(Bench *bench)
{
  static tarn_future futures[kFlightMax];
  char place[96], note[128];
  uint64_t flight = (uint64_t)measure_option_int(bench->argc, bench->argv, "--flight", 256);
  if (flight == 0 || flight > kFlightMax) {
    fprintf(stderr, "tarn_bench: --flight is 1 to %d\n", kFlightMax);
    exit(2);
  }
  bench_open(bench, 1);
  bench_place(bench, 0, place, sizeof place);
  snprintf(note, sizeof note, "%u in flight, %s", (unsigned)flight, place);
  tarn_client *client = bench->client;
  tarn_task task = bench_add_one();
  uint64_t sent = 0, received = 0, wrong = 0;
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    measure_begin(bench->measure);
    for (uint64_t end = received + 20 * kCalls; received < end; ++received) {
      while (sent < received + flight) {
        tarn_arg argument = tarn_arg_value(&sent, sizeof sent);
        bench_check(tarn_submit(client, task, &argument, 1, NULL, &futures[sent % flight]), "tarn_submit");
        ++sent;
      }
      tarn_bytes result;
      uint64_t got;
      bench_check(tarn_result(client, futures[received % flight], -1, &result), "tarn_result");
      memcpy(&got, result.data, sizeof got);
      wrong += got != received + 1;
      bench_check(tarn_future_release(client, futures[received % flight]), "tarn_future_release");
    }
    measure_end(bench->measure, 20 * kCalls);
  }
  for (; received < sent; ++received)
    bench_check(tarn_future_release(client, futures[received % flight]), "tarn_future_release");
  if (wrong != 0) {
    fprintf(stderr, "tarn_bench: %u results are wrong\n", (unsigned)wrong);
    exit(1);
  }
  measure_print(bench->name, 1e9 / measure_median_ns(bench->measure), "1/s", note);
}
