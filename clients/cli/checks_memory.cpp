#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>

#include "checks.hpp"
#include "text.hpp"

namespace tarn::cli {
namespace {

constexpr uint64_t kDescriptorsWanted = 4096;
constexpr uint64_t kDescriptorsNeeded = 256;

// Bytes, from a line such as "MemTotal:  16384 kB"; pages for HugePages_*.
uint64_t field_of(const std::string& meminfo, const std::string& name) {
  size_t at = meminfo.find(name + ":");
  if (at == std::string::npos) return 0;
  char* end = nullptr;
  uint64_t value = strtoull(meminfo.c_str() + at + name.size() + 1, &end, 10);
  return std::string(end, 3) == " kB" ? value * 1024 : value;
}

double bytes_of(const Host&, const std::string&, const std::string& text) {
  if (text == "max") return -1;
  double bytes = strtod(text.c_str(), nullptr);
  return bytes >= 9e18 ? -1 : bytes;  // what the older hierarchy says for none
}

Finding check_memory_limit(const Host& host, uint64_t total) {
  double limit = host.least_in_cgroups("memory", "memory.max", "memory.limit_in_bytes", bytes_of);
  if (limit < 0 || limit >= static_cast<double>(total)) return {"memory_limit", Verdict::kOk, "none below " + show_bytes(total), "", ""};
  return {"memory_limit", Verdict::kWarn, show_bytes(static_cast<uint64_t>(limit)) + " of " + show_bytes(total),
          "objects, clients and workers together may have no more than the control group has",
          "raise memory.max (MemoryMax=), or set [memory] limit so that the rest keeps its share"};
}

Finding check_available(uint64_t available, uint64_t total) {
  std::string found = show_bytes(available) + " of " + show_bytes(total);
  if (available >= total / 10) return {"memory_available", Verdict::kOk, found, "", ""};
  return {"memory_available", Verdict::kWarn, found, "a daemon that starts now gets a small store", "end what uses the memory"};
}

Finding check_huge_pages(const std::string& meminfo) {
  uint64_t pages = field_of(meminfo, "HugePages_Total");
  uint64_t size = field_of(meminfo, "Hugepagesize");
  std::string found = pages == 0 ? "none reserved" : std::to_string(pages) + " of " + show_bytes(size);
  return {"hugetlb", Verdict::kOk, found, "", ""};
}

// What is in brackets in a file of the kernel that lists all choices.
std::string chosen_in(const std::string& choices) {
  size_t from = choices.find('[');
  return from == std::string::npos ? "" : choices.substr(from + 1, choices.find(']') - from - 1);
}

// Linux 6.1 has MADV_COLLAPSE, which makes huge pages of a memory file by name.
bool can_collapse(const Host& host) {
  int major = 0;
  int minor = 0;
  return sscanf(host.read("/proc/sys/kernel/osrelease").c_str(), "%d.%d", &major, &minor) == 2 &&
         (major > 6 || (major == 6 && minor >= 1));
}

// Whether objects lie in huge pages (os::huge_page_size). Only `advise` and `never` keep to what tarnd asks for and charges.
Finding check_shmem_huge(const Host& host, const std::string& meminfo) {
  const std::string folder = "/sys/kernel/mm/transparent_hugepage/";
  uint64_t size = strtoull(host.read(folder + "hpage_pmd_size").c_str(), nullptr, 10);
  std::string file = folder + "hugepages-" + std::to_string(size / 1024) + "kB/shmem_enabled";
  std::string chosen = chosen_in(host.read(file));
  bool is_of_size = !chosen.empty() && chosen != "inherit";
  if (!is_of_size) {
    file = folder + "shmem_enabled";
    chosen = chosen_in(host.read(file));
  }
  if (chosen.empty()) return {"shmem_huge", Verdict::kOk, "not in this kernel", "", ""};
  std::string advice = "echo advise > " + file + " at each start of the host; slabs made from then on have them";
  if (chosen == "deny" || (chosen == "never" && (is_of_size || !can_collapse(host))))
    return {"shmem_huge", Verdict::kWarn, chosen,
            "objects lie in pages of 4 KiB: reads here and there in large ones take half as long again, and memory is given and "
            "taken back more slowly",
            advice};
  std::string found = chosen + ", " + show_bytes(field_of(meminfo, "ShmemHugePages")) + " of shared memory in huge pages";
  if (chosen == "advise" || chosen == "never") return {"shmem_huge", Verdict::kOk, found, "", ""};
  return {"shmem_huge", Verdict::kWarn, found,
          "the kernel gives huge pages to who did not ask: small slabs, and objects that come back from the disk, take more "
          "memory than they are charged for",
          advice};
}

Finding check_overcommit(const Host& host) {
  std::string mode = host.read("/proc/sys/vm/overcommit_memory");
  if (mode != "2") return {"overcommit", Verdict::kOk, mode.empty() ? "not known" : mode, "", ""};
  return {"overcommit", Verdict::kWarn, "2 (strict)", "address space counts as memory, and Tarn reserves more of it than it touches",
          "sysctl vm.overcommit_memory=0, or raise vm.overcommit_ratio"};
}

Finding check_swap(const std::string& meminfo) {
  uint64_t swap = field_of(meminfo, "SwapTotal");
  if (swap == 0) return {"swap", Verdict::kOk, "none", "", ""};
  return {"swap", Verdict::kWarn, show_bytes(swap), "objects may be written out when memory is short, and reading them waits for the disk",
          "swapoff, or MemorySwapMax=0 in tarnd.service"};
}

std::string limit_text(rlim_t limit) { return limit == RLIM_INFINITY ? "unlimited" : std::to_string(limit); }

Finding check_descriptors() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  std::string found = limit_text(limit.rlim_cur) + ", at most " + limit_text(limit.rlim_max);
  if (limit.rlim_max >= kDescriptorsWanted) return {"nofile", Verdict::kOk, found, "", ""};
  return {"nofile", limit.rlim_max < kDescriptorsNeeded ? Verdict::kFail : Verdict::kWarn, found,
          "tarnd holds a descriptor for each process, slab and mapped file", "ulimit -Hn 65536, or LimitNOFILE= in the unit"};
}

Finding check_locked() {
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  std::string found = limit.rlim_cur == RLIM_INFINITY ? "unlimited" : show_bytes(limit.rlim_cur);
  return {"memlock", Verdict::kOk, found + " (this release locks no memory)", "", ""};
}

}  // namespace

Findings check_memory(const Host& host) {
  std::string meminfo = host.read("/proc/meminfo");
  uint64_t total = field_of(meminfo, "MemTotal");
  return {check_available(field_of(meminfo, "MemAvailable"), total),
          check_memory_limit(host, total),
          check_huge_pages(meminfo),
          check_shmem_huge(host, meminfo),
          check_overcommit(host),
          check_swap(meminfo),
          check_descriptors(),
          check_locked()};
}

}  // namespace tarn::cli
