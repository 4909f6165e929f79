// Source: what the two ways of finding a topology have in common.
#pragma once

#include "topo/topology.hpp"

namespace tarn::topo {

// Each sets `online`, `nodes` and, for every core that has a CPU in `allowed`, `cores`; in any order.
[[nodiscard]] int discover_sysfs(const DiscoverOptions& options, const CpuSet& allowed, Topology& out);
[[nodiscard]] int discover_hwloc(const CpuSet& allowed, Topology& out);

// Orders what a source found, checks it and counts the rest. An empty `allowed` allows all.
[[nodiscard]] int complete(const CpuSet& allowed, Topology& topology);

}  // namespace tarn::topo
