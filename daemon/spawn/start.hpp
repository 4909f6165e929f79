// Start: brings up one process, as somebody, somewhere, with exactly the descriptors it should have.
//
// For the one thread of tarn-spawn. The child is made by clone3 rather than vfork: with vfork the
// service would stand still until the exec is done, and a user's executable may lie on a file system
// that never answers.
//
// Nor does the child get a copy of our descriptors, as by fork: others are closing theirs here, the copy would be the last, and
// the close of a user's descriptor may take a minute, by which another user's worker would start later. It begins in our table of
// descriptors, leaves it with no more than the lowest numbers, which are our own for good, and is handed what it is to have.
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <span>

#include "base/fd.hpp"

namespace tarn::spawn {

struct StartRequest {
  // What runs: `path`, or the descriptor `executable` if `path` is null. Strings as for execve.
  const char* path = nullptr;
  int executable = -1;
  char* const* argv = nullptr;
  char* const* environment = nullptr;
  // Descriptors, -1: as it is here. `inherited` become 3, 4, ...; all others are closed.
  int directory = -1;
  int standard_output = -1;
  int standard_error = -1;
  bool null_input = true;
  // SIGTERM and SIGINT are blocked in it from the start: who takes them by a signalfd gets those of before, too. Else none is.
  bool keeps_end_signals = false;
  std::span<const int> inherited;
  // A string of `environment` ("LISTEN_PID=0000000000") whose digits become the number of the process; or null.
  char* pid_text = nullptr;
  // How many descriptors it may have; null: as many as this process.
  const rlimit* descriptors = nullptr;
  // Who it runs as: changed only where it differs from this process.
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  std::span<const gid_t> groups;
  // Where it may run: a bit mask of CPUs, empty for anywhere.
  std::span<const uint64_t> cpus;
};

struct Started {
  pid_t pid = -1;
  Fd pidfd;
  Fd outcome;  // see read_outcome
};

class Starter {
 public:
  // Takes a number for the hand-over. Those below it that are in use now have to stay in use: by `plug`, if they are closed.
  [[nodiscard]] int prepare();
  // Closes `fd` and leaves something that is nobody's in its place.
  void plug(Fd fd);

  // Starts the process, in a process group of its own, to be killed when the calling thread ends. Waits until it has left our
  // table of descriptors. Success means only that a child exists: whether the program runs is told by read_outcome.
  [[nodiscard]] int start(const StartRequest& request, Started& out);

 private:
  Fd place_;  // where the child finds what it is handed; /dev/null between the starts
  Fd null_;
};

// What became of a start, once `outcome` is readable: errno and `step`, which failed, or 0 if the
// program runs (or the child was killed on the way). Does not block; -1 if it is not known yet.
[[nodiscard]] int read_outcome(const Fd& outcome, const char*& step);

}  // namespace tarn::spawn
