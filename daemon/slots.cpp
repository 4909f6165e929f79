#include "slots.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "base/assert.hpp"
#include "base/error.hpp"

namespace tarn::daemon {

static_assert(kCpuWords == topo::CpuSet::kWords);

SlotTable SlotTable::discover(const topo::SlotsConfig& config, topo::Source source) {
  topo::Topology topology;
  std::vector<topo::Slot> found;
  int code = topo::Topology::discover({.source = source}, topology);
  if (code == 0) code = topo::make_slots(topology, config, found);
  if (code < 0) throw std::runtime_error(last_error());
  std::vector<Slot> slots;
  for (const topo::Slot& each : found) {
    Slot slot;
    slot.number = each.index;
    slot.core = each.first_cpu();
    slot.node = each.node;
    slot.cpu_count = each.cpus.count();
    std::ranges::copy(each.cpus.words(), slot.cpus);
    slot.siblings = each.siblings;
    slot.package = each.package;
    slot.memory = each.memory;
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
