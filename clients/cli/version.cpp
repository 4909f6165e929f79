#include <cstdio>
#include <nlohmann/json.hpp>

#include "listing.hpp"
#include "tarn_build_config.h"
#include "text.hpp"
#include "verbs.hpp"
#include "wire/messages.hpp"

namespace tarn::cli {
namespace {

// The daemons' versions, as far as they answer: having none is no error here.
std::vector<std::pair<Daemon, std::string>> daemon_versions(const Options& options) {
  std::vector<std::pair<Daemon, std::string>> versions;
  std::vector<Daemon> daemons;
  try {
    daemons = find_daemons(options.address);
  } catch (const CliError& error) {
    if (error.status != kNoDaemon) throw;
  }
  for (const Daemon& daemon : daemons) {
    try {
      versions.emplace_back(daemon, ask(daemon, "status", 0, options.timeout_ns()).value("version", "?"));
    } catch (const CliError& error) {
      versions.emplace_back(daemon, std::string("does not answer: ") + error.what());
    }
  }
  return versions;
}

int run(const Options& options) {
  auto daemons = daemon_versions(options);
  if (options.json) {
    Json out;
    out["schema"] = "tarn.version/1";
    out["version"] = TARN_VERSION;
    out["protocol"] = wire::kVersion;
    out["daemons"] = Json::array();
    for (auto& [daemon, version] : daemons) out["daemons"].push_back({{"address", daemon.address}, {"version", version}});
    std::printf("%s\n", out.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
    return kOk;
  }
  std::printf("tarn %s (protocol %u)\n", TARN_VERSION, wire::kVersion);
  for (auto& [daemon, version] : daemons) std::printf("tarnd %s at %s\n", escape(version).c_str(), escape(daemon.address).c_str());
  return kOk;
}

}  // namespace

constinit const Verb kVersionVerb = {
    "version", "the versions of this program and of the daemons",
    "Shows the version of this program, of the control protocol, and of each daemon that answers.", nullptr, false, run};

}  // namespace tarn::cli
