/* release.same, release.other: from the release of an object to the moment when its owner has the
 * memory again. */
#include "bench.h"

#include <fcntl.h>
#include <stdatomic.h>

enum { kObjectsMax = 1000, kSize = 1 << 20, kYieldAfter = 10000 };

/* Among as many objects as fit into 64 MiB one is released and made again. What counts is the time
 * of both, so the release costs less; the same place says that it was this memory. */
void bench_release_same(Bench *bench)
{
  static tarn_object objects[kObjectsMax];
  static void *places[kObjectsMax];
  char place[96], note[192];
  size_t size = (size_t)measure_option_int(bench->argc, bench->argv, "--size", kSize);
  uint32_t count = bench_object_count(size);
  uint64_t made = 0, same = 0;
  bench_open(bench, 1);
  bench_place(bench, 0, place, sizeof place);
  for (uint32_t i = 0; i < count; ++i)
    places[i] = bench_create_and_seal(bench->client, size, &objects[i]);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    measure_begin(bench->measure);
    for (uint32_t i = 0; i < count; ++i) {
      bench_check(tarn_release(bench->client, objects[i]), "tarn_release");
      void *data = bench_create_and_seal(bench->client, size, &objects[i]);
      same += data == places[i];
      places[i] = data;
    }
    measure_end(bench->measure, count);
    made += count;
  }
  for (uint32_t i = 0; i < count; ++i)
    bench_check(tarn_release(bench->client, objects[i]), "tarn_release");
  snprintf(note, sizeof note,
           "release, create and seal among %u of %zu B, %.4g %% at the same place, %s", count, size,
           100.0 * (double)same / (double)made, place);
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}

/* What client and worker tell each other in release.other, beside Tarn: a memfd of the client. */
typedef struct Meeting {
  _Atomic uint64_t ready;    /* round in which the worker waits for the release */
  _Atomic uint64_t released; /* round in which the client has released */
  int64_t usable_ns;         /* when the worker had made its next object */
  uint64_t is_same;          /* at the place of the one that was released */
} Meeting;

typedef struct RemakeOrder { /* the argument of bench.remake */
  uint64_t round;
  uint64_t size;
  int32_t pid; /* of the client, and its descriptor of the meeting */
  int32_t fd;
} RemakeOrder;

static void wait_for(_Atomic uint64_t *word, uint64_t value)
{
  for (int spins = 0; atomic_load_explicit(word, memory_order_acquire) != value; ++spins) {
    measure_pause();
    if (spins > kYieldAfter) sched_yield(); /* should the other one need this core */
  }
}

static Meeting *map_meeting(int fd)
{
  void *memory = mmap(NULL, sizeof(Meeting), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) measure_die("mmap");
  return (Meeting *)memory;
}

/* In the worker: waits until its last result was released, and makes the next one. */
int bench_remake_result(tarn_call *call)
{
  static Meeting *meeting;
  static void *last;
  RemakeOrder order;
  void *data;
  tarn_bytes argument = tarn_call_arg(call, 0);
  if (argument.size != sizeof order)
    return tarn_call_fail(call, TARN_E_TYPE, NULL, "wants an order");
  memcpy(&order, argument.data, sizeof order);
  if (meeting == NULL) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", order.pid, order.fd);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) measure_die(path);
    meeting = map_meeting(fd);
    close(fd);
  }
  atomic_store_explicit(&meeting->ready, order.round, memory_order_release);
  wait_for(&meeting->released, order.round);
  int result = tarn_call_return_buffer(call, order.size, &data);
  meeting->usable_ns = measure_now_ns();
  if (result < 0) return result;
  meeting->is_same = data == last;
  last = data;
  memset(data, 1, 64);
  return 0;
}

/* The worker owns the memory, the client is the last who holds the object. The time is from before
 * the client's release to when the worker has the next object, in which the news of the release
 * travels to it on a cache line. */
void bench_release_other(Bench *bench)
{
  char place[96], note[192];
  uint64_t size = (uint64_t)measure_option_int(bench->argc, bench->argv, "--size", kSize);
  RemakeOrder order = {0, size, getpid(), memfd_create("meeting", MFD_CLOEXEC)};
  if (order.fd < 0 || ftruncate(order.fd, sizeof(Meeting)) != 0) measure_die("memfd");
  Meeting *meeting = map_meeting(order.fd);
  tarn_task remake = tarn_task_id("bench.remake");
  uint64_t same = 0;
  bench_open(bench, 1);
  bench_place(bench, 0, place, sizeof place);
  tarn_object held = bench_make(bench->client, order.size);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    tarn_future future;
    ++order.round;
    tarn_arg argument = tarn_arg_value(&order, sizeof order);
    bench_check(tarn_submit(bench->client, remake, &argument, 1, NULL, &future), "tarn_submit");
    wait_for(&meeting->ready, order.round);
    int64_t begin_ns = measure_now_ns();
    bench_check(tarn_release(bench->client, held), "tarn_release");
    atomic_store_explicit(&meeting->released, order.round, memory_order_release);
    bench_check(tarn_future_object(bench->client, future, -1, &held), "tarn_future_object");
    bench_check(tarn_future_release(bench->client, future), "tarn_future_release");
    if (order.round == 1) continue; /* the worker did not know the place of the first one */
    measure_add(bench->measure, (double)(meeting->usable_ns - begin_ns));
    same += meeting->is_same;
  }
  bench_check(tarn_release(bench->client, held), "tarn_release");
  snprintf(note, sizeof note, "%zu B, %.4g %% at the same place, %s", (size_t)order.size,
           100.0 * (double)same / (double)(order.round - 1), place);
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}
