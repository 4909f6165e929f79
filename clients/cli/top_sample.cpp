#include "top_sample.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "os/clock.hpp"
#include "trace/trace_area.hpp"

namespace tarn::cli {
namespace {

constexpr uint32_t kTaskRows = 1000;  // that are looked at: those that run come first

// What the kernel says of a process; 0 if it says nothing.
uint64_t cpu_of(int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(file)), {});
  size_t end = text.rfind(')');  // of its name, which may have anything in it
  if (end == std::string::npos) return 0;
  std::istringstream fields(text.substr(end + 1));
  std::string ignored;
  for (int i = 0; i < 11; ++i) fields >> ignored;
  uint64_t user = 0;
  uint64_t system = 0;
  fields >> user >> system;
  return (user + system) * (1'000'000'000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK)));
}

Json rss_of(int64_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/statm");
  uint64_t size = 0;
  uint64_t resident = 0;
  if (!(file >> size >> resident)) return {};
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

const shm::WorkerLine* line_of(const os::Mapping& board, uint32_t member) {
  if (!board.valid() || member >= shm::kMembersMax) return nullptr;
  return &reinterpret_cast<const shm::Board*>(board.data())->workers[member];
}

// Members write these words, and may write anything: a rate is no less than nothing.
uint64_t since(uint64_t now, uint64_t before) { return now >= before ? now - before : now; }

}  // namespace

void TopSampler::find_boards(const Json& sessions) {
  std::set<uint32_t> there;
  for (const Json& row : sessions) there.insert(row.value("session", uint32_t{0}));
  std::erase_if(sessions_, [&](const auto& entry) { return !there.contains(entry.first); });
  for (uint32_t number : there) {
    Session& session = sessions_[number];
    if (session.board.valid()) continue;
    try {
      TraceLink link(daemon_, options_.timeout_ns());
      Fd file;
      wire::Trace answer = link.ask(number, 0, 0, file);
      if (answer.board_size == trace::kBoardFileSize) (void)os::Mapping::map(file, sizeof(shm::Board), os::Access::kRead, session.board);
    } catch (const CliError& error) {
      if (error.status != kNotFound) throw;  // it has just ended
    }
  }
}

void TopSampler::glance() {
  for (auto& [number, session] : sessions_)
    for (auto& [member, worker] : session.workers) {
      const shm::WorkerLine* line = line_of(session.board, member);
      if (line == nullptr) continue;
      ++worker.glances;
      if (line->busy.load(shm::kRelaxed) != 0 || line->graph.load(shm::kRelaxed) != 0) ++worker.busy_glances;
    }
}

void TopSampler::note_ages(const Json& tasks, int64_t now) {
  std::map<TaskKey, int64_t> seen;
  for (const Json& row : tasks) {
    if (row["state"] != "running" && row["state"] != "ready") continue;
    // One that runs is another thing than the same when it was ready.
    uint32_t attempts = row["state"] == "running" ? row.value("attempts", uint32_t{0}) : UINT32_MAX;
    TaskKey key{row.value("session", 0u), row.value("member", 0u), row.value("record", 0u), row.value("generation", 0u), attempts};
    auto before = first_seen_ns_.find(key);
    seen[key] = before == first_seen_ns_.end() ? now : before->second;
  }
  first_seen_ns_ = std::move(seen);
}

Json TopSampler::age_of(const Json& task) const {
  uint32_t attempts = task["state"] == "running" ? task.value("attempts", uint32_t{0}) : UINT32_MAX;
  auto found = first_seen_ns_.find({task.value("session", 0u), task.value("member", 0u), task.value("record", 0u), task.value("generation", 0u), attempts});
  return found == first_seen_ns_.end() ? Json() : Json(now_ns_ - found->second);
}

Json TopSampler::slot_row(Session& session, const Json& worker, const Json& tasks, double seconds) {
  auto member = worker.value("worker", uint32_t{0});
  auto pid = worker.value("pid", int64_t{0});
  Worker& before = session.workers[member];
  if (before.pid != pid) before = {};
  const shm::WorkerLine* line = line_of(session.board, member);
  Worker now{pid, line == nullptr ? 0 : line->tasks_done.load(shm::kRelaxed), line == nullptr ? 0 : line->tasks_failed.load(shm::kRelaxed), cpu_of(pid), 0, 0};
  bool is_known = before.pid == pid && seconds > 0;
  Json row;
  row["slot"] = worker.value("slot", 0);
  row["core"] = worker.value("core", -1);
  row["node"] = worker.value("node", -1);
  row["worker"] = member;
  row["pid"] = pid;
  row["state"] = worker.value("state", "?");
  row["busy"] = before.glances == 0 ? Json() : Json(static_cast<double>(before.busy_glances) / before.glances);
  row["cpu"] = is_known ? Json(static_cast<double>(since(now.cpu_ns, before.cpu_ns)) / 1e9 / seconds) : Json();
  row["rss"] = rss_of(pid);
  row["finished"] = since(now.done, before.done);
  row["failed"] = since(now.failed, before.failed);
  row["finished_per_s"] = is_known ? Json(static_cast<double>(since(now.done, before.done)) / seconds) : Json();
  // The run that it is in; of runs within runs the one that began last.
  const Json* task = nullptr;
  for (const Json& each : tasks)
    if (each["state"] == "running" && each["worker"] == member && each["session"] == worker["session"] &&
        (task == nullptr || age_of(*task) > age_of(each)))
      task = &each;
  row["task"] = task == nullptr ? Json() : (*task)["task"];
  row["running_ns"] = task == nullptr ? Json() : age_of(*task);
  row["died"] = worker.value("died", uint64_t{0});
  before = now;
  return row;
}

Json TopSampler::session_row(const Json& session, const Json& workers, const Json& tasks, double seconds) {
  auto number = session.value("session", uint32_t{0});
  Session& mine = sessions_[number];
  Json counts = session.value("tasks", Json::object());
  Json slots = Json::array();
  std::set<uint32_t> there;
  for (const Json& worker : workers) {
    if (worker.value("session", uint32_t{0}) != number || worker.value("state", "") == "dead") continue;
    there.insert(worker.value("worker", uint32_t{0}));
    slots.push_back(slot_row(mine, worker, tasks, seconds));
  }
  std::erase_if(mine.workers, [&](const auto& entry) { return !there.contains(entry.first); });
  uint64_t finished = 0;
  uint64_t failed = 0;
  for (const Json& slot : slots) {
    finished += slot["finished"].get<uint64_t>();
    failed += slot["failed"].get<uint64_t>();
  }
  Json oldest;
  for (const Json& task : tasks)
    if (task["session"] == number && task["state"] == "ready")
      if (Json age = age_of(task); !age.is_null() && (oldest.is_null() || age > oldest)) oldest = age;
  Json row;
  for (const char* key : {"session", "name", "pid", "uid", "state"}) row[key] = session.value(key, Json());
  row["finished"] = finished;
  row["finished_per_s"] = seconds > 0 ? Json(static_cast<double>(finished) / seconds) : Json();
  row["failed"] = failed;
  row["waiting"] = counts.value("waiting", uint64_t{0});
  row["ready"] = counts.value("ready", uint64_t{0});
  row["running"] = counts.value("running", uint64_t{0});
  row["oldest_ready_ns"] = oldest;
  row["memory_used"] = session.value("memory_used", uint64_t{0});
  row["memory_limit"] = session.value("memory_limit", uint64_t{0});
  row["disk_used"] = session.value("disk_used", uint64_t{0});
  row["slots"] = std::move(slots);
  return row;
}

Json TopSampler::look() {
  Json sessions = ask(daemon_, "sessions", 0, options_.timeout_ns())["sessions"];
  Json workers = ask(daemon_, "workers", 0, options_.timeout_ns())["workers"];
  Json tasks = ask(daemon_, "tasks", kTaskRows, options_.timeout_ns())["tasks"];
  find_boards(sessions);
  now_ns_ = os::now_ns();
  note_ages(tasks, now_ns_);
  double seconds = last_look_ns_ == 0 ? 0 : static_cast<double>(now_ns_ - last_look_ns_) / 1e9;
  Json answer;
  answer["schema"] = "tarn.top/1";
  answer["interval_ns"] = last_look_ns_ == 0 ? 0 : now_ns_ - last_look_ns_;
  answer["sessions"] = Json::array();
  for (const Json& session : sessions) answer["sessions"].push_back(session_row(session, workers, tasks, seconds));
  last_look_ns_ = now_ns_;
  return answer;
}

}  // namespace tarn::cli
