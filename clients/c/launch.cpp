#include "launch.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "os/socket.hpp"
#include "tarn/tarn.h"
#include "tarn_build_config.h"

extern char** environ;

namespace tarn::client {
namespace {

constexpr size_t kPathSizeMax = 4096;
constexpr size_t kStackSize = 64 * 1024;

bool usable(const char* path) { return access(path, X_OK) == 0; }

// Where the spawn service is: where $TARN_LIBEXEC says, beside an installed or a freshly built
// library, or where the build was told to install it.
int find_spawn_service(char (&path)[kPathSizeMax]) {
  if (const char* directory = getenv("TARN_LIBEXEC"); directory != nullptr) {
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

struct ChildPlan {
  const char* path;
  char** argv;
  int socket;
  int error;  // out: errno of what failed
};

// Runs in the parent's memory until execve, so it only makes system calls.
int child_main(void* argument) {
  auto* plan = static_cast<ChildPlan*>(argument);
  sigset_t none;
  sigemptyset(&none);
  if (dup2(plan->socket, 3) >= 0 && fcntl(3, F_SETFD, 0) == 0) {
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(plan->path, plan->argv, environ);
  }
  plan->error = errno;
  _exit(127);
}

}  // namespace

int launch_private_daemon(Fd& socket, pid_t& pid) {
  char path[kPathSizeMax];
  if (int r = find_spawn_service(path); r < 0) return r;
  Fd ours;
  Fd theirs;
  if (int r = os::socket_pair(ours, theirs); r < 0) return r;
  char pid_text[16];
  snprintf(pid_text, sizeof pid_text, "%d", static_cast<int>(getpid()));
  char name[] = "tarn-spawn", option_private[] = "--private", three[] = "3", option_client[] = "--client";
  char* argv[] = {name, option_private, three, option_client, pid_text, nullptr};

  void* stack = mmap(nullptr, kStackSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (stack == MAP_FAILED) return fail_errno(TARN_E_NO_MEMORY, "no memory to start %s", path);
  ChildPlan plan{path, argv, theirs.get(), 0};
  // No handler of this process may run in the child while it shares our memory.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  // No exit signal until execve, which sets the usual one. The parent goes on when execve has succeeded.
  int child = clone(child_main, static_cast<char*>(stack) + kStackSize, CLONE_VM | CLONE_VFORK, &plan);
  int error = child < 0 ? errno : plan.error;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  munmap(stack, kStackSize);
  if (error != 0) {
    if (child > 0) reap_private_daemon(child);
    errno = error;
    return fail_errno(TARN_E_NO_DAEMON, "cannot start %s", path);
  }
  socket = std::move(ours);
  pid = child;
  return 0;
}

void reap_private_daemon(pid_t pid) {
  // __WALL: a child that failed before its execve has no exit signal, and is waited for all the same.
  while (waitpid(pid, nullptr, __WALL) < 0 && errno == EINTR) {
  }
}

}  // namespace tarn::client
