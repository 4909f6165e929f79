#include "slots.hpp"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <numeric>

#include "base/assert.hpp"

namespace tarn::daemon {
namespace {

constexpr int kNodesMax = 64;

bool exists(const char* format, int a, int b) {
  char path[96];
  snprintf(path, sizeof path, format, a, b);
  return access(path, F_OK) == 0;
}

int32_t node_of(int cpu) {
  if (!exists("/sys/devices/system/node/node%d", 1, 0)) return 0;
  for (int node = 0; node < kNodesMax; ++node)
    if (exists("/sys/devices/system/cpu/cpu%d/node%d", cpu, node)) return node;
  return 0;
}

}  // namespace

SlotTable SlotTable::one_per_cpu() {
  uint64_t allowed[kCpuWords] = {};
  std::vector<Slot> slots;
  if (syscall(SYS_sched_getaffinity, 0, sizeof allowed, allowed) < 0) allowed[0] = 1;
  for (uint32_t cpu = 0; cpu < kCpuWords * 64; ++cpu) {
    if ((allowed[cpu / 64] >> cpu % 64 & 1) == 0) continue;
    Slot slot;
    slot.number = static_cast<uint32_t>(slots.size());
    slot.core = static_cast<int32_t>(cpu);
    slot.node = node_of(slot.core);
    slot.cpu_count = 1;
    slot.cpus[cpu / 64] = uint64_t{1} << cpu % 64;
    slots.push_back(slot);
  }
  return SlotTable(std::move(slots));
}

std::vector<uint32_t> SlotTable::take(uint32_t count) {
  TARN_ASSERT(count <= slots_.size());
  std::vector<uint32_t> numbers(slots_.size());
  std::iota(numbers.begin(), numbers.end(), 0u);
  std::ranges::stable_sort(numbers, {}, [&](uint32_t number) { return slots_[number].workers; });
  numbers.resize(count);
  std::ranges::sort(numbers);
  for (uint32_t number : numbers) ++slots_[number].workers;
  return numbers;
}

void SlotTable::give_back(uint32_t number) {
  TARN_ASSERT(slots_[number].workers > 0);
  --slots_[number].workers;
}

}  // namespace tarn::daemon
