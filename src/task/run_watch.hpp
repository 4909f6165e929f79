// RunWatch: ends the process of a worker whose run takes longer than it may.
//
// By a timer's signal, so that it works whatever the task does, and costs a run nothing that has no limit: a thread would make
// every lock of the process a real one. The handler looks at the record of the present run and at nothing else, and dooms it: a
// doomed run cannot finish (task_protocol.hpp), so no other run of this process is ended in its place. A task that blocks
// the signal has no limit.
//
// One per process, as signals are. All of it, the handler too, runs in the executor's thread: in another one the run that it has
// seen to be late could be over, and the same record run again, before it says so. A task that waits for others may run them
// itself, each perhaps with a limit of its own: the watched runs are a chain, the innermost first.
#pragma once

#include <cstdint>

#include "task/task_record.hpp"

namespace tarn::task::run_watch {

// What a run that is late has to end by itself (tarn_call_cancelled) before its process is ended; docs/limits.md.
inline constexpr int64_t kGraceNs = 100'000'000;

struct Watched {
  TaskRecord* record;  // nullptr: not watched, and the rest says nothing
  Watched* outer;
  int64_t end_ns;
  int64_t first_ns;  // of it and those outside of it, when it began
  uint16_t claimant;
  bool is_late;
};

// The run of `record`, which `self` has claimed, is late from `end_ns` on (os::now_ns time). `watched` stays until `end`.
[[nodiscard]] int begin(Watched& watched, TaskRecord& record, uint16_t self, int64_t end_ns);
// After the finish. Also of a run that is not watched.
void end(Watched& watched);

// Whether the innermost run, or one that waits for it, is late. In any thread.
[[nodiscard]] bool is_any_late();

// Ends this process as a crash would.
[[noreturn]] void end_process();

}  // namespace tarn::task::run_watch
