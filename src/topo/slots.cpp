#include "topo/slots.hpp"

#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "tarn/tarn.h"

namespace tarn::topo {
namespace {

int listed_slot(const Topology& topology, const CpuSet& cpus, const CpuSet& taken, Slot& out) {
  std::string text = cpus.text();
  if (cpus.empty()) return fail(TARN_E_ARGUMENT, "slot %u has no CPU; name at least one", out.index);
  if (CpuSet foreign = cpus - topology.allowed; !foreign.empty()) {
    return fail(TARN_E_UNSATISFIABLE, "slot %u asks for CPU %s; this process may use %s", out.index,
                foreign.text().c_str(), topology.allowed.text().c_str());
  }
  if (CpuSet twice = cpus & taken; !twice.empty())
    return fail(TARN_E_UNSATISFIABLE, "slot %u asks for CPU %s, which an earlier slot has", out.index, twice.text().c_str());
  out.node = -1;
  for (const Core& core : topology.cores) {
    if ((core.cpus & cpus).empty()) continue;
    if (out.node >= 0 && core.node != out.node) {
      return fail(TARN_E_UNSATISFIABLE, "slot %u asks for CPUs %s, which lie on NUMA nodes %d and %d; a slot lies on one",
                  out.index, text.c_str(), out.node, core.node);
    }
    out.node = core.node;
    out.package = core.package;
  }
  out.cpus = cpus;
  return 0;
}

int make_listed(const Topology& topology, const SlotsConfig& config, std::vector<Slot>& out) {
  CpuSet taken;
  for (const CpuSet& cpus : config.cpus) {
    Slot slot{};
    slot.index = static_cast<uint32_t>(out.size());
    if (int code = listed_slot(topology, cpus, taken, slot); code < 0) return code;
    taken |= cpus;
    out.push_back(slot);
  }
  return 0;
}

std::vector<Core> without_reserved(const Topology& topology, uint32_t reserve) {
  std::vector<Core> cores = topology.cores;
  for (; reserve > 0; --reserve)
    cores.erase(std::ranges::min_element(cores, {}, [](const Core& core) { return core.cpus.first(); }));
  return cores;
}

int make_from_cores(const Topology& topology, const SlotsConfig& config, std::vector<Slot>& out) {
  if (config.cores_per_slot == 0) return fail(TARN_E_ARGUMENT, "cores_per_slot is 0; a slot has at least one core");
  if (config.reserve >= topology.cores.size()) {
    return fail(TARN_E_UNSATISFIABLE, "%u cores are to be reserved, but there are %zu; at least one must be left",
                config.reserve, topology.cores.size());
  }
  std::vector<Core> cores = without_reserved(topology, config.reserve);
  // The order of the cores keeps those of one node together, and in it those of one L3.
  for (size_t first = 0; first < cores.size();) {
    size_t node_end = first;
    while (node_end < cores.size() && cores[node_end].node == cores[first].node) ++node_end;
    for (; first + config.cores_per_slot <= node_end; first += config.cores_per_slot) {
      Slot slot{};
      slot.index = static_cast<uint32_t>(out.size());
      slot.node = cores[first].node;
      slot.package = cores[first].package;
      for (size_t i = first; i < first + config.cores_per_slot; ++i) {
        auto cpu = static_cast<uint32_t>(cores[i].cpus.first());
        slot.cpus.add(cpu);
        slot.siblings |= cores[i].cpus;
      }
      slot.siblings -= slot.cpus;
      out.push_back(slot);
    }
    first = node_end;
  }
  if (out.empty()) {
    return fail(TARN_E_UNSATISFIABLE, "no NUMA node has the %u cores that a slot shall have; there are %zu cores in all",
                config.cores_per_slot, cores.size());
  }
  return 0;
}

// By CPUs, from what its node has, or from the whole if an amount is set.
void share_memory(const Topology& topology, uint64_t memory, std::vector<Slot>& slots) {
  std::map<int32_t, uint64_t> memory_of;  // by node
  for (const Node& node : topology.nodes) memory_of[node.id] = node.memory;
  std::map<int32_t, uint64_t> cpus_of;  // used on a node
  uint64_t cpus = 0;
  for (const Slot& slot : slots) {
    cpus_of[slot.node] += slot.cpus.count();
    cpus += slot.cpus.count();
  }
  for (Slot& slot : slots) {
    uint64_t share = memory != 0 ? memory / cpus : memory_of[slot.node] / cpus_of[slot.node];
    slot.memory = share * slot.cpus.count();
  }
}

}  // namespace

int make_slots(const Topology& topology, const SlotsConfig& config, std::vector<Slot>& out) {
  std::vector<Slot> slots;
  int code = config.cpus.empty() ? make_from_cores(topology, config, slots) : make_listed(topology, config, slots);
  if (code < 0) return code;
  share_memory(topology, config.memory, slots);
  out = std::move(slots);
  return 0;
}

}  // namespace tarn::topo
