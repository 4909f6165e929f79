#include "relay.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "task/registry.hpp"
#include "wire/validate.hpp"

namespace tarn::output {
namespace {

constexpr int64_t kBurst = int64_t{8} << 20;        // bytes that a slot may print at once; docs/limits.md
constexpr int64_t kRate = int64_t{1} << 20;         // and in each second
constexpr int64_t kPartPatienceNs = 200'000'000;    // for the rest of a line
constexpr int64_t kEndPatienceNs = 1'000'000'000;   // for a client that does not read, at the end
constexpr uint32_t kRoundsPerVisit = 16;
constexpr size_t kReadSize = 64 * 1024;
constexpr int64_t kSecondNs = 1'000'000'000;

int64_t date_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * kSecondNs + now.tv_nsec;
}

}  // namespace

int Relay::run() {
  for (;;) {
    std::vector<pollfd> entries{{control_.get(), POLLIN, 0}};
    for (auto& worker : workers_)
      for (const Fd& pipe : worker->pipes) entries.push_back({pipe.valid() ? pipe.get() : -1, POLLIN, 0});
    int timeout_ms = finish_old_parts(os::now_ns());
    if (poll(entries.data(), entries.size(), timeout_ms) < 0 && errno != EINTR) return 1;
    now_ns_ = date_ns();
    for (size_t i = 1; i < entries.size(); ++i) {
      if (entries[i].revents == 0) continue;
      Worker& worker = *workers_[(i - 1) / 2];
      int stream = static_cast<int>((i - 1) % 2);
      if (!read_pipe(worker, stream, kRoundsPerVisit)) worker.pipes[stream].reset();
    }
    if (entries[0].revents != 0 && !receive()) break;
  }
  now_ns_ = date_ns();
  while (!workers_.empty()) leave_worker(0);
  for (Outlet& outlet : outlets_) outlet.finish(kEndPatienceNs);
  return 0;
}

bool Relay::receive() {
  for (;;) {
    os::Received received;
    int r = os::socket_receive(control_, in_.bytes, received, 0);
    if (r == os::kWouldBlock) return true;
    wire::Packet packet;
    if (r == 0 && received.size == 0) return false;
    if (r == 0) r = wire::parse({in_.bytes, received.size}, received.descriptor_count, wire::From::kDaemonToOutput, packet);
    if (r == 0 && packet.type == wire::Type::kOutputBegin) r = begin(packet, received);
    if (r < 0) {
      fprintf(stderr, "tarn-output: %s\n", last_error());
      return false;
    }
    if (packet.type == wire::Type::kOutputWorker) add_worker(packet.as<wire::OutputWorker>(), received);
    if (packet.type == wire::Type::kOutputEnd) end_worker(packet.as<wire::OutputWorker>().member);
  }
}

int Relay::begin(const wire::Packet& packet, os::Received& received) {
  const auto& body = packet.as<wire::OutputBegin>();
  mode_ = static_cast<wire::OutputMode>(body.mode);
  if (body.board_size != sizeof(shm::Board)) return fail(TARN_E_VERSION, "tarnd is of another build than tarn-output");
  if (int r = os::Mapping::map(received.descriptors[0], body.board_size, os::Access::kRead, board_); r < 0) return r;
  if (body.log_size != 0) {
    if (int r = os::Mapping::map(received.descriptors[1], body.log_size, os::Access::kReadWrite, log_); r < 0) return r;
  }
  wire::StringWalk walk(packet.tail);
  for (std::string_view name; walk.next(name);) names_.emplace(task::task_number(name), name.substr(0, shm::kOutputNameMax));
  return 0;
}

void Relay::add_worker(const wire::OutputWorker& body, os::Received& received) {
  auto worker = std::make_unique<Worker>(Worker{body.member, body.lane, body.slot, body.pid, {}, {}, {}});
  Worker& kept = *worker;
  for (int stream : {0, 1}) {
    kept.pipes[stream] = std::move(received.descriptors[stream]);
    kept.splitters[stream] = std::make_unique<LineSplitter>(
        [this, &kept, stream](std::string_view line, TaskRun run, bool is_cut) { pass_on(kept, stream, line, run, is_cut); });
  }
  auto [entry, is_new] = lanes_.try_emplace(body.lane);
  if (is_new) {
    for (auto& credit : entry->second.credit) credit = {kBurst, os::now_ns()};
    if (auto* log = reinterpret_cast<shm::OutputLog*>(log_.data());
        log != nullptr && shm::OutputLog::size_of(body.lane + 1) <= log_.size()) {
      entry->second.log = shm::OutputWriter(*log->lane(body.lane));
      entry->second.has_log = true;
    }
  }
  workers_.push_back(std::move(worker));
}

// It is dead. Others may still have its pipe, a program that it left running; what they write from now on is nobody's.
void Relay::end_worker(uint32_t member) {
  auto found = std::ranges::find(workers_, member, [](const auto& each) { return each->member; });
  if (found == workers_.end()) return;
  uint32_t lane = (*found)->lane;
  leave_worker(static_cast<size_t>(found - workers_.begin()));
  if (lanes_[lane].has_log) reinterpret_cast<shm::OutputLog*>(log_.data())->lane(lane)->ended.store(member, shm::kRelease);
}

// Without a tarnd, or at the end of the session: it may live, and another tarn-output read what it prints from now on.
void Relay::leave_worker(size_t index) {
  Worker& worker = *workers_[index];
  for (int stream : {0, 1}) {
    if (worker.pipes[stream].valid()) (void)read_pipe(worker, stream, UINT32_MAX);
    worker.splitters[stream]->settle(current_run(worker));
    worker.splitters[stream]->finish_line();
  }
  workers_.erase(workers_.begin() + static_cast<ptrdiff_t>(index));
}

bool Relay::read_pipe(Worker& worker, int stream, uint32_t rounds) {
  static char bytes[kReadSize];
  LineSplitter& splitter = *worker.splitters[stream];
  for (uint32_t i = 0; i < rounds; ++i) {
    // Before the read that finds nothing: a task that had printed and was over by then would have left its mark.
    TaskRun current = current_run(worker);
    ssize_t size = read(worker.pipes[stream].get(), bytes, sizeof bytes);
    if (size > 0) {
      splitter.add({bytes, static_cast<size_t>(size)}, current);
      worker.part_since_ns[stream] = os::now_ns();
      continue;
    }
    if (size < 0 && errno == EINTR) continue;
    splitter.settle(current);
    return size < 0 && errno == EAGAIN;
  }
  return true;
}

// A prompt, or a number of percent: it is shown although its line is not ended. Returns how long to wait for the next one.
int Relay::finish_old_parts(int64_t now) {
  int64_t next = INT64_MAX;
  for (auto& worker : workers_) {
    for (int stream : {0, 1}) {
      LineSplitter& splitter = *worker->splitters[stream];
      if (!splitter.has_part()) continue;
      int64_t due = worker->part_since_ns[stream] + kPartPatienceNs;
      if (due <= now) {
        splitter.finish_line();
      } else {
        next = std::min(next, due - now);
      }
    }
  }
  return next == INT64_MAX ? -1 : static_cast<int>(next / 1'000'000 + 1);
}

TaskRun Relay::current_run(const Worker& worker) const {
  const shm::WorkerLine& line = reinterpret_cast<const shm::Board*>(board_.data())->workers[worker.member % shm::kMembersMax];
  return {line.run.load(shm::kAcquire), line.run_task.load(shm::kRelaxed)};
}

bool Relay::may_pass(Lane& lane, int stream, size_t size) {
  Lane::Credit& credit = lane.credit[stream];
  if (int64_t ms = (os::now_ns() - credit.paid_ns) / 1'000'000; ms > 0) {
    credit.bytes = std::min(kBurst, credit.bytes + std::min<int64_t>(ms, 1000) * kRate / 1000);
    credit.paid_ns += ms * 1'000'000;
  }
  if (credit.bytes < static_cast<int64_t>(size)) return false;
  credit.bytes -= static_cast<int64_t>(size);
  return true;
}

void Relay::pass_on(const Worker& worker, int stream, std::string_view line, TaskRun run, bool is_cut) {
  Lane& lane = lanes_[worker.lane];
  auto name = names_.find(run.task);
  std::string_view shown = run.id == 0 ? std::string_view("worker") : name != names_.end() ? std::string_view(name->second) : "task";
  if (lane.has_log) {
    shm::OutputEntry head{};
    head.stream = static_cast<uint8_t>(stream == 0 ? shm::OutputStream::kOut : shm::OutputStream::kErr);
    head.flags = is_cut ? shm::OutputEntry::kIsCut : uint8_t{0};
    head.time_ns = now_ns_;
    head.member = worker.member;
    head.pid = worker.pid;
    head.slot = worker.slot;
    head.run = run.id;
    head.task = run.task;
    lane.log.append(head, run.id == 0 ? std::string_view() : shown, line);
  }
  if (mode_ == wire::OutputMode::kNone) return;
  line_.clear();
  if (mode_ == wire::OutputMode::kPrefixed)
    line_.append("(").append(shown).append(" pid=").append(std::to_string(worker.pid)).append(" slot=").append(std::to_string(worker.slot)).append(") ");
  line_.append(line).push_back('\n');
  if (may_pass(lane, stream, line_.size())) {
    outlets_[stream].put(line_);
  } else {
    outlets_[stream].leave_out(line_.size(), true);
  }
}

}  // namespace tarn::output
