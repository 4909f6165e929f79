/* metg.h: the minimum effective task granularity, as Task Bench (Slaughter et al., SC20) defines it.
 *
 * Of a graph whose tasks all do the same amount of work, the granularity is wall time * cores / tasks, and the efficiency is the
 * time that the work alone would take on all cores, over the wall time. METG(50 %) is the granularity at which the efficiency
 * is one half: tasks below that are more overhead than work. Work is a loop that touches no memory; how long a turn of it takes is measured
 * before, on all cores at once. C11, and C++20 as well.
 */
#ifndef TARN_BENCH_METG_H
#define TARN_BENCH_METG_H

#include "measure.h"

#include <sys/wait.h>

enum { kMetgCores = 2, kMetgWidth = 64, kMetgSteps = 1000, kMetgRuns = 7 };

static inline void metg_work(uint64_t turns)
{
  for (uint64_t i = 0; i < turns; ++i) __asm__ volatile("" ::: "memory");
}

/* Runs all tasks once, each with so many turns of work; returns the nanoseconds that took. */
typedef double (*MetgRun)(void *context, uint64_t turns);

static inline int metg_compare(const void *a, const void *b)
{
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* How long a turn takes while the other cores do the same: two of them may be halves of one. */
static inline double metg_turn_ns(void)
{
  enum { kTurns = 200000, kTries = 9 };
  static double *results = NULL; /* shared: of the first core, then of the others, then how many are ready */
  if (results == NULL) results = (double *)measure_shared(4096);
  volatile int *ready = (volatile int *)(results + kMetgCores);
  double best = 1e9;
  for (int i = 0; i < kTries; ++i) {
    pid_t children[kMetgCores];
    __atomic_store_n(ready, 0, __ATOMIC_SEQ_CST);
    for (int core = 0; core < kMetgCores; ++core) {
      if ((children[core] = fork()) != 0) continue;
      measure_pin(core);
      __atomic_fetch_add(ready, 1, __ATOMIC_SEQ_CST);
      while (__atomic_load_n(ready, __ATOMIC_SEQ_CST) < kMetgCores) sched_yield();
      int64_t begin = measure_now_ns();
      metg_work(kTurns);
      results[core] = (double)(measure_now_ns() - begin) / (double)kTurns;
      metg_work(kTurns / 10); /* the other one is not through yet */
      _exit(0);
    }
    double mean = 0;
    for (int core = 0; core < kMetgCores; ++core) {
      if (waitpid(children[core], NULL, 0) < 0) measure_die("waitpid");
      mean += results[core] / (double)kMetgCores;
    }
    if (mean < best) best = mean;
  }
  return best;
}

/* The median of some runs: sets the granularity, and returns the efficiency. */
static inline double metg_efficiency(MetgRun run, void *context, double tasks, uint64_t turns, double turn_ns, double *granularity)
{
  double walls[kMetgRuns];
  for (int i = 0; i < kMetgRuns; ++i) walls[i] = run(context, turns);
  qsort(walls, kMetgRuns, sizeof walls[0], metg_compare);
  *granularity = walls[kMetgRuns / 2] * (double)kMetgCores / tasks;
  if (getenv("METG_TRACE") != NULL) fprintf(stderr, "%llu turns of %.3f ns: %.1f ns, %.1f to %.1f\n", (unsigned long long)turns, turn_ns, *granularity, walls[0] * 2 / tasks, walls[kMetgRuns - 1] * 2 / tasks);
  return (double)turns * turn_ns / *granularity;
}

/* METG at 50 %, in nanoseconds: halves the work until it is less than half of the time, then narrows that down. */
static inline double metg_ns(MetgRun run, void *context, double tasks)
{
  double granularity = 0, turn_ns = metg_turn_ns();
  uint64_t high = 16, low = 0;
  (void)run(context, high); /* warm */
  while (metg_efficiency(run, context, tasks, high, turn_ns, &granularity) < 0.5 && high < (uint64_t)1 << 14) low = high, high *= 2;
  double at_high = granularity;
  while (high - low > 1 + high / 16) {
    uint64_t middle = low + (high - low) / 2;
    if (metg_efficiency(run, context, tasks, middle, turn_ns, &granularity) < 0.5) {
      low = middle;
    } else {
      high = middle;
      at_high = granularity;
    }
  }
  return at_high;
}

#endif
