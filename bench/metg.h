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

/* One copy for the tasks and for the measure, and at the beginning of a cache line: where the compiler had put each of them inline a
 * turn took one cycle or two, by the line that the loop lay across. */
static __attribute__((noinline, aligned(64), unused)) void metg_work(uint64_t turns)
{
  for (uint64_t i = 0; i < turns; ++i) __asm__ volatile("" ::: "memory");
}

/* Runs all tasks once, each with so many turns of work; returns the nanoseconds that took. */
typedef double (*MetgRun)(void *context, uint64_t turns);

/* How long a turn takes just now while the other cores do the same: two of them may be halves of one, and on a virtual machine
 * that changes from one moment to the next. */
static inline double metg_turn_ns(void)
{
  enum { kTurns = 200000 };
  static double *results = NULL; /* shared: of the first core, then of the others, then how many are ready */
  if (results == NULL) results = (double *)measure_shared(4096);
  volatile int *ready = (volatile int *)(results + kMetgCores);
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
  return mean;
}

typedef struct MetgSample {
  double efficiency, granularity;
} MetgSample;

static inline int metg_compare(const void *a, const void *b)
{
  double x = ((const MetgSample *)a)->efficiency, y = ((const MetgSample *)b)->efficiency;
  return (x > y) - (x < y);
}

/* Of some runs the one of median efficiency. Each has the turns before and after it for a measure: what the machine is at that
 * moment both have. */
static inline MetgSample metg_sample(MetgRun run, void *context, double tasks, uint64_t turns)
{
  MetgSample samples[kMetgRuns];
  double before = metg_turn_ns();
  for (int i = 0; i < kMetgRuns; ++i) {
    samples[i].granularity = run(context, turns) * (double)kMetgCores / tasks;
    double after = metg_turn_ns();
    samples[i].efficiency = (double)turns * (before + after) / 2 / samples[i].granularity;
    before = after;
  }
  qsort(samples, kMetgRuns, sizeof samples[0], metg_compare);
  return samples[kMetgRuns / 2];
}

/* METG at 50 %, in nanoseconds: doubles the work until it is half of the time, then narrows that down. */
static inline double metg_ns(MetgRun run, void *context, double tasks)
{
  uint64_t high = 16, low = 0;
  (void)run(context, high); /* warm */
  MetgSample at_high = metg_sample(run, context, tasks, high);
  while (at_high.efficiency < 0.5 && high < (uint64_t)1 << 14) {
    low = high;
    high *= 2;
    at_high = metg_sample(run, context, tasks, high);
  }
  while (high - low > 1 + high / 16) {
    uint64_t middle = low + (high - low) / 2;
    MetgSample sample = metg_sample(run, context, tasks, middle);
    if (sample.efficiency < 0.5) {
      low = middle;
    } else {
      high = middle;
      at_high = sample;
    }
  }
  return at_high.granularity;
}

#endif
