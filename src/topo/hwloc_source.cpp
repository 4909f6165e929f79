#include <hwloc.h>

#include <cerrno>
#include <memory>

#include "base/error.hpp"
#include "tarn/tarn.h"
#include "topo/source.hpp"

namespace tarn::topo {
namespace {

struct Destroy {
  void operator()(hwloc_topology_t topology) const { hwloc_topology_destroy(topology); }
};
using Handle = std::unique_ptr<hwloc_topology, Destroy>;

CpuSet to_cpu_set(hwloc_const_bitmap_t bitmap) {
  CpuSet set;
  if (bitmap == nullptr) return set;
  for (int cpu = hwloc_bitmap_first(bitmap); cpu >= 0 && cpu < static_cast<int>(kCpusMax);
       cpu = hwloc_bitmap_next(bitmap, cpu))
    set.add(static_cast<uint32_t>(cpu));
  return set;
}

// Only what we use: devices alone would cost several times as much.
int load(const char* description, Handle& out) {
  hwloc_topology_t raw = nullptr;
  if (hwloc_topology_init(&raw) != 0) return fail_errno(TARN_E_SYSTEM, "hwloc does not start");
  Handle topology(raw);
  hwloc_topology_set_all_types_filter(raw, HWLOC_TYPE_FILTER_KEEP_NONE);
  for (hwloc_obj_type_t type : {HWLOC_OBJ_PACKAGE, HWLOC_OBJ_CORE, HWLOC_OBJ_L3CACHE})
    hwloc_topology_set_type_filter(raw, type, HWLOC_TYPE_FILTER_KEEP_ALL);
  // Without groups, the nodes of a package with several would each seem to span all of it.
  hwloc_topology_set_type_filter(raw, HWLOC_OBJ_GROUP, HWLOC_TYPE_FILTER_KEEP_STRUCTURE);
  // It asks each CPU by moving this thread there, and tells nothing that the kernel does not.
  hwloc_topology_set_components(raw, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, "x86");
  // What the machine has is asked for; what of it is ours is decided in one place, for all sources.
  hwloc_topology_set_flags(raw, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED);
  if (description != nullptr && hwloc_topology_set_synthetic(raw, description) != 0)
    return fail(TARN_E_ARGUMENT, "hwloc does not understand the machine \"%s\"", description);
  if (hwloc_topology_load(raw) != 0) return fail_errno(TARN_E_SYSTEM, "hwloc cannot read the topology of this host");
  out = std::move(topology);
  return 0;
}

int32_t index_of(hwloc_topology_t topology, hwloc_obj_type_t type, hwloc_obj_t inside) {
  hwloc_obj_t object = hwloc_get_ancestor_obj_by_type(topology, type, inside);
  return object == nullptr || object->os_index == HWLOC_UNKNOWN_INDEX ? -1 : static_cast<int32_t>(object->os_index);
}

void read(hwloc_topology_t topology, const CpuSet* allowed, Topology& out) {
  out.online = to_cpu_set(hwloc_topology_get_topology_cpuset(topology));
  for (hwloc_obj_t node = nullptr;
       (node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != nullptr;)
    out.nodes.push_back({static_cast<int32_t>(node->os_index), node->attr->numanode.local_memory, to_cpu_set(node->cpuset)});

  // A machine that does not say what its cores are has one per CPU.
  hwloc_obj_type_t type = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
  for (hwloc_obj_t core = nullptr; (core = hwloc_get_next_obj_by_type(topology, type, core)) != nullptr;) {
    CpuSet threads = to_cpu_set(core->cpuset);
    CpuSet ours = allowed == nullptr ? threads : threads & *allowed;
    if (ours.empty()) continue;
    hwloc_obj_t l3 = hwloc_get_ancestor_obj_by_type(topology, HWLOC_OBJ_L3CACHE, core);
    int node = hwloc_bitmap_first(core->nodeset);
    out.cores.push_back({.cpus = ours,
                         .threads = threads.count(),
                         .node = node < 0 ? 0 : node,
                         .package = index_of(topology, HWLOC_OBJ_PACKAGE, core),
                         .l3 = l3 == nullptr ? -1 : to_cpu_set(l3->cpuset).first()});
  }
}

}  // namespace

int discover_hwloc(const CpuSet& allowed, Topology& out) {
  Handle topology;
  if (int code = load(nullptr, topology); code < 0) return code;
  read(topology.get(), &allowed, out);
  return 0;
}

int Topology::synthetic(const char* description, const CpuSet* allowed, Topology& out) {
  Handle topology;
  if (int code = load(description, topology); code < 0) return code;
  Topology found;
  read(topology.get(), allowed, found);
  CpuSet all = found.online;
  int code = complete(allowed == nullptr ? all : *allowed, found);
  if (code == 0) out = std::move(found);
  return code;
}

}  // namespace tarn::topo
