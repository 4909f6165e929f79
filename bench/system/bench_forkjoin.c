/* task.forkjoin: the n-th Fibonacci number by tasks that submit two tasks each and wait for them, which do nothing else. */
#include "bench.h"

/* 24: 150 049 tasks. */
int bench_fib(tarn_call *call)
{
  uint64_t n, sum = 0;
  memcpy(&n, tarn_call_arg(call, 0).data, sizeof n);
  if (n < 2) return tarn_call_return(call, &n, sizeof n);
  tarn_client *client = tarn_call_client(call);
  tarn_task fib = tarn_task_id("bench.fib");
  tarn_future futures[2];
  for (int i = 0; i < 2; ++i) {
    uint64_t less = n - 1 - (uint64_t)i;
    tarn_arg argument = tarn_arg_value(&less, sizeof less);
    bench_check(tarn_submit(client, fib, &argument, 1, NULL, &futures[i]), "tarn_submit");
  }
  for (int i = 0; i < 2; ++i) {
    tarn_bytes result;
    uint64_t number;
    bench_check(tarn_result(client, futures[i], -1, &result), "tarn_result");
    memcpy(&number, result.data, sizeof number);
    sum += number;
    bench_check(tarn_future_release(client, futures[i]), "tarn_future_release");
  }
  return tarn_call_return(call, &sum, sizeof sum);
}

static uint64_t fib(uint64_t n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

void bench_forkjoin(Bench *bench)
{
  char note[96];
  uint64_t n = (uint64_t)measure_option_int(bench->argc, bench->argv, "--depth", 24);
  uint32_t workers = measure_cpu(1) == measure_cpu(0) ? 1 : 2;
  double tasks = 2.0 * (double)fib(n + 1) - 1;
  bench_open(bench, workers);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    tarn_arg argument = tarn_arg_value(&n, sizeof n);
    tarn_future future;
    tarn_bytes result;
    uint64_t got = 0;
    measure_begin(bench->measure);
    bench_check(tarn_submit(bench->client, tarn_task_id("bench.fib"), &argument, 1, NULL, &future), "tarn_submit");
    bench_check(tarn_result(bench->client, future, -1, &result), "tarn_result");
    measure_end(bench->measure, tasks);
    memcpy(&got, result.data, sizeof got);
    bench_check(tarn_future_release(bench->client, future), "tarn_future_release");
    if (got != fib(n)) {
      fprintf(stderr, "tarn_bench: a result is wrong\n");
      exit(1);
    }
  }
  snprintf(note, sizeof note, "a task, %.0f of them; %u workers", tasks, workers);
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}
