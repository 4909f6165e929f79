// OutputMarks: tells tarn-output, which reads a worker's stdout and stderr from pipes, which task printed what.
//
// A task that prints nothing pays two loads: whether it did is seen in stdio itself. glibc adds what it writes to a stream's
// `_offset` when it knows that, and forgets it with each flush; of a pipe it never knows it, until it is set here. So a stream
// whose `_offset` is not 0 any more was used, by printf or by std::cout (unless that was taken from stdio). What a task writes by
// system calls, or a process that it started, has no mark: it is given to the run that the worker's line on the board names when
// it is read. So is everything where there is no such field.
//
// For the executor's thread. One in a process, as the streams are.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>

#include "base/fd.hpp"

namespace tarn::task {

class OutputMarks {
 public:
  // From now on stdout and stderr are watched, and stdout is written line by line.
  [[nodiscard]] int begin();

  // Since the last mark.
  [[nodiscard]] bool is_anything_printed() const { return (*used_[0] | *used_[1]) != 0; }

  // What was printed is of `run` (OutputMark). A system call for each stream that was used.
  void mark(uint64_t run, uint32_t task);

 private:
  struct Stream {
    Fd pipe;  // ours: the task may put something else in the stream's place
    dev_t device = 0;
    ino_t inode = 0;
  };

  [[nodiscard]] int begin_stream(int number);
  static void write_by_lines();
  void watch(int number);
  void write_mark(int number, uint64_t run, uint32_t task);

  static constexpr int64_t kUnused = 0;
  const int64_t* used_[2] = {&kUnused, &kUnused};
  Stream streams_[2];
};

}  // namespace tarn::task
