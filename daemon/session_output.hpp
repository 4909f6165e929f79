// SessionOutput: the pipes that a session's workers print into, and the tarn-output that reads them.
//
// tarnd reads none of it. It makes the pipes, looks whether there is anything in them, and when a worker first prints something has
// a tarn-output started, as the session's user, which gets the other ends, the session's log and the client's stdout and stderr. A
// session that prints nothing has no such process. If it dies, the next one goes on: tarnd keeps the ends of living workers, so
// that they wait for it at worst. If none can be started at all, what is printed is thrown away, and nobody waits.
//
// Loop thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "connection.hpp"
#include "loop.hpp"
#include "spawn_link.hpp"

namespace tarn::daemon {

class Session;
struct Payment;

class SessionOutput final : public Connection::Owner, public SpawnedProcess {
 public:
  explicit SessionOutput(Session& session) : session_(session) {}
  SessionOutput(const SessionOutput&) = delete;
  SessionOutput& operator=(const SessionOutput&) = delete;
  ~SessionOutput();

  // What worker `member` shall have as its stdout and stderr: pipes, or the client's own if it wants that, or there is no room.
  void open(uint32_t member, uint32_t lane, uint32_t slot, SharedFd& standard_output, SharedFd& standard_error);
  void set_pid(uint32_t member, int32_t pid);
  [[nodiscard]] bool reads(uint32_t member) const { return workers_.contains(member); }
  // The worker is dead.
  void close(uint32_t member);

  // For the next tarnd, and by that: what is printed meanwhile waits in the pipes. It starts a tarn-output of its own.
  void keep(uint32_t member);
  void resume(uint32_t member, uint32_t lane, uint32_t slot, int32_t pid, Fd standard_output, Fd standard_error);
  void resume_log(Fd file);
  void resume_process(uint64_t ticket);  // first
  void disown();                         // the session cannot be taken over after all

  // Names of tasks, NUL-terminated, as the client told them.
  void set_names(std::span<const std::byte> names);

  // No worker runs any more: true once everything that they printed is where it belongs, or nobody takes it. Else the session is
  // asked again (finish_if_over).
  [[nodiscard]] bool is_finished();

  // Answers a request for the log.
  void send_log(Connection& to, uint32_t serial) const;

  // The process that reads.
  void fill_order(SpawnOrder& order) override;
  void on_started(int32_t) override {}
  void on_failed(int error, const std::string& text) override;
  void on_exited(int signal, int exit_status) override;
  void on_stopped(bool) override {}
  void on_service_gone() override {}
  void on_packet(Connection& from, const wire::Packet& packet, os::Received& received) override;
  void on_closed(Connection& from, const std::string& reason) override;

 private:
  struct Worker {
    uint32_t lane;
    uint32_t slot;
    int32_t pid = 0;
    bool is_dead = false;
    SharedFd pipes[2];      // where to read
    Loop::Watch watches[2];
  };

  void watch(Worker& worker);
  void on_readable(Worker& worker, int stream);
  void start();
  [[nodiscard]] int try_start();
  [[nodiscard]] int make_log();
  void send_begin();
  void hand_over(uint32_t member, Worker& worker);
  void tell_of_end(uint32_t member, const Worker& worker);
  void after_end(const std::string& how);

  Session& session_;
  std::map<uint32_t, Worker> workers_;  // by member
  std::vector<std::byte> names_;
  SharedFd log_;         // for the one who writes it
  SharedFd log_reader_;
  uint64_t log_size_ = 0;
  uint64_t ticket_ = 0;  // 0: it does not run
  SharedFd control_;     // its end of `connection_`, until it is asked for,
  SharedFd program_;     // and what is to run
  std::unique_ptr<Connection> connection_;
  uint32_t failures_ = 0;
  bool gave_up_ = false;
  bool waits_for_names_ = false;  // and does not start before,
  bool has_waited_ = false;       // but once
  bool is_former_ = false;  // it was started by the tarnd before this one
  Loop::Timer restart_;
  Loop::Timer last_moment_;  // at the end of the session
};

}  // namespace tarn::daemon
