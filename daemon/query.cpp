#include "query.hpp"

#include <unistd.h>

#include <string_view>

#include "tarnd.hpp"
#include "tarn_build_config.h"

namespace tarn::daemon {
namespace {

std::string status(const Tarnd& daemon) {
  size_t workers = 0;
  for (auto& [number, session] : daemon.sessions()) workers += session->worker_count();
  return "{\"schema\":\"tarn.status/1\",\"version\":\"" TARN_VERSION "\",\"pid\":" + std::to_string(getpid()) +
         ",\"private\":" + (daemon.is_private() ? "true" : "false") +
         ",\"sessions\":" + std::to_string(daemon.sessions().size()) + ",\"workers\":" + std::to_string(workers) +
         ",\"slots\":" + std::to_string(daemon.slots().size()) +
         ",\"memory_used\":" + std::to_string(daemon.budget().used()) +
         ",\"memory_limit\":" + std::to_string(daemon.budget().limit()) + "}";
}

}  // namespace

std::string answer(const Tarnd& daemon, const wire::Query& query, uid_t) {
  std::string_view what = query.what;
  if (what == "status") return status(daemon);
  return "{\"error\":\"no such query\"}";
}

}  // namespace tarn::daemon
