#include "session_output.hpp"

#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "base/error.hpp"
#include "log.hpp"
#include "os/clock.hpp"
#include "os/memory.hpp"
#include "session.hpp"
#include "shm/output_log.hpp"
#include "tarn/tarn.h"
#include "tarn_build_config.h"

namespace tarn::daemon {
namespace {

constexpr uint64_t kDescriptorsOfWorker = 4;    // both ends of two pipes: the others until the worker has them
constexpr uint64_t kDescriptorsOfProcess = 4;   // the log twice, the socket and its pidfd; for a start what it begins with
constexpr uint32_t kFailuresMax = 5;            // of tarn-output in a row, before the output is thrown away
constexpr int64_t kRestartDelay = 20'000'000;
constexpr int64_t kNamesDelay = 1'000'000'000;  // of a client that has no tasks, or is slow to say what they are called
constexpr int64_t kEndTimeout = 2'000'000'000;  // from the end of the session to its own; it gives up by itself before that
constexpr size_t kDiscardSize = 64 * 1024;

// The program that belongs to this one: beside it in a build tree (or beside tarnd, of a test), where it was installed, or where
// the build said.
std::string find_program() {
  char self[PATH_MAX];
  ssize_t size = readlink("/proc/self/exe", self, sizeof self);
  if (size > 0 && size < static_cast<ssize_t>(sizeof self)) {
    std::string folder(self, static_cast<size_t>(size));
    folder.erase(folder.rfind('/'));
    for (const char* relative : {"/output/tarn-output", "/../libexec/tarn/tarn-output", "/../../daemon/output/tarn-output"}) {
      std::string path = folder + relative;
      if (access(path.c_str(), X_OK) == 0) return path;
    }
  }
  return TARN_LIBEXECDIR "/tarn-output";
}

bool has_program() {
  static const bool is_there = [] {
    std::string path = find_program();
    if (access(path.c_str(), X_OK) == 0) return true;
    log(Level::kError, "there is no %s: workers print to their client's own stdout and stderr", path.c_str());
    return false;
  }();
  return is_there;
}

int make_pipe(Fd& reader, Fd& writer) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return fail_errno(code_of_errno(errno), "cannot make a pipe");
  reader = Fd{ends[0]};
  writer = Fd{ends[1]};
  // Of this end alone: a worker's print waits for room, as it does on a terminal.
  fcntl(reader.get(), F_SETFL, O_NONBLOCK);
  return 0;
}

bool has_bytes(const SharedFd& pipe) {
  int size = 0;
  return pipe != nullptr && ioctl(pipe->get(), FIONREAD, &size) == 0 && size > 0;
}

}  // namespace

SessionOutput::~SessionOutput() {
  if (connection_ != nullptr) session_.services_.loop.bury(std::move(connection_));
}

void SessionOutput::open(uint32_t member, uint32_t lane, uint32_t slot, SharedFd& standard_output, SharedFd& standard_error) {
  standard_output = session_.standard_output_;
  standard_error = session_.standard_error_;
  if (static_cast<wire::OutputMode>(session_.hello_.output) == wire::OutputMode::kRaw || !has_program()) return;
  std::shared_ptr<Payment> payment;
  Fd ends[2][2];
  if (session_.pay(0, kDescriptorsOfWorker, payment) < 0 || make_pipe(ends[0][0], ends[0][1]) < 0 ||
      make_pipe(ends[1][0], ends[1][1]) < 0) {
    log(Level::kWarning, "session %u: a worker prints to its client's own stdout and stderr: %s", session_.number(), last_error());
    return;
  }
  auto share = [&](Fd fd) { return session_.services_.closer.share(session_.identity_.uid, Closer::Kind::kOurs, std::move(fd), payment); };
  Worker& worker = workers_[member];
  worker.lane = lane;
  worker.slot = slot;
  for (int i : {0, 1}) worker.pipes[i] = share(std::move(ends[i][0]));
  standard_output = share(std::move(ends[0][1]));
  standard_error = share(std::move(ends[1][1]));
}

// From here on it may be read: who does shall know the process.
void SessionOutput::set_pid(uint32_t member, int32_t pid) {
  auto found = workers_.find(member);
  if (found == workers_.end()) return;
  found->second.pid = pid;
  if (connection_ != nullptr) return hand_over(member, found->second);
  if (ticket_ == 0) watch(found->second);
}

void SessionOutput::watch(Worker& worker) {
  for (int i : {0, 1})
    worker.watches[i] = session_.services_.loop.watch(worker.pipes[i]->get(), EPOLLIN,
                                                      [this, &worker, i](uint32_t) { on_readable(worker, i); });
}

void SessionOutput::on_readable(Worker& worker, int stream) {
  if (!has_bytes(worker.pipes[stream])) return worker.watches[stream].reset();  // the worker has ended, or closed it
  if (!gave_up_) return start();
  // Nobody reads it, and nobody shall wait for that. Not looked at, and not more at a time than a pipe holds.
  static std::byte ignored[kDiscardSize];
  (void)!read(worker.pipes[stream]->get(), ignored, sizeof ignored);
}

void SessionOutput::set_names(std::span<const std::byte> names) {
  names_.assign(names.begin(), names.end());
  if (!std::exchange(waits_for_names_, false)) return;
  restart_.reset();
  start();
}

void SessionOutput::start() {
  if (ticket_ != 0 || restart_.armed() || gave_up_) return;
  for (auto& [member, worker] : workers_)
    for (auto& watch : worker.watches) watch.reset();
  // Workers begin before their client has said what its tasks are called: one that prints at once must not be quicker than that.
  if (names_.empty() && !std::exchange(has_waited_, true)) {
    waits_for_names_ = true;
    restart_ = session_.services_.loop.call_at(os::now_ns() + kNamesDelay, [this] {
      waits_for_names_ = false;
      restart_.reset();
      start();
    });
    return;
  }
  if (try_start() < 0) after_end(std::string("could not be started: ") + last_error());
}

int SessionOutput::try_start() {
  Fd ours;
  Fd theirs;
  std::shared_ptr<Payment> payment;
  if (int r = session_.pay(0, kDescriptorsOfProcess, payment); r < 0) return r;
  Fd program{::open(find_program().c_str(), O_PATH | O_CLOEXEC)};
  if (!program.valid()) return fail_errno(code_of_errno(errno), "cannot open %s", find_program().c_str());
  if (int r = os::socket_pair(ours, theirs); r < 0) return r;
  if (log_ == nullptr && make_log() < 0) log(Level::kWarning, "session %u: no log of what is printed: %s", session_.number(), last_error());
  SessionServices& services = session_.services_;
  control_ = share(std::move(theirs));
  program_ = share(std::move(program));
  connection_ = std::make_unique<Connection>(services.loop, services.closer, session_.identity_.uid, std::move(ours),
                                             wire::From::kMember, *this);
  connection_->set_receipt(std::move(payment));
  connection_->start();
  ticket_ = services.spawn.spawn(session_.identity_.uid, *this);
  if (ticket_ == 0) {
    connection_->close();
    services.loop.bury(std::move(connection_));
    control_.reset();
    program_.reset();
    return fail(TARN_E_SYSTEM, "the spawn service has gone");
  }
  session_.kept_->set_output_ticket(ticket_);
  send_begin();
  for (auto entry = workers_.begin(); entry != workers_.end();) {
    auto& [member, worker] = *entry;
    if (worker.pid != 0) hand_over(member, worker);
    if (worker.is_dead) tell_of_end(member, worker);
    entry = worker.is_dead ? workers_.erase(entry) : std::next(entry);
  }
  return 0;
}

int SessionOutput::make_log() {
  uint64_t size = shm::OutputLog::size_of(session_.worker_count());
  std::shared_ptr<Payment> payment;
  Fd file;
  Fd reader;
  if (int r = session_.pay(size, 0, payment); r < 0) return r;
  if (int r = os::memfd_create("tarn-output", size, file); r < 0) return r;
  if (int r = os::memfd_reserve(file, 0, size); r < 0) return r;
  shm::OutputLog head{shm::OutputLog::kMagic, session_.worker_count(), 0, shm::kOutputRingSize};
  if (pwrite(file.get(), &head, sizeof head, 0) != static_cast<ssize_t>(sizeof head))
    return fail_errno(TARN_E_SYSTEM, "cannot write a memory file");
  if (int r = os::memfd_open_reader(file, reader); r < 0) return r;
  session_.kept_->keep("l", file);
  log_ = session_.services_.closer.share(session_.identity_.uid, Closer::Kind::kOurs, std::move(file), payment);
  log_reader_ = session_.services_.closer.share(session_.identity_.uid, Closer::Kind::kOurs, std::move(reader), payment);
  log_size_ = size;
  return 0;
}

void SessionOutput::resume_log(Fd file) {
  uint64_t wanted = shm::OutputLog::size_of(session_.worker_count());
  uint64_t size = 0;
  std::shared_ptr<Payment> payment;
  Fd reader;
  if (!file.valid() || os::file_size(file, size) < 0 || size != wanted || session_.pay(size, 0, payment) < 0 ||
      os::memfd_open_reader_again(file, reader) < 0)
    return;  // what is printed from now on is kept in another one
  log_ = session_.services_.closer.share(session_.identity_.uid, Closer::Kind::kOurs, std::move(file), payment);
  log_reader_ = session_.services_.closer.share(session_.identity_.uid, Closer::Kind::kOurs, std::move(reader), payment);
  log_size_ = size;
}

void SessionOutput::keep(uint32_t member) {
  auto found = workers_.find(member);
  if (found == workers_.end()) return;
  for (int i : {0, 1}) session_.kept_->keep(KeptSession::pipe_name(member, i), *found->second.pipes[i]);
}

void SessionOutput::resume(uint32_t member, uint32_t lane, uint32_t slot, int32_t pid, Fd standard_output, Fd standard_error) {
  std::shared_ptr<Payment> payment;
  if (!standard_output.valid() || !standard_error.valid() || session_.pay(0, kDescriptorsOfWorker, payment) < 0) return;
  Worker& worker = workers_[member];
  worker.lane = lane;
  worker.slot = slot;
  worker.pid = pid;
  Fd* ends[] = {&standard_output, &standard_error};
  for (int i : {0, 1})
    worker.pipes[i] = session_.services_.closer.share(session_.identity_.uid, Closer::Kind::kOurs, std::move(*ends[i]), payment);
  if (ticket_ == 0) watch(worker);
}

void SessionOutput::disown() { session_.services_.spawn.disown(std::exchange(ticket_, 0)); }

// It ends by itself, and is let do so: it may have lines that it has not written yet.
void SessionOutput::resume_process(uint64_t ticket) {
  if (ticket == 0) return;
  ticket_ = ticket;
  is_former_ = true;
  session_.services_.spawn.take_over(ticket, *this);
}

void SessionOutput::send_begin() {
  std::vector<uint64_t> buffer((sizeof(wire::Header) + sizeof(wire::OutputBegin) + names_.size()) / 8 + 1);
  wire::Builder message(std::as_writable_bytes(std::span(buffer)), wire::Type::kOutputBegin, 0);
  auto& body = message.body<wire::OutputBegin>();
  auto mode = static_cast<wire::OutputMode>(session_.hello_.output);
  body.board_size = sizeof(shm::Board);
  body.log_size = log_size_;
  body.mode = static_cast<uint32_t>(mode == wire::OutputMode::kDefault ? wire::OutputMode::kPrefixed : mode);
  body.names_size = static_cast<uint32_t>(names_.size());
  TARN_ASSERT(message.append(names_.data(), names_.size()));
  if (log_ != nullptr) return connection_->send(message, {session_.board_file_, log_});
  connection_->send(message, {session_.board_file_});
}

void SessionOutput::hand_over(uint32_t member, Worker& worker) {
  for (auto& watch : worker.watches) watch.reset();
  wire::Buffer<64> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kOutputWorker, 0);
  message.body<wire::OutputWorker>() = {member, worker.lane, worker.slot, worker.pid};
  connection_->send(message, {worker.pipes[0], worker.pipes[1]});
}

void SessionOutput::tell_of_end(uint32_t member, const Worker& worker) {
  if (worker.pid == 0) return;
  wire::Buffer<64> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kOutputEnd, 0);
  message.body<wire::OutputWorker>() = {member, worker.lane, worker.slot, worker.pid};
  connection_->send(message);
}

void SessionOutput::close(uint32_t member) {
  auto found = workers_.find(member);
  if (found == workers_.end()) return;
  Worker& worker = found->second;
  for (auto& watch : worker.watches) watch.reset();
  bool is_unread = worker.pid != 0 && !gave_up_ && (has_bytes(worker.pipes[0]) || has_bytes(worker.pipes[1]));
  if (connection_ != nullptr) {
    tell_of_end(member, worker);
  } else if (is_unread) {
    worker.is_dead = true;
    return start();
  }
  workers_.erase(found);
}

bool SessionOutput::is_finished() {
  SessionServices& services = session_.services_;
  // What is not dead yet was starting when the session ended.
  std::erase_if(workers_, [](const auto& entry) { return !entry.second.is_dead; });
  if (ticket_ == 0) {
    if (workers_.empty() || gave_up_ || !services.spawn.connected()) return true;
    restart_.reset();
    waits_for_names_ = false;
    has_waited_ = true;
    start();
  }
  if (ticket_ == 0) return true;
  if (connection_ != nullptr) {
    connection_->close();  // what was sent is received all the same
    services.loop.bury(std::move(connection_));
  }
  if (!last_moment_.armed())
    last_moment_ = services.loop.call_at(os::now_ns() + kEndTimeout, [this] { session_.services_.spawn.kill(ticket_, SIGKILL); });
  return false;
}

void SessionOutput::send_log(Connection& to, uint32_t serial) const {
  wire::Buffer<64> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kLog, serial);
  auto& body = message.body<wire::Log>();
  body.session = session_.number();
  body.size = log_reader_ == nullptr ? 0 : log_size_;
  if (log_reader_ == nullptr) return to.send(message);
  to.send(message, {log_reader_});
}

void SessionOutput::fill_order(SpawnOrder& order) {
  static constexpr char kName[] = "tarn-output";
  order.uid = session_.identity_.uid;
  order.gid = session_.identity_.gid;
  order.groups = session_.identity_.groups;
  order.argv = std::as_bytes(std::span(kName));
  order.executable = std::move(program_);
  order.directory = session_.directory_;
  order.standard_output = session_.standard_output_;
  order.standard_error = session_.standard_error_;
  order.control = std::move(control_);
}

void SessionOutput::on_failed(int error, const std::string& text) {
  after_end("could not be started: " + text + " (error " + std::to_string(error) + ")");
}

void SessionOutput::on_exited(int signal, int exit_status) {
  after_end(signal != 0 ? "was killed by signal " + std::to_string(signal) : "exited with status " + std::to_string(exit_status));
}

void SessionOutput::after_end(const std::string& how) {
  ticket_ = 0;
  session_.kept_->set_output_ticket(0);
  control_.reset();
  program_.reset();
  last_moment_.reset();
  if (connection_ != nullptr) {
    connection_->close();
    session_.services_.loop.bury(std::move(connection_));
  }
  if (session_.is_ending()) {
    workers_.clear();
    return session_.finish_if_over();
  }
  // That of the tarnd before this one has ended because that has: it has read what there was.
  if (is_former_) {
    is_former_ = false;
    for (auto& [member, worker] : workers_)
      if (worker.pid != 0) watch(worker);
    return;
  }
  if (++failures_ >= kFailuresMax) gave_up_ = true;
  log(Level::kWarning, "session %u: tarn-output %s%s", session_.number(), how.c_str(),
      gave_up_ ? "; what its workers print is thrown away" : "");
  restart_ = session_.services_.loop.call_at(os::now_ns() + kRestartDelay * failures_, [this] {
    for (auto& [member, worker] : workers_)
      if (worker.pid != 0) watch(worker);
  });
}

void SessionOutput::on_packet(Connection&, const wire::Packet&, os::Received&) {}  // it says nothing: see validate.cpp

void SessionOutput::on_closed(Connection&, const std::string&) {
  if (ticket_ != 0) session_.services_.spawn.kill(ticket_, SIGKILL);  // of no use without it
}

}  // namespace tarn::daemon
