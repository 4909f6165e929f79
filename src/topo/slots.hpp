// Slots: what the arbiter hands out. A slot is one or more cores on one NUMA node and a share of the
// memory; a worker runs pinned to it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topo/topology.hpp"

namespace tarn::topo {

inline constexpr uint32_t kSlotsMax = kCpusMax;

struct SlotsConfig {
  uint32_t cores_per_slot = 1;
  // Not empty: one slot per entry, with exactly these CPUs; the two others do not count then.
  std::vector<CpuSet> cpus = {};
  uint32_t reserve = 0;  // cores left to the system: those with the lowest CPUs, where interrupts arrive
  uint64_t memory = 0;   // bytes to share out, 0: those of the nodes
};

struct Slot {
  uint32_t index;   // in the list
  int32_t node;
  int32_t package;
  CpuSet cpus;      // where its worker runs: one hardware thread of each core
  CpuSet siblings;  // the other hardware threads of these cores: nobody else gets them
  uint64_t memory;  // bytes

  [[nodiscard]] int32_t first_cpu() const { return cpus.first(); }
};

// Makes the slots of a host, ordered by node, L3 and CPU. Cores that do not fill a slot on their node
// are left over. TARN_E_UNSATISFIABLE, with what was asked and what there is, if a slot cannot be had.
[[nodiscard]] int make_slots(const Topology& topology, const SlotsConfig& config, std::vector<Slot>& out);

}  // namespace tarn::topo
