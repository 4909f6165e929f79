/* idle.cpu, idle.rss.tarnd, idle.rss.worker: what a session costs while nothing happens. */
#include "../resident.h"
#include "bench.h"

/* The daemon measures once, 0.2 s after its start, what a wake-up costs (0.2 ms of CPU): a part of its start. */
enum { kWorkers = 2, kWarmUpMs = 500, kSettleMs = 50 };

void bench_idle(Bench *bench)
{
  int pids[2 + kWorkers];
  int count = 0;
  int64_t idle_ms = measure_option_int(bench->argc, bench->argv, "--idle-ms", 5000);
  bench_open(bench, kWorkers);
  int64_t warm_ns = measure_now_ns() + (int64_t)kWarmUpMs * 1000000;
  for (uint64_t i = 0; measure_now_ns() < warm_ns; ++i) bench_call(bench->client, i);

  tarn_client_info info;
  info.size = sizeof info;
  bench_check(tarn_client_get_info(bench->client, &info), "tarn_client_get_info");
  pids[count++] = info.daemon_pid;
  pids[count++] = (int)status_number(info.daemon_pid, "PPid:"); /* tarn-spawn */
  for (uint32_t i = 0; i < kWorkers; ++i) {
    tarn_slot_info slot;
    slot.size = sizeof slot;
    bench_check(tarn_client_get_slot(bench->client, i, &slot), "tarn_client_get_slot");
    pids[count++] = slot.pid;
  }

  usleep(kSettleMs * 1000);
  int64_t used_ns = 0;
  for (int i = 0; i < count; ++i) used_ns -= cpu_time_ns(pids[i]);
  usleep((useconds_t)(idle_ms * 1000));
  for (int i = 0; i < count; ++i) used_ns += cpu_time_ns(pids[i]);

  long worker = 0;
  for (int i = 2; i < count; ++i) {
    long resident = resident_bytes(pids[i]);
    if (resident > worker) worker = resident;
  }
  char note[96];
  snprintf(note, sizeof note, "tarnd, tarn-spawn, %d workers, %lld ms from %d ms after the last task", kWorkers,
           (long long)idle_ms, kSettleMs);
  measure_print("idle.cpu", (double)used_ns, "ns", note);
  measure_print("idle.rss.tarnd", (double)resident_bytes(info.daemon_pid), "B", "without shared memory");
  measure_print("idle.rss.worker", (double)worker, "B", "without shared memory, the larger of 2");
}
