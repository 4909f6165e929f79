#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "listing.hpp"
#include "text.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

using Kind = Field::Kind;

std::string number(const Json& answer, const char* key) {
  return std::to_string(answer.value(key, int64_t{0}));
}

void print_summary(const Daemon& daemon, const Json& status) {
  std::string kind = status.value("private", false) ? "private, ends with its client" : "of this host";
  std::printf("tarnd %s, process %s, %s, up %s\n", escape(status.value("version", "?")).c_str(), number(status, "pid").c_str(),
              kind.c_str(), show_duration(status.value("uptime_ns", int64_t{-1})).c_str());
  std::printf("address   %s\n", escape(daemon.address).c_str());
  std::printf("workers   %s on %s slots\n", number(status, "workers").c_str(), number(status, "slots").c_str());
  std::printf("memory    %s of %s\n", show_bytes(status.value("memory_used", uint64_t{0})).c_str(),
              show_bytes(status.value("memory_limit", uint64_t{0})).c_str());
  std::string resources;
  for (const Json& each : status.value("resources", Json::array()))
    resources += (resources.empty() ? "" : ", ") + escape(each.value("name", "?")) + " " + number(each, "used") + " of " + number(each, "total");
  if (!resources.empty()) std::printf("resources %s in use\n", resources.c_str());
  if (!status.value("spawn_service", true)) std::printf("spawn     not connected: no worker can be started\n");
}

// The counts of a session's tasks beside its other fields, for the table.
Json with_counts(Json rows) {
  for (Json& row : rows) {
    Json counts = row.value("tasks", Json::object());
    row["queued"] = counts.value("waiting", uint64_t{0}) + counts.value("ready", uint64_t{0});
    row["running"] = counts.value("running", uint64_t{0});
    row["done"] = counts.value("finished", uint64_t{0}) + counts.value("done", uint64_t{0});
  }
  return rows;
}

int run(const Options& options) {
  for_each_daemon(options, [&](const Daemon& daemon) {
    Json status = ask(daemon, "status", 0, options.timeout_ns());
    Json sessions = ask(daemon, "sessions", 0, options.timeout_ns());
    Json rows = sessions.value("sessions", Json::array());
    filter_rows(rows, options.filters,
                {"session", "name", "pid", "uid", "state", "workers", "memory_used", "memory_limit", "tasks"});
    if (options.limit > 0 && rows.size() > static_cast<size_t>(options.limit)) rows.erase(rows.begin() + options.limit, rows.end());
    if (options.json) {
      status["session_list"] = rows;
      return print_json(daemon, status);
    }
    print_summary(daemon, status);
    if (rows.empty()) {
      std::printf("sessions  %s, none of yours\n", number(status, "sessions").c_str());
      return;
    }
    std::printf("\n");
    Table table = make_table({{"session", "SESSION", Kind::kNumber},
                              {"pid", "PID", Kind::kNumber},
                              {"uid", "UID", Kind::kNumber},
                              {"state", "STATE", Kind::kState},
                              {"workers", "WORKERS", Kind::kNumber},
                              {"queued", "QUEUED", Kind::kNumber},
                              {"running", "RUNNING", Kind::kNumber},
                              {"done", "DONE", Kind::kNumber},
                              {"memory_used", "MEMORY", Kind::kBytes},
                              {"name", "NAME", Kind::kText}},
                             with_counts(rows));
    std::fputs(table.text(wants_colour(STDOUT_FILENO)).c_str(), stdout);
  });
  return kOk;
}

}  // namespace

constinit const Verb kStatusVerb = {
    "status", "the daemons, their sessions and how busy they are",
    "Shows the version, age, slots and memory of each daemon, and the sessions that are yours (root sees all): how many of "
    "their tasks wait, run, or are done but not forgotten yet.",
    nullptr, false, run};

}  // namespace tarn::cli
