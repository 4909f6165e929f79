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

/* The same with the daemon at `address`. */
void bench_open_at(Bench *bench, const char *address, uint32_t workers);

/* The processes of the daemon and of the first worker. */
void bench_pids(const Bench *bench, int *daemon_pid, int *worker_pid);

/* The size of what the case is about: `--size`, or the end of its name (64, 4k, 100m, 1g). */
size_t bench_size(const Bench *bench);

/* How many objects of `size` a case turns over: what fits into 64 MiB, 1 to 1000. */
uint32_t bench_object_count(size_t size);

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
void bench_forkjoin(Bench *bench);
void bench_stream(Bench *bench);
void bench_metg(Bench *bench);
void bench_graph_build(Bench *bench);
/* Makes an object and returns where it is; nothing is written there. */
void *bench_create_and_seal(tarn_client *client, size_t size, tarn_object *object);

/* Has a worker make `size` bytes as its result, and takes that over as an object. */
tarn_object bench_make(tarn_client *client, size_t size);

/* The tasks of the cases, as tarn_task_fn. */
int bench_make_result(tarn_call *call);
int bench_remake_result(tarn_call *call);
int bench_hold(tarn_call *call);
int bench_fib(tarn_call *call);
int bench_metg_work(tarn_call *call);
int bench_print(tarn_call *call);
int bench_burn(tarn_call *call);
int bench_yield(tarn_call *call);

void bench_put_64(Bench *bench);
void bench_get_64(Bench *bench);
void bench_put_bw(Bench *bench);
void bench_create_seal(Bench *bench);
void bench_get_other(Bench *bench);
void bench_get_spread(Bench *bench);
void bench_release_same(Bench *bench);
void bench_release_other(Bench *bench);
void bench_many(Bench *bench);
void bench_queue(Bench *bench);
void bench_churn(Bench *bench);
void bench_spill(Bench *bench);
void bench_overcommit(Bench *bench);
void bench_cleanup(Bench *bench);
void bench_holder(Bench *bench);
void bench_recover(Bench *bench);
void bench_recover_tarnd(Bench *bench);
void bench_print_line(Bench *bench);
void bench_oversubscribed(Bench *bench);
void bench_shared_short(Bench *bench);
void bench_fairness(Bench *bench);
void bench_weights(Bench *bench);
void bench_idle_after(Bench *bench);
void bench_sharer(Bench *bench);
void bench_start(Bench *bench);
void bench_first_result(Bench *bench);
void bench_idle(Bench *bench);

#endif
