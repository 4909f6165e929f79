/* The least that a call can cost when both sides sleep: one futex each way. Between the calls the client
 * sleeps, so that the other side does, too; what is measured is the call alone.
 *
 *   futex_pingpong [--ms N] [--place same|cross] [--sleep-us N]     both on one core, or each on its own
 */
#include "../measure.h"

#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>

typedef struct Shared {
  _Alignas(128) _Atomic uint32_t request;
  _Alignas(128) _Atomic uint32_t reply;
} Shared;

static void set_and_wake(_Atomic uint32_t *word, uint32_t value)
{
  atomic_store(word, value);
  syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void sleep_until(_Atomic uint32_t *word, uint32_t value)
{
  uint32_t seen;
  while ((seen = atomic_load(word)) != value) syscall(SYS_futex, word, FUTEX_WAIT, seen, NULL, NULL, 0);
}

int main(int argc, char **argv)
{
  static Measure measure;
  Shared *shared = (Shared *)measure_shared(sizeof(Shared));
  useconds_t sleep_us = (useconds_t)measure_option_int(argc, argv, "--sleep-us", 500);
  int other = strcmp(measure_option(argc, argv, "--place", "cross"), "same") == 0 ? 0 : 1;
  int here = measure_cpu(0), there = measure_cpu(other);
  pid_t child = measure_fork(other);
  if (child == 0) {
    for (uint32_t next = 1;; ++next) {
      sleep_until(&shared->request, next);
      set_and_wake(&shared->reply, next);
    }
  }
  measure_pin(0);
  uint32_t n = 0;
  measure_start(&measure, argc, argv);
  while (measure_more(&measure)) {
    usleep(sleep_us);
    measure_begin(&measure);
    set_and_wake(&shared->request, ++n);
    sleep_until(&shared->reply, n);
    measure_end(&measure, 1);
  }
  kill(child, SIGKILL);
  char note[64];
  snprintf(note, sizeof note, "cores %d %d", here, there);
  measure_print("futex_pingpong", measure_median_ns(&measure), "ns", note);
  return 0;
}
