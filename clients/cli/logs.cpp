#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "listing.hpp"
#include "shm/ids.hpp"
#include "shm/output_log.hpp"
#include "text.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(100);
constexpr int kLooksPerAsk = 10;  // at logs that are known, before tarnd is asked for new ones

// One session's log, as far as it was read.
struct SessionLog {
  os::Mapping mapping;
  std::vector<uint64_t> positions;  // of each lane

  explicit SessionLog(os::Mapping file) : mapping(std::move(file)) {
    // Written by a process of the session's user, which is not trusted here either.
    auto* log = reinterpret_cast<shm::OutputLog*>(mapping.data());
    bool is_known = log->magic == shm::OutputLog::kMagic && log->ring_size == shm::kOutputRingSize;
    uint32_t lanes = log->lanes;
    if (is_known && lanes <= shm::kMembersMax && shm::OutputLog::size_of(lanes) <= mapping.size()) positions.resize(lanes);
  }
};

// What `tarn logs WHAT` asks for.
class Wanted {
 public:
  explicit Wanted(const std::string& what) : what_(what) {
    auto [end, error] = std::from_chars(what.data(), what.data() + what.size(), number_);
    is_number_ = !what.empty() && error == std::errc() && end == what.data() + what.size();
  }

  // A number is a session's if there is one with that; else a pid.
  void look_at_sessions(const Json& sessions) {
    if (is_number_ && !is_session_)
      is_session_ = std::ranges::any_of(sessions, [&](const Json& each) { return each.value("session", uint64_t{0}) == number_; });
  }
  [[nodiscard]] bool wants_session(uint32_t session) const { return !is_session_ || session == number_; }
  [[nodiscard]] bool wants(const Json& row) const {
    if (what_.empty() || is_session_) return true;
    if (is_number_) return row["pid"] == number_;
    if (row["task"].is_null()) return false;
    return row["task"] == what_ || std::to_string(row["from"].get<uint32_t>()) + "." + std::to_string(row["record"].get<uint32_t>()) == what_;
  }
  // Nothing was found for it.
  [[nodiscard]] bool is_missing(bool any_rows) const { return !any_rows && !what_.empty() && !is_session_; }

 private:
  std::string what_;
  uint64_t number_ = 0;
  bool is_number_ = false;
  bool is_session_ = false;
};

Json make_row(uint32_t session, const shm::OutputEntry& entry) {
  Json row;
  row["session"] = session;
  row["worker"] = entry.member;
  row["pid"] = entry.pid;
  row["slot"] = entry.slot;
  bool is_of_task = entry.run != 0;
  auto record = static_cast<uint32_t>(entry.run);
  row["task"] = is_of_task ? Json(entry.name()) : Json();
  row["from"] = is_of_task ? Json(shm::id_member(record)) : Json();
  row["record"] = is_of_task ? Json(shm::id_index(record)) : Json();
  row["generation"] = is_of_task ? Json(static_cast<uint32_t>(entry.run >> 32)) : Json();
  row["stream"] = entry.stream == static_cast<uint8_t>(shm::OutputStream::kErr) ? "stderr" : "stdout";
  row["time_ns"] = entry.time_ns;
  row["cut"] = (entry.flags & shm::OutputEntry::kIsCut) != 0;
  row["text"] = entry.text();
  return row;
}

// The logs of one daemon's sessions.
class Logs {
 public:
  Logs(const Daemon& daemon, const Options& options) : daemon_(daemon), options_(options), wanted_(options.argument) {}

  // Finds the sessions that have printed something since.
  void look_for_sessions() {
    Json sessions = ask(daemon_, "sessions", 0, options_.timeout_ns())["sessions"];
    wanted_.look_at_sessions(sessions);
    for (const Json& each : sessions) {
      auto number = each.value("session", uint32_t{0});
      if (logs_.contains(number) || !wanted_.wants_session(number)) continue;
      if (os::Mapping log = ask_for_log(daemon_, number, options_.timeout_ns()); log.valid()) logs_.emplace(number, SessionLog(std::move(log)));
    }
  }

  // What has come since the last time, in the order of the moments when it was read.
  [[nodiscard]] Json read() {
    Json rows = Json::array();
    for (auto& [number, log] : logs_) {
      auto* file = reinterpret_cast<shm::OutputLog*>(log.mapping.data());
      for (uint32_t lane = 0; lane < log.positions.size(); ++lane) {
        copy_.read(*file->lane(lane), log.positions[lane]);
        for (const shm::OutputEntry* entry; (entry = copy_.next()) != nullptr;)
          if (Json row = make_row(number, *entry); wanted_.wants(row)) rows.push_back(std::move(row));
      }
    }
    std::stable_sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) { return a["time_ns"].get<int64_t>() < b["time_ns"].get<int64_t>(); });
    filter_rows(rows, options_.filters, {"session", "worker", "pid", "slot", "task", "from", "record", "generation", "stream", "time_ns", "cut", "text"});
    return rows;
  }

  [[nodiscard]] bool is_missing(bool any_rows) const { return wanted_.is_missing(any_rows); }

 private:
  const Daemon& daemon_;
  const Options& options_;
  Wanted wanted_;
  std::map<uint32_t, SessionLog> logs_;
  shm::OutputCopy copy_;
};

std::string show_time(int64_t time_ns) {
  time_t seconds = time_ns / 1'000'000'000;
  tm local{};
  localtime_r(&seconds, &local);
  char text[32];
  size_t size = strftime(text, sizeof text, "%H:%M:%S", &local);
  snprintf(text + size, sizeof text - size, ".%03d", static_cast<int>(time_ns / 1'000'000 % 1000));
  return text;
}

void print(const Daemon& daemon, const Options& options, Json rows, bool is_cut) {
  if (options.json) {
    Json answer;
    answer["schema"] = "tarn.logs/1";
    answer["logs"] = std::move(rows);
    answer["truncated"] = is_cut;
    return print_json(daemon, answer);
  }
  bool has_colour = wants_colour(STDOUT_FILENO);
  for (const Json& row : rows) {
    std::string line = show_time(row["time_ns"].get<int64_t>()) + " (" +
                       (row["task"].is_null() ? "worker" : escape(row["task"].get<std::string>())) + " pid=" + row["pid"].dump() +
                       " slot=" + row["slot"].dump() + ") " + escape(row["text"].get<std::string>());
    bool is_error = has_colour && row["stream"] == "stderr";
    std::printf("%s%s%s\n", is_error ? "\x1b[33m" : "", line.c_str(), is_error ? "\x1b[0m" : "");
  }
}

// The last rows are what somebody wants who wants only some.
bool keep_last(Json& rows, const Options& options) {
  int64_t most = options.limit >= 0 ? options.limit : options.json ? 0 : kTableRows;
  if (most == 0 || rows.size() <= static_cast<size_t>(most)) return false;
  rows.erase(rows.begin(), rows.end() - most);
  return true;
}

void follow(const Daemon& daemon, const Options& options, Logs& logs) {
  for (int look = 1;; ++look) {
    std::this_thread::sleep_for(kLookEvery);
    bool is_gone = false;
    try {
      if (look % kLooksPerAsk == 0) logs.look_for_sessions();
    } catch (const CliError& error) {
      if (error.status != kNoDaemon) throw;
      is_gone = true;  // what it left is to be shown
    }
    if (Json rows = logs.read(); !rows.empty()) print(daemon, options, std::move(rows), false);
    if (std::fflush(stdout) != 0 || is_gone) return;
  }
}

int run(const Options& options) {
  if (options.follow && options.watch_s > 0) throw CliError(kUsage, "--follow and --watch are two ways to go on: choose one");
  for_each_daemon(options, [&](const Daemon& daemon) {
    Logs logs(daemon, options);
    logs.look_for_sessions();
    Json rows = logs.read();
    if (!options.follow && logs.is_missing(!rows.empty()))
      throw CliError(kNotFound, "nothing is kept that " + escape(options.argument) + " printed: it is neither a session, nor the pid of a worker, nor a task (its name, or FROM.RECORD of `tarn tasks`) that has printed something");
    bool is_cut = keep_last(rows, options);
    print(daemon, options, std::move(rows), is_cut);
    if (is_cut && !options.json) {
      std::fflush(stdout);
      std::fprintf(stderr, "tarn: there are more; --limit 0 shows all that is kept\n");
    }
    if (options.follow) follow(daemon, options, logs);
  });
  return kOk;
}

}  // namespace

constinit const Verb kLogsVerb = {
    "logs",
    "what workers have printed",
    "Shows the last lines that the workers of your sessions wrote to their stdout and stderr, oldest first: when, by which task (or the "
    "worker itself, before its first), by which process and in which slot. With an argument only those of a session (its number), of a worker (its "
    "process number), or of a task: its name, or FROM.RECORD as `tarn tasks` shows them. "
    "Kept are 256 KiB for each slot of a session, for as long as that lasts; nothing, if its output goes straight to its client (TARN_OUTPUT=raw). "
    "What a task writes by other means than stdio or iostreams, or programs that it starts, is counted as that of the task which ran when it was read. "
    "--limit takes the last ones. With --follow it goes on with what comes; with --json as well, each time in an object of its own. `cut` says that a line had "
    "no newline: it was too long, or its worker ended in it.",
    "what",
    false,
    run,
    nullptr,
    true};

}  // namespace tarn::cli
