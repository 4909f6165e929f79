/* queue.1m.time, queue.1m.bytes, queue.1m.wakes, wait.1m: a million tasks that wait at a time, and one wait for all of them. */
#include "../memory.h"
#include "bench.h"

#include <sys/resource.h>

enum { kSettleMs = 200 };

static long switches(void)
{
  struct rusage usage;
  if (getrusage(RUSAGE_THREAD, &usage) != 0) measure_die("getrusage");
  return usage.ru_nvcsw;
}

static int64_t memory_of(int daemon_pid, int worker_pid)
{
  usleep(kSettleMs * 1000); /* tarnd may still be preparing pages */
  return private_bytes(getpid()) + private_bytes(worker_pid) + private_bytes(daemon_pid) + memfd_bytes(daemon_pid);
}

static int64_t thread_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Keeps the worker for that many milliseconds, or until it is cancelled: the tasks behind it wait. */
int bench_hold(tarn_call *call)
{
  uint32_t ms;
  memcpy(&ms, tarn_call_arg(call, 0).data, sizeof ms);
  for (uint32_t i = 0; i < ms && !tarn_call_cancelled(call); ++i) usleep(1000);
  return 0;
}

void bench_queue(Bench *bench)
{
  char place[96], note[256];
  size_t count = (size_t)measure_option_int(bench->argc, bench->argv, "--tasks", 1000000);
  tarn_future *futures = (tarn_future *)malloc(count * sizeof *futures);
  if (futures == NULL) measure_die("memory");
  memset(futures, 1, count * sizeof *futures);
  bench_open(bench, 1);
  bench_place(bench, 0, place, sizeof place);
  int daemon_pid, worker_pid;
  bench_pids(bench, &daemon_pid, &worker_pid);
  int64_t before = memory_of(daemon_pid, worker_pid);

  uint32_t forever_ms = 60000;
  tarn_arg argument = tarn_arg_value(&forever_ms, sizeof forever_ms);
  tarn_future holder;
  tarn_bytes result;
  bench_check(tarn_submit(bench->client, tarn_task_id("bench.hold"), &argument, 1, NULL, &holder), "tarn_submit");
  usleep(20000); /* it is in hand */
  tarn_task task = bench_add_one();
  int64_t begin_ns = measure_now_ns();
  for (uint64_t i = 0; i < count; ++i) {
    argument = tarn_arg_value(&i, sizeof i);
    bench_check(tarn_submit(bench->client, task, &argument, 1, NULL, &futures[i]), "tarn_submit");
  }
  double submit_s = (double)(measure_now_ns() - begin_ns) / 1e9;
  double bytes = (double)(memory_of(daemon_pid, worker_pid) - before) / (double)count;

  bench_check(tarn_cancel(bench->client, holder, 0), "tarn_cancel");
  long switches_before = switches();
  begin_ns = measure_now_ns();
  int64_t thread_begin_ns = thread_ns();
  bench_check(tarn_wait(bench->client, futures, count, count, -1, NULL, NULL), "tarn_wait");
  double drain_s = (double)(measure_now_ns() - begin_ns) / 1e9;
  double wait_ns = (double)(thread_ns() - thread_begin_ns) / (double)count;
  long wakes = switches() - switches_before;
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t got = 0;
    bench_check(tarn_result(bench->client, futures[i], 0, &result), "tarn_result");
    memcpy(&got, result.data, sizeof got);
    if (got != i + 1) {
      fprintf(stderr, "tarn_bench: result %llu is wrong\n", (unsigned long long)i);
      exit(1);
    }
  }
  snprintf(note, sizeof note, "%zu tasks: submitted in %.3g s, drained in %.3g s, %s", count, submit_s, drain_s, place);
  measure_print("queue.1m.time", (submit_s + drain_s) * 1e9, "ns", note);
  snprintf(note, sizeof note, "of client, worker and tarnd, a queued task");
  measure_print("queue.1m.bytes", bytes, "B", note);
  snprintf(note, sizeof note, "that the client woke in one wait for all: it looks for the daemon each 0.1 s");
  measure_print("queue.1m.wakes", (double)wakes, "1", note);
  snprintf(note, sizeof note, "processor time of the thread that waits, which woke %ld times in %.3g s", wakes, drain_s);
  measure_print("wait.1m", wait_ns, "ns", note);
  free(futures);
}
