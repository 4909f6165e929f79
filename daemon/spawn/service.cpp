#include "service.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "order.hpp"
#include "os/clock.hpp"
#include "os/process.hpp"
#include "os/service_manager.hpp"
#include "tarn/tarn.h"
#include "wire/validate.hpp"

namespace tarn::spawn {
namespace {

constexpr size_t kProcessesMax = 4096;          // of all links together; docs/limits.md
constexpr rlim_t kDescriptorsMin = 48;          // for us and a tarnd with one small session; docs/limits.md
constexpr rlim_t kDescriptorsOwn = 64;          // of those that may be open, not for what is kept
constexpr size_t kLinksMax = 16;
constexpr int kPacketsPerVisit = 16;
constexpr size_t kQueueMax = 4 * kProcessesMax;   // a tarnd that does not read so many is no tarnd any more
constexpr const char* kKeptLink = "k.spawn";       // what tarnd has us keep of its link (daemon/keeper.hpp)
constexpr int64_t kShortLife = 1'000'000'000;      // of a tarnd
constexpr uint32_t kCrashesMax = 8;                // in short lives: then it is given up
constexpr int64_t kPauseMax = 128'000'000;         // before it is started again
constexpr int64_t kDaemonEndTimeout = 1'000'000'000;  // for a tarnd that has closed its link
constexpr int64_t kEndTimeout = 2'000'000'000;    // for killed processes to vanish
constexpr size_t kUnclosedMax = 1024;                  // descriptors of one user that hang; docs/limits.md

// Whether we may take a nice value back that we gave.
bool may_lower_nice() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  return syscall(SYS_capget, &header, data) == 0 && (data[CAP_TO_INDEX(CAP_SYS_NICE)].effective & CAP_TO_MASK(CAP_SYS_NICE)) != 0;
}

// The processes whose parent is this one, started by us or adopted.
std::vector<pid_t> own_children() {
  std::vector<pid_t> children;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/task/%d/children", static_cast<int>(getpid()));
  Fd file{open(path, O_RDONLY | O_CLOEXEC)};
  if (!file.valid()) return children;
  char text[4096];
  ssize_t size = read(file.get(), text, sizeof text - 1);
  if (size <= 0) return children;
  text[size] = '\0';
  char* at = text;
  for (char* end;; at = end) {
    long pid = strtol(at, &end, 10);
    if (end == at || *end == '\0') break;  // a number that was cut off does not count
    children.push_back(static_cast<pid_t>(pid));
  }
  return children;
}

}  // namespace

Service::Service() : may_weigh_(may_lower_nice()), nice_(getpriority(PRIO_PROCESS, 0)) {}

int Service::prepare(bool adopts) {
  // A client that ignores SIGCHLD would leave us without news of any worker.
  os::reset_signals();
  // Nobody may be reading our standard error any more; that is no reason to end.
  signal(SIGPIPE, SIG_IGN);
  if (getrlimit(RLIMIT_NOFILE, &descriptors_) == 0 && descriptors_.rlim_cur < kDescriptorsMin)
    return fail(TARN_E_LIMIT, "only %llu descriptors may be open here, and %llu are needed; raise the limit (ulimit -n, RLIMIT_NOFILE)",
                static_cast<unsigned long long>(descriptors_.rlim_cur), static_cast<unsigned long long>(kDescriptorsMin));
  // For what is kept.
  rlimit most{descriptors_.rlim_max, descriptors_.rlim_max};
  setrlimit(RLIMIT_NOFILE, &most);
  sigset_t set;
  sigemptyset(&set);
  for (int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) < 0) return fail_errno(TARN_E_SYSTEM, "cannot block signals");
  signals_ = Fd{signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
  if (!signals_.valid()) return fail_errno(code_of_errno(errno), "cannot watch signals");
  if (int r = closer_.start(); r < 0) return r;
  if (int r = starter_.prepare(); r < 0) return r;
  adopts_ = adopts;
  if (adopts && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
    return fail_errno(TARN_E_SYSTEM, "cannot adopt orphans");
  return 0;
}

void Service::listen(Fd listener, uid_t uid) {
  listener_ = std::move(listener);
  allowed_uid_ = uid;
}

int Service::start_daemon(Daemon daemon, const Fd& client_socket) {
  tarnd_ = std::move(daemon);
  Fd ours;
  Fd theirs;
  if (int r = os::socket_pair(ours, theirs); r < 0) return r;
  std::vector<int> inherited = {theirs.get()};
  std::vector<std::string> more = {"--spawn-fd", "3"};
  if (client_socket.valid()) {
    inherited.push_back(client_socket.get());
    more.insert(more.end(), {"--client-fd", "4"});
  }
  if (int r = run_daemon(more, inherited, ""); r < 0) return r;
  links_.push_back(std::make_unique<Link>(Link{std::move(ours), getuid(), {}}));
  return 0;
}

// `names`: of what it inherits, if it is to go on with that.
int Service::run_daemon(const std::vector<std::string>& more_arguments, std::span<const int> inherited, const std::string& names) {
  std::vector<char*> argv;
  for (const std::string& each : tarnd_.arguments) argv.push_back(const_cast<char*>(each.c_str()));
  for (const std::string& each : more_arguments) argv.push_back(const_cast<char*>(each.c_str()));
  argv.push_back(nullptr);

  std::string pid_text = "LISTEN_PID=0000000000";
  Fd manager;
  if (int r = store_.open(manager); r < 0) return r;
  std::vector<int> all(inherited.begin(), inherited.end());
  all.push_back(manager.get());
  // A start needs two of each.
  rlim_t most = descriptors_.rlim_max == RLIM_INFINITY ? DescriptorStore::kMost : descriptors_.rlim_max / 2;
  most = std::min<rlim_t>(DescriptorStore::kMost, most - std::min(most, kDescriptorsOwn));
  std::vector<std::string> variables = {std::string(os::kManagerVariable) + "=" + std::to_string(2 + all.size()),
                                        "FDSTORE=" + std::to_string(most)};
  if (!names.empty()) {
    variables.push_back("LISTEN_FDS=" + std::to_string(inherited.size()));
    variables.push_back("LISTEN_FDNAMES=" + names);
  }
  std::vector<char*> environment;
  for (std::string& each : variables) environment.push_back(each.data());
  if (!names.empty()) environment.push_back(pid_text.data());
  for (char** at = environ; *at != nullptr; ++at) {
    std::string_view each = *at;
    auto is_set_here = [each](const char* name) { return each.starts_with(name); };
    if (std::ranges::none_of(std::array{"NOTIFY_SOCKET=", "TARN_MANAGER_FD=", "FDSTORE=", "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES="},
                             is_set_here))
      environment.push_back(*at);
  }
  environment.push_back(nullptr);

  StartRequest request;
  request.path = tarnd_.path.c_str();
  request.argv = argv.data();
  request.environment = environment.data();
  request.null_input = tarnd_.null_input;
  request.keeps_end_signals = true;
  request.inherited = all;
  request.descriptors = &descriptors_;
  if (!names.empty()) request.pid_text = pid_text.data();
  Started started;
  if (int r = starter_.start(request, started); r < 0) return r;
  daemon_ = started.pid;
  daemon_started_ns_ = os::now_ns();
  processes_.push_back({started.pid, 0, nullptr, Fd{}, std::move(started.outcome)});
  if (end_signal_ != 0) kill(daemon_, end_signal_);
  return 0;
}

bool Service::is_daemon_there() const {
  return std::ranges::any_of(processes_, [this](const Process& process) { return process.pid == daemon_; });
}

// It was killed, or crashed. The first time at once: nobody shall notice. One that does not live is not started all the time, and
// given up if that is its own doing.
void Service::start_again(bool was_killed) {
  bool is_short = os::now_ns() - daemon_started_ns_ < kShortLife;
  short_lives_ = is_short ? short_lives_ + 1 : 0;
  crashes_ = is_short ? crashes_ + (was_killed ? 0 : 1) : 0;
  if (crashes_ > kCrashesMax) {
    fprintf(stderr, "tarn-spawn: tarnd crashed %u times, each within a second of its start; its sessions end\n", crashes_);
    ending_ = true;
    return;
  }
  int64_t pause = short_lives_ == 0 ? 0 : std::min(kPauseMax, int64_t{1'000'000} << std::min(short_lives_, 16u));
  start_again_ns_ = os::now_ns() + pause;
  if (pause == 0) start_again_now();
}

void Service::start_again_now() {
  start_again_ns_ = 0;
  std::string names;
  std::vector<int> inherited;
  for (auto& [name, fd] : store_.kept()) {
    names += names.empty() ? name : ":" + name;
    inherited.push_back(fd.get());
  }
  if (run_daemon({}, inherited, names) == 0) return;
  fprintf(stderr, "tarn-spawn: tarnd cannot be started again, and its sessions end: %s\n", last_error());
  ending_ = true;
}

int Service::run() {
  while (!ending_) wait_for_events();
  await_daemon();
  kill_everything();
  return exit_status_;
}

// A tarnd that has closed its link is about to end, and may have an exit status of its own.
void Service::await_daemon() {
  if (!lost_daemon_) return;
  int64_t deadline = os::deadline_after(kDaemonEndTimeout);
  while (is_daemon_there()) {
    int64_t left = deadline - os::now_ns();
    if (left <= 0) {
      exit_status_ = 128 + SIGKILL;
      return;
    }
    pollfd entries[2] = {{signals_.get(), POLLIN, 0}, {client_.get(), POLLIN, 0}};
    poll(entries, 2, static_cast<int>(left / 1'000'000) + 1);
    if (entries[1].revents != 0) return;
    read_signals();
  }
}

void Service::wait_for_events() {
  // Few descriptors, and few events: building the list anew is cheaper than keeping it.
  std::vector<pollfd> polled;
  polled.push_back({signals_.get(), POLLIN, 0});
  polled.push_back({client_.get(), POLLIN, 0});    // -1 is ignored
  polled.push_back({listener_.get(), POLLIN, 0});
  polled.push_back({closer_.event().get(), POLLIN, 0});
  polled.push_back({store_.socket().get(), POLLIN, 0});
  size_t first_link = polled.size();
  for (auto& link : links_)
    polled.push_back({link->socket.get(), static_cast<short>(link->queue.empty() ? POLLIN : POLLIN | POLLOUT), 0});
  size_t first_outcome = polled.size();
  std::vector<pid_t> starting;
  for (Process& process : processes_) {
    if (!process.outcome.valid()) continue;
    polled.push_back({process.outcome.get(), POLLIN, 0});
    starting.push_back(process.pid);
  }
  int timeout = -1;
  if (start_again_ns_ != 0) timeout = static_cast<int>(std::max<int64_t>(0, start_again_ns_ - os::now_ns()) / 1'000'000 + 1);
  if (poll(polled.data(), polled.size(), timeout) < 0) return;
  if (start_again_ns_ != 0 && os::now_ns() >= start_again_ns_) start_again_now();

  if (polled[1].revents != 0) {
    ending_ = true;
    return;
  }
  for (size_t i = 0; i < starting.size(); ++i) {
    if (polled[first_outcome + i].revents == 0) continue;
    for (Process& process : processes_)
      if (process.pid == starting[i] && process.outcome.valid()) finish_start(process);
  }
  if (polled[0].revents != 0) read_signals();
  if (polled[3].revents != 0) closer_.collect();
  if (polled[4].revents != 0) store_.serve();
  std::vector<Link*> ready;
  for (size_t i = first_link; i < first_outcome; ++i) {
    Link& link = *links_[i - first_link];
    if ((polled[i].revents & POLLOUT) != 0) flush(link);
    if ((polled[i].revents & ~POLLOUT) != 0) ready.push_back(&link);
  }
  for (Link* link : ready) serve_link(*link);
  std::erase_if(links_, [](auto& link) { return !link->socket.valid(); });
  if (polled[2].revents != 0) accept_link();
}

void Service::accept_link() {
  Fd socket{accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  os::PeerCredentials peer{};
  if (!socket.valid() || os::socket_peer(socket, peer) < 0) return;
  if ((peer.uid != 0 && peer.uid != allowed_uid_) || links_.size() >= kLinksMax) {
    fprintf(stderr, "tarn-spawn: refused process %d of user %u\n", static_cast<int>(peer.pid), peer.uid);
    return;
  }
  links_.push_back(std::make_unique<Link>(Link{std::move(socket), peer.uid, {}}));
}

void Service::serve_link(Link& link) {
  for (int i = 0; i < kPacketsPerVisit && link.socket.valid(); ++i) {
    os::Received received;
    int r = os::socket_receive(link.socket, incoming_.bytes, received, 0);
    if (r == os::kWouldBlock) return;
    wire::Packet packet;
    if (r == 0 && received.size > 0)
      r = wire::parse({incoming_.bytes, received.size}, received.descriptor_count, wire::From::kDaemonToSpawn, packet);
    os::Closer::Lane lane = kLaneOfLinks;
    if (r < 0) fprintf(stderr, "tarn-spawn: %s\n", last_error());
    if (r < 0 || received.size == 0) {
      drop_link(link);
    } else {
      if (packet.type == wire::Type::kSpawn) lane = packet.as<wire::Spawn>().uid;
      handle(link, packet, received);
    }
    for (Fd& each : received.descriptors) closer_.close(lane, std::move(each));
    for (Fd& each : received.excess) closer_.close(lane, std::move(each));
  }
}

void Service::handle(Link& link, const wire::Packet& packet, os::Received& received) {
  if (packet.type == wire::Type::kKill) return kill_one(link, packet.as<wire::Kill>());
  if (packet.type == wire::Type::kWeigh) return weigh_one(link, packet.as<wire::Weigh>());
  if (packet.type == wire::Type::kRollCall) return call_roll(link);
  spawn(link, packet, received);
}

void Service::spawn(Link& link, const wire::Packet& packet, os::Received& received) {
  const auto& order = packet.as<wire::Spawn>();
  Order strings = read_order(packet);
  int control = received.descriptors[4].get();
  StartRequest request;
  request.executable = received.descriptors[0].get();
  request.directory = received.descriptors[1].get();
  request.standard_output = received.descriptors[2].get();
  request.standard_error = received.descriptors[3].get();
  request.inherited = {&control, 1};
  request.descriptors = &descriptors_;
  request.argv = strings.argv.data();
  request.environment = strings.environment.data();
  request.uid = order.uid;
  request.gid = order.gid;
  request.groups = strings.groups;
  if (order.cpu_count != 0) request.cpus = order.cpus;

  Started started;
  int r;
  if (processes_.size() >= kProcessesMax) {
    r = fail(TARN_E_LIMIT, "the spawn service has %zu processes already", kProcessesMax);
    errno = EAGAIN;
  } else if (order.uid == 0 && link.uid != 0) {
    r = fail(TARN_E_DENIED, "a daemon that is not root may not start processes of root");
    errno = EPERM;
  } else if (closer_.unpaid(order.uid) >= kUnclosedMax) {
    r = fail(TARN_E_LIMIT, "%zu descriptors of the user do not close", closer_.unpaid(order.uid));
    errno = EAGAIN;
  } else {
    r = starter_.start(request, started);
  }
  if (r < 0) {
    int error = errno;
    wire::Buffer<512> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kSpawnFailed, 0);
    auto& failed = message.body<wire::SpawnFailed>();
    failed.ticket = order.ticket;
    failed.error = error == 0 ? EIO : error;
    wire::set_text(failed.text, last_error());
    return send(link, message);
  }
  processes_.push_back({started.pid, order.ticket, &link, std::move(started.pidfd), std::move(started.outcome)});
}

void Service::kill_one(Link& link, const wire::Kill& order) {
  for (Process& process : processes_) {
    if (process.link != &link || process.ticket != order.ticket) continue;
    // Not reaped yet, so the number is still its own.
    if (order.signal == SIGKILL) kill(-process.pid, SIGKILL);
    kill(process.pid, order.signal);
  }
}

void Service::send_spawned(Link& link, const Process& process, Fd pidfd) {
  wire::Buffer<64> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kSpawned, 0);
  auto& spawned = message.body<wire::Spawned>();
  spawned.ticket = process.ticket;
  spawned.pid = process.pid;
  send(link, message, std::move(pidfd));
}

// Its process group: all threads, and what they started. Without the right to take it back none is made nicer.
void Service::weigh_one(Link& link, const wire::Weigh& order) {
  if (!may_weigh_) return;
  for (const Process& process : processes_)
    if (process.link == &link && process.ticket == order.ticket)
      (void)setpriority(PRIO_PGRP, static_cast<id_t>(process.pid), std::min(nice_ + static_cast<int>(order.nice), static_cast<int>(wire::kNiceMax)));
}

// What a tarnd that was killed had been told is lost with it.
void Service::call_roll(Link& link) {
  for (const Process& process : processes_) {
    if (process.link != &link || process.outcome.valid()) continue;  // what is still starting is told as it was to be
    Fd pidfd;
    if (os::pidfd_open(process.pid, pidfd) < 0) continue;  // not reaped yet: it is about to be told of
    send_spawned(link, process, std::move(pidfd));
    if (process.is_stopped) send_change(link, process, wire::Type::kStopped, 0, 0);
  }
  wire::Buffer<sizeof(wire::Header)> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kRollCallEnd, 0);
  send(link, message);
}

// kExited or kStopped.
void Service::send_change(Link& link, const Process& process, wire::Type type, int signal, int exit_status) {
  wire::Buffer<64> buffer;
  wire::Builder message(buffer.bytes, type, 0);
  auto& change = message.body<wire::Exited>();
  change.ticket = process.ticket;
  change.pid = process.pid;
  change.signal = signal;
  change.exit_status = exit_status;
  change.stopped = type == wire::Type::kStopped && process.is_stopped ? 1 : 0;
  send(link, message);
}

// Tells tarnd whether the program runs.
void Service::finish_start(Process& process) {
  const char* step = "";
  int error = read_outcome(process.outcome, step);
  if (error < 0) return;
  process.outcome.reset();
  Fd pidfd = std::move(process.pidfd);
  if (process.pid == daemon_ && error != 0) fprintf(stderr, "tarn-spawn: tarnd: %s: %s\n", step, strerror(error));
  if (process.link == nullptr) return;
  Link& link = *process.link;
  wire::Buffer<512> buffer;
  if (error == 0) return send_spawned(link, process, std::move(pidfd));
  process.link = nullptr;  // it exits by itself, and nobody needs to hear of that
  wire::Builder message(buffer.bytes, wire::Type::kSpawnFailed, 0);
  auto& failed = message.body<wire::SpawnFailed>();
  failed.ticket = process.ticket;
  failed.error = error;
  snprintf(failed.text, sizeof failed.text, "%s: %s", step, strerror(error));
  send(link, message);
}

void Service::read_signals() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) continue;
    if (daemon_ > 0 && !client_.valid()) {
      // It ends in order, and we with it. If it has just been killed, the next one does.
      auto signal = static_cast<int>(info.ssi_signo);
      if (signal != SIGHUP) end_signal_ = signal;
      if (is_daemon_there()) kill(daemon_, signal);
    } else if (info.ssi_signo != SIGHUP) {
      ending_ = true;
    }
  }
  reap();
}

void Service::reap() {
  constexpr int kAnything = WEXITED | WSTOPPED | WCONTINUED | WNOHANG;
  for (;;) {
    siginfo_t info{};
    if (waitid(P_ALL, 0, &info, kAnything | WNOWAIT) < 0 || info.si_pid == 0) return;
    pid_t pid = info.si_pid;
    bool ended = info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED;
    bool known = std::ranges::any_of(processes_, [&](const Process& p) { return p.pid == pid; });
    // While it is not reaped its process group cannot be anybody else's: take what it left with it.
    if (ended && known) kill(-pid, SIGKILL);
    siginfo_t same{};
    if (waitid(P_PID, static_cast<id_t>(pid), &same, kAnything) < 0 || same.si_pid == 0) continue;
    if (known) report_change(pid, same.si_code, same.si_status);
  }
}

void Service::report_change(pid_t pid, int code, int status) {
  auto found = std::ranges::find_if(processes_, [&](const Process& p) { return p.pid == pid; });
  bool ended = code == CLD_EXITED || code == CLD_KILLED || code == CLD_DUMPED;
  found->is_stopped = code == CLD_STOPPED;
  if (ended && found->outcome.valid()) finish_start(*found);
  if (found->link != nullptr && !found->outcome.valid()) {
    bool exited = code == CLD_EXITED;
    send_change(*found->link, *found, ended ? wire::Type::kExited : wire::Type::kStopped, ended && !exited ? status : 0,
                exited ? status : 0);
  }
  if (!ended) return;
  processes_.erase(found);
  if (pid == daemon_) daemon_ended(code, status);
}

void Service::daemon_ended(int code, int status) {
  store_.serve();  // the last that it had to say
  bool crashed = code != CLD_EXITED;
  if (crashed && !ending_ && !lost_daemon_ && store_.has(kKeptLink)) return start_again(status == SIGKILL);
  exit_status_ = crashed ? 128 + status : status;
  ending_ = true;
}

void Service::drop_link(Link& link) {
  closer_.close(kLaneOfLinks, std::move(link.socket));  // and what is in it
  link.queue.clear();
  for (Process& process : processes_) {
    if (process.link != &link) continue;
    kill(-process.pid, SIGKILL);
    kill(process.pid, SIGKILL);
    process.link = nullptr;
  }
  if (daemon_ > 0 && !listener_.valid()) ending_ = lost_daemon_ = true;
}

void Service::send(Link& link, wire::Builder& message, Fd descriptor) {
  if (!link.socket.valid()) return;
  std::span<const std::byte> bytes = message.finish();
  link.queue.push_back({{bytes.begin(), bytes.end()}, std::move(descriptor)});
  flush(link);
  if (link.queue.size() > kQueueMax) drop_link(link);
}

void Service::flush(Link& link) {
  while (link.socket.valid() && !link.queue.empty()) {
    Link::Message& next = link.queue.front();
    int fd = next.descriptor.get();
    int r = os::socket_send(link.socket, next.bytes, {&fd, next.descriptor.valid() ? 1u : 0u}, 0);
    if (r == os::kWouldBlock) return;
    if (r < 0) return drop_link(link);
    link.queue.pop_front();
  }
}

void Service::kill_everything() {
  for (Process& process : processes_) {
    // tarnd may still be tidying up after a SIGTERM, but without us it can do nothing any more.
    kill(-process.pid, SIGKILL);
    kill(process.pid, SIGKILL);
  }
  // Orphans come to us as their parents die, so look until there is nobody left.
  int64_t deadline = os::deadline_after(kEndTimeout);
  while (os::now_ns() < deadline) {
    if (adopts_)
      for (pid_t pid : own_children()) kill(pid, SIGKILL);
    siginfo_t info{};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 && errno == ECHILD) return;
    if (info.si_pid == 0) {
      pollfd entry{signals_.get(), POLLIN, 0};
      poll(&entry, 1, 10);
      signalfd_siginfo ignored;
      while (read(signals_.get(), &ignored, sizeof ignored) == sizeof ignored) {
      }
    }
  }
}

}  // namespace tarn::spawn
