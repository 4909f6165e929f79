// ConfigFile: reads tarnd.toml, and refuses what it does not understand, with file, line and column.
//
// One table (config_keys) says what may be set; the page docs/configuration.md and the example
// daemon/tarnd.toml are compared with it by a test.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

#include "config.hpp"

namespace tarn::daemon {

// what(): "FILE:LINE:COLUMN: what is wrong; what is allowed".
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct ConfigKey {
  std::string_view section;  // "daemon", or "tenants.NAME"
  std::string_view name;
  std::string_view type;     // as the page says it
  std::string_view fallback; // the default, in TOML; "" if there is none
};

// Every key that a file may have, by section.
[[nodiscard]] std::span<const ConfigKey> config_keys();

// The uid of a user's name; nothing if there is no such user.
using ResolveUser = std::function<std::optional<uid_t>(const std::string& name)>;

// Reads `text`; `file` is only for messages. Throws ConfigError.
[[nodiscard]] Config parse_config(std::string_view text, const std::string& file, const ResolveUser& resolve);

// Reads the file at `path`; users are those of this host. Throws ConfigError.
[[nodiscard]] Config read_config(const std::string& path);

}  // namespace tarn::daemon
