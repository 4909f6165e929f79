/* A million lines of 64 bytes that another process has written: one word read of each, from the last to the first. That is the
 * least that it takes to see that a million tasks are done.
 *
 *   lines [--lines N] [--ms N]
 */
#include "../measure.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/wait.h>

typedef struct Line {
  _Alignas(64) atomic_ullong word;
} Line;

typedef struct Shared {
  _Alignas(64) atomic_int round;
  _Alignas(64) atomic_int answers;
} Shared;

static void serve(Shared *shared, Line *lines, size_t count)
{
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  measure_pin(1);
  for (int done = 0;; ++done) {
    while (atomic_load_explicit(&shared->round, memory_order_acquire) == done) measure_pause();
    for (size_t i = 0; i < count; ++i) atomic_store_explicit(&lines[i].word, (unsigned)done + 1, memory_order_release);
    atomic_store_explicit(&shared->answers, done + 1, memory_order_release);
  }
}

int main(int argc, char **argv)
{
  static Measure measure;
  size_t count = (size_t)measure_option_int(argc, argv, "--lines", 1000000);
  Shared *shared = (Shared *)measure_shared(sizeof(Shared));
  Line *lines = (Line *)measure_shared(count * sizeof(Line));
  measure_cpu(0);
  pid_t other = fork();
  if (other < 0) measure_die("fork");
  if (other == 0) serve(shared, lines, count);
  measure_pin(0);
  measure_start(&measure, argc, argv);
  for (int round = 1; measure_more(&measure); ++round) {
    atomic_store_explicit(&shared->round, round, memory_order_release);
    while (atomic_load_explicit(&shared->answers, memory_order_acquire) != round) measure_pause();
    size_t seen = 0;
    measure_begin(&measure);
    for (size_t i = count; i-- > 0;) seen += atomic_load_explicit(&lines[i].word, memory_order_acquire) == (unsigned)round;
    measure_end(&measure, (double)count);
    if (seen != count) measure_die("lines");
  }
  kill(other, SIGKILL);
  waitpid(other, NULL, 0);
  measure_print("lines", measure_median_ns(&measure), "ns", "a line; another process wrote them");
  return 0;
}
