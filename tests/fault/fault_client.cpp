// The program that the fault tests kill: a client, and by tarn_init its own workers.
//
//   fault_client once SEED     a fixed amount of everything, for the kill points
//   fault_client store SEED    objects rather than tasks, with the daemon of a host at $TARN_ADDRESS (unix:PATH), until
//                              standard input is closed; a new session when the daemon is gone
//   fault_client storm SEED    works until standard input is closed; a new session when the daemon is gone
//
// It tells its progress on standard output, a line each: `open PID` (of the daemon), `gone TASKS`, `closed TASKS`,
// `released MICROSECONDS` (until what it had let go of was gone), `checked TASKS`, `full TIMES`, and at the end
// `tasks=N hung=N lost=N doubled=N leaked=N`. The exit status is 0 only if the last four are 0.
// With $TARN_TEST_JOURNAL, tasks note their ids there, and what has been delivered must stand in it.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <unordered_set>

#include "disk_load.hpp"
#include "inspect.hpp"
#include "load.hpp"
#include "store_load.hpp"
#include "tarn/tarn.h"
#include "tasks.hpp"

namespace tarn::fault {
namespace {

constexpr std::chrono::seconds kQuietTimeMax{20};

struct Options {
  bool storm = false;
  bool store = false;
  uint64_t seed = 0;
  Mix mix;
};

void say(const char* what, long number = -1) {
  char line[64];
  int size = number < 0 ? snprintf(line, sizeof line, "%s\n", what)
                        : snprintf(line, sizeof line, "%s %ld\n", what, number);
  (void)!write(STDOUT_FILENO, line, static_cast<size_t>(size));
}

// Only what was taken before the workers went down with their daemon is known to have run.
void check_journal(const Load& load, bool with_unwatched, Verdict& verdict) {
  const char* path = getenv("TARN_TEST_JOURNAL");
  if (path == nullptr) return;
  auto end = std::chrono::steady_clock::now() + kQuietTimeMax;
  for (;;) {
    std::unordered_set<uint64_t> ran;
    if (FILE* file = fopen(path, "rb"); file != nullptr) {
      uint64_t ids[512];
      for (size_t n; (n = fread(ids, sizeof ids[0], std::size(ids), file)) > 0;) ran.insert(ids, ids + n);
      fclose(file);
    }
    uint64_t missing = 0;
    for (uint64_t id : load.taken()) missing += ran.count(id) == 0;
    uint64_t missing_unwatched = 0;
    if (with_unwatched)
      for (uint64_t id : load.unwatched()) missing_unwatched += ran.count(id) == 0;
    if (missing == 0 && missing_unwatched == 0) return;
    // A task that nobody waits for may still be on its way.
    if (missing == 0 && std::chrono::steady_clock::now() < end) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      continue;
    }
    fprintf(stderr, "fault: %llu of the tasks delivered and %llu of those released never ran\n",
            static_cast<unsigned long long>(missing), static_cast<unsigned long long>(missing_unwatched));
    verdict.lost += missing + missing_unwatched;
    return;
  }
}

bool input_closed() {
  pollfd entry{STDIN_FILENO, POLLIN, 0};
  return poll(&entry, 1, 0) > 0;
}

// True if there is to be another session.
bool run_session(const Options& options, uint64_t seed, Verdict& verdict) {
  tarn_client* client;
  tarn_options init{};
  init.size = sizeof init;
  init.address = "private";
  init.timeout_ns = 20'000'000'000;
  if (int r = tarn_init(&client, nullptr, nullptr, &init); r < 0) {
    if (r == TARN_E_DAEMON_GONE || r == TARN_E_NO_DAEMON) {
      say("gone", static_cast<long>(verdict.tasks));
      return true;
    }
    fprintf(stderr, "fault: tarn_init: %s: %s\n", tarn_error_name(r), tarn_last_error());
    r == TARN_E_TIMED_OUT ? ++verdict.hung : ++verdict.lost;
    return false;
  }
  tarn_client_info info{};
  info.size = sizeof info;
  tarn_client_get_info(client, &info);
  say("open", info.daemon_pid);

  bool alive = true;
  {
    Load load(client, seed, options.mix, verdict);
    if (options.storm) {
      while (alive && !input_closed()) alive = load.step();
    } else {
      for (int i = 0; alive && i < 12; ++i) alive = load.step();
      if (alive) alive = pass_through_disk(client, seed, verdict);
    }
    if (alive) alive = load.finish();
    check_journal(load, alive, verdict);
    if (alive) {
      auto daemon = [client, &info] {  // another one, if it was killed
        (void)tarn_client_get_info(client, &info);
        return info.daemon_pid;
      };
      std::string left = wait_until_quiet(daemon, kQuietTimeMax, [&load] { load.nudge(); });
      if (!left.empty()) {
        fprintf(stderr, "fault: left in the session: %s\n", left.c_str());
        ++verdict.leaked;
      }
    }
  }
  tarn_close(client);
  say(alive ? "closed" : "gone", static_cast<long>(verdict.tasks));
  return options.storm && verdict.good() && !input_closed();
}

constexpr int kStepsMax = 150;  // then everything is released, and it must be gone
constexpr std::chrono::milliseconds kAbsenceMax{20'000};
// A tenth of a second is promised; much longer, and hardly a client would live to tell that something stays.
constexpr std::chrono::milliseconds kReleaseTimeMax{3'000};

// A session with the daemon of the host. True if there is to be another.
bool run_store_session(uint64_t seed, Verdict& verdict, std::chrono::steady_clock::time_point& last_seen) {
  tarn_client* client;
  tarn_options init{};
  init.size = sizeof init;
  init.timeout_ns = 20'000'000'000;
  if (int r = tarn_init(&client, nullptr, nullptr, &init); r < 0) {
    // It is being started again, or its spawn service is; or the others have left no room for a session just now.
    bool is_away = r == TARN_E_DAEMON_GONE || r == TARN_E_NO_DAEMON || r == TARN_E_SYSTEM;
    bool is_full = r == TARN_E_STORE_FULL || r == TARN_E_QUOTA;
    if (is_full) say("full", 1);
    if ((is_away || is_full) && std::chrono::steady_clock::now() - last_seen < kAbsenceMax) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return !input_closed();
    }
    fprintf(stderr, "fault: tarn_init: %s: %s\n", tarn_error_name(r), tarn_last_error());
    ++verdict.hung;
    return false;
  }
  tarn_client_info info{};
  info.size = sizeof info;
  tarn_client_get_info(client, &info);
  say("open", info.daemon_pid);
  const char* address = getenv("TARN_ADDRESS");
  std::string path = address != nullptr && strncmp(address, "unix:", 5) == 0 ? address + 5 : "";

  bool alive = true;
  StoreLoad load(client, seed, verdict);
  while (alive) {
    bool ends = false;
    for (int i = 0; alive && !ends && i < kStepsMax; ++i) {
      alive = load.step();
      if (uint64_t full = load.take_full(); full > 0) say("full", static_cast<long>(full));
      ends = input_closed();
    }
    if (alive) alive = load.drain();
    if (!alive) break;
    auto nudge = [&load] {
      load.nudge();
      return load.is_alive();
    };
    std::chrono::microseconds took{0};
    nudge();
    std::string left = wait_until_released(path, info.session, kReleaseTimeMax, nudge, took);
    alive = load.is_alive();
    if (alive && !left.empty()) {
      fprintf(stderr, "fault: left in the session: %s\n", left.c_str());
      ++verdict.leaked;
    } else if (alive) {
      say("released", took.count());
      say("checked", static_cast<long>(verdict.tasks));
    }
    if (ends || !verdict.good()) break;
  }
  tarn_close(client);
  last_seen = std::chrono::steady_clock::now();
  say(alive ? "closed" : "gone", static_cast<long>(verdict.tasks));
  return verdict.good() && !input_closed();
}

int run(const Options& options) {
  Verdict verdict;
  uint64_t session = 0;
  auto last_seen = std::chrono::steady_clock::now();
  while (options.store ? run_store_session(options.seed + session++, verdict, last_seen)
                       : run_session(options, options.seed + session++, verdict)) {
  }
  printf("tasks=%llu hung=%llu lost=%llu doubled=%llu leaked=%llu\n",
         static_cast<unsigned long long>(verdict.tasks), static_cast<unsigned long long>(verdict.hung),
         static_cast<unsigned long long>(verdict.lost), static_cast<unsigned long long>(verdict.doubled),
         static_cast<unsigned long long>(verdict.leaked));
  fflush(stdout);
  return verdict.good() ? 0 : 1;
}

}  // namespace
}  // namespace tarn::fault

int main(int argc, char** argv) {
  using namespace tarn::fault;
  define_tasks();
  if (getenv("TARN_WORKER_FD") != nullptr) {
    tarn_client* none;
    return tarn_init(&none, &argc, &argv, nullptr) < 0;
  }
  if (argc < 3) {
    fprintf(stderr, "usage: fault_client once|storm|store SEED [core|task]\n");
    return 2;
  }
  Options options;
  options.storm = strcmp(argv[1], "storm") == 0;
  options.store = strcmp(argv[1], "store") == 0;
  options.seed = strtoull(argv[2], nullptr, 10);
  const char* only = argc > 3 ? argv[3] : "core";
  if (options.storm) options.mix.crashes = 1;
  if (strcmp(only, "task") == 0)
    options.mix = {.values = 6, .results = 0, .objects = 0, .dependencies = 4, .errors = 1, .retries = 2, .sleeps = 1};
  if (!options.storm) options.mix = {.sleeps = 0, .streams = 2, .large_size_max = 4000};
  return run(options);
}
