// TopSample: what the sessions of a daemon do, out of two looks at them: counters tell rates, and what is there both times has lasted.
//
// Nothing is measured for this while nobody looks. How busy a worker is is found by looking at its words on the board again and again.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <tuple>

#include "daemons.hpp"
#include "shm/board.hpp"
#include "verb.hpp"

namespace tarn::cli {

class TopSampler {
 public:
  TopSampler(Daemon daemon, const Options& options) : daemon_(std::move(daemon)), options_(options) {}

  [[nodiscard]] const Daemon& daemon() const { return daemon_; }

  // Looks, and returns an object of the schema tarn.top/1 about the time since the last look; nothing to be shown of the first one. Throws
  // CliError.
  [[nodiscard]] Json look();
  // Between two looks, often: who is busy.
  void glance();

 private:
  struct Worker {
    int64_t pid = 0;
    uint64_t done = 0;
    uint64_t failed = 0;
    uint64_t cpu_ns = 0;
    uint32_t glances = 0;
    uint32_t busy_glances = 0;
  };
  struct Session {
    std::unique_ptr<TraceLink> link;
    os::Mapping board;
    std::map<uint32_t, Worker> workers;  // by member
  };
  using TaskKey = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>;  // session, member, record, generation, attempts

  void find_boards(const Json& sessions);
  [[nodiscard]] Json session_row(const Json& session, const Json& workers, const Json& tasks, double seconds);
  [[nodiscard]] Json slot_row(Session& session, const Json& worker, const Json& tasks, double seconds);
  [[nodiscard]] Json age_of(const Json& task) const;
  void note_ages(const Json& tasks, int64_t now);

  Daemon daemon_;
  const Options& options_;
  std::map<uint32_t, Session> sessions_;
  std::map<TaskKey, int64_t> first_seen_ns_;  // of tasks that run, or are ready
  int64_t last_look_ns_ = 0;
  int64_t now_ns_ = 0;
};

}  // namespace tarn::cli
