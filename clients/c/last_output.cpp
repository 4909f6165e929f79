// What a task printed last before its worker died: read from the session's log, for the task's error.

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "session.hpp"
#include "shm/output_log.hpp"

namespace tarn::client {
namespace {

constexpr int64_t kPatienceNs = 300'000'000;  // for what is on its way from a dead worker; tarn-output may be starting
constexpr useconds_t kPauseUs = 500;

shm::OutputLog* log_in(const os::Mapping& mapping) {
  auto* log = reinterpret_cast<shm::OutputLog*>(mapping.data());
  if (log == nullptr || log->magic != shm::OutputLog::kMagic || log->ring_size != shm::kOutputRingSize ||
      log->lanes == 0 || log->lanes > shm::kMembersMax || shm::OutputLog::size_of(log->lanes) > mapping.size())
    return nullptr;
  return log;
}

// tarn-output has read all that `worker` wrote, or the moment has passed.
void await_end(shm::OutputLog& log, uint32_t worker) {
  int64_t deadline = os::deadline_after(kPatienceNs);
  do {
    for (uint32_t lane = 0; lane < log.lanes; ++lane)
      if (log.lane(lane)->ended.load(shm::kAcquire) == worker) return;
    usleep(kPauseUs);
  } while (os::now_ns() < deadline);
}

}  // namespace

void Session::read_last_output(uint32_t worker, uint64_t run, std::span<char> text) {
  text[0] = '\0';
  ErrorGuard guard;
  int asked = ask_for_log();
  (void)guard.end(0);  // without tarnd, the error is told without
  shm::OutputLog* log = asked < 0 ? nullptr : log_in(log_);
  if (log == nullptr) return;
  await_end(*log, worker);
  std::string lines;
  for (uint32_t lane = 0; lane < log->lanes; ++lane) {
    shm::OutputCopy copy;
    uint64_t position = 0;
    copy.read(*log->lane(lane), position);
    for (const shm::OutputEntry* entry; (entry = copy.next()) != nullptr;)
      if (entry->member == worker && entry->run == run) lines.append(entry->text()).push_back('\n');
  }
  std::string_view rest = lines;
  // Whole lines, if the last one is not too long by itself.
  if (rest.size() >= text.size()) {
    rest.remove_prefix(rest.size() - (text.size() - 1));
    if (size_t newline = rest.find('\n'); newline + 1 < rest.size()) rest.remove_prefix(newline + 1);
  }
  std::ranges::replace_copy(rest, text.begin(), '\0', '?');
  text[rest.size()] = '\0';
}

}  // namespace tarn::client
