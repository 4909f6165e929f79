// Service: what tarn-spawn does all its life: start processes for a tarnd, tell what becomes of them.
//
// One thread, one poll loop, and those of the Closer. Each connection to a tarnd is a Link; the processes it asked for end with
// it. Nothing is kept for a process that has been reaped and reported.
//
// Lives (see main.cpp): kPrivate ends with its client or its tarnd; kSupervise ends with its tarnd;
// kHost serves every tarnd that may connect, until SIGTERM. A tarnd that we started and that is killed, or crashes, is
// started again with what it had given us to keep (descriptor_store.hpp); one that ends by itself is not.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "descriptor_store.hpp"
#include "os/closer.hpp"
#include "os/socket.hpp"
#include "start.hpp"
#include "wire/packet.hpp"

namespace tarn::spawn {

class Service {
 public:
  Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  // Blocks the signals that `run` wants to see, and adopts orphaned grandchildren if `adopts`.
  [[nodiscard]] int prepare(bool adopts);

  // The service ends, and all its children with it, when `pidfd` tells that its process has ended.
  void end_with(Fd pidfd) { client_ = std::move(pidfd); }

  // Closes what was open before `prepare` and is not needed any more (Starter::plug).
  void plug(Fd fd) { starter_.plug(std::move(fd)); }

  // Accepts connections from root and from `uid` on `listener`.
  void listen(Fd listener, uid_t uid);

  // A tarnd that this service starts, and starts again.
  struct Daemon {
    std::string path;
    std::vector<std::string> arguments;  // the first is its name
    bool null_input;
  };
  // Starts it, linked to this service; it is told by --spawn-fd where, and by --client-fd where `client_socket` is, if that is
  // valid. When it ends for good the service ends.
  [[nodiscard]] int start_daemon(Daemon daemon, const Fd& client_socket);

  // Serves until the end; returns the exit status for the process.
  [[nodiscard]] int run();

 private:
  struct Link {
    struct Message {
      std::vector<std::byte> bytes;
      Fd descriptor;
    };
    Fd socket;
    uid_t uid;
    std::deque<Message> queue;  // what the socket had no room for: a tarnd that was killed reads nothing until the next is there
  };
  struct Process {
    pid_t pid;
    uint64_t ticket;
    Link* link;  // null for the daemon, and once its link is gone
    Fd pidfd;    // until it was handed over
    Fd outcome;  // until it is known whether the program runs
    bool is_stopped = false;
  };

  void wait_for_events();
  void accept_link();
  void serve_link(Link& link);
  void handle(Link& link, const wire::Packet& packet, os::Received& received);
  void spawn(Link& link, const wire::Packet& packet, os::Received& received);
  void kill_one(Link& link, const wire::Kill& order);
  void weigh_one(Link& link, const wire::Weigh& order);
  void call_roll(Link& link);
  void send_spawned(Link& link, const Process& process, Fd pidfd);
  void send_change(Link& link, const Process& process, wire::Type type, int signal, int exit_status);
  void finish_start(Process& process);
  void read_signals();
  void reap();
  void report_change(pid_t pid, int code, int status);
  void daemon_ended(int code, int status);
  void drop_link(Link& link);
  void send(Link& link, wire::Builder& message, Fd descriptor = {});
  void flush(Link& link);
  [[nodiscard]] int run_daemon(const std::vector<std::string>& more_arguments, std::span<const int> inherited,
                               const std::string& names);
  void start_again(bool was_killed);
  void start_again_now();
  void await_daemon();
  [[nodiscard]] bool is_daemon_there() const;
  void kill_everything();

  Fd signals_;
  Fd listener_;
  Fd client_;
  uid_t allowed_uid_ = 0;
  const bool may_weigh_;  // processes, in both directions
  const int nice_;        // our own
  bool adopts_ = false;
  rlimit descriptors_{};  // as we found it: what the workers get
  Daemon tarnd_;
  pid_t daemon_ = -1;
  int64_t daemon_started_ns_ = 0;
  int64_t start_again_ns_ = 0;  // when; 0: it runs
  uint32_t short_lives_ = 0;    // one after the other
  uint32_t crashes_ = 0;        // of those, that were its own doing
  bool ending_ = false;
  bool lost_daemon_ = false;  // its link is closed
  int end_signal_ = 0;        // that asked the daemon to end; 0: none did
  int exit_status_ = 0;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<Process> processes_;
  wire::Buffer<wire::kMessageSizeMax> incoming_;
  static constexpr os::Closer::Lane kLaneOfLinks = UINT64_MAX;  // users' lanes are their numbers
  os::Closer closer_;  // of what links bring, a lane for each user: it is users' and may hang
  DescriptorStore store_{closer_, kLaneOfLinks};
  Starter starter_;
};

}  // namespace tarn::spawn
