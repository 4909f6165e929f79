/* recover.worker: the only worker is killed, and a task submitted at once; measured from the signal to its result, by the worker
 * that takes its place. recover.tarnd: tarnd is killed, and asked for something at once; measured from the signal to the answer,
 * by the tarnd that takes the session over. print.line: what it costs a task to print a line. */
#include "bench.h"

#include <fcntl.h>
#include <signal.h>

enum { kLinesMax = 1000 };

int bench_print(tarn_call *call)
{
  tarn_bytes argument = tarn_call_arg(call, 0);
  uint64_t lines;
  if (argument.size != sizeof lines) return tarn_call_fail(call, TARN_E_TYPE, NULL, "wants 8 bytes");
  memcpy(&lines, argument.data, sizeof lines);
  for (uint64_t i = 0; i < lines; ++i) printf("a line of some forty bytes, number %5llu\n", (unsigned long long)i);
  return 0;
}

void bench_recover(Bench *bench)
{
  bench_open(bench, 1);
  measure_start(bench->measure, bench->argc, bench->argv);
  int daemon_pid, worker_pid = 0;
  while (measure_more(bench->measure)) {
    int dead_pid = worker_pid;
    do {
      usleep(2000); /* the dead one is settled, and its place on the board given back */
      bench_pids(bench, &daemon_pid, &worker_pid);
    } while (worker_pid == dead_pid);
    measure_begin(bench->measure);
    kill(worker_pid, SIGKILL);
    bench_call(bench->client, 1);
    measure_end(bench->measure, 1);
  }
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", "one worker; with the task that is submitted then");
}

void bench_recover_tarnd(Bench *bench)
{
  enum { kRounds = 3 };
  tarn_object file;
  bench_open(bench, 1);
  measure_start(bench->measure, bench->argc, bench->argv);
  for (int round = 0; round < kRounds || measure_more(bench->measure); ++round) {
    int daemon_pid, worker_pid;
    usleep(1100000); /* one that lived for a second is started again at once */
    bench_check(tarn_client_dispatch(bench->client), "tarn_client_dispatch");
    bench_pids(bench, &daemon_pid, &worker_pid);
    measure_begin(bench->measure);
    kill(daemon_pid, SIGKILL);
    bench_check(tarn_object_from_file(bench->client, "/proc/self/exe", TARN_FILE_MAP, &file), "tarn_object_from_file");
    measure_end(bench->measure, 1);
    bench_check(tarn_release(bench->client, file), "tarn_release");
    bench_call(bench->client, 1);
  }
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", "from SIGKILL to the answer to what is asked then");
}

void bench_print_line(Bench *bench)
{
  int null = open("/dev/null", O_WRONLY | O_CLOEXEC), before = dup(STDOUT_FILENO);
  tarn_future future;
  uint64_t lines = kLinesMax;
  tarn_arg argument = tarn_arg_value(&lines, sizeof lines);
  if (null < 0 || before < 0) measure_die("/dev/null");
  dup2(null, STDOUT_FILENO); /* what the workers print goes nowhere */
  bench_open(bench, 1);
  dup2(before, STDOUT_FILENO);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    measure_begin(bench->measure);
    bench_check(tarn_submit(bench->client, tarn_task_id("bench.print"), &argument, 1, NULL, &future), "tarn_submit");
    bench_check(tarn_result(bench->client, future, -1, NULL), "tarn_result");
    measure_end(bench->measure, kLinesMax);
    bench_check(tarn_future_release(bench->client, future), "tarn_future_release");
  }
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", "of 1000 that a task prints, to a client's /dev/null");
}
