// SpawnLink: tarnd's side of the connection to tarn-spawn, which starts, kills and reaps for it.
//
// A process has a ticket from the moment it is asked for until it is known to be dead. If the service
// goes away its processes die with it (parent-death signal); each is still reported as ended only once
// its pidfd says so.
//
// An order is as large as its user likes it (arguments, environment), so few are under way at a time, and users take
// turns. The others are not even written down.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "connection.hpp"
#include "os/clock.hpp"

namespace tarn::daemon {

struct SpawnOrder;

// Process: who hears what becomes of one. Exactly one of on_failed and on_exited ends the ticket.
class SpawnedProcess {
 public:
  // Its turn has come. Once at most.
  virtual void fill_order(SpawnOrder& order) = 0;
  virtual void on_started(int32_t pid) = 0;
  virtual void on_failed(int error, const std::string& text) = 0;
  virtual void on_exited(int signal, int exit_status) = 0;
  virtual void on_stopped(bool stopped) = 0;
  // The service has gone, and it with that: on_exited follows, and says nothing about the program.
  virtual void on_service_gone() = 0;

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

  // The connection was that of the tarnd before: its processes that live are to be told once more. Those that have a ticket
  // and that nobody takes over are killed; those that were taken over and live no more have ended.
  void call_roll();
  void take_over(uint64_t ticket, SpawnedProcess& process);
  void disown(uint64_t ticket) { tickets_.erase(ticket); }  // before the roll is called

  // Orders that the service has not answered: their sum is less than what a Connection queues.
  static constexpr uint32_t kUnderWayMax = 16;

  // Asks for a process of `user` and returns its ticket; 0 if there is no service. `process` must live until the ticket
  // ends. May ask it for its order before this returns.
  [[nodiscard]] uint64_t spawn(uid_t user, SpawnedProcess& process);
  void kill(uint64_t ticket, int signal);
  // Has it, and what it started, be nice by so much more than the service is. False if there is no such process yet.
  [[nodiscard]] bool weigh(uint64_t ticket, int nice);

  void on_packet(Connection& from, const wire::Packet& packet, os::Received& received) override;
  void on_closed(Connection& from, const std::string& reason) override;

 private:
  struct Ticket {
    SpawnedProcess* process;
    // kTakenOver: nothing is known of it before the roll is called.
    enum class Phase : uint8_t { kWaiting, kUnderWay, kAnswered, kTakenOver } phase = Phase::kWaiting;
    Fd pidfd;
    Loop::Watch watch;  // on the pidfd, once the service is lost
  };

  void send_orders();
  void send_order(uint64_t ticket, SpawnedProcess& process);
  void send_kill(uint64_t ticket, int signal);
  void count_answer(Ticket& ticket);
  void end(uint64_t ticket, int signal, int exit_status);

  Loop& loop_;
  Closer& closer_;
  std::unique_ptr<Connection> connection_;
  std::function<void()> on_lost_;
  uint64_t last_ticket_ = static_cast<uint64_t>(os::now_ns());  // a tarnd before this one had lower ones
  std::map<uint64_t, Ticket> tickets_;
  std::map<uid_t, std::deque<uint64_t>> waiting_;  // of each user in order; some may have ended meanwhile
  uid_t last_user_ = 0;                            // whose turn it was
  uint32_t under_way_ = 0;
};

}  // namespace tarn::daemon
