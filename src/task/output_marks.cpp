#include "task/output_marks.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.hpp"
#include "shm/output_log.hpp"
#include "tarn/tarn.h"

namespace tarn::task {
namespace {

FILE* stream_of(int number) { return number == 0 ? stdout : stderr; }

// Whether anything was written to it, ever.
bool was_used(const FILE* stream) {
#ifdef __GLIBC__
  return stream != nullptr && stream->_IO_buf_base != nullptr;
#else
  return false;
#endif
}

}  // namespace

int OutputMarks::begin() {
  for (int number : {0, 1}) {
    if (int r = begin_stream(number); r < 0) return r;
  }
  bool is_used[] = {was_used(stdout), was_used(stderr)};
  write_by_lines();
  for (int number : {0, 1}) {
    if (is_used[number]) write_mark(number, 0, 0);  // what main() printed is no task's
    watch(number);
  }
  return 0;
}

// As on the terminal that it may have been: a line is seen when it is printed, not when the task is over.
void OutputMarks::write_by_lines() {
  if (stdout == nullptr) return;
  fflush(stdout);
  setvbuf(stdout, nullptr, _IOLBF, 0);
#ifdef __GLIBC__
  // What main() printed had it set up for whole buffers, which glibc would go on with until the next flush.
  if (stdout->_IO_write_ptr == stdout->_IO_write_base) stdout->_IO_write_end = stdout->_IO_write_base;
#endif
}

int OutputMarks::begin_stream(int number) {
  Stream& stream = streams_[number];
  stream.pipe = Fd{fcntl(number + 1, F_DUPFD_CLOEXEC, 3)};
  struct stat status;
  if (!stream.pipe.valid() || fstat(stream.pipe.get(), &status) < 0) {
    stream.pipe.reset();
    return errno == EBADF ? 0 : fail_errno(code_of_errno(errno), "cannot duplicate descriptor %d", number + 1);  // main() closed it
  }
  stream.device = status.st_dev;
  stream.inode = status.st_ino;
  return 0;
}

// Not if the program, or a task, has put another file in its place: what stdio knows of that is right.
void OutputMarks::watch(int number) {
  used_[number] = &kUnused;
#ifdef __GLIBC__
  const Stream& own = streams_[number];
  FILE* stream = stream_of(number);
  struct stat status;
  bool is_ours = own.pipe.valid() && stream != nullptr && fstat(fileno(stream), &status) == 0 && status.st_dev == own.device &&
                 status.st_ino == own.inode;
  if (stream == nullptr) return;
  stream->_offset = is_ours ? 0 : -1;  // -1: it asks the kernel when it wants to know
  static_assert(sizeof stream->_offset == sizeof(int64_t));
  if (is_ours) used_[number] = &stream->_offset;
#endif
}

void OutputMarks::mark(uint64_t run, uint32_t task) {
  int error = errno;
  for (int number : {0, 1}) {
    if (*used_[number] == 0) continue;
    write_mark(number, run, task);
    watch(number);
  }
  errno = error;
}

void OutputMarks::write_mark(int number, uint64_t run, uint32_t task) {
  shm::OutputMark mark{shm::OutputMark::kMagic, run, task, 0, ~run};
  // Less than PIPE_BUF: in one piece, whoever else writes.
  [[maybe_unused]] ssize_t written = write(streams_[number].pipe.get(), &mark, sizeof mark);
}

}  // namespace tarn::task
