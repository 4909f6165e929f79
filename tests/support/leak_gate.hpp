// LeakGate: fails every test that leaves something behind in this process or on this host.
//
// A GoogleTest listener, installed by tests/support/test_main.cpp. Before each test it takes a Footprint, after the test it
// takes another and names what is new: open descriptors, mappings of memory files, entries of /dev/shm, and processes
// that descend from this one. What is still on its way out (a process that is exiting, the thread that reaps it) gets
// kSettlingTimeMax to go; a test that leaves nothing pays one look.
//
// The tests run in a child of a small guardian process. The guardian is a subreaper: a daemon or worker orphaned by the
// death of its parent becomes its child, where the gate still sees it, and it is reaped there when it ends. A zombie that
// a test started and never waited for stays in sight. When the test process crashes, the guardian kills what it leaves.
//
// Thread safety: called by GoogleTest's thread only, between tests.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace tarn::testing {

inline constexpr std::chrono::milliseconds kSettlingTimeMax{2000};

// What this process holds, as far as a leak would show in it.
struct Footprint {
  std::map<int, std::string> descriptors;  // number to target, such as "/memfd:tarn (deleted)"
  std::multiset<std::string> memory_file_mappings;  // mapped files of memfds and /dev/shm
  std::set<std::string> shared_memory_files;        // names in /dev/shm that belong to this user
  std::map<pid_t, std::string> descendants;         // pid to name and state, such as "tarnd (S)"

  [[nodiscard]] static Footprint take();
};

// Names what `after` has and `before` has not, one per line; empty if nothing.
[[nodiscard]] std::string describe_growth(const Footprint& before, const Footprint& after);

// Forks: returns in the child, which runs the tests; the parent becomes the guardian and ends as the child ends.
// Call it first in main(), while there is one thread.
void start_guardian();

class LeakGate : public ::testing::EmptyTestEventListener {
 public:
  void OnTestStart(const ::testing::TestInfo& test) override;
  void OnTestEnd(const ::testing::TestInfo& test) override;

 private:
  Footprint before_;
};

}  // namespace tarn::testing
