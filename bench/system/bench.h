/* bench.h: what the cases of tarn_bench share. */
#ifndef TARN_BENCH_BENCH_H
#define TARN_BENCH_BENCH_H

#include "../measure.h" /* first: it asks for the GNU interfaces */

#include <tarn/tarn.h>

/* The command line, and the client when the case asked for one. */
typedef struct Bench {
  int argc;
  char **argv;
  const char *name; /* of the case */
  Measure *measure;
  tarn_client *client;
  int worker_core; /* of the first worker */
} Bench;

enum { kWorkersMax = 64 };

/* Ends the program with the text of the last error if `result` is one. */
void bench_check(int result, const char *what);

/* Starts a session with a private daemon and `workers` workers, and waits until each is up. */
void bench_open(Bench *bench, uint32_t workers);

/* Pins the client to the core of the first worker, or to another one, and writes the placement to `note`. */
void bench_place(const Bench *bench, int same_core, char *note, size_t size);

/* Calls the task that adds one, and waits for its result. */
void bench_call(tarn_client *client, uint64_t number);

/* The number of the task that adds one to its argument. */
tarn_task bench_add_one(void);

void bench_sync_spin(Bench *bench);
void bench_sync_parked(Bench *bench);
void bench_sync_parked_same(Bench *bench);
void bench_async(Bench *bench);
void bench_put_64(Bench *bench);
void bench_get_64(Bench *bench);
void bench_put_bw(Bench *bench);
void bench_create_seal(Bench *bench);
void bench_start(Bench *bench);
void bench_first_result(Bench *bench);
void bench_idle(Bench *bench);

#endif
