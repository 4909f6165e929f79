#include "task/run_watch.hpp"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "tarn/tarn.h"
#include "task/task_protocol.hpp"

namespace tarn::task::run_watch {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;

// Of the real-time signals the last but one.
int signal_number() { return SIGRTMAX - 1; }

constinit std::atomic<TaskRecord*> current{nullptr};  // nullptr: no run that has a limit
constinit std::atomic<uint16_t> member{0};
constinit std::atomic<int64_t> limit_ns{0};
timer_t timer;
pid_t timer_of = 0;  // the thread that made it: a forked child has none

void arm(int64_t end_ns) {
  itimerspec when{};
  when.it_value = {end_ns / kSecondNs, static_cast<long>(end_ns % kSecondNs)};
  timer_settime(timer, TIMER_ABSTIME, &when, nullptr);
}

void look() {
  TaskRecord* record = current.load(std::memory_order_relaxed);
  if (record == nullptr) return;
  uint16_t self = member.load(std::memory_order_relaxed);
  State state = State::unpack(record->state.load(shm::kAcquire));
  if (state.phase != Phase::kRunning || state.claimant != self) return;
  if ((state.flags & kDoomed) != 0) end_process();
  int64_t end_ns = limit_ns.load(std::memory_order_relaxed);
  int64_t now = os::now_ns();
  if (now < end_ns) return;
  bool is_first = (state.flags & kLate) == 0;
  auto flags = static_cast<uint8_t>(is_first ? kCancelled | kLate : kDoomed);
  if (!flag_run(*record, state.generation, self, flags)) return;
  if (!is_first) end_process();
  limit_ns.store(now + kGraceNs, std::memory_order_relaxed);
  arm(now + kGraceNs);
}

void on_signal(int) {
  int error = errno;
  look();
  errno = error;
}

// The handler and the timer.
int install() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event._sigev_un._tid = gettid();
  event.sigev_signo = signal_number();
  if (sigaction(signal_number(), &action, nullptr) < 0 || timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
    return fail_errno(code_of_errno(errno), "cannot make a timer for a task's time-out");
  timer_of = gettid();
  return 0;
}

}  // namespace

int begin(TaskRecord& record, uint16_t self, int64_t end_ns) {
  if (timer_of != gettid()) {
    if (int r = install(); r < 0) return r;
  }
  member.store(self, std::memory_order_relaxed);
  limit_ns.store(end_ns, std::memory_order_relaxed);
  current.store(&record, std::memory_order_relaxed);
  // The program may have blocked it before it came to tarn_init, with all others.
  sigset_t ours;
  sigemptyset(&ours);
  sigaddset(&ours, signal_number());
  pthread_sigmask(SIG_UNBLOCK, &ours, nullptr);
  arm(end_ns);
  return 0;
}

void end() {
  if (current.load(std::memory_order_relaxed) == nullptr) [[likely]]
    return;
  current.store(nullptr, std::memory_order_relaxed);
  itimerspec never{};
  timer_settime(timer, 0, &never, nullptr);
}

void end_process() {
  for (;;) {
    kill(getpid(), SIGKILL);
    pause();
  }
}

}  // namespace tarn::task::run_watch
