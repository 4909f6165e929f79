// SpawnLink: tarnd's side of the connection to tarn-spawn, which starts, kills and reaps for it.
//
// A process has a ticket from the moment it is asked for until it is known to be dead. If the service
// goes away its processes die with it (parent-death signal); each is still reported as ended only once
// its pidfd says so.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "connection.hpp"

namespace tarn::daemon {

// Process: who hears what becomes of one. Exactly one of on_failed and on_exited ends the ticket.
class SpawnedProcess {
 public:
  virtual void on_started(int32_t pid) = 0;
  virtual void on_failed(int error, const std::string& text) = 0;
  virtual void on_exited(int signal, int exit_status) = 0;
  virtual void on_stopped(bool stopped) = 0;

 protected:
  ~SpawnedProcess() = default;
};

// What to start; the spans are copied into the message.
struct SpawnOrder {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::span<const uint32_t> groups;
  std::span<const std::byte> argv;
  std::span<const std::byte> environment;
  uint32_t cpu_count = 0;
  std::span<const uint64_t> cpus;
  SharedFd executable;
  SharedFd directory;
  SharedFd standard_output;
  SharedFd standard_error;
  SharedFd control;
};

class SpawnLink final : public Connection::Owner {
 public:
  SpawnLink(Loop& loop, Closer& closer) : loop_(loop), closer_(closer) {}

  // From now on `socket` leads to the service. `on_lost` is called once, when it has gone.
  void connect(Fd socket, std::function<void()> on_lost);
  [[nodiscard]] bool connected() const { return connection_ != nullptr; }

  // Asks for a process and returns its ticket; 0 if there is no service. `process` must live until
  // the ticket ends.
  [[nodiscard]] uint64_t spawn(const SpawnOrder& order, SpawnedProcess& process);
  void kill(uint64_t ticket, int signal);

  void on_packet(Connection& from, const wire::Packet& packet, os::Received& received) override;
  void on_closed(Connection& from, const std::string& reason) override;

 private:
  struct Ticket {
    SpawnedProcess* process;
    Fd pidfd;
    Loop::Watch watch;  // on the pidfd, once the service is lost
  };

  void end(uint64_t ticket, int signal, int exit_status);

  Loop& loop_;
  Closer& closer_;
  std::unique_ptr<Connection> connection_;
  std::function<void()> on_lost_;
  uint64_t last_ticket_ = 0;
  std::map<uint64_t, Ticket> tickets_;
};

}  // namespace tarn::daemon
