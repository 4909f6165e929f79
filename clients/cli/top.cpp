#include <CLI/CLI.hpp>

#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <thread>

#include "listing.hpp"
#include "os/clock.hpp"
#include "text.hpp"
#include "top_sample.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

constexpr int64_t kOnceNs = 250'000'000;
constexpr int64_t kLiveNs = 1'000'000'000;
constexpr int64_t kGlanceNs = 2'000'000;

volatile std::sig_atomic_t is_interrupted = 0;

// While this lives keys come one by one, without being shown. Only where there is a terminal.
class Keys {
 public:
  Keys() {
    if (isatty(STDIN_FILENO) != 1 || tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    is_set_ = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  ~Keys() {
    if (is_set_) (void)tcsetattr(STDIN_FILENO, TCSANOW, &before_);
  }
  Keys(const Keys&) = delete;
  Keys& operator=(const Keys&) = delete;

  // Waits for so long at most; true if `q` was pressed.
  [[nodiscard]] bool wait_for_end(int64_t ns) const {
    if (!is_set_) {
      std::this_thread::sleep_for(std::chrono::nanoseconds(ns));
      return false;
    }
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, static_cast<int>(ns / 1'000'000)) <= 0) return false;
    char key = 0;
    return read(STDIN_FILENO, &key, 1) == 1 && (key == 'q' || key == 'Q');
  }

 private:
  termios before_{};
  bool is_set_ = false;
};

std::string percent(const Json& part) {
  if (!part.is_number()) return "-";
  char text[32];
  snprintf(text, sizeof text, "%.0f %%", part.get<double>() * 100);
  return text;
}

std::string rate(const Json& per_s) {
  if (!per_s.is_number()) return "-";
  auto value = per_s.get<double>();
  const char* unit = "";
  for (const char* next : {" k", " M"})
    if (value >= 10'000) value /= 1000, unit = next;
  char text[32];
  snprintf(text, sizeof text, "%.*f%s/s", value < 10 && value > 0 ? 1 : 0, value, unit);
  return text;
}

// What has been seen for so long, and may be older.
std::string at_least(const Json& ns) { return ns.is_number() ? ">= " + show_duration(ns.get<int64_t>()) : "-"; }

void show_session(const Json& session, bool with_colour) {
  std::string name = escape(session["name"].is_string() ? session["name"].get<std::string>() : "");
  std::printf("session %s  %s, process %s\n", session["session"].dump().c_str(), name.c_str(), session["pid"].dump().c_str());
  std::printf("  tasks   %s finished, %s failed; %s running, %s ready, %s waiting for others; oldest ready %s\n", rate(session["finished_per_s"]).c_str(),
              session["failed"].dump().c_str(), session["running"].dump().c_str(), session["ready"].dump().c_str(), session["waiting"].dump().c_str(),
              at_least(session["oldest_ready_ns"]).c_str());
  std::printf("  memory  %s of %s, %s on the disk\n", show_bytes(session["memory_used"].get<uint64_t>()).c_str(),
              show_bytes(session["memory_limit"].get<uint64_t>()).c_str(), show_bytes(session["disk_used"].get<uint64_t>()).c_str());
  Table table({{"  SLOT", Align::kRight}, {"CORE", Align::kRight}, {"PID", Align::kRight}, {"STATE"}, {"BUSY", Align::kRight}, {"CPU", Align::kRight},
               {"RSS", Align::kRight}, {"FINISHED", Align::kRight}, {"DIED", Align::kRight}, {"FOR", Align::kRight}, {"TASK"}});
  for (const Json& slot : session["slots"])
    table.add({"  " + slot["slot"].dump(), slot["core"].dump(), slot["pid"].dump(), slot["state"].get<std::string>(), percent(slot["busy"]), percent(slot["cpu"]),
               slot["rss"].is_number() ? show_bytes(slot["rss"].get<uint64_t>()) : "-", rate(slot["finished_per_s"]), slot["died"].dump(),
               at_least(slot["running_ns"]), slot["task"].is_string() ? slot["task"].get<std::string>() : "-"});
  std::fputs(table.text(with_colour).c_str(), stdout);
}

void show(const Daemon& daemon, Json answer, const Options& options, bool has_several) {
  filter_rows(answer["sessions"], options.filters,
              {"session", "name", "pid", "uid", "state", "finished", "finished_per_s", "failed", "waiting", "ready", "running", "oldest_ready_ns", "memory_used",
               "memory_limit", "disk_used", "slots"});
  if (options.json) return print_json(daemon, answer);
  if (has_several) std::printf("%s\n", escape(daemon.address).c_str());
  if (answer["sessions"].empty()) std::printf("no session of yours\n");
  bool is_first = true;
  for (const Json& session : answer["sessions"]) {
    if (!is_first) std::printf("\n");
    is_first = false;
    show_session(session, wants_colour(STDOUT_FILENO));
  }
}

// Glances at all of them until the time has passed. False if that is enough.
bool pass_time(std::vector<std::unique_ptr<TopSampler>>& samplers, int64_t ns, const Keys& keys) {
  int64_t end = os::now_ns() + ns;
  while (os::now_ns() < end) {
    if (is_interrupted != 0 || keys.wait_for_end(kGlanceNs)) return false;
    for (auto& sampler : samplers) sampler->glance();
  }
  return true;
}

int run(const Options& options) {
  if (options.watch_s > 0) throw CliError(kUsage, "--watch does not go with top, which goes on anyway; --once looks once");
  std::vector<std::unique_ptr<TopSampler>> samplers;
  for (Daemon& daemon : find_daemons(options.address)) samplers.push_back(std::make_unique<TopSampler>(std::move(daemon), options));
  bool has_several = samplers.size() > 1;
  bool is_screen = !options.once && !options.json && isatty(STDOUT_FILENO) == 1;
  struct sigaction action {};
  action.sa_handler = [](int) { is_interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  // One that has left, as private ones do with their client, is no more looked at.
  auto look = [&](const std::function<void(TopSampler&, Json)>& use) {
    std::erase_if(samplers, [&](auto& sampler) {
      try {
        use(*sampler, sampler->look());
        return false;
      } catch (const CliError& error) {
        if (error.status != kNoDaemon) throw;
        return true;
      }
    });
    if (samplers.empty()) throw CliError(kNoDaemon, "the daemons that were there have left");
  };
  Keys keys;
  look([](TopSampler&, Json) {});
  while (pass_time(samplers, options.once ? kOnceNs : kLiveNs, keys)) {
    std::vector<std::pair<Daemon, Json>> answers;
    look([&](TopSampler& sampler, Json answer) { answers.emplace_back(sampler.daemon(), std::move(answer)); });
    if (is_screen) std::fputs("\x1b[H\x1b[2J", stdout);
    for (auto& [daemon, answer] : answers) show(daemon, std::move(answer), options, has_several);
    if (options.once) break;
    if (is_screen) std::printf("\nq ends this\n");
    if (!is_screen && !options.json) std::printf("\n");
    if (std::fflush(stdout) != 0) throw CliError(kFailed, "cannot write the output");
  }
  return kOk;
}

void add_options(CLI::App& app, Options& options) {
  app.add_flag("--once", options.once, "look for 250 ms, print what was seen, and end");
}

}  // namespace

constinit const Verb kTopVerb = {
    "top",
    "how busy the sessions and their slots are, live",
    "Shows of each of your sessions, every second, how many tasks were finished, failed, run, are ready or wait, since when the oldest ready task has been seen to be ready, "
    "and what it has of memory and disk; and of each of its slots which process serves there, how busy it is (with tasks: of many looks, so many found it so), its "
    "processor time and memory, how many workers have died there since this tarnd began, and what it runs now and for how long that has been seen: times marked >= may be longer, as they "
    "are known only since tarn looked. `q` or an interrupt ends it; where the output is no terminal it is printed again and again. With --json each look is an object of the schema tarn.top/1.",
    nullptr,
    false,
    run,
    nullptr,
    false,
    add_options};

}  // namespace tarn::cli
