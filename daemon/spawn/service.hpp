// Service: what tarn-spawn does all its life: start processes for a tarnd, tell what becomes of them.
//
// One thread, one poll loop, and those of the Closer. Each connection to a tarnd is a Link; the processes it asked for end with
// it. Nothing is kept for a process that has been reaped and reported.
//
// Lives (see main.cpp): kPrivate ends with its client or its tarnd; kSupervise ends with its tarnd;
// kHost serves every tarnd that may connect, until SIGTERM.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/fd.hpp"
#include "os/closer.hpp"
#include "os/socket.hpp"
#include "start.hpp"
#include "wire/packet.hpp"

namespace tarn::spawn {

class Service {
 public:
  Service() = default;
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Blocks the signals that `run` wants to see, and adopts orphaned grandchildren if `adopts`.
  [[nodiscard]] int prepare(bool adopts);

  // The service ends, and all its children with it, when `pidfd` tells that its process has ended.
  void end_with(Fd pidfd) { client_ = std::move(pidfd); }

  // Accepts connections from root and from `uid` on `listener`.
  void listen(Fd listener, uid_t uid);

  // Starts a tarnd that is linked to this service by one more descriptor, which it finds behind those
  // of `request`. When it ends the service ends.
  [[nodiscard]] int start_daemon(StartRequest request, const Fd& client_socket);

  // Serves until the end; returns the exit status for the process.
  [[nodiscard]] int run();

 private:
  struct Link {
    Fd socket;
    uid_t uid;
  };
  struct Process {
    pid_t pid;
    uint64_t ticket;
    Link* link;  // null for the daemon, and once its link is gone
    Fd pidfd;    // until it was handed over
    Fd outcome;  // until it is known whether the program runs
  };

  void wait_for_events();
  void accept_link();
  void serve_link(Link& link);
  void handle(Link& link, const wire::Packet& packet, os::Received& received);
  void spawn(Link& link, const wire::Packet& packet, os::Received& received);
  void kill_one(Link& link, const wire::Kill& order);
  void finish_start(Process& process);
  void read_signals();
  void reap();
  void report_change(pid_t pid, int code, int status);
  void drop_link(Link& link);
  void send(Link& link, wire::Builder& message, const Fd* descriptor);
  void await_daemon();
  void kill_everything();

  Fd signals_;
  Fd listener_;
  Fd client_;
  uid_t allowed_uid_ = 0;
  bool adopts_ = false;
  pid_t daemon_ = -1;
  bool ending_ = false;
  bool lost_daemon_ = false;  // its link is closed
  int exit_status_ = 0;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<Process> processes_;
  wire::Buffer<wire::kMessageSizeMax> incoming_;
  os::Closer closer_;  // of what links bring, a lane for each user: it is users' and may hang
};

}  // namespace tarn::spawn
