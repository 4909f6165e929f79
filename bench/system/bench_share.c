/* oversubscribed.p99, shared.short.p99, fairness.jain, fairness.weights, idle.after: several programs on the same two slots.
 *
 * Each program is a process of its own with two workers, all of one host's tarnd. They begin and end together. */
#include "../resident.h"
#include "bench.h"
#include "host.h"

#include <stdatomic.h>
#include <sys/wait.h>

enum { kPrograms = 4, kWorkers = 2, kFlight = 16, kStartMs = 20000, kSettleMs = 400 };

/* What a program does, and what came of it. */
typedef struct Program {
  uint64_t task_ns; /* the length of its tasks; 0: calls of an empty one, each when the last has come back */
  uint64_t gap_us;  /* between calls */
  uint32_t threads; /* that work in each task */
  uint32_t uid;     /* 0: as this one */
  int pids[kWorkers];
  Measure calls;
} Program;

typedef struct Shared {
  _Atomic uint32_t ready;
  _Atomic uint32_t stage; /* 1: go, 2: measure, 3: stop */
  Program programs[kPrograms];
} Shared;

static int64_t thread_now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Works for as long as its argument says, in time on the core. */
int bench_burn(tarn_call *call)
{
  tarn_bytes argument = tarn_call_arg(call, 0);
  uint64_t ns;
  if (argument.size != sizeof ns) return tarn_call_fail(call, TARN_E_TYPE, NULL, "wants 8 bytes");
  memcpy(&ns, argument.data, sizeof ns);
  int64_t end_ns = thread_now_ns() + (int64_t)ns;
  while (thread_now_ns() < end_ns)
    for (int i = 0; i < 64; ++i) measure_pause();
  return 0;
}

static void wait_for_stage(const Shared *shared, uint32_t stage)
{
  while (atomic_load(&shared->stage) < stage) usleep(200);
}

static void call_again_and_again(Bench *bench, Shared *shared, Program *program)
{
  Measure *calls = &program->calls;
  uint64_t i = 0;
  for (; atomic_load_explicit(&shared->stage, memory_order_relaxed) < 3; ++i) {
    if (atomic_load_explicit(&shared->stage, memory_order_relaxed) < 2) calls->count = 0;
    if (program->gap_us != 0) usleep((useconds_t)program->gap_us);
    measure_begin(calls);
    bench_call(bench->client, i);
    if (calls->count == kBatchesMax) calls->count = kBatchesMax / 2; /* the latter half again */
    measure_end(calls, 1);
  }
}

static void keep_busy(Bench *bench, Shared *shared, const Program *program)
{
  static tarn_future futures[kFlight];
  tarn_arg argument = tarn_arg_value(&program->task_ns, sizeof program->task_ns);
  tarn_task task = tarn_task_id("bench.burn");
  uint64_t sent = 0, received = 0;
  while (atomic_load_explicit(&shared->stage, memory_order_relaxed) < 3) {
    while (sent < received + kFlight)
      bench_check(tarn_submit(bench->client, task, &argument, 1, NULL, &futures[sent++ % kFlight]), "tarn_submit");
    bench_check(tarn_result(bench->client, futures[received % kFlight], -1, NULL), "tarn_result");
    bench_check(tarn_future_release(bench->client, futures[received++ % kFlight]), "tarn_future_release");
  }
}

/* One of the programs. */
void bench_sharer(Bench *bench)
{
  int fd = (int)measure_option_int(bench->argc, bench->argv, "--fd", -1);
  int64_t number = measure_option_int(bench->argc, bench->argv, "--number", 0);
  Shared *shared = (Shared *)mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (shared == MAP_FAILED) measure_die("mmap");
  Program *program = &shared->programs[number];
  bench_open_at(bench, measure_option(bench->argc, bench->argv, "--address", ""), kWorkers);
  for (uint32_t i = 0; i < kWorkers; ++i) {
    tarn_slot_info slot;
    slot.size = sizeof slot;
    bench_check(tarn_client_get_slot(bench->client, i, &slot), "tarn_client_get_slot");
    program->pids[i] = slot.pid;
  }
  atomic_fetch_add(&shared->ready, 1);
  wait_for_stage(shared, 1);
  if (program->task_ns == 0) {
    call_again_and_again(bench, shared, program);
  } else {
    keep_busy(bench, shared, program);
  }
}

static Shared *make_shared(int *fd)
{
  *fd = memfd_create("tarn-bench", 0);
  if (*fd < 0 || ftruncate(*fd, sizeof(Shared)) != 0) measure_die("memfd");
  Shared *shared = (Shared *)mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, *fd, 0);
  if (shared == MAP_FAILED) measure_die("mmap");
  return shared;
}

static pid_t start_sharer(const Bench *bench, const Host *host, int fd, int number, uint32_t uid)
{
  char fd_text[16], number_text[16];
  snprintf(fd_text, sizeof fd_text, "%d", fd);
  snprintf(number_text, sizeof number_text, "%d", number);
  pid_t child = fork();
  if (child < 0) measure_die("fork");
  if (child == 0) {
    if (uid != 0 && (setgid(uid) != 0 || setuid(uid) != 0)) _exit(1);
    execl("/proc/self/exe", bench->argv[0], "sharer", "--address", host->address, "--fd", fd_text, "--number", number_text, (char *)NULL);
    _exit(1);
  }
  return child;
}

/* Starts the programs, lets them run for a while and calls `look` 10 times meanwhile, evenly spread, and once at the beginning. */
static void run_programs(const Bench *bench, const Host *host, Shared *shared, int fd, int count, void (*look)(Shared *shared, int count, int turn))
{
  enum { kLooks = 10 };
  pid_t children[kPrograms];
  int64_t ms = measure_option_int(bench->argc, bench->argv, "--ms", 200);
  for (int i = 0; i < count; ++i) children[i] = start_sharer(bench, host, fd, i, shared->programs[i].uid);
  int64_t deadline_ns = measure_now_ns() + (int64_t)kStartMs * 1000000;
  while (atomic_load(&shared->ready) != (uint32_t)count) {
    if (measure_now_ns() > deadline_ns || waitpid(-1, NULL, WNOHANG) > 0) {
      fprintf(stderr, "tarn_bench: one of the programs did not start\n");
      exit(1);
    }
    usleep(1000);
  }
  atomic_store(&shared->stage, 1);
  usleep(kSettleMs * 1000); /* tarnd looks who wants what */
  atomic_store(&shared->stage, 2);
  for (int turn = 0; turn <= kLooks; ++turn) {
    if (look != NULL) look(shared, count, turn);
    if (turn < kLooks) usleep((useconds_t)(ms * 1000 / kLooks));
  }
  atomic_store(&shared->stage, 3);
  for (int i = 0; i < count; ++i) {
    int status;
    if (waitpid(children[i], &status, 0) != children[i] || status != 0) {
      fprintf(stderr, "tarn_bench: one of the programs failed\n");
      exit(1);
    }
  }
}

static double percentile(Measure *calls, double share)
{
  if (calls->count == 0) return 0;
  qsort(calls->batches, (size_t)calls->count, sizeof(double), measure_compare);
  return calls->batches[(int)((double)(calls->count - 1) * share)];
}

/* The worst program's. */
static void print_calls(Shared *shared, int count, const char *name, const char *what)
{
  double p50 = 0, p99 = 0, most = 0;
  int calls = 0;
  for (int i = 0; i < count; ++i) {
    Measure *of = &shared->programs[i].calls;
    if (of->count == 0) continue;
    calls += of->count;
    if (percentile(of, 0.5) > p50) p50 = percentile(of, 0.5);
    if (percentile(of, 0.99) > p99) p99 = percentile(of, 0.99);
    if (percentile(of, 1) > most) most = percentile(of, 1);
  }
  char note[160];
  snprintf(note, sizeof note, "%s; the worst program's of %d calls; p50 %.1f us, longest %.0f us", what, calls, p50 / 1e3, most / 1e3);
  measure_print(name, p99, "ns", note);
}

void bench_oversubscribed(Bench *bench)
{
  static Host host;
  int fd;
  Shared *shared = make_shared(&fd);
  host_start(&host, (int64_t)1 << 30, 0);
  run_programs(bench, &host, shared, fd, kPrograms, NULL);
  print_calls(shared, kPrograms, bench->name, "4 programs with 2 workers each on 2 cores, all calling");
}

void bench_shared_short(Bench *bench)
{
  static Host host;
  int fd;
  Shared *shared = make_shared(&fd);
  for (int i = 1; i < kPrograms; ++i) shared->programs[i].task_ns = 10000000;
  shared->programs[0].gap_us = 500;
  host_start(&host, (int64_t)1 << 30, 0);
  run_programs(bench, &host, shared, fd, kPrograms, NULL);
  print_calls(shared, kPrograms, bench->name, "calls every 0.5 ms beside 3 programs with tasks of 10 ms on the same 2 cores");
}

static double core_ns[kPrograms][11];

static void look_at_cores(Shared *shared, int count, int turn)
{
  for (int i = 0; i < count; ++i) {
    core_ns[i][turn] = 0;
    for (int worker = 0; worker < kWorkers; ++worker) core_ns[i][turn] += (double)cpu_time_ns(shared->programs[i].pids[worker]);
  }
}

/* Jain's index over what each has had from one look to another. */
static double jain(int count, int from, int to)
{
  double sum = 0, squares = 0;
  for (int i = 0; i < count; ++i) {
    double had = core_ns[i][to] - core_ns[i][from];
    sum += had;
    squares += had * had;
  }
  return squares > 0 ? sum * sum / ((double)count * squares) : 1; /* nobody has had anything, in a smoke test */
}

void bench_fairness(Bench *bench)
{
  static Host host;
  static const uint64_t lengths_ns[kPrograms] = {20000, 200000, 2000000, 20000000};
  int fd;
  char note[256];
  Shared *shared = make_shared(&fd);
  for (int i = 0; i < kPrograms; ++i) shared->programs[i].task_ns = lengths_ns[i];
  host_start(&host, (int64_t)1 << 30, 0);
  run_programs(bench, &host, shared, fd, kPrograms, look_at_cores);
  double worst = 1, had = 0;
  for (int turn = 0; turn < 10; ++turn)
    if (jain(kPrograms, turn, turn + 1) < worst) worst = jain(kPrograms, turn, turn + 1);
  for (int i = 0; i < kPrograms; ++i) had += core_ns[i][10] - core_ns[i][0];
  int size = snprintf(note, sizeof note, "tasks of 0.02, 0.2, 2 and 20 ms; the worst tenth of the time %.4f; core time", worst);
  for (int i = 0; i < kPrograms; ++i)
    size += snprintf(note + size, sizeof note - (size_t)size, " %.1f", 100 * (core_ns[i][10] - core_ns[i][0]) / had);
  snprintf(note + size, sizeof note - (size_t)size, " %%");
  measure_print(bench->name, jain(kPrograms, 0, 10), "1", note);
}

/* As root alone, to be two users. */
void bench_weights(Bench *bench)
{
  enum { kHeavy = 65533, kLight = 65532 };
  static Host host = {.heavy_uid = kHeavy, .heavy_weight = 300};
  int fd;
  char note[128];
  Shared *shared = make_shared(&fd);
  for (int i = 0; i < 2; ++i) {
    shared->programs[i].task_ns = 1000000;
    shared->programs[i].uid = i == 0 ? kHeavy : kLight;
  }
  host_start(&host, (int64_t)1 << 30, 0);
  run_programs(bench, &host, shared, fd, 2, look_at_cores);
  double heavy = core_ns[0][10] - core_ns[0][0], light = core_ns[1][10] - core_ns[1][0];
  snprintf(note, sizeof note, "core time of a user of weight 300 (%.1f %%) over that of one of 100, tasks of 1 ms, two workers each",
           100 * heavy / (heavy + light));
  measure_print(bench->name, light > 0 ? heavy / light : 0, "1", note);
}

void bench_idle_after(Bench *bench)
{
  enum { kCalls = 2000, kPids = 3 + kWorkers, kWindowMs = 50 };
  int pids[kPids];
  int count = 0;
  tarn_client_info info;
  info.size = sizeof info;
  bench_open(bench, kWorkers);
  bench_check(tarn_client_get_info(bench->client, &info), "tarn_client_get_info");
  pids[count++] = info.daemon_pid;
  pids[count++] = (int)status_number(info.daemon_pid, "PPid:");
  for (uint32_t i = 0; i < kWorkers; ++i) {
    tarn_slot_info slot;
    slot.size = sizeof slot;
    bench_check(tarn_client_get_slot(bench->client, i, &slot), "tarn_client_get_slot");
    pids[count++] = slot.pid;
  }
  usleep(500000); /* tarnd measures what a wake-up costs, 0.2 s after its start */
  int rounds = 0, quiet = 0;
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    for (uint64_t i = 0; i < kCalls; ++i) bench_call(bench->client, i);
    usleep(1000);
    int64_t used_ns = 0;
    for (int i = 0; i < count; ++i) used_ns -= cpu_time_ns(pids[i]);
    usleep(kWindowMs * 1000);
    for (int i = 0; i < count; ++i) used_ns += cpu_time_ns(pids[i]);
    measure_add(bench->measure, (double)used_ns);
    ++rounds;
    if (used_ns == 0) ++quiet;
  }
  char note[128];
  snprintf(note, sizeof note, "tarnd, tarn-spawn, %d workers, %d ms from 1 ms after the last of %d calls; 0 in %d of %d rounds", kWorkers,
           kWindowMs, kCalls, quiet, rounds);
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}
