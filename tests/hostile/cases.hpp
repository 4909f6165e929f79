// Cases: what a hostile user tries, one function each, run in a process of its own.
//
// A case says how it ended: refused (by the kernel or by tarnd), harmless (allowed, and of no consequence to anybody else;
// that is for the driver to see, who looks at tarnd and at the victim), left out (this host cannot do it), or it failed: it
// got what it should not. hostile.py runs them.
#pragma once

#include <sys/types.h>

#include <any>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "peer.hpp"

namespace tarn::hostile {

struct Context {
  std::string socket;        // of tarnd
  std::string spawn_socket;  // of the spawn service
  std::string folder;        // that holds both
  std::string scratch;       // a folder of the hostile user
  pid_t tarnd = 0;
  pid_t spawn = 0;
  pid_t victim = 0;
  std::vector<pid_t> victim_workers;
  bool stops = false;  // the process stops itself when it has told the outcome
  // What stays until the driver has looked at everybody else.
  std::vector<std::shared_ptr<void>> kept;

  // A connection that lives until the end of the case.
  Peer& peer() {
    auto made = std::make_shared<Peer>(socket);
    kept.push_back(made);
    return *made;
  }
  void keep(Fd fd) { kept.push_back(std::make_shared<Fd>(std::move(fd))); }
  [[nodiscard]] std::vector<pid_t> strangers() const {
    std::vector<pid_t> pids = {tarnd, spawn, victim};
    pids.insert(pids.end(), victim_workers.begin(), victim_workers.end());
    return pids;
  }
};

struct Outcome {
  const char* verdict;  // "refused", "harmless", "left out" or "FAILED"
  std::string text;
};

inline Outcome refused(std::string text = "") { return {"refused", std::move(text)}; }
inline Outcome harmless(std::string text = "") { return {"harmless", std::move(text)}; }
inline Outcome left_out(std::string text) { return {"left out", std::move(text)}; }
inline Outcome failed(std::string text) { return {"FAILED", std::move(text)}; }

// What a case needs in order to try anything at all.
#define HOSTILE_NEEDS(condition) \
  do {                           \
    if (!(condition)) return failed("cannot begin: " #condition); \
  } while (false)
// What must not succeed.
#define HOSTILE_REFUSED(condition) \
  do {                             \
    if (!(condition)) return failed("not refused: " #condition); \
  } while (false)

struct Case {
  const char* name;
  Outcome (*run)(Context&);
  // Root may do what this one tries: the driver runs it as root, too, and expects that it fails. kRootWithWorkers: if root may
  // have workers, which it may only where tarnd is root as well.
  enum class Counter { kNone, kRoot, kRootWithWorkers } counter = Counter::kNone;
};

std::span<const Case> memory_cases();
std::span<const Case> process_cases();
std::span<const Case> message_cases();
std::span<const Case> exhaust_cases();
std::span<const Case> scribble_cases();

}  // namespace tarn::hostile
