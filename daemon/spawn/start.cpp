#include "start.hpp"

#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <vector>

#include "base/error.hpp"
#include "tarn/tarn.h"

#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif
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

constexpr int kHandOverTries = 5000;  // a millisecond each
constexpr size_t kHandedMax = 250;  // descriptors in a message: the kernel takes 253

// What travels with so many of them.
struct Parcel {
  explicit Parcel(std::span<int> descriptors) {
    header.msg_iov = &text;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  }
  char byte = 0;
  iovec text{&byte, 1};
  msghdr header{};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(kHandedMax * sizeof(int))];
};

// False if the child is dead, or will be: it ends when nothing comes.
bool hand_over(const Fd& socket, std::span<int> descriptors) {
  Parcel parcel(descriptors);
  cmsghdr* head = CMSG_FIRSTHDR(&parcel.header);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  memcpy(CMSG_DATA(head), descriptors.data(), descriptors.size_bytes());
  for (int i = 0; i < kHandOverTries; ++i) {
    if (sendmsg(socket.get(), &parcel.header, MSG_NOSIGNAL) >= 0) return true;
    if (errno != ETOOMANYREFS && errno != EINTR) return false;
    poll(nullptr, 0, 1);  // too many of this user's are in sockets: the child takes ours out
  }
  return false;
}

// The child, between clone and exec: system calls only.
class Child {
 public:
  // `handed` are the numbers that its descriptors have in the parent; the child may not allocate.
  Child(const StartRequest& request, int place, pid_t parent, std::span<int> handed)
      : request_(request), place_(place), parent_(parent), handed_(handed) {}

  [[noreturn]] void run() {
    leave_table();
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
    sigset_t blocked;
    sigemptyset(&blocked);
    if (request_.keeps_end_signals) {
      sigaddset(&blocked, SIGTERM);
      sigaddset(&blocked, SIGINT);
    }
    sigprocmask(SIG_SETMASK, &blocked, nullptr);
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

  // Of a range without an end the kernel copies only what lies below.
  void leave_table() {
    if (syscall(SYS_close_range, place_ + 1, ~0u, CLOSE_RANGE_UNSHARE) < 0) _exit(127);
    char byte = 0;
    if (send(place_, &byte, 1, MSG_NOSIGNAL) < 0) _exit(127);
    for (size_t done = 0; done < handed_.size();) {
      auto part = handed_.subspan(done, std::min(kHandedMax, handed_.size() - done));
      Parcel parcel(part);
      if (recvmsg(place_, &parcel.header, MSG_CMSG_CLOEXEC) <= 0) _exit(127);
      const cmsghdr* head = CMSG_FIRSTHDR(&parcel.header);
      if (head == nullptr || head->cmsg_len != CMSG_LEN(part.size_bytes())) _exit(127);
      memcpy(part.data(), CMSG_DATA(head), part.size_bytes());
      done += part.size();
    }
    outcome_ = next_handed(0);
  }
  // In the order of Starter::start.
  int next_handed(int wanted) { return wanted < 0 ? -1 : handed_[taken_++]; }

  static void default_signals() {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &action, nullptr);
  }

  // Out of the way of those that move into place.
  int park(int fd) {
    if (fd < 0) return -1;
    int parked = fcntl(fd, F_DUPFD_CLOEXEC, 3 + static_cast<int>(request_.inherited.size()));
    if (parked < 0) give_up(kDescriptors);
    return parked;
  }

  void place(int fd, int target) {
    if (fd >= 0 && dup2(fd, target) < 0) give_up(kDescriptors);
  }

  void arrange_descriptors() {
    outcome_ = park(outcome_);
    executable_ = park(next_handed(request_.executable));
    directory_ = park(next_handed(request_.directory));
    int output = park(next_handed(request_.standard_output));
    int error = park(next_handed(request_.standard_error));
    std::span<int> inherited = handed_.subspan(taken_);
    for (int& fd : inherited) fd = park(fd);
    if (request_.null_input) {
      int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
      if (null < 0) give_up(kDescriptors);
      place(park(null), 0);
    }
    place(output, 1);
    place(error, 2);
    int next = 3;
    for (int fd : inherited) place(fd, next++);
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
  int place_;
  pid_t parent_;
  std::span<int> handed_;
  size_t taken_ = 0;
  int outcome_ = -1;
  int executable_ = -1;
  int directory_ = -1;
};

}  // namespace

int Starter::prepare() {
  null_ = Fd{open("/dev/null", O_RDWR | O_CLOEXEC)};
  if (!null_.valid()) return fail_errno(TARN_E_SYSTEM, "cannot open /dev/null");
  place_ = Fd{fcntl(null_.get(), F_DUPFD_CLOEXEC, 3)};
  if (!place_.valid()) return fail_errno(code_of_errno(errno), "no descriptor for what is handed to workers");
  return 0;
}

void Starter::plug(Fd fd) {
  if (!fd.valid()) return;
  // It stays open until we end, like those of the standard streams.
  if (int number = fd.release(); dup3(null_.get(), number, O_CLOEXEC) < 0) close(number);
}

int Starter::start(const StartRequest& request, Started& out) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) return fail_errno(code_of_errno(errno), "cannot make a pipe");
  Fd outcome{ends[0]};
  Fd outcome_writer{ends[1]};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) return fail_errno(code_of_errno(errno), "cannot make sockets");
  Fd ours{ends[0]};
  Fd theirs{ends[1]};
  std::vector<int> handed = {outcome_writer.get()};
  for (int fd : {request.executable, request.directory, request.standard_output, request.standard_error})
    if (fd >= 0) handed.push_back(fd);
  handed.insert(handed.end(), request.inherited.begin(), request.inherited.end());

  if (dup3(theirs.get(), place_.get(), O_CLOEXEC) < 0) return fail_errno(code_of_errno(errno), "cannot duplicate a descriptor");
  theirs.reset();
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD | CLONE_FILES;
  arguments.pidfd = reinterpret_cast<uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  pid_t parent = getpid();
  long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) Child{request, place_.get(), parent, handed}.run();
  int error = errno;
  if (pid > 0) {
    out.pid = static_cast<pid_t>(pid);
    out.pidfd = Fd{pidfd};
    out.outcome = std::move(outcome);
    // Until it has a table of its own, or is dead. It does nothing before that, but that it has to be given a core.
    pollfd entries[2] = {{ours.get(), POLLIN, 0}, {pidfd, POLLIN, 0}};
    while (poll(entries, 2, -1) < 0 && errno == EINTR) {
    }
    char byte;  // read, or the close of our end would be an error at the other one
    (void)recv(ours.get(), &byte, 1, MSG_DONTWAIT);
  }
  if (dup3(null_.get(), place_.get(), O_CLOEXEC) < 0) return fail_errno(code_of_errno(errno), "cannot duplicate a descriptor");
  if (pid < 0) {
    errno = error;
    return fail_errno(code_of_errno(errno), "cannot make a process");
  }
  for (std::span<int> left = handed; !left.empty();) {
    size_t count = std::min(kHandedMax, left.size());
    if (!hand_over(ours, left.first(count))) break;  // it is dead, as is told by its end
    left = left.subspan(count);
  }
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
