#include "loop.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <stdexcept>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "os/clock.hpp"

namespace tarn::daemon {
namespace {


}  // namespace

Loop::Loop() : epoll_(epoll_create1(EPOLL_CLOEXEC)), packet_buffer_(new wire::Buffer<wire::kMessageSizeMax>) {
  if (!epoll_.valid()) throw std::runtime_error("cannot make an epoll descriptor");
}

Loop::Watch Loop::watch(int fd, uint32_t events, std::function<void(uint32_t)> on_events) {
  auto entry = std::make_unique<Entry>(Entry{fd, std::move(on_events)});
  epoll_event event{events, {entry.get()}};
  Watch watch;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) {
    (void)fail_errno(code_of_errno(errno), "cannot watch descriptor %d", fd);
    return watch;
  }
  watch.loop_ = this;
  watch.entry_ = std::move(entry);
  return watch;
}

void Loop::Watch::set_events(uint32_t events) {
  epoll_event event{events, {entry_.get()}};
  TARN_ASSERT(epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_MOD, entry_->fd, &event) == 0);
}

void Loop::Watch::reset() {
  if (entry_ == nullptr) return;
  epoll_ctl(loop_->epoll_.get(), EPOLL_CTL_DEL, entry_->fd, nullptr);
  for (epoll_event& event : loop_->round_)
    if (event.data.ptr == entry_.get()) event.data.ptr = nullptr;
  loop_->bury(std::move(entry_));  // its callback may be the caller
}

Loop::Timer Loop::call_at(int64_t moment_ns, std::function<void()> call) {
  Timer timer;
  timer.loop_ = this;
  timer.key_ = {moment_ns, ++timer_count_};
  timers_.emplace(timer.key_, std::move(call));
  return timer;
}

void Loop::Timer::reset() {
  if (loop_ != nullptr) loop_->timers_.erase(key_);
  loop_ = nullptr;
}

void Loop::run() {
  while (!stopped_) run_round(timeout_ms());
}

bool Loop::run_ready() {
  bool any = false;
  while (run_round(0)) any = true;
  return any;
}

bool Loop::run_round(int timeout) {
  int count = epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), timeout);
  round_ = std::span(events_).first(count > 0 ? static_cast<size_t>(count) : 0);
  // By index: nobody adds to the round, but watches that are dropped take their events out of it.
  for (size_t i = 0; i < round_.size(); ++i)
    if (auto* entry = static_cast<Entry*>(round_[i].data.ptr)) entry->on_events(round_[i].events);
  round_ = {};
  bool any = count > 0 || !deferred_.empty();
  run_timers();
  while (!deferred_.empty()) {
    auto calls = std::exchange(deferred_, {});
    for (auto& call : calls) call();
  }
  empty_graveyard();
  return any;
}

// Destructors may bury more.
void Loop::empty_graveyard() {
  while (!graveyard_.empty()) auto dead = std::exchange(graveyard_, {});
}

int Loop::timeout_ms() const {
  if (timers_.empty()) return -1;
  int64_t left = timers_.begin()->first.first - os::now_ns();
  if (left <= 0) return 0;
  return static_cast<int>(std::min<int64_t>(left / 1'000'000 + 1, INT_MAX));
}

void Loop::run_timers() {
  int64_t now = timers_.empty() ? 0 : os::now_ns();
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    auto call = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    call();
  }
}

}  // namespace tarn::daemon
