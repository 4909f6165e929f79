// Topology: the cores, NUMA nodes and last-level caches of this host, and which of them are ours.
//
// Two sources say the same (tests/conformance/topo compares them): sysfs, read directly, which costs
// a few files per core and so suits a daemon that starts with its client; and hwloc, which also knows
// the machines whose sysfs is incomplete. hwloc's cost grows with everything the machine has: 1 ms
// with 2 CPUs, 20 ms with 256.
//
// A value, made once at start; const afterwards, so any thread may read it.
#pragma once

#include <cstdint>
#include <vector>

#include "topo/cpu_set.hpp"

namespace tarn::topo {

struct Core {
  CpuSet cpus;       // its hardware threads that we may use, at least one
  uint32_t threads;  // how many it has in all
  int32_t node;      // NUMA node
  int32_t package;   // -1: not known
  int32_t l3;        // lowest CPU that shares its L3 cache, -1: none or not known

  friend bool operator==(const Core&, const Core&) = default;
};

struct Node {
  int32_t id;
  uint64_t memory;  // bytes
  CpuSet cpus;      // all of them, not only ours; empty for a node that is only memory

  friend bool operator==(const Node&, const Node&) = default;
};

enum class Source { kSysfs, kHwloc };

struct DiscoverOptions {
  Source source = Source::kSysfs;
  // What we may use; nullptr: what this process was given.
  const CpuSet* allowed = nullptr;
  // Where the file system begins, for tests (sysfs only; hwloc reads $HWLOC_FSROOT).
  const char* root = "";
};

struct Topology {
  CpuSet online;            // of the machine
  CpuSet allowed;           // ours: online and given to us
  std::vector<Core> cores;  // those with a CPU that is ours, ordered by node, L3 and CPU
  std::vector<Node> nodes;  // all of the machine, ordered by id
  uint32_t packages = 0;    // that hold one of our cores

  // TARN_E_UNSATISFIABLE if no CPU is left, TARN_E_SYSTEM if the host does not describe itself.
  [[nodiscard]] static int discover(const DiscoverOptions& options, Topology& out);

  // A machine in hwloc's notation, such as "pack:2 numa:2 core:4 pu:2"; `allowed` as above.
  [[nodiscard]] static int synthetic(const char* description, const CpuSet* allowed, Topology& out);

  friend bool operator==(const Topology&, const Topology&) = default;
};

}  // namespace tarn::topo
