#include "config_warnings.hpp"

namespace tarn::daemon {
namespace {

// A part that may have more than the whole gets the whole at most.
void compare(std::vector<std::string>& out, const std::string& key, uint64_t part, const char* whole_key, uint64_t whole) {
  if (part == 0 || whole == 0 || part <= whole) return;
  out.push_back(key + " is " + size_text(part) + ", more than " + whole_key + ", " + size_text(whole) +
                ": nobody gets more than that");
}

void check_memory(std::vector<std::string>& out, const Config& config) {
  bool has_tenant_limit = config.tenant_memory_max != 0 && config.tenant_memory_max <= config.memory_max;
  compare(out, "memory.per_tenant", config.tenant_memory_max, "memory.limit", config.memory_max);
  if (has_tenant_limit && config.tenants.empty())  // a section may give a tenant more than that
    compare(out, "memory.per_client", config.session_memory_max, "memory.per_tenant", config.tenant_memory_max);
  else
    compare(out, "memory.per_client", config.session_memory_max, "memory.limit", config.memory_max);
  for (auto& [uid, tenant] : config.tenants)
    compare(out, "tenants." + std::to_string(uid) + ".memory", tenant.memory, "memory.limit", config.memory_max);
}

void check_disk(std::vector<std::string>& out, const Config& config, const ConfigHost& host) {
  compare(out, "memory.spill_per_tenant", config.tenant_spill_max, "memory.spill_limit", config.spill_max);
  if (config.spill_directory.empty()) return;  // as it was wanted
  std::string so = ": no object can leave memory, and a store that is full refuses more";
  if (!host.why_disk_is_off.empty()) {
    out.push_back("memory.spill_directory: " + host.why_disk_is_off + so);
  } else if (host.disk_free == 0) {
    // A share of nothing stays nothing, also when the disk has room again.
    out.push_back("memory.spill_directory: nothing is free in " + config.spill_directory + so +
                  (config.spill_max == 0 ? "; free some of it before tarnd starts, or set spill_limit to a size" : ""));
  } else {
    compare(out, "memory.spill_limit", config.spill_max, "what is free on that disk", host.disk_free);
  }
}

}  // namespace

std::string size_text(uint64_t bytes) {
  const char* unit = "B";
  for (const char* larger : {"KiB", "MiB", "GiB", "TiB"}) {
    // Not beyond what loses much: 1.5 GiB is 1536 MiB.
    if (bytes < 10240 && bytes % 1024 != 0) break;
    if (bytes < 1024) break;
    bytes /= 1024;
    unit = larger;
  }
  return std::to_string(bytes) + " " + unit;
}

std::vector<std::string> config_warnings(const Config& config, const ConfigHost& host) {
  std::vector<std::string> warnings;
  check_memory(warnings, config);
  check_disk(warnings, config, host);
  return warnings;
}

}  // namespace tarn::daemon
