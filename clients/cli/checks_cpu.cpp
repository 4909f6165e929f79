#include <cstdio>
#include <cstdlib>
#include <map>

#include "base/error.hpp"
#include "checks.hpp"
#include "topo/topology.hpp"

namespace tarn::cli {
namespace {

std::string count_of(uint64_t count, const char* what) { return std::to_string(count) + " " + what + (count == 1 ? "" : "s"); }

std::string rounded(double value) {
  char text[32];
  snprintf(text, sizeof text, "%.3g", value);
  return text;
}

Finding check_cpuset(const topo::Topology& topology) {
  uint32_t ours = topology.allowed.count();
  uint32_t all = topology.online.count();
  if (ours == all) return {"cpuset", Verdict::kOk, "all " + count_of(all, "CPU"), "", ""};
  return {"cpuset", Verdict::kWarn, std::to_string(ours) + " of " + count_of(all, "CPU") + " (" + topology.allowed.text() + ")",
          "Tarn makes slots only of the CPUs that this process was given",
          "widen the affinity (taskset) or the cpuset of the control group (AllowedCPUs=) if more was meant"};
}

Finding check_cores(const topo::Topology& topology) {
  uint32_t threads = 1;
  for (const topo::Core& core : topology.cores) threads = std::max(threads, core.threads);
  std::string found = count_of(topology.cores.size(), "core") + ", " + count_of(topology.packages, "package") + ", " +
                      count_of(topology.nodes.size(), "NUMA node") + ", " + count_of(threads, "thread") + " a core";
  if (topology.cores.size() > 1) return {"cores", Verdict::kOk, found, "", ""};
  return {"cores", Verdict::kWarn, found, "client and worker share one core, so neither ever spins and every call costs a switch",
          "give Tarn at least two cores"};
}

// "max 100000" or "150000 100000".
double quota_of(const Host& host, const std::string& folder, const std::string& text) {
  if (text.starts_with("max")) return -1;
  char* end = nullptr;
  double quota = strtod(text.c_str(), &end);
  double period = *end == ' ' ? strtod(end, nullptr) : strtod(host.read(folder + "/cpu.cfs_period_us").c_str(), nullptr);
  return quota > 0 && period > 0 ? quota / period : -1;
}

Finding check_quota(const Host& host, const topo::Topology& topology) {
  double cpus = host.least_in_cgroups("cpu", "cpu.max", "cpu.cfs_quota_us", quota_of);
  if (cpus < 0) return {"cpu_quota", Verdict::kOk, "none", "", ""};
  std::string found = rounded(cpus) + " CPUs of time";
  if (cpus >= static_cast<double>(topology.cores.size())) return {"cpu_quota", Verdict::kOk, found, "", ""};
  return {"cpu_quota", Verdict::kWarn, found,
          "the control group may use less time than its " + count_of(topology.cores.size(), "core") + ": all workers are stopped for the rest of each period",
          "raise cpu.max (CPUQuota=), or give it whole CPUs instead (AllowedCPUs=)"};
}

Finding check_governor(const Host& host, const topo::Topology& topology) {
  std::map<std::string, uint32_t> governors;
  for (int32_t cpu = topology.allowed.first(); cpu >= 0; cpu = topology.allowed.next(cpu)) {
    std::string governor = host.read("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/cpufreq/scaling_governor");
    if (!governor.empty()) ++governors[governor];
  }
  if (governors.empty()) return {"governor", Verdict::kOk, "the kernel does not set the frequency", "", ""};
  std::string found;
  for (auto& [name, count] : governors) found += (found.empty() ? "" : ", ") + name + " on " + count_of(count, "CPU");
  if (governors.size() == 1 && governors.contains("performance")) return {"governor", Verdict::kOk, found, "", ""};
  return {"governor", Verdict::kWarn, found, "cores need a while to reach full speed, so short bursts of tasks run slowly",
          "cpupower frequency-set -g performance"};
}

bool is_virtual(const Host& host) {
  return host.has("/sys/hypervisor/type") || host.read("/proc/cpuinfo").find(" hypervisor") != std::string::npos;
}

Finding check_hypervisor(const Host& host) {
  if (!is_virtual(host)) return {"hypervisor", Verdict::kOk, "none", "", ""};
  std::string vendor = host.read("/sys/class/dmi/id/sys_vendor");
  return {"hypervisor", Verdict::kWarn, vendor.empty() ? "a virtual machine" : "a virtual machine (" + vendor + ")",
          "waking an idle core can cost 100 us, and the host may take cores away for a while",
          "pin the virtual CPUs on the host; expect parked calls to be slow"};
}

Finding check_idle(const Host& host) {
  std::string driver = host.read("/sys/devices/system/cpu/cpuidle/current_driver");
  std::string governor = host.read("/sys/devices/system/cpu/cpuidle/current_governor");
  if (governor.empty()) governor = host.read("/sys/devices/system/cpu/cpuidle/current_governor_ro");
  std::string found = (driver.empty() ? "no driver" : driver) + ", " + (governor.empty() ? "no governor" : "governor " + governor);
  if (!is_virtual(host) || governor == "haltpoll") return {"idle", Verdict::kOk, found, "", ""};
  return {"idle", Verdict::kWarn, found, "idle virtual cores are given back to the host at once, and waking them is slow",
          "boot the guest with cpuidle_haltpoll.force=1, if its kernel has it"};
}

Finding check_numa_balancing(const Host& host, const topo::Topology& topology) {
  std::string on = host.read("/proc/sys/kernel/numa_balancing");
  if (topology.nodes.size() < 2 || on.empty() || on == "0")
    return {"numa_balancing", Verdict::kOk, topology.nodes.size() < 2 ? "one node" : "off", "", ""};
  return {"numa_balancing", Verdict::kWarn, "on", "the kernel unmaps pages to see who uses them, which costs page faults in shared memory",
          "sysctl kernel.numa_balancing=0: workers are pinned and slabs bound to their nodes"};
}

Finding check_clock(const Host& host) {
  std::string clock = host.read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  if (clock != "hpet" && clock != "acpi_pm" && clock != "jiffies" && clock != "refined-jiffies")
    return {"clock", Verdict::kOk, clock.empty() ? "not known" : clock, "", ""};
  return {"clock", Verdict::kWarn, clock, "every look at the clock is a slow system call", "boot with tsc=reliable if the TSC is sound"};
}

}  // namespace

Findings check_cpus(const Host& host) {
  topo::Topology topology;
  // A host that is not the one we run on has no affinity of ours.
  topo::CpuSet all;
  bool is_here = host.root().empty();
  if (!is_here) (void)topo::CpuSet::parse("0-1023", all);
  topo::DiscoverOptions options{.source = topo::Source::kSysfs, .allowed = is_here ? nullptr : &all, .root = host.root().c_str()};
  if (topo::Topology::discover(options, topology) < 0)
    return {{"topology", Verdict::kFail, "not known", last_error(), "mount /sys"}};
  return {check_cpuset(topology),         check_quota(host, topology),          check_cores(topology),
          check_governor(host, topology), check_idle(host),                     check_hypervisor(host),
          check_clock(host),              check_numa_balancing(host, topology)};
}

}  // namespace tarn::cli
