// Processes of others: their descriptors, their memory, their signals; and the files by which they are found.
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "cases.hpp"
#include "os/clock.hpp"
#include "os/socket.hpp"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

namespace tarn::hostile {
namespace {

constexpr int kDescriptorsTried = 64;

Outcome open_descriptors_of_others(Context& context) {
  HOSTILE_NEEDS(opendir("/proc/self/fd") != nullptr);
  for (pid_t pid : context.strangers()) {
    std::string folder = "/proc/" + std::to_string(pid);
    HOSTILE_NEEDS(access((folder + "/stat").c_str(), R_OK) == 0);  // it is there
    HOSTILE_REFUSED(opendir((folder + "/fd").c_str()) == nullptr);
    HOSTILE_REFUSED(opendir((folder + "/map_files").c_str()) == nullptr);
    for (int number = 0; number < kDescriptorsTried; ++number) {
      std::string path = folder + "/fd/" + std::to_string(number);
      for (int flags : {O_RDONLY, O_RDWR, O_PATH}) {
        Fd fd{open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK)};
        HOSTILE_REFUSED(!fd.valid());
      }
    }
    for (const char* name : {"/mem", "/environ", "/auxv", "/maps"}) {
      Fd fd{open((folder + name).c_str(), O_RDONLY | O_CLOEXEC)};
      char byte;
      HOSTILE_REFUSED(!fd.valid() || read(fd.get(), &byte, 1) <= 0);
    }
  }
  return refused();
}

Outcome take_descriptors_of_others(Context& context) {
  for (pid_t pid : context.strangers()) {
    Fd pidfd{static_cast<int>(syscall(SYS_pidfd_open, pid, 0))};
    HOSTILE_NEEDS(pidfd.valid());
    for (int number = 0; number < kDescriptorsTried; ++number) {
      Fd fd{static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), number, 0))};
      HOSTILE_REFUSED(!fd.valid());
    }
  }
  return refused();
}

Outcome read_and_write_memory_of_others(Context& context) {
  char own[16] = "";
  for (pid_t pid : context.strangers()) {
    // An address that every program of this host has mapped would be found by reading any; what counts is the right.
    iovec local{own, sizeof own};
    iovec remote{own, sizeof own};
    HOSTILE_REFUSED(process_vm_readv(pid, &local, 1, &remote, 1, 0) < 0 && errno == EPERM);
    HOSTILE_REFUSED(process_vm_writev(pid, &local, 1, &remote, 1, 0) < 0 && errno == EPERM);
  }
  return refused();
}

Outcome trace_others(Context& context) {
  for (pid_t pid : context.strangers()) {
    bool traced = ptrace(PTRACE_SEIZE, pid, nullptr, nullptr) == 0;
    if (traced) {
      ptrace(PTRACE_INTERRUPT, pid, nullptr, nullptr);
      waitpid(pid, nullptr, __WALL);
      ptrace(PTRACE_DETACH, pid, nullptr, nullptr);
    }
    HOSTILE_REFUSED(!traced);
  }
  return refused();
}

Outcome signal_and_limit_others(Context& context) {
  for (pid_t pid : context.strangers()) {
    HOSTILE_REFUSED(kill(pid, 0) != 0 && errno == EPERM);
    rlimit now{};
    HOSTILE_REFUSED(prlimit(pid, RLIMIT_NOFILE, nullptr, &now) != 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    HOSTILE_REFUSED(geteuid() == 0 || sched_setaffinity(pid, sizeof one, &one) != 0);
    HOSTILE_REFUSED(geteuid() == 0 || setpriority(PRIO_PROCESS, static_cast<id_t>(pid), 19) != 0);
  }
  return refused();
}

// The sockets by which everybody finds tarnd, and their folder.
Outcome unlink_and_replace(Context& context) {
  std::string own = context.scratch + "/own.sock";
  Fd listener{socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", own.c_str());
  unlink(own.c_str());
  HOSTILE_NEEDS(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  if (geteuid() == 0) return failed("root may");
  for (const std::string& path : {context.socket, context.spawn_socket}) {
    HOSTILE_REFUSED(unlink(path.c_str()) != 0);
    HOSTILE_REFUSED(rename(own.c_str(), path.c_str()) != 0);
    HOSTILE_REFUSED(rename(path.c_str(), own.c_str()) != 0);
    HOSTILE_REFUSED(link(path.c_str(), (own + ".link").c_str()) != 0 || unlink((own + ".link").c_str()) == 0);
    HOSTILE_REFUSED(chmod(path.c_str(), 0) != 0);
    HOSTILE_REFUSED(truncate(path.c_str(), 0) != 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path.c_str());
    Fd another{socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    HOSTILE_REFUSED(bind(another.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0);
  }
  HOSTILE_REFUSED(rename(context.folder.c_str(), (context.folder + "-away").c_str()) != 0);
  HOSTILE_REFUSED(rmdir(context.folder.c_str()) != 0);
  Fd file{open((context.folder + "/planted").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)};
  HOSTILE_REFUSED(!file.valid());
  return refused();
}

// The spawn service would start anything as anybody; it listens to tarnd alone.
Outcome order_a_process_of_root(Context& context) {
  Fd socket;
  if (os::socket_connect(context.spawn_socket, socket) < 0) return refused("not even connected");
  std::string mark = context.scratch + "/as-root";
  std::string script = "touch " + mark;
  std::string arguments;
  for (const std::string& each : {std::string("sh"), std::string("-c"), script}) arguments += each + '\0';
  wire::Buffer<1024> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kSpawn, 0);
  auto& order = message.body<wire::Spawn>();
  order.ticket = 1;
  order.argv_size = static_cast<uint32_t>(arguments.size());
  HOSTILE_NEEDS(message.append(arguments.data(), arguments.size()));
  Fd shell{open("/bin/sh", O_RDONLY | O_CLOEXEC)};
  Fd directory{open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  Fd ours;
  Fd theirs;
  HOSTILE_NEEDS(os::socket_pair(ours, theirs) == 0);
  int descriptors[] = {shell.get(), directory.get(), STDERR_FILENO, STDERR_FILENO, theirs.get()};
  (void)os::socket_send(socket, message.finish(), descriptors, os::deadline_after(1'000'000'000));
  theirs.reset();
  std::byte answer[1024];
  os::Received received;
  int r = os::socket_receive(socket, answer, received, os::deadline_after(1'000'000'000));
  bool is_answered = r == 0 && received.size > 0;
  HOSTILE_REFUSED(!is_answered);
  HOSTILE_REFUSED(access(mark.c_str(), F_OK) != 0);
  return refused("connected, and not heard");
}

constexpr Case kCases[] = {
    {"open descriptors and memory by /proc/PID", open_descriptors_of_others, Case::Counter::kRoot},
    {"pidfd_getfd of victim, workers, tarnd, spawn", take_descriptors_of_others, Case::Counter::kRoot},
    {"process_vm_readv and _writev of them", read_and_write_memory_of_others, Case::Counter::kRoot},
    {"ptrace them", trace_others, Case::Counter::kRoot},
    {"signals, limits, affinity, priority of them", signal_and_limit_others, Case::Counter::kRoot},
    {"unlink, replace, bind the sockets", unlink_and_replace, Case::Counter::kRoot},
    {"order a process of root from the spawn service", order_a_process_of_root},
};

}  // namespace

std::span<const Case> process_cases() { return kCases; }

}  // namespace tarn::hostile
