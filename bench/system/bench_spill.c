/* spill.bw, restore.bw, overcommit: more objects than memory. What nobody reads goes to the disk and comes back; every
 * byte that comes back is looked at. */
#include "bench.h"
#include "host.h"

#include <pthread.h>

enum { kChunks = 16, kObjectsMax = 4096 };

static tarn_object objects[kObjectsMax];
static Host host;

/* Every page of a chunk says of which it is. */
static void mark(char *data, size_t size, uint64_t number)
{
  for (size_t at = 0; at < size; at += 4096) {
    uint64_t word = number << 32 | at >> 12;
    memcpy(data + at, &word, sizeof word);
  }
}

static void check(const tarn_bytes *bytes, uint64_t number)
{
  for (size_t at = 0; at < bytes->size; at += 4096) {
    uint64_t word;
    memcpy(&word, (const char *)bytes->data + at, sizeof word);
    if (word == (number << 32 | at >> 12)) continue;
    fprintf(stderr, "tarn_bench: page %zu of object %llu is wrong\n", at >> 12, (unsigned long long)number);
    exit(1);
  }
}

static void put(Bench *bench, char *data, size_t size, size_t number)
{
  mark(data, size, number);
  bench_check(tarn_put(bench->client, data, size, &objects[number]), "tarn_put");
}

static void get(Bench *bench, size_t number)
{
  tarn_bytes bytes;
  bench_check(tarn_get(bench->client, objects[number], &bytes), "tarn_get");
  check(&bytes, number);
  bench_check(tarn_object_unpin(bench->client, objects[number]), "tarn_object_unpin");
}

static char *chunk_of(size_t size)
{
  char *data = (char *)aligned_alloc(4096, size);
  if (data == NULL) measure_die("memory for a chunk");
  memset(data, 1, size);
  return data;
}

/* A store of --size bytes is filled, until objects leave it (not before has it all its memory: a hypervisor may take longer to
 * give that than a disk to write as much), and twice as much put: that is how fast they leave. Then what is in memory goes,
 * and the rest is read: that is how fast they come. */
void bench_spill(Bench *bench)
{
  char note[96];
  int64_t limit = measure_option_int(bench->argc, bench->argv, "--size", 1 << 30);
  size_t size = (size_t)limit / kChunks / 4096 * 4096;
  size_t first = kChunks + 4, more = 2 * kChunks, count = first + more;
  char *data = chunk_of(size);
  host_start(&host, limit, 0);
  bench_open_at(bench, host.address, 1);
  for (size_t i = 0; i < first; ++i) put(bench, data, size, i);
  int64_t begin_ns = measure_now_ns();
  for (size_t i = first; i < count; ++i) put(bench, data, size, i);
  double rate = (double)(more * size) * 1e9 / (double)(measure_now_ns() - begin_ns);
  snprintf(note, sizeof note, "%zu objects of %zu MiB into a full store of %lld", more, size >> 20, (long long)limit >> 20);
  measure_print("spill.bw", rate, "B/s", note);
  /* The last ones are those in memory. */
  for (size_t i = more - 1; i < count; ++i) bench_check(tarn_release(bench->client, objects[i]), "tarn_release");
  size_t away = kChunks - 4; /* that much has room at once */
  begin_ns = measure_now_ns();
  for (size_t i = 0; i < away; ++i) get(bench, i);
  rate = (double)(away * size) * 1e9 / (double)(measure_now_ns() - begin_ns);
  snprintf(note, sizeof note, "%zu objects of %zu MiB, each page looked at", away, size >> 20);
  measure_print("restore.bw", rate, "B/s", note);
  tarn_close(bench->client);
  bench->client = NULL;
  host_stop(&host);
  free(data);
}

/* ---- overcommit ---- */

static int64_t shared_memory(void)
{
  char text[4096];
  FILE *file = fopen("/proc/meminfo", "re");
  if (file == NULL) measure_die("/proc/meminfo");
  text[fread(text, 1, sizeof text - 1, file)] = '\0';
  fclose(file);
  const char *found = strstr(text, "Shmem:");
  return found == NULL ? 0 : strtoll(found + strlen("Shmem:"), NULL, 10) * 1024;
}

static struct {
  pthread_t thread;
  int64_t before, most;
  int stop;
} watch;

/* What the host's shared memory grew to, as the kernel counts it. */
static void *watch_memory(void *unused)
{
  while (!__atomic_load_n(&watch.stop, __ATOMIC_RELAXED)) {
    int64_t now = shared_memory() - watch.before;
    if (now > watch.most) watch.most = now;
    usleep(5000);
  }
  return unused;
}

/* Four times --size bytes, in objects of a twentieth, through a store of --size; then all are read back. */
void bench_overcommit(Bench *bench)
{
  char note[160];
  int64_t limit = measure_option_int(bench->argc, bench->argv, "--size", (int64_t)2 << 30);
  size_t size = (size_t)limit / 20 / 4096 * 4096;
  size_t count = 80;
  char *data = chunk_of(size);
  watch.before = shared_memory();
  host_start(&host, limit, 0);
  bench_open_at(bench, host.address, 1);
  if (pthread_create(&watch.thread, NULL, watch_memory, NULL) != 0) measure_die("pthread_create");
  int64_t begin_ns = measure_now_ns();
  for (size_t i = 0; i < count; ++i) put(bench, data, size, i);
  double written_s = (double)(measure_now_ns() - begin_ns) / 1e9;
  begin_ns = measure_now_ns();
  for (size_t i = 0; i < count; ++i) get(bench, i);
  double read_s = (double)(measure_now_ns() - begin_ns) / 1e9;
  __atomic_store_n(&watch.stop, 1, __ATOMIC_RELAXED);
  pthread_join(watch.thread, NULL);
  snprintf(note, sizeof note, "most shared memory by the limit; %zu x %zu MiB through %lld MiB, written in %.3g s, read in %.3g s",
           count, size >> 20, (long long)limit >> 20, written_s, read_s);
  measure_print("overcommit", (double)watch.most / (double)limit, "1", note);
  tarn_close(bench->client);
  bench->client = NULL;
  host_stop(&host);
  free(data);
}
