#include "os/process.hpp"

#include <linux/membarrier.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <ctime>

#include "base/assert.hpp"
#include "base/error.hpp"

namespace tarn::os {

int pidfd_open(pid_t pid, Fd& out) {
  long fd = syscall(SYS_pidfd_open, pid, 0u);
  if (fd < 0) return fail_errno(code_of_errno(errno), "cannot watch process %d", static_cast<int>(pid));
  out = Fd{static_cast<int>(fd)};
  return 0;
}

void pidfd_kill(const Fd& pidfd, int signal) { syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0u); }

bool pidfd_ended(const Fd& pidfd) {
  pollfd entry{pidfd.get(), POLLIN, 0};
  return poll(&entry, 1, 0) > 0;
}

int32_t current_node() {
  unsigned node = 0;
  return getcpu(nullptr, &node) == 0 ? static_cast<int32_t>(node) : -1;
}

void reset_signals(std::initializer_list<int> blocked) {
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &action, nullptr);
  sigset_t mask;
  sigemptyset(&mask);
  for (int signal : blocked) sigaddset(&mask, signal);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
}

int64_t core_time_ns(pid_t pid) {
  clockid_t clock;
  timespec time;
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return -1;
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

bool membarrier_register() {
  return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

void membarrier() {
  long r = syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
  TARN_ASSERT(r == 0);  // registering succeeded, so this cannot fail
}

unsigned fork_count = 0;

void count_forks() {
  static const int once = pthread_atfork(nullptr, nullptr, [] { ++fork_count; });
  (void)once;
}

}  // namespace tarn::os
