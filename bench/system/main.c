/* tarn_bench: measures one case on the tarn side, over tarn.h alone.
 *
 *   tarn_bench CASE [--ms N] [--size BYTES] [--flight N] [--sleep-us N] [--idle-ms N]
 *                   [--objects N]
 *
 * SIZE is bytes with k, m or g (of 1024), such as 64 or 100m; --size goes before it.
 *
 *   task.sync.spin         call and wait, 8 bytes each way, client and worker spinning on two cores
 *   task.sync.parked       the same when both slept before the call; client and worker on two cores
 *   task.sync.parked.same  and on one core
 *   task.async             --flight calls in flight (256), results read in order
 *   task.forkjoin          tasks that submit two tasks each and wait for them: Fibonacci of --depth (24), on two workers
 *   metg.independent       METG at 50 % of a prebuilt graph on two workers: nodes that follow nobody
 *   metg.stencil           and such that follow three
 *   graph.build            adding a node to a graph
 *   put.64  get.64         warm objects of 64 bytes
 *   get.other.SIZE         get of objects that the worker made as its results
 *   get.other.spread       get of --size bytes (1 GiB) against get of 64, in turn
 *   put.bw.SIZE            put into warm memory
 *   create_seal.SIZE       create and seal, unfilled; .kernel: how often that enters the kernel
 *   release.same           release of --size bytes (1 MiB), until this process has the memory again
 *   release.other          the same when the owner of the memory is the worker
 *   objects.1m             .rate and .overhead: --objects (1 000 000) of 64 bytes at a time
 *   queue.1m               .time, .bytes and .wakes: --tasks (1 000 000) wait at a time, and one wait for all of them;
 *                          wait.1m: the processor time of that wait, for each
 *   store.churn            .waste and .decay: --ms at 85 % of a store of --size bytes (1 GiB)
 *   spill                  spill.bw and restore.bw: out of a full store of --size bytes (1 GiB), and back
 *   overcommit             the most memory, by the limit, while four times --size bytes (2 GiB) go through it
 *   cleanup.kill           a client with --objects (10 000) of --size bytes (4096) is killed, until
 *                          tarnd has all back
 *   recover.worker         the only worker is killed, until its successor has the result of a task
 *   recover.tarnd          tarnd is killed, until the next one has answered a request
 *   oversubscribed.p99     calls of 4 programs with two workers each, all on the same two cores
 *   shared.short.p99       calls of one of them every 0.5 ms, while the others have tasks of 10 ms
 *   fairness.jain          what each of 4 with tasks of other lengths gets of the cores
 *   fairness.weights       what two users get of them whose weights are 3 to 1; as root
 *   idle.after             what a session uses from 1 ms after its last task
 *   print.line             of 1000 that a task prints
 *   start.first_result     from fork to the first result, private daemon, two workers
 *   idle                   idle.cpu, idle.rss.tarnd, idle.rss.worker, for --idle-ms (5000) after the last task
 */
#include "bench.h"

static int add_one(tarn_call *call)
{
  tarn_bytes argument = tarn_call_arg(call, 0);
  uint64_t number;
  if (argument.size != sizeof number) return tarn_call_fail(call, TARN_E_TYPE, NULL, "wants 8 bytes");
  memcpy(&number, argument.data, sizeof number);
  ++number;
  return tarn_call_return(call, &number, sizeof number);
}

tarn_task bench_add_one(void)
{
  static tarn_task task; /* a hash of the name: computed once */
  if (task == 0) task = tarn_task_id("bench.add_one");
  return task;
}

void bench_check(int result, const char *what)
{
  if (result >= 0) return;
  fprintf(stderr, "tarn_bench: %s: %s: ", what, tarn_error_name(result));
  tarn_print_error(stderr);
  exit(1);
}

void bench_open(Bench *bench, uint32_t workers) { bench_open_at(bench, "private", workers); }

void bench_open_at(Bench *bench, const char *address, uint32_t workers)
{
  measure_cpu(0); /* remembers the cores before anybody pins anything */
  tarn_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.address = address;
  options.workers = workers;
  bench_check(tarn_init(&bench->client, &bench->argc, &bench->argv, &options), "tarn_init");
  int64_t deadline_ns = measure_now_ns() + 5000000000;
  for (uint32_t i = 0; i < workers; ++i) {
    tarn_slot_info slot;
    int result;
    slot.size = sizeof slot;
    while ((result = tarn_client_get_slot(bench->client, i, &slot)) < 0 || slot.pid <= 0) {
      if (measure_now_ns() > deadline_ns) {
        bench_check(result, "worker");
        fprintf(stderr, "tarn_bench: worker %u is not up after 5 s\n", i);
        exit(1);
      }
      usleep(200);
    }
    if (i == 0) bench->worker_core = slot.core;
  }
  bench_call(bench->client, 1);
}

void bench_place(const Bench *bench, int same_core, char *note, size_t size)
{
  int core = bench->worker_core;
  if (!same_core) {
    core = measure_cpu(0);
    if (core == bench->worker_core) core = measure_cpu(1);
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)core, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) measure_die("sched_setaffinity");
  snprintf(note, size, "client on core %d, worker on core %d", core, bench->worker_core);
}

void bench_pids(const Bench *bench, int *daemon_pid, int *worker_pid)
{
  tarn_client_info info;
  tarn_slot_info slot;
  info.size = sizeof info;
  slot.size = sizeof slot;
  bench_check(tarn_client_get_info(bench->client, &info), "tarn_client_get_info");
  bench_check(tarn_client_get_slot(bench->client, 0, &slot), "tarn_client_get_slot");
  *daemon_pid = info.daemon_pid;
  *worker_pid = slot.pid;
}

size_t bench_size(const Bench *bench)
{
  const char *dot = strrchr(bench->name, '.');
  char *unit = NULL;
  int64_t size = dot == NULL ? 0 : strtoll(dot + 1, &unit, 10);
  for (const char *units = "kmg"; unit != NULL && *unit != '\0' && *units != '\0'; ++units) {
    size *= 1024;
    if (*unit == *units) break;
  }
  size = measure_option_int(bench->argc, bench->argv, "--size", size);
  if (size <= 0) {
    fprintf(stderr, "tarn_bench: %s: no size; it ends the name or follows --size\n", bench->name);
    exit(2);
  }
  return (size_t)size;
}

uint32_t bench_object_count(size_t size)
{
  size_t count = ((size_t)64 << 20) / size;
  return count < 1 ? 1 : count > 1000 ? 1000 : (uint32_t)count;
}

void bench_call(tarn_client *client, uint64_t number)
{
  tarn_arg argument = tarn_arg_value(&number, sizeof number);
  tarn_future future;
  tarn_bytes result;
  uint64_t got;
  bench_check(tarn_submit(client, bench_add_one(), &argument, 1, NULL, &future), "tarn_submit");
  bench_check(tarn_result(client, future, -1, &result), "tarn_result");
  memcpy(&got, result.data, sizeof got);
  if (result.size != sizeof got || got != number + 1) {
    fprintf(stderr, "tarn_bench: a result is wrong\n");
    exit(1);
  }
  bench_check(tarn_future_release(client, future), "tarn_future_release");
}

int main(int argc, char **argv)
{
  static Measure measure;
  static const struct {
    const char *name;
    void (*run)(Bench *bench);
  } cases[] = {
    {"task.sync.spin", bench_sync_spin},
    {"task.sync.parked", bench_sync_parked},
    {"task.sync.parked.same", bench_sync_parked_same},
    {"task.async", bench_async},
    {"task.forkjoin", bench_forkjoin},
    {"stream.items", bench_stream},
    {"metg.independent", bench_metg},
    {"metg.stencil", bench_metg},
    {"graph.build", bench_graph_build},
    {"put.64", bench_put_64},
    {"get.64", bench_get_64},
    {"get.other.spread", bench_get_spread},
    {"get.other.", bench_get_other}, /* with a dot at the end: and a size */
    {"put.bw.", bench_put_bw},
    {"create_seal.", bench_create_seal},
    {"release.same", bench_release_same},
    {"release.other", bench_release_other},
    {"objects.1m", bench_many},
    {"queue.1m", bench_queue},
    {"store.churn", bench_churn},
    {"spill", bench_spill},
    {"overcommit", bench_overcommit},
    {"cleanup.kill", bench_cleanup},
    {"holder", bench_holder}, /* the process that cleanup.kill kills */
    {"recover.worker", bench_recover},
    {"recover.tarnd", bench_recover_tarnd},
    {"print.line", bench_print_line},
    {"oversubscribed.p99", bench_oversubscribed},
    {"shared.short.p99", bench_shared_short},
    {"fairness.jain", bench_fairness},
    {"fairness.weights", bench_weights},
    {"idle.after", bench_idle_after},
    {"sharer", bench_sharer}, /* one of the programs of these */
    {"start.first_result", bench_start},
    {"first_result", bench_first_result}, /* the process that start.first_result starts */
    {"idle", bench_idle},
  };
  bench_check(tarn_task_define("bench.add_one", add_one), "tarn_task_define");
  bench_check(tarn_task_define("bench.make", bench_make_result), "tarn_task_define");
  bench_check(tarn_task_define("bench.remake", bench_remake_result), "tarn_task_define");
  bench_check(tarn_task_define("bench.hold", bench_hold), "tarn_task_define");
  bench_check(tarn_task_define("bench.print", bench_print), "tarn_task_define");
  bench_check(tarn_task_define("bench.burn", bench_burn), "tarn_task_define");
  bench_check(tarn_task_define("bench.yield", bench_yield), "tarn_task_define");
  bench_check(tarn_task_define("bench.fib", bench_fib), "tarn_task_define");
  bench_check(tarn_task_define("bench.metg", bench_metg_work), "tarn_task_define");
  Bench bench = {argc, argv, argc > 1 ? argv[1] : "", &measure, NULL, -1};
  if (getenv("TARN_WORKER_FD") != NULL) bench_open(&bench, 1); /* serves, and does not return */
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    size_t length = strlen(cases[i].name);
    if (strncmp(bench.name, cases[i].name, length) != 0) continue;
    if (bench.name[length] != '\0' && cases[i].name[length - 1] != '.') continue;
    cases[i].run(&bench);
    tarn_close(bench.client);
    return 0;
  }
  fprintf(stderr, "usage: tarn_bench CASE [--ms N]; cases:");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; ++i) {
    int is_open = cases[i].name[strlen(cases[i].name) - 1] == '.';
    fprintf(stderr, " %s%s", cases[i].name, is_open ? "SIZE" : "");
  }
  fprintf(stderr, "\n");
  return 2;
}
