// Relay: what tarn-output does all its life: reads what the workers of one session print, keeps the last of it in the session's
// log and passes it on to the client's stdout and stderr.
//
// The thread that reads never waits for who reads the client's: a worker is held up by a print as long as a copy of it takes.
// What a session may pass on is bounded per slot (kBurst, kRate): a flood is cut there, with a line that says by how much.
//
// tarnd hands it the pipes and tells when a worker is dead; the end of that socket is the end of the session. It reads bytes of the
// session's user, is a process of that user, and can hurt nobody else.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "line_splitter.hpp"
#include "os/memory.hpp"
#include "os/socket.hpp"
#include "outlet.hpp"
#include "shm/board.hpp"
#include "shm/output_log.hpp"
#include "wire/packet.hpp"

namespace tarn::output {

class Relay {
 public:
  explicit Relay(Fd control) : control_(std::move(control)), outlets_{Outlet(1), Outlet(2)} {}

  // Until the session is over; the exit status for the process.
  [[nodiscard]] int run();

 private:
  // Of one slot of the session, whichever process is its worker.
  struct Lane {
    shm::OutputWriter log;
    bool has_log = false;
    // What may be passed on now, of each stream: a flood of one leaves the other its lines.
    struct Credit {
      int64_t bytes = 0;
      int64_t paid_ns = 0;
    } credit[2];
  };
  struct Worker {
    uint32_t member;
    uint32_t lane;
    uint32_t slot;
    int32_t pid;
    Fd pipes[2];
    std::unique_ptr<LineSplitter> splitters[2];
    int64_t part_since_ns[2] = {};  // 0: no line is begun
  };

  [[nodiscard]] bool receive();
  [[nodiscard]] int begin(const wire::Packet& packet, os::Received& received);
  void add_worker(const wire::OutputWorker& body, os::Received& received);
  void end_worker(uint32_t member);
  void leave_worker(size_t index);
  // Reads what is there; false at the end of the pipe.
  bool read_pipe(Worker& worker, int stream, uint32_t rounds);
  void pass_on(const Worker& worker, int stream, std::string_view line, TaskRun run, bool is_cut);
  [[nodiscard]] bool may_pass(Lane& lane, int stream, size_t size);
  [[nodiscard]] TaskRun current_run(const Worker& worker) const;
  [[nodiscard]] int finish_old_parts(int64_t now);

  Fd control_;
  Outlet outlets_[2];
  os::Mapping board_;
  os::Mapping log_;
  wire::OutputMode mode_ = wire::OutputMode::kPrefixed;
  std::map<uint32_t, std::string> names_;  // of tasks, by number
  std::map<uint32_t, Lane> lanes_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::string line_;
  int64_t now_ns_ = 0;  // of the clock that shows the date
  wire::Buffer<wire::kMessageSizeMax> in_;
};

}  // namespace tarn::output
