/* The least that a call to another process can cost: the request is one store on one cache line, the
 * reply one store on another; both processes spin, each on a core of its own.
 *
 *   pingpong [--ms N]
 */
#include "../measure.h"

#include <signal.h>
#include <stdatomic.h>

enum { kRoundTrips = 1000 };

typedef struct Shared {
  _Alignas(128) _Atomic uint64_t request;
  _Alignas(128) _Atomic uint64_t reply;
} Shared;

static void serve(Shared *shared)
{
  for (uint64_t next = 1;; ++next) {
    while (atomic_load_explicit(&shared->request, memory_order_acquire) != next) measure_pause();
    atomic_store_explicit(&shared->reply, next, memory_order_release);
  }
}

int main(int argc, char **argv)
{
  static Measure measure;
  Shared *shared = (Shared *)measure_shared(sizeof(Shared));
  int here = measure_cpu(0), there = measure_cpu(1);
  pid_t child = measure_fork(1);
  if (child == 0) {
    serve(shared);
  }
  measure_pin(0);
  uint64_t n = 0;
  measure_start(&measure, argc, argv);
  while (measure_more(&measure)) {
    measure_begin(&measure);
    for (int i = 0; i < kRoundTrips; ++i) {
      atomic_store_explicit(&shared->request, ++n, memory_order_release);
      while (atomic_load_explicit(&shared->reply, memory_order_acquire) != n) measure_pause();
    }
    measure_end(&measure, kRoundTrips);
  }
  kill(child, SIGKILL);
  char note[64];
  snprintf(note, sizeof note, "cores %d %d", here, there);
  measure_print("pingpong", measure_median_ns(&measure), "ns", note);
  return 0;
}
