/* store.churn.waste, store.churn.decay: a store that stays 85 % full while objects of all sizes
 * come and go. What fragments it would show as memory held for nothing, or as a rate below that of a
 * store that is new. */
#include "bench.h"
#include "host.h"

enum {
  kFullPercent = 85,
  kParts = 10,
  kDoublingMin = 6, /* 64 bytes to 1 MiB, each doubling as often as the others */
  kDoublings = 14,
  kLiveMax = 1 << 20,
  kLook = 64, /* objects between two looks at the clock */
  kPairs = 25,
  kPairNs = 60000000,
  kNewNs = 1000000000
};

typedef struct Churn {
  tarn_client *client;
  uint64_t random;
  int64_t room;  /* for objects */
  int64_t bytes; /* of objects */
  size_t count;
  uint64_t refused; /* by a store that was full all the same */
  tarn_object objects[kLiveMax];
} Churn;

static uint64_t next_random(Churn *churn) /* xorshift64 */
{
  churn->random ^= churn->random << 13;
  churn->random ^= churn->random >> 7;
  churn->random ^= churn->random << 17;
  return churn->random;
}

static void release_any(Churn *churn)
{
  size_t at = next_random(churn) % churn->count;
  churn->bytes -= (int64_t)churn->objects[at].size;
  bench_check(tarn_release(churn->client, churn->objects[at]), "tarn_release");
  churn->objects[at] = churn->objects[--churn->count];
}

/* One object more, and as many less as it needs; or one less and false, when the store refuses. It
 * is not filled: that is what put.bw measures. */
static int turn_over(Churn *churn)
{
  uint64_t doubling = (uint64_t)1 << (kDoublingMin + next_random(churn) % kDoublings);
  uint64_t size = doubling + next_random(churn) % doubling;
  void *data;
  while (churn->count > 0 &&
         (churn->bytes + (int64_t)size > churn->room || churn->count == kLiveMax))
    release_any(churn);
  tarn_object *object = &churn->objects[churn->count];
  int result = tarn_object_create(churn->client, size, object, &data);
  if (result < 0) {
    int is_full = result == TARN_E_STORE_FULL || result == TARN_E_QUOTA;
    if (!is_full || churn->count == 0) bench_check(result, "tarn_object_create");
    ++churn->refused;
    release_any(churn);
    return 0;
  }
  *(char *)data = 1;
  bench_check(tarn_object_seal(churn->client, *object), "tarn_object_seal");
  ++churn->count;
  churn->bytes += (int64_t)size;
  return 1;
}

/* Objects a second, for `ns`. A refusal takes long, so the clock is looked at after each. */
static double churn_for(Churn *churn, int64_t ns)
{
  int64_t begin_ns = measure_now_ns(), now_ns;
  uint64_t made = 0;
  do {
    for (int i = 0; i < kLook && turn_over(churn); ++i) ++made;
    now_ns = measure_now_ns();
  } while (now_ns < begin_ns + ns);
  return (double)made * 1e9 / (double)(now_ns - begin_ns);
}

/* Has objects, and as much memory for them as it needs. */
static void churn_begin(Churn *churn, tarn_client *client, int64_t limit, int64_t warm_ns)
{
  churn->client = client;
  churn->random = 88172645463325252u;
  churn->room = limit / 100 * kFullPercent;
  while (churn->bytes < churn->room - (1 << 20) && turn_over(churn)) continue;
  (void)churn_for(churn, warm_ns);
}

/* The rate of a store that is old over that of one that is new, at the same moment: the machine itself is slower at
 * times, and by more than a store could be. */
static void compare(Measure *measure, Churn *old, Churn *new)
{
  measure->count = 0;
  for (int i = 0; i < kPairs; ++i) {
    double first = churn_for(i % 2 == 0 ? old : new, kPairNs);
    double second = churn_for(i % 2 == 0 ? new : old, kPairNs);
    measure_add(measure, i % 2 == 0 ? first / second : second / first);
  }
}

void bench_churn(Bench *bench)
{
  static Churn old, new;
  static Host host;
  char place[96], note[320];
  int64_t limit = measure_option_int(bench->argc, bench->argv, "--size", 1 << 30);
  int64_t ns = measure_option_int(bench->argc, bench->argv, "--ms", 3000) * 1000000;
  double rates[kParts], waste = 0;
  tarn_options options;
  tarn_client *other;
  host_start(&host, 2 * limit + ((int64_t)64 << 20), limit);
  bench_open_at(bench, host.address, 1);
  bench_place(bench, 0, place, sizeof place);
  int64_t warm_ns = ns / kParts;
  churn_begin(&old, bench->client, limit, warm_ns);
  for (int part = 0; part < kParts; ++part) {
    rates[part] = churn_for(&old, ns / kParts);
    double held = (double)host_status(&host).memory_used;
    if (held / (double)old.bytes - 1 > waste) waste = held / (double)old.bytes - 1;
  }
  snprintf(note, sizeof note,
           "most of %d looks; %lld MiB are %d %% full; %zu objects; refused: %llu",
           kParts, (long long)(limit >> 20), (int)(old.bytes * 100 / limit), old.count,
           (unsigned long long)old.refused);
  measure_print("store.churn.waste", waste, "1", note);
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.address = host.address;
  options.flags = TARN_INIT_NO_WORKERS;
  bench_check(tarn_init(&other, &bench->argc, &bench->argv, &options), "tarn_init");
  churn_begin(&new, other, limit, warm_ns < kNewNs ? warm_ns : kNewNs);
  compare(bench->measure, &old, &new);
  int length = snprintf(note, sizeof note, "old over new, %d times by turns; %.3g s, %s, M/s:", kPairs, (double)ns / 1e9, place);
  for (int part = 0; part < kParts; ++part)
    length += snprintf(note + length, sizeof note - (size_t)length, " %.3g", rates[part] / 1e6);
  measure_print("store.churn.decay", measure_median_ns(bench->measure), "1", note);
  tarn_close(other);
  tarn_close(bench->client);
  bench->client = NULL;
  host_stop(&host);
}
