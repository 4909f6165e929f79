#include "os/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

#include "os/clock.hpp"

namespace tarn::os {

void futex_wait(uint32_t* word, uint32_t expected, int64_t deadline_ns) {
  timespec deadline;
  timespec* limit = nullptr;
  if (deadline_ns != kForever) {
    deadline.tv_sec = deadline_ns / 1'000'000'000;
    deadline.tv_nsec = deadline_ns % 1'000'000'000;
    limit = &deadline;
  }
  // WAIT_BITSET takes an absolute time on the monotonic clock, so that a wait that is interrupted
  // and begun again does not grow. Any failure means: look again.
  syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected, limit, nullptr, FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(uint32_t* word, int count) { syscall(SYS_futex, word, FUTEX_WAKE, count, nullptr, nullptr, 0); }

}  // namespace tarn::os
