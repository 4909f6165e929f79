#include "launch.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/process.hpp"
#include "os/socket.hpp"
#include "tarn/tarn.h"
#include "tarn_build_config.h"

extern char** environ;

namespace tarn::client {
namespace {

constexpr size_t kPathSizeMax = 4096;
constexpr size_t kStackSize = 64 * 1024;
constexpr int kKilledTimeoutMs = 1000;

bool usable(const char* path) { return access(path, X_OK) == 0; }

// Where the spawn service is: where $TARN_LIBEXEC says (empty is as good as unset), beside an installed or a freshly built
// library, or where the build was told to install it.
int find_spawn_service(char (&path)[kPathSizeMax]) {
  if (const char* directory = secure_getenv("TARN_LIBEXEC"); directory != nullptr && *directory != '\0') {
    snprintf(path, sizeof path, "%s/tarn-spawn", directory);
    if (usable(path)) return 0;
    return fail(TARN_E_NO_DAEMON, "no tarn-spawn in %s; correct TARN_LIBEXEC or unset it", directory);
  }
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&launch_private_daemon), &info) != 0 && info.dli_fname != nullptr) {
    const char* slash = strrchr(info.dli_fname, '/');
    int length = slash == nullptr ? 1 : static_cast<int>(slash - info.dli_fname);
    const char* directory = slash == nullptr ? "." : info.dli_fname;
    for (const char* relative :
         {"../libexec/tarn", "../../libexec/tarn", "../../daemon/spawn", "../daemon/spawn", "tarn"}) {
      snprintf(path, sizeof path, "%.*s/%s/tarn-spawn", length, directory, relative);
      if (usable(path)) return 0;
    }
  }
  snprintf(path, sizeof path, "%s/tarn-spawn", TARN_LIBEXECDIR);
  if (usable(path)) return 0;
  return fail(TARN_E_NO_DAEMON,
              "no daemon is running, and tarn-spawn, which would start one, is not at %s; install Tarn or set "
              "TARN_LIBEXEC to the directory of tarn-spawn",
              path);
}

struct Plan {
  const char* path;
  char** argv;
  int socket;
  char* stack;  // the end of the spawn service's
  int pidfd;    // out: of the spawn service
  int error;    // out: errno of what failed
};

// Both run in the caller's memory until they are gone, so they only make system calls.

int become_spawn_service(void* argument) {
  auto* plan = static_cast<Plan*>(argument);
  sigset_t none;
  sigemptyset(&none);
  if (dup2(plan->socket, 3) >= 0 && fcntl(3, F_SETFD, 0) == 0) {
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(plan->path, plan->argv, environ);
  }
  plan->error = errno;
  return 127;  // not by _exit: AddressSanitizer would look for the stack of a thread that it does not know
}

// Has the caller's descriptors too, so that it leaves the new one there, and lasts until execve.
int start_and_leave(void* argument) {
  auto* plan = static_cast<Plan*>(argument);
  constexpr int kFlags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD;
  if (clone(become_spawn_service, plan->stack, kFlags, plan, &plan->pidfd) < 0) plan->error = errno;
  return 0;
}

// Ends at once if the process is not our child.
void reap(pid_t pid) {
  // __WALL: one without an exit signal is waited for all the same.
  while (waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
}

}  // namespace

int launch_private_daemon(Fd& socket, Fd& process) {
  char path[kPathSizeMax];
  if (int r = find_spawn_service(path); r < 0) return r;
  Fd ours;
  Fd theirs;
  if (int r = os::socket_pair(ours, theirs); r < 0) return r;
  char pid_text[16];
  snprintf(pid_text, sizeof pid_text, "%d", static_cast<int>(getpid()));
  char name[] = "tarn-spawn", option_private[] = "--private", three[] = "3", option_client[] = "--client";
  char* argv[] = {name, option_private, three, option_client, pid_text, nullptr};

  void* memory = mmap(nullptr, 2 * kStackSize, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return fail_errno(TARN_E_NO_MEMORY, "no memory to start %s", path);
  char* stacks = static_cast<char*>(memory);
  Plan plan{path, argv, theirs.get(), stacks + kStackSize, -1, 0};
  // No handler of this process may run in the others while they share our memory.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  // The one in the middle has no exit signal: this program's SIGCHLD handler and wait() do not see it. We go on when
  // it has left.
  int middle =
      clone(start_and_leave, stacks + 2 * kStackSize, CLONE_VM | CLONE_VFORK | CLONE_FILES, &plan);
  if (middle < 0) plan.error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (middle > 0) reap(middle);
  munmap(memory, 2 * kStackSize);
  Fd started{plan.pidfd};
  if (plan.error != 0) {
    errno = plan.error;
    return fail_errno(TARN_E_NO_DAEMON, "cannot start %s", path);
  }
  socket = std::move(ours);
  process = std::move(started);
  return 0;
}

void await_private_daemon(const Fd& process, int64_t deadline_ns) {
  pollfd entry{process.get(), POLLIN, 0};
  int64_t left_ns;
  int r;
  do {
    left_ns = std::max<int64_t>(deadline_ns - os::now_ns(), 0);
    r = poll(&entry, 1, static_cast<int>(left_ns / 1'000'000));
  } while (r < 0 && errno == EINTR);
  if (r == 0) {
    // Somebody stopped it. tarnd and the workers are killed by the kernel when it dies.
    os::pidfd_kill(process, SIGKILL);
    poll(&entry, 1, kKilledTimeoutMs);
  }
  // Orphans may come back to us: as the first process of a container, or as a PR_SET_CHILD_SUBREAPER.
  siginfo_t info;
  waitid(P_PIDFD, static_cast<id_t>(process.get()), &info, WEXITED | WNOHANG | __WALL);
}

}  // namespace tarn::client
