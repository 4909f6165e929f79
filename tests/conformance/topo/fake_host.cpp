#include "fake_host.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>

namespace tarn::topo::testing {
namespace {

// Where a CPU is, counted over the whole machine.
struct Place {
  uint32_t core, cache, node, package;
};

uint32_t cores_of(const Shape& shape) { return shape.packages * shape.nodes * shape.caches * shape.cores; }

Place place_of(const Shape& shape, uint32_t cpu) {
  uint32_t core = shape.siblings_far ? cpu % cores_of(shape) : cpu / shape.threads;
  uint32_t cache = core / shape.cores;
  return {core, cache, cache / shape.caches, cache / shape.caches / shape.nodes};
}

std::vector<uint32_t> online_where(const Shape& shape, const std::function<bool(Place)>& chosen) {
  std::vector<uint32_t> cpus;
  for (uint32_t cpu = 0; cpu < cores_of(shape) * shape.threads; ++cpu)
    if (std::ranges::find(shape.offline, cpu) == shape.offline.end() && chosen(place_of(shape, cpu))) cpus.push_back(cpu);
  return cpus;
}

std::string list_of(const std::vector<uint32_t>& cpus) {
  std::string text;
  for (uint32_t cpu : cpus) text += (text.empty() ? "" : ",") + std::to_string(cpu);
  return text;
}

}  // namespace

FakeHost::FakeHost(const Shape& shape) : count_(cores_of(shape) * shape.threads) {
  std::string path = std::filesystem::temp_directory_path() / "tarn-fake-host-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) std::abort();
  root_ = path;

  const std::string system = "/sys/devices/system/";
  std::string all = "0-" + std::to_string(count_ - 1);
  write(system + "cpu/possible", all);
  write(system + "cpu/present", all);
  write(system + "cpu/online", list_of(online_where(shape, [](Place) { return true; })));
  uint32_t nodes = shape.packages * shape.nodes;
  write(system + "node/online", "0-" + std::to_string(nodes - 1));
  write(system + "node/possible", "0-" + std::to_string(nodes - 1));
  for (uint32_t node = 0; node < nodes; ++node) {
    std::string folder = system + "node/node" + std::to_string(node) + '/';
    std::vector<uint32_t> cpus = online_where(shape, [node](Place place) { return place.node == node; });
    write_cpus(folder + "cpu", cpus);
    std::filesystem::rename(root_ + folder + "cpu", root_ + folder + "cpumap");
    std::filesystem::rename(root_ + folder + "cpu_list", root_ + folder + "cpulist");
    std::string number = std::to_string(node);
    write(folder + "meminfo", "Node " + number + " MemTotal:       " + std::to_string(16000000 + node) + " kB\nNode " +
                                  number + " MemFree:        1000 kB");
    std::string distances;
    for (uint32_t other = 0; other < nodes; ++other) distances += other == node ? "10 " : "20 ";
    write(folder + "distance", distances);
  }
  std::string cpuinfo;
  for (uint32_t cpu = 0; cpu < count_; ++cpu) {
    if (std::ranges::find(shape.offline, cpu) == shape.offline.end()) {
      write_cpu(shape, cpu);
      cpuinfo += "processor\t: " + std::to_string(cpu) + "\n\n";
    }
  }
  write("/proc/cpuinfo", cpuinfo);
  write("/proc/meminfo", "MemTotal:       64000000 kB");
  write("/proc/mounts", "");
}

FakeHost::~FakeHost() {
  std::error_code ignored;
  std::filesystem::remove_all(root_, ignored);
}

void FakeHost::write(const std::string& name, const std::string& text) const {
  std::filesystem::path path = root_ + name;
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text << '\n';
}

void FakeHost::write_cpus(const std::string& name, const std::vector<uint32_t>& cpus) const {
  std::vector<uint32_t> words((count_ + 31) / 32);
  for (uint32_t cpu : cpus) words[cpu / 32] |= 1u << cpu % 32;
  std::string mask;
  for (size_t i = words.size(); i-- > 0;) {
    char word[16];
    std::snprintf(word, sizeof word, "%s%08x", mask.empty() ? "" : ",", words[i]);
    mask += word;
  }
  write(name, mask);
  write(name + "_list", list_of(cpus));
}

void FakeHost::write_cpu(const Shape& shape, uint32_t cpu) const {
  Place here = place_of(shape, cpu);
  std::string folder = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + '/';
  std::vector<uint32_t> core = online_where(shape, [&](Place place) { return place.core == here.core; });
  std::vector<uint32_t> cache = online_where(shape, [&](Place place) { return place.cache == here.cache; });
  std::vector<uint32_t> package = online_where(shape, [&](Place place) { return place.package == here.package; });
  write_cpus(folder + "topology/" + (shape.old_kernel ? "thread_siblings" : "core_cpus"), core);
  write_cpus(folder + "topology/" + (shape.old_kernel ? "core_siblings" : "package_cpus"), package);
  write(folder + "topology/core_id", std::to_string(here.core));
  write(folder + "topology/physical_package_id", std::to_string(here.package));
  // The other caches are of no interest, except that one of them comes where the L3 was looked for.
  std::string level = shape.has_l3 ? "3" : "2";
  std::string cache_folder = folder + "cache/index" + (shape.has_l3 ? "3/" : "2/");
  write(cache_folder + "level", level);
  write(cache_folder + "type", "Unified");
  write_cpus(cache_folder + "shared_cpu", shape.has_l3 ? cache : core);
  std::filesystem::rename(root_ + cache_folder + "shared_cpu", root_ + cache_folder + "shared_cpu_map");
}

}  // namespace tarn::topo::testing
