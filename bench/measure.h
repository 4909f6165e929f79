/* measure.h: what every program under bench/ needs to measure, and to say what it measured.
 *
 * A measurement is cut into many short batches and reported as the median of the batches, so that a
 * time slice lost to somebody else costs one batch, not the figure. Each figure is one line of JSON
 * on stdout, which scripts/bench reads:
 *   {"measure": "pingpong", "value": 109.2, "unit": "ns", "note": "cores 0 1"}
 * C11, and C++20 as well. One thread at a time.
 */
#ifndef TARN_BENCH_MEASURE_H
#define TARN_BENCH_MEASURE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__) || defined(__i386__)
#define measure_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define measure_pause() __asm__ volatile("yield")
#else
#define measure_pause() ((void)0)
#endif

#define kBatchesMax 65536

typedef struct Measure {
  double batches[kBatchesMax];
  int count;
  int64_t begin_ns;
  int64_t deadline_ns;
} Measure;

static inline void measure_die(const char *what)
{
  perror(what);
  exit(1);
}

static inline int64_t measure_now_ns(void)
{
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The n-th cpu this process may run on; the last one if there are fewer. */
static inline int measure_cpu(int n)
{
  static cpu_set_t all; /* as the program was started: pinning later does not change it */
  static int known = 0;
  if (!known) {
    if (sched_getaffinity(0, sizeof all, &all) != 0) measure_die("sched_getaffinity");
    known = 1;
  }
  int last = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET((size_t)cpu, &all)) continue;
    last = cpu;
    if (n-- == 0) break;
  }
  return last;
}

/* Pins this process to the n-th cpu it may run on and returns that cpu. */
static inline int measure_pin(int n)
{
  int cpu = measure_cpu(n);
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) measure_die("sched_setaffinity");
  return cpu;
}

/* A process on the n-th core, which ends with this one: 0 in there, its number here. */
static inline pid_t measure_fork(int n)
{
  pid_t child = fork();
  if (child < 0) measure_die("fork");
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  measure_pin(n);
  return 0;
}

/* Zeroed memory that a forked child shares, every page of it touched. */
static inline void *measure_shared(size_t size)
{
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) measure_die("mmap");
  return memory;
}

/* Reads `--NAME VALUE` from the command line. */
static inline const char *measure_option(int argc, char **argv, const char *name, const char *otherwise)
{
  for (int i = 1; i + 1 < argc; ++i)
    if (strcmp(argv[i], name) == 0) return argv[i + 1];
  return otherwise;
}

static inline int64_t measure_option_int(int argc, char **argv, const char *name, int64_t otherwise)
{
  const char *text = measure_option(argc, argv, name, NULL);
  return text == NULL ? otherwise : strtoll(text, NULL, 10);
}

/* A measurement of `--ms` milliseconds. Then, until measure_more says no: measure_begin, work, measure_end. */
static inline void measure_start(Measure *measure, int argc, char **argv)
{
  measure->count = 0;
  measure->deadline_ns = measure_now_ns() + measure_option_int(argc, argv, "--ms", 200) * 1000000;
}

static inline int measure_more(const Measure *measure)
{
  return measure->count < kBatchesMax && (measure->count < 3 || measure_now_ns() < measure->deadline_ns);
}

static inline void measure_begin(Measure *measure) { measure->begin_ns = measure_now_ns(); }

/* Ends a batch of `operations`: records the nanoseconds that each took. */
static inline void measure_end(Measure *measure, double operations)
{
  measure->batches[measure->count++] = (double)(measure_now_ns() - measure->begin_ns) / operations;
}

/* Records a batch that was timed otherwise, such as by two processes. */
static inline void measure_add(Measure *measure, double ns) { measure->batches[measure->count++] = ns; }

static inline int measure_compare(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* Nanoseconds per operation: the median of the batches. */
static inline double measure_median_ns(Measure *measure)
{
  qsort(measure->batches, (size_t)measure->count, sizeof(double), measure_compare);
  return measure->batches[measure->count / 2];
}

static inline void measure_print(const char *name, double value, const char *unit, const char *note)
{
  printf("{\"measure\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"note\": \"%s\"}\n", name, value, unit, note);
  fflush(stdout);
}

#endif
