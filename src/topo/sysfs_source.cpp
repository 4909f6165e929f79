#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "tarn/tarn.h"
#include "topo/source.hpp"

namespace tarn::topo {
namespace {

constexpr uint32_t kCacheIndexMax = 16;

// Small files of /sys and /proc, below one root.
class Files {
 public:
  explicit Files(const char* root) : root_(root) {}

  // Empty if there is no such file. The view is valid until the next read.
  std::string_view read(const std::string& name) {
    Fd fd(open((root_ + name).c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return {};
    // A file of sysfs is at most a page; one list of 1 024 CPUs is shorter than this.
    ssize_t size = ::read(fd.get(), buffer_, sizeof buffer_);
    return size <= 0 ? std::string_view() : std::string_view(buffer_, static_cast<size_t>(size));
  }

  bool read_set(CpuSet& out, const std::string& name) {
    std::string_view text = read(name);
    return !text.empty() && CpuSet::parse_clipped(text, out);
  }

 private:
  std::string root_;
  char buffer_[8192];
};

std::string cpu_file(uint32_t cpu, const char* name) {
  return "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + '/' + name;
}

std::string cache_file(uint32_t cpu, uint32_t index, const char* name) {
  return cpu_file(cpu, "cache/index") + std::to_string(index) + '/' + name;
}

std::string node_file(int32_t node, const char* name) {
  return "/sys/devices/system/node/node" + std::to_string(node) + '/' + name;
}

int32_t number_in(std::string_view text) {
  int32_t number = -1;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// Bytes in the line of a meminfo that holds "MemTotal:", 0 without one.
uint64_t memory_in(std::string_view meminfo) {
  constexpr std::string_view kField = "MemTotal:";
  size_t at = meminfo.find(kField);
  if (at == std::string_view::npos) return 0;
  meminfo.remove_prefix(at + kField.size());
  meminfo.remove_prefix(std::min(meminfo.find_first_not_of(' '), meminfo.size()));
  uint64_t kib = 0;
  std::from_chars(meminfo.data(), meminfo.data() + meminfo.size(), kib);
  return kib * 1024;
}

void find_nodes(Files& files, Topology& out) {
  CpuSet ids;
  if (!files.read_set(ids, "/sys/devices/system/node/online")) {
    // A kernel without NUMA.
    out.nodes.push_back({0, memory_in(files.read("/proc/meminfo")), out.online});
    return;
  }
  for (int32_t id = ids.first(); id >= 0; id = ids.next(id)) {
    Node node{id, 0, {}};
    if (!files.read_set(node.cpus, node_file(id, "cpulist"))) node.cpus = CpuSet();
    node.memory = memory_in(files.read(node_file(id, "meminfo")));
    out.nodes.push_back(node);
  }
}

// Which of the cache directories describes the L3; the same for all CPUs of a machine. kCacheIndexMax: none.
uint32_t find_l3_index(Files& files, uint32_t cpu) {
  // It is the fourth one nearly everywhere.
  if (number_in(files.read(cache_file(cpu, 3, "level"))) == 3) return 3;
  for (uint32_t index = 0; index < kCacheIndexMax; ++index)
    if (number_in(files.read(cache_file(cpu, index, "level"))) == 3) return index;
  return kCacheIndexMax;
}

}  // namespace

int discover_sysfs(const DiscoverOptions& options, const CpuSet& allowed, Topology& out) {
  Files files(options.root);
  if (!files.read_set(out.online, "/sys/devices/system/cpu/online"))
    return fail(TARN_E_SYSTEM, "cannot read %s/sys/devices/system/cpu/online; is /sys mounted?", options.root);
  find_nodes(files, out);

  CpuSet ours = out.online & allowed;
  if (ours.empty()) return 0;
  uint32_t l3_index = find_l3_index(files, static_cast<uint32_t>(ours.first()));

  // What one CPU of a package or an L3 cache says holds for all: each file is read once per group.
  struct Group {
    CpuSet cpus;
    int32_t id;
  };
  std::vector<Group> packages;
  std::vector<Group> caches;
  auto known = [](const std::vector<Group>& groups, uint32_t cpu) {
    return std::ranges::find_if(groups, [cpu](const Group& group) { return group.cpus.has(cpu); });
  };

  CpuSet done;
  for (int32_t next = ours.first(); next >= 0; next = ours.next(next)) {
    auto cpu = static_cast<uint32_t>(next);
    if (done.has(cpu)) continue;
    CpuSet threads;
    // The second name is that of kernels before 5.3.
    if (!files.read_set(threads, cpu_file(cpu, "topology/core_cpus_list")) &&
        !files.read_set(threads, cpu_file(cpu, "topology/thread_siblings_list")))
      threads.add(cpu);
    threads.add(cpu);
    done |= threads;

    auto package = known(packages, cpu);
    if (package == packages.end()) {
      Group fresh{};
      if (!files.read_set(fresh.cpus, cpu_file(cpu, "topology/package_cpus_list")) &&
          !files.read_set(fresh.cpus, cpu_file(cpu, "topology/core_siblings_list")))
        fresh.cpus = threads;
      fresh.id = number_in(files.read(cpu_file(cpu, "topology/physical_package_id")));
      package = packages.insert(packages.end(), fresh);
    }
    auto cache = known(caches, cpu);
    if (cache == caches.end() && l3_index < kCacheIndexMax) {
      Group fresh{};
      if (files.read_set(fresh.cpus, cache_file(cpu, l3_index, "shared_cpu_list"))) {
        fresh.id = fresh.cpus.first();
        cache = caches.insert(caches.end(), fresh);
      }
    }
    auto node = std::ranges::find_if(out.nodes, [cpu](const Node& one) { return one.cpus.has(cpu); });
    out.cores.push_back({.cpus = threads & ours,
                         .threads = threads.count(),
                         .node = node == out.nodes.end() ? 0 : node->id,
                         .package = package->id,
                         .l3 = cache == caches.end() ? -1 : cache->id});
  }
  return 0;
}

}  // namespace tarn::topo
