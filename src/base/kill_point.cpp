#include "base/kill_point.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tarn {
namespace {

std::atomic<long> left{0};  // points until the signal; 0: none is planned
int signal_number;
char once_file[256];

}  // namespace

void set_kill_role(const char* role) {
  const char* plan = secure_getenv("TARN_KILL");
  if (plan == nullptr) return;
  char planned_role[16];
  long number;
  if (sscanf(plan, "%15[^:]:%ld:%d:%255s", planned_role, &number, &signal_number, once_file) != 4) {
    fprintf(stderr, "tarn: TARN_KILL is '%s', not ROLE:N:SIGNAL:FILE\n", plan);
    abort();
  }
  if (strcmp(role, planned_role) == 0) left.store(number);
}

void kill_point() {
  if (left.load(std::memory_order_relaxed) == 0 || left.fetch_sub(1) != 1) return;
  int fd = open(once_file, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return;  // another process of this role came first
  close(fd);
  kill(getpid(), signal_number);
}

uint64_t planned_memory() {
  const char* bytes = secure_getenv("TARN_KILL_MEMORY");
  return bytes == nullptr ? 0 : strtoull(bytes, nullptr, 10);
}

}  // namespace tarn
