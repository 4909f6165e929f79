// ConfigWarnings: what an administrator has set and will not get. tarnd runs with it, so it is no error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config.hpp"

namespace tarn::daemon {

// What of the host the configuration is compared with.
struct ConfigHost {
  std::string why_disk_is_off;  // Spill::why_off, or ""
  uint64_t disk_free = 0;       // where objects would go
};

// One line each. REQUIRES: config.memory_max is known, not a share.
[[nodiscard]] std::vector<std::string> config_warnings(const Config& config, const ConfigHost& host);

// "4 GiB", "1536 MiB": sizes as the file has them, rounded down.
[[nodiscard]] std::string size_text(uint64_t bytes);

}  // namespace tarn::daemon
