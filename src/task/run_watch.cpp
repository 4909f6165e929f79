#include "task/run_watch.hpp"

#include <unistd.h>

#include <algorithm>
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

constinit std::atomic<Watched*> innermost{nullptr};  // nullptr: no run that has a limit
constinit std::atomic<uint32_t> late{0};             // how many of them are
timer_t timer;
pid_t timer_of = 0;  // the thread that made it: a forked child has none

void arm(int64_t end_ns) {
  itimerspec when{};
  when.it_value = {end_ns / kSecondNs, static_cast<long>(end_ns % kSecondNs)};
  timer_settime(timer, TIMER_ABSTIME, &when, nullptr);
}

// Sets the timer for the first of them to be late; none: never.
void arm_first() {
  int64_t first = 0;
  for (const Watched* w = innermost.load(std::memory_order_relaxed); w != nullptr; w = w->outer)
    if (first == 0 || w->end_ns < first) first = w->end_ns;
  arm(first);
}

void look_at(Watched& watched, int64_t now) {
  State state = State::unpack(watched.record->state.load(shm::kAcquire));
  bool is_over = state.phase != Phase::kRunning || state.claimant != watched.claimant;
  if (!is_over && (state.flags & kDoomed) != 0) end_process();
  if (!is_over && now < watched.end_ns) return;
  bool is_first = (state.flags & kLate) == 0;
  auto flags = static_cast<uint8_t>(is_first ? kCancelled | kLate : kDoomed);
  if (is_over || !flag_run(*watched.record, state.generation, watched.claimant, flags)) {
    watched.end_ns = os::kForever;
    return;
  }
  if (!is_first) end_process();
  watched.end_ns = now + kGraceNs;
  watched.is_late = true;
  late.fetch_add(1, std::memory_order_relaxed);
}

void look() {
  int64_t now = os::now_ns();
  for (Watched* w = innermost.load(std::memory_order_relaxed); w != nullptr; w = w->outer) look_at(*w, now);
  arm_first();
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

int begin(Watched& watched, TaskRecord& record, uint16_t self, int64_t end_ns) {
  if (timer_of != gettid()) {
    if (int r = install(); r < 0) return r;
  }
  Watched* outer = innermost.load(std::memory_order_relaxed);
  watched = {&record, outer, end_ns, outer == nullptr ? end_ns : std::min(end_ns, outer->first_ns), self, false};
  innermost.store(&watched, std::memory_order_release);  // whole, for the handler in this thread
  // The program may have blocked it before it came to tarn_init, with all others.
  sigset_t ours;
  sigemptyset(&ours);
  sigaddset(&ours, signal_number());
  pthread_sigmask(SIG_UNBLOCK, &ours, nullptr);
  if (outer == nullptr || watched.first_ns != outer->first_ns) arm(end_ns);
  return 0;
}

void end(Watched& watched) {
  if (watched.record == nullptr) [[likely]]
    return;
  const Watched* outer = watched.outer;
  innermost.store(watched.outer, std::memory_order_relaxed);
  if (watched.is_late) late.fetch_sub(1, std::memory_order_relaxed);
  watched.record = nullptr;
  // Perhaps earlier than need be: the handler then sets it right.
  if (outer == nullptr || watched.first_ns != outer->first_ns) arm(outer == nullptr ? 0 : outer->first_ns);
}

bool is_any_late() { return late.load(std::memory_order_relaxed) != 0; }

void end_process() {
  for (;;) {
    kill(getpid(), SIGKILL);
    pause();
  }
}

}  // namespace tarn::task::run_watch
