#include "start.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "base/error.hpp"
#include "tarn/tarn.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

namespace tarn::spawn {
namespace {

enum Step : int32_t { kDescriptors, kAffinity, kUser, kParent, kDirectory, kExec };
constexpr const char* kStepNames[] = {"arranging descriptors", "binding to the slot's cores", "becoming the user",
                                      "outliving the spawn service", "entering the working directory",
                                      "starting the executable"};

struct Outcome {
  int32_t step;
  int32_t error;
};

// The child, between clone and exec: system calls only.
class Child {
 public:
  // `parked` has room for what is inherited: the child may not allocate.
  Child(const StartRequest& request, int outcome, pid_t parent, std::span<int> parked)
      : request_(request), outcome_(outcome), parent_(parent), parked_(parked) {}

  [[noreturn]] void run() {
    // Its own process group: a Ctrl-C on the client's terminal is for the client to act on.
    setpgid(0, 0);
    // Also what the client ignores, SIGPIPE and SIGHUP among them: what its main() does before tarn_init it does in
    // the worker as well. The mask is for the end: a signal would find half a process.
    default_signals();
    arrange_descriptors();
    bind_to_cpus();
    if (request_.descriptors != nullptr && setrlimit(RLIMIT_NOFILE, request_.descriptors) < 0) give_up(kDescriptors);
    become_user();
    tie_to_parent();
    if (request_.directory >= 0 && fchdir(directory_) < 0) give_up(kDirectory);
    // No_new_privs is left alone: a worker may do what its user may do, sudo included.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    write_pid();
    if (request_.path != nullptr) {
      execve(request_.path, request_.argv, request_.environment);
    } else {
      syscall(SYS_execveat, executable_, "", request_.argv, request_.environment, AT_EMPTY_PATH);
    }
    give_up(kExec);
  }

 private:
  [[noreturn]] void give_up(Step step) {
    Outcome outcome{step, errno};
    [[maybe_unused]] ssize_t written = write(outcome_, &outcome, sizeof outcome);
    _exit(127);
  }

  static void default_signals() {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &action, nullptr);
  }

  // Out of the way of those that move into place.
  int park(int fd) {
    if (fd < 0) return -1;
    int parked = fcntl(fd, F_DUPFD_CLOEXEC, 3 + static_cast<int>(parked_.size()));
    if (parked < 0) give_up(kDescriptors);
    return parked;
  }

  void place(int fd, int target) {
    if (fd >= 0 && dup2(fd, target) < 0) give_up(kDescriptors);
  }

  void arrange_descriptors() {
    outcome_ = park(outcome_);
    executable_ = park(request_.executable);
    directory_ = park(request_.directory);
    int output = park(request_.standard_output);
    int error = park(request_.standard_error);
    for (size_t i = 0; i < parked_.size(); ++i) parked_[i] = park(request_.inherited[i]);
    if (request_.null_input) {
      int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
      if (null < 0) give_up(kDescriptors);
      place(park(null), 0);
    }
    place(output, 1);
    place(error, 2);
    int next = 3;
    for (int fd : parked_) place(fd, next++);
    if (syscall(SYS_close_range, next, ~0u, CLOSE_RANGE_CLOEXEC) < 0) give_up(kDescriptors);
  }

  void bind_to_cpus() {
    if (request_.cpus.empty()) return;
    // The system call rather than the wrapper: the mask is a plain bit array of any length.
    if (syscall(SYS_sched_setaffinity, 0, request_.cpus.size_bytes(), request_.cpus.data()) < 0) give_up(kAffinity);
  }

  void become_user() {
    bool gid_differs = request_.gid != static_cast<gid_t>(-1) && request_.gid != getgid();
    bool uid_differs = request_.uid != static_cast<uid_t>(-1) && request_.uid != getuid();
    if (!gid_differs && !uid_differs) return;
    if (setgroups(request_.groups.size(), request_.groups.data()) < 0) give_up(kUser);
    if (setresgid(request_.gid, request_.gid, request_.gid) < 0) give_up(kUser);
    if (setresuid(request_.uid, request_.uid, request_.uid) < 0) give_up(kUser);
    // Believe none of it: a way back to root would hand the host to the user's program.
    uid_t real, effective, saved;
    gid_t group_real, group_effective, group_saved;
    bool is_user = getresuid(&real, &effective, &saved) == 0 && real == request_.uid && effective == request_.uid &&
                   saved == request_.uid && getresgid(&group_real, &group_effective, &group_saved) == 0 &&
                   group_real == request_.gid && group_effective == request_.gid && group_saved == request_.gid;
    if (!is_user || (request_.uid != 0 && setuid(0) == 0)) {
      errno = EPERM;
      give_up(kUser);
    }
  }

  // After become_user, because changing the user clears it.
  void tie_to_parent() {
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) give_up(kParent);
    if (getppid() != parent_) _exit(127);  // it died before the line above; nobody is left to tell
  }

  void write_pid() {
    if (request_.pid_text == nullptr) return;
    pid_t left = getpid();
    for (char* at = request_.pid_text + strlen(request_.pid_text) - 1; *at != '='; --at, left /= 10)
      *at = static_cast<char>('0' + left % 10);
  }

  const StartRequest& request_;
  int outcome_;
  pid_t parent_;
  std::span<int> parked_;
  int executable_ = -1;
  int directory_ = -1;
};

}  // namespace

int start(const StartRequest& request, Started& out) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return fail_errno(code_of_errno(errno), "cannot make a pipe");
  Fd outcome{ends[0]};
  Fd outcome_writer{ends[1]};

  std::vector<int> parked(request.inherited.size());
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  pid_t parent = getpid();
  long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid < 0) return fail_errno(code_of_errno(errno), "cannot make a process");
  if (pid == 0) Child{request, outcome_writer.get(), parent, parked}.run();
  out.pid = static_cast<pid_t>(pid);
  out.pidfd = Fd{pidfd};
  out.outcome = std::move(outcome);
  return 0;
}

int read_outcome(const Fd& outcome, const char*& step) {
  Outcome told{};
  ssize_t size = read(outcome.get(), &told, sizeof told);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return -1;
  if (size != sizeof told) return 0;
  step = told.step >= 0 && told.step <= kExec ? kStepNames[told.step] : "?";
  return told.error == 0 ? EIO : told.error;
}

}  // namespace tarn::spawn
