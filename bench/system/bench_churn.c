/* store.churn.waste, store.churn.decay: a store that stays 85 % full while objects of all sizes
 * come and go. What fragments it would show as memory held for nothing, or as a rate that falls. */
#include "bench.h"
#include "host.h"

enum {
  kFullPercent = 85,
  kParts = 10,
  kDoublingMin = 6, /* 64 bytes to 1 MiB, each doubling as often as the others */
  kDoublings = 14,
  kLiveMax = 1 << 20,
  kLook = 64 /* objects between two looks at the clock */
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

void bench_churn(Bench *bench)
{
  static Churn churn;
  static Host host;
  char place[96], note[320];
  int64_t limit = measure_option_int(bench->argc, bench->argv, "--size", 1 << 30);
  int64_t ns = measure_option_int(bench->argc, bench->argv, "--ms", 3000) * 1000000;
  double rates[kParts], waste = 0;
  host_start(&host, limit);
  bench_open_at(bench, host.address, 1);
  bench_place(bench, 0, place, sizeof place);
  churn.client = bench->client;
  churn.random = 88172645463325252u;
  churn.room = limit / 100 * kFullPercent;
  while (churn.bytes < churn.room - (1 << 20) && turn_over(&churn)) continue;
  (void)churn_for(&churn, ns / kParts); /* it may still be asking tarnd for memory */
  for (int part = 0; part < kParts; ++part) {
    rates[part] = churn_for(&churn, ns / kParts);
    double held = (double)host_status(&host).memory_used;
    if (held / (double)churn.bytes - 1 > waste) waste = held / (double)churn.bytes - 1;
  }
  snprintf(note, sizeof note,
           "most of %d looks; %lld MiB are %d %% full; %zu objects; refused: %llu",
           kParts, (long long)(limit >> 20), (int)(churn.bytes * 100 / limit), churn.count,
           (unsigned long long)churn.refused);
  measure_print("store.churn.waste", waste, "1", note);
  int length = snprintf(note, sizeof note, "%.3g s, %s, M/s:", (double)ns / 1e9, place);
  for (int part = 0; part < kParts; ++part)
    length += snprintf(note + length, sizeof note - (size_t)length, " %.3g", rates[part] / 1e6);
  measure_print("store.churn.decay", rates[0] > 0 ? rates[kParts - 1] / rates[0] : 0, "1", note);
  tarn_close(bench->client);
  bench->client = NULL;
  host_stop(&host);
}
