#include "topo/topology.hpp"

#include <algorithm>
#include <set>
#include <tuple>

#include "base/error.hpp"
#include "tarn/tarn.h"
#include "topo/source.hpp"

namespace tarn::topo {

int complete(const CpuSet& allowed, Topology& topology) {
  topology.allowed = topology.online & allowed;
  if (topology.allowed.empty()) {
    return fail(TARN_E_UNSATISFIABLE, "none of the CPUs given to this process (%s) is online (%s); change its cpuset",
                allowed.text().c_str(), topology.online.text().c_str());
  }
  std::ranges::sort(topology.nodes, {}, &Node::id);
  auto place = [](const Core& core) { return std::tuple(core.node, core.l3, core.cpus.first()); };
  std::ranges::sort(topology.cores, {}, place);
  std::set<int32_t> packages;
  CpuSet covered;
  for (const Core& core : topology.cores) {
    packages.insert(core.package);
    covered |= core.cpus;
  }
  topology.packages = static_cast<uint32_t>(packages.size());
  if (covered != topology.allowed) {
    return fail(TARN_E_SYSTEM, "the host does not say which core CPU %s belongs to",
                (topology.allowed - covered).text().c_str());
  }
  return 0;
}

int Topology::discover(const DiscoverOptions& options, Topology& out) {
  CpuSet allowed = options.allowed != nullptr ? *options.allowed : CpuSet::of_this_process();
  Topology found;
  int code = options.source == Source::kSysfs ? discover_sysfs(options, allowed, found) : discover_hwloc(allowed, found);
  if (code == 0) code = complete(allowed, found);
  if (code == 0) out = std::move(found);
  return code;
}

}  // namespace tarn::topo
