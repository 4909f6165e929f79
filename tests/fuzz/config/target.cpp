// tarnd.toml as anybody might write it: accepted, or refused with a ConfigError that names a place; nothing else.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>

#include "config_file.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto resolve = [](const std::string& name) { return name == "alice" ? std::optional<uid_t>(1000) : std::nullopt; };
  try {
    tarn::daemon::Config config =
        tarn::daemon::parse_config({reinterpret_cast<const char*>(data), size}, "fuzz.toml", resolve);
    if (config.slots.cores_per_slot == 0 || config.socket_path.empty() || config.memory_share <= 0) std::abort();
  } catch (const tarn::daemon::ConfigError& error) {
    if (!std::string(error.what()).starts_with("fuzz.toml:")) std::abort();
  }
  return 0;
}
