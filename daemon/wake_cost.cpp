#include "wake_cost.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>

#include "os/clock.hpp"
#include "os/futex.hpp"

namespace tarn::daemon {
namespace {

constexpr size_t kRounds = 33;
constexpr int64_t kMinNs = 1'000;
constexpr int64_t kMaxNs = 200'000;
constexpr int64_t kPatienceNs = 1'000'000'000;  // a stopped or starved partner must not keep us

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(pthread_self(), sizeof set, &set);  // best effort: the figure is a hint
}

// Sleeps until `word` is `value`.
bool await(std::atomic<uint32_t>& word, uint32_t value, int64_t deadline_ns) {
  for (;;) {
    uint32_t now = word.load(std::memory_order_acquire);
    if (now == value) return true;
    if (os::now_ns() > deadline_ns) return false;
    os::futex_wait(reinterpret_cast<uint32_t*>(&word), now, deadline_ns);
  }
}

void post(std::atomic<uint32_t>& word, uint32_t value) {
  word.store(value, std::memory_order_release);
  os::futex_wake(reinterpret_cast<uint32_t*>(&word), 1);
}

}  // namespace

WakeCost::~WakeCost() {
  if (thread_.joinable()) thread_.join();
}

bool WakeCost::start() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) < 0 || CPU_COUNT(&allowed) < 2) return false;
  int cpus[2];
  int count = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE && count < 2; ++cpu)
    if (CPU_ISSET(cpu, &allowed)) cpus[count++] = cpu;
  thread_ = std::thread([this, near = cpus[0], far = cpus[1]] { measure(near, far); });
  return true;
}

void WakeCost::measure(int near, int far) {
  std::atomic<uint32_t> ask{0};
  std::atomic<uint32_t> answer{0};
  int64_t deadline_ns = os::now_ns() + kPatienceNs;
  std::thread partner([&] {
    pin(far);
    for (uint32_t round = 1; round <= kRounds && await(ask, round, deadline_ns); ++round) post(answer, round);
  });
  pin(near);
  std::array<int64_t, kRounds> round_trips;
  size_t done = 0;
  while (done < kRounds) {
    int64_t begin = os::now_ns();
    post(ask, static_cast<uint32_t>(done + 1));
    if (!await(answer, static_cast<uint32_t>(done + 1), deadline_ns)) break;
    round_trips[done++] = os::now_ns() - begin;
  }
  partner.join();
  int64_t one_way = kMaxNs;
  if (done != 0) {
    std::nth_element(round_trips.begin(), round_trips.begin() + done / 2, round_trips.begin() + done);
    one_way = round_trips[done / 2] / 2;
  }
  result_ns_.store(static_cast<uint32_t>(std::clamp(one_way, kMinNs, kMaxNs)), std::memory_order_release);
}

}  // namespace tarn::daemon
