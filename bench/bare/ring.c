/* The most that two processes can exchange one by one: a ring of 64-byte requests, a ring of 64-byte
 * replies, written and read as a whole. Each record carries its position, so neither side reads an index of
 * the other.
 *
 *   ring [--ms N] [--flight N]     N requests in flight, a power of two up to 4096 (256)
 */
#include "../measure.h"

#include <signal.h>
#include <stdatomic.h>

enum { kFlightMax = 4096, kBatch = 20000 };

typedef struct Record {
  _Alignas(64) _Atomic uint64_t position; /* from 1; written last */
  uint64_t body[7];
} Record;

typedef struct Shared {
  Record requests[kFlightMax];
  Record replies[kFlightMax];
} Shared;

static void serve(Shared *shared, uint64_t flight)
{
  for (uint64_t next = 1;; ++next) {
    Record *request = &shared->requests[next % flight];
    while (atomic_load_explicit(&request->position, memory_order_acquire) != next) measure_pause();
    Record *reply = &shared->replies[next % flight];
    for (int i = 0; i < 7; ++i) reply->body[i] = request->body[i] + 1;
    atomic_store_explicit(&reply->position, next, memory_order_release);
  }
}

int main(int argc, char **argv)
{
  static Measure measure;
  uint64_t flight = (uint64_t)measure_option_int(argc, argv, "--flight", 256);
  if (flight == 0 || flight > kFlightMax || (flight & (flight - 1)) != 0) {
    fprintf(stderr, "ring: --flight takes a power of two up to %d\n", kFlightMax);
    return 2;
  }
  Shared *shared = (Shared *)measure_shared(sizeof(Shared));
  int here = measure_cpu(0), there = measure_cpu(1);
  pid_t child = measure_fork(1);
  if (child == 0) {
    serve(shared, flight);
  }
  measure_pin(0);
  uint64_t sent = 0, received = 0, sum = 0;
  measure_start(&measure, argc, argv);
  while (measure_more(&measure)) {
    measure_begin(&measure);
    uint64_t end = received + kBatch;
    while (received < end) {
      while (sent < received + flight) {
        Record *request = &shared->requests[++sent % flight];
        for (unsigned i = 0; i < 7; ++i) request->body[i] = sent + i;
        atomic_store_explicit(&request->position, sent, memory_order_release);
      }
      while (received < sent) {
        Record *reply = &shared->replies[(received + 1) % flight];
        if (atomic_load_explicit(&reply->position, memory_order_acquire) != received + 1) break;
        ++received;
        for (unsigned i = 0; i < 7; ++i) sum += reply->body[i] - received - i - 1;
      }
    }
    measure_end(&measure, kBatch);
  }
  kill(child, SIGKILL);
  if (sum != 0) {
    fprintf(stderr, "ring: a reply was wrong\n");
    return 1;
  }
  char note[80];
  snprintf(note, sizeof note, "%u in flight, cores %d %d", (unsigned)flight, here, there);
  measure_print("ring", 1e9 / measure_median_ns(&measure), "1/s", note);
  return 0;
}
