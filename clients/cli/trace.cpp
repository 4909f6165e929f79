#include <CLI/CLI.hpp>

#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "listing.hpp"
#include "os/clock.hpp"
#include "text.hpp"
#include "trace_collect.hpp"
#include "trace_summary.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

constexpr auto kReadEvery = std::chrono::milliseconds(2);
constexpr int64_t kRenewNs = 500'000'000;
constexpr int64_t kAheadNs = 3'000'000'000;       // when this is killed, the trace ends by itself after that
constexpr int64_t kComesBackNs = 2'000'000'000;   // a tarnd that was killed
constexpr int64_t kTryAgainNs = 20'000'000;
constexpr uint64_t kEventsMax = 4'000'000;        // of one session, unless --limit says otherwise

volatile std::sig_atomic_t is_interrupted = 0;

std::string in_ms(int64_t ns) { return std::to_string(ns / 1'000'000) + " ms"; }

class Source;

// A session that is traced.
struct Traced {
  Traced(uint64_t begin_ns, uint64_t events_max) : collector(begin_ns, events_max) {}
  TraceCollector collector;
  SessionEvents events;
  uint32_t events_log2 = 0;
  int64_t end_ns = 0;  // 0: it goes on
  std::string note;
};

// One daemon, and its sessions.
class Source {
 public:
  Source(Daemon daemon, const Options& options, int64_t begin_ns) : daemon_(std::move(daemon)), options_(options), begin_ns_(begin_ns) {}

  [[nodiscard]] bool is_gone() const { return is_gone_; }
  [[nodiscard]] bool is_full() const {
    return std::ranges::any_of(sessions_, [](const auto& entry) { return entry.second->collector.is_full(); });
  }

  void read() {
    for (auto& [number, session] : sessions_)
      if (session->collector.is_open() && session->end_ns == 0) session->collector.read(session->events_log2);
  }

  // Has tarnd go on, and finds out what is new. A daemon that is not there is tried again for a while.
  void renew() {
    if (is_gone_) return;
    int64_t now = os::now_ns();
    try {
      if (!link_) link_.emplace(daemon_, options_.timeout_ns());
      look_for_sessions();
      for (auto& [number, session] : sessions_)
        if (session->end_ns == 0) renew(number, *session);
      if (away_since_ns_ != 0) note_absence(os::now_ns() - away_since_ns_);
      away_since_ns_ = 0;
    } catch (const CliError& error) {
      link_.reset();
      if (error.status != kNoDaemon || sessions_.empty()) throw;
      if (away_since_ns_ == 0) away_since_ns_ = now;
      if (now - away_since_ns_ > kComesBackNs || is_client_gone()) give_up();
    }
  }
  // Sooner than usual.
  [[nodiscard]] bool is_urgent() const { return away_since_ns_ != 0 && !is_gone_; }

  void finish(int64_t end_ns, std::vector<TracedSession>& out) {
    for (auto& [number, session] : sessions_) {
      int64_t end = session->end_ns != 0 ? session->end_ns : end_ns;
      session->collector.finish(static_cast<uint64_t>(end), session->events);
      out.push_back({std::move(session->events), {}, std::move(session->note)});
      out.back().story = TraceStory::of(out.back().events);
    }
  }

 private:
  [[nodiscard]] bool is_client_gone() const {
    return daemon_.is_private && std::ranges::all_of(sessions_, [](const auto& entry) { return kill(entry.second->events.client_pid, 0) < 0 && errno == ESRCH; });
  }

  void look_for_sessions() {
    Json rows = ask(daemon_, "sessions", 0, options_.timeout_ns())["sessions"];
    bool any_new = false;
    for (const Json& row : rows) {
      auto number = row.value("session", uint32_t{0});
      if (sessions_.contains(number) || (options_.session != 0 && options_.session != number)) continue;
      uint64_t most = options_.limit < 0 ? kEventsMax : options_.limit == 0 ? UINT64_MAX : static_cast<uint64_t>(options_.limit);
      auto session = std::make_unique<Traced>(static_cast<uint64_t>(begin_ns_), most);
      session->events.session = number;
      session->events.client_pid = row.value("pid", 0);
      session->events.name = row.value("name", "");
      sessions_.emplace(number, std::move(session));
      any_new = true;
    }
    if (any_new) look_for_slots();
    // A client tells what its tasks are called when it has begun.
    bool any_nameless = std::ranges::any_of(sessions_, [](const auto& entry) { return entry.second->events.task_names.empty(); });
    if (any_nameless) look_for_names();
  }

  void look_for_slots() {
    Json answer = ask(daemon_, "workers", 0, options_.timeout_ns());
    for (const Json& row : answer["workers"]) {
      auto found = sessions_.find(row.value("session", uint32_t{0}));
      if (found != sessions_.end()) found->second->events.cores[row.value("slot", uint32_t{0})] = row.value("core", int64_t{0});
    }
  }

  void look_for_names() {
    Json answer = ask(daemon_, "task_names", 0, options_.timeout_ns());
    for (const Json& row : answer["task_names"]) {
      auto found = sessions_.find(row.value("session", uint32_t{0}));
      if (found != sessions_.end()) found->second->events.task_names[row.value("number", uint32_t{0})] = row.value("task", "");
    }
  }

  void renew(uint32_t number, Traced& session) {
    try {
      Fd board;
      wire::Trace answer = link_->ask(number, static_cast<uint32_t>(std::bit_width(options_.events) - 1), kAheadNs, board);
      session.events_log2 = answer.events_log2;
      if (!session.collector.is_open() && !session.collector.open(board, answer.board_size))
        throw CliError(kFailed, daemon_.address + ": this tarnd is of another build than tarn; its events cannot be read");
    } catch (const CliError& error) {
      if (error.status != kNotFound) throw;
      session.end_ns = os::now_ns();
      session.note = "the session ended";
      link_.emplace(daemon_, options_.timeout_ns());  // that refusal ended the former
    }
  }

  void note_absence(int64_t ns) {
    for (auto& [number, session] : sessions_)
      if (session->end_ns == 0) session->note = "tarnd was away for " + in_ms(ns) + " and came back; what happened meanwhile is not in the trace";
  }

  void give_up() {
    is_gone_ = true;
    read();
    for (auto& [number, session] : sessions_) {
      if (session->end_ns != 0) continue;
      session->end_ns = away_since_ns_;
      session->note = is_client_gone() ? "the session ended" : "tarnd went away " + in_ms(away_since_ns_ - begin_ns_) + " after the beginning; the trace ends there";
    }
  }

  Daemon daemon_;
  const Options& options_;
  int64_t begin_ns_;
  std::optional<TraceLink> link_;
  std::map<uint32_t, std::unique_ptr<Traced>> sessions_;
  int64_t away_since_ns_ = 0;
  bool is_gone_ = false;
};

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = [](int) { is_interrupted = 1; };
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

// Traces until the time is over, somebody interrupts it, or there is nothing left to trace.
std::vector<TracedSession> collect(const Options& options) {
  int64_t begin = os::now_ns();
  std::vector<std::unique_ptr<Source>> sources;
  for (Daemon& daemon : find_daemons(options.address)) sources.push_back(std::make_unique<Source>(std::move(daemon), options, begin));
  catch_interrupts();
  // The time counts from when all are asked, however long that takes.
  for (auto& source : sources) source->renew();
  int64_t next_renewal = os::now_ns() + kRenewNs;
  int64_t end = options.for_s == 0 ? os::kForever : os::now_ns() + static_cast<int64_t>(options.for_s * 1e9);
  auto all_gone = [&] { return std::ranges::all_of(sources, [](const auto& source) { return source->is_gone(); }); };
  while (is_interrupted == 0 && os::now_ns() < end && !all_gone()) {
    if (std::ranges::any_of(sources, [](const auto& source) { return source->is_full(); })) break;
    int64_t now = os::now_ns();
    if (now >= next_renewal) {
      for (auto& source : sources) source->renew();
      bool is_urgent = std::ranges::any_of(sources, [](const auto& source) { return source->is_urgent(); });
      next_renewal = os::now_ns() + (is_urgent ? kTryAgainNs : kRenewNs);
    }
    for (auto& source : sources) source->read();
    std::this_thread::sleep_for(kReadEvery);
  }
  for (auto& source : sources) source->read();
  int64_t now = os::now_ns();
  std::vector<TracedSession> sessions;
  for (auto& source : sources) source->finish(now, sessions);
  return sessions;
}

void tell(const std::string& text) { std::fprintf(stderr, "tarn: %s\n", text.c_str()); }

void tell_what_is_missing(const std::vector<TracedSession>& sessions, const Options& options) {
  for (const TracedSession& session : sessions) {
    std::string which = "session " + std::to_string(session.events.session) + ": ";
    if (!session.note.empty() && session.note != "the session ended") tell(which + session.note);
    if (session.events.lost != 0)
      tell(which + std::to_string(session.events.lost) + " events were overwritten before they were read; --size " +
           std::to_string(std::min(options.events * 2, uint32_t{1} << trace::kEventsLog2Max)) + " keeps more of them");
    uint64_t most = options.limit < 0 ? kEventsMax : static_cast<uint64_t>(options.limit);
    if (most != 0 && session.story.events >= most)
      tell(which + "the trace was ended after " + std::to_string(session.story.events) + " events; --limit N takes N, 0 all");
  }
}

struct FileCloser {
  void operator()(FILE* file) const {
    if (file != stdout) (void)std::fclose(file);
  }
};
using File = std::unique_ptr<FILE, FileCloser>;

[[noreturn]] void cannot_write(const std::string& out) {
  throw CliError(kFailed, "cannot write " + escape(out) + ": " + strerror(errno));
}

// Before the trace, so that it does not turn out afterwards.
void check_writable(const std::string& out) {
  if (out == "-" || access(out.c_str(), W_OK) == 0) return;
  size_t slash = out.rfind('/');
  std::string folder = slash == std::string::npos ? "." : out.substr(0, slash + 1);
  if (errno != ENOENT || access(folder.c_str(), W_OK | X_OK) < 0) cannot_write(out);
}

int run(const Options& options) {
  if (options.watch_s > 0) throw CliError(kUsage, "--watch does not go with trace; --for 0 traces until it is interrupted");
  if (!options.filters.empty()) throw CliError(kUsage, "--filter does not go with trace; Perfetto finds what you look for");
  if (options.out == "-" && (options.json || options.summary)) throw CliError(kUsage, "the trace and its summary cannot both go to the standard output; --out FILE");
  check_writable(options.out);
  std::vector<TracedSession> sessions = collect(options);
  if (sessions.empty()) {
    if (options.session != 0) throw CliError(kNotFound, "there is no session " + std::to_string(options.session) + " of yours");
    throw CliError(kNotFound, "there was no session of yours to trace");
  }
  File file(options.out == "-" ? stdout : std::fopen(options.out.c_str(), "we"));
  if (file == nullptr) cannot_write(options.out);
  uint64_t base = UINT64_MAX;
  for (const TracedSession& session : sessions) base = std::min(base, session.events.begin_ns);
  TraceWriter writer(file.get());
  writer.begin();
  for (const TracedSession& session : sessions) writer.add(session.events, session.story, base);
  writer.end();
  if (std::fflush(file.get()) != 0 || std::ferror(file.get()) != 0) cannot_write(options.out);
  Json summary = summarize(sessions);
  if (options.json) {
    Json answer;
    answer["schema"] = summary["schema"];
    answer["file"] = options.out;
    for (auto& [key, value] : summary.items()) answer[key] = value;
    std::printf("%s\n", answer.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
  } else if (options.summary) {
    std::fputs(show_summary(summary).c_str(), stdout);
  } else if (options.out != "-") {
    uint64_t events = 0;
    for (const TracedSession& session : sessions) events += session.story.events;
    std::printf("%s: %llu events of %zu session%s; open it in https://ui.perfetto.dev or chrome://tracing\n", escape(options.out).c_str(),
                static_cast<unsigned long long>(events), sessions.size(), sessions.size() == 1 ? "" : "s");
  }
  std::fflush(stdout);
  tell_what_is_missing(sessions, options);
  return kOk;
}

void add_options(CLI::App& app, Options& options) {
  app.add_option("--session", options.session, "only this session")->type_name("N");
  app.add_option("--for", options.for_s, "how long (2); 0: until interrupted")
      ->type_name("SECONDS")
      ->transform(CLI::AsNumberWithUnit(std::map<std::string, double>{{"s", 1}, {"ms", 1e-3}, {"min", 60}}, CLI::AsNumberWithUnit::CASE_SENSITIVE).description(""))
      ->check(CLI::Range(0.0, 86400.0).description(""));
  app.add_option("--out", options.out, "where to write the trace (tarn-trace.json); -: to the standard output")->type_name("FILE");
  app.add_option("--size", options.events, "how many events of each process are kept until they are read (65536)")
      ->type_name("N")
      ->check(CLI::Range(uint32_t{1} << trace::kEventsLog2Min, uint32_t{1} << trace::kEventsLog2Max).description(""));
  app.add_flag("--summary", options.summary, "print how busy the slots were, what tasks took and waited, and the critical paths of graphs");
}

}  // namespace

constinit const Verb kTraceVerb = {
    "trace",
    "records what runs when, for Perfetto",
    "Has the processes of your sessions write down what happens, for two seconds or as long as --for says, and makes a file of it that "
    "https://ui.perfetto.dev and chrome://tracing open: each session is a process, each of its slots and each thread of its client a track. Slices are runs of "
    "tasks and nodes, waits, and sleep; arrows go from a submission to its run, and from what a task waited for to the task. Of a graph, the nodes of the critical path are marked "
    "(category `critical`): each of them began when the one before it had ended. "
    "`queue_ns` of a task and `wait_ns` of a node say how long it was ready before it began. "
    "While nobody traces, none of this costs anything; a trace ends with tarn, however that ends. The trace ends early when a session has written 4,000,000 events (--limit), "
    "and what a process wrote faster than it was read is missing; how much is said. With --json the summary is an object of the schema tarn.trace/1.",
    nullptr,
    false,
    run,
    nullptr,
    false,
    add_options};

}  // namespace tarn::cli
