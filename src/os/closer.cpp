#include "os/closer.hpp"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <ctime>
#include <deque>
#include <mutex>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace tarn::os {
namespace {

constexpr int kNudge = SIGURG;  // of no effect where it is not expected

void on_nudge(int) {}

// Sends kNudge to the thread that made it, again and again while it is armed.
class Alarm {
 public:
  Alarm() {
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kNudge;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    made_ = timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  }
  Alarm(const Alarm&) = delete;
  Alarm& operator=(const Alarm&) = delete;
  ~Alarm() {
    if (made_) timer_delete(timer_);
  }
  void set(int64_t interval_ns) {
    timespec interval{0, interval_ns};
    itimerspec setting{interval, interval};
    if (made_) timer_settime(timer_, 0, &setting, nullptr);
  }

 private:
  timer_t timer_{};
  bool made_ = false;
};

}  // namespace

struct Closer::State {
  struct Job {
    Fd fd;
    Receipt receipt;
  };
  struct Queue {
    std::deque<Job> jobs;
    bool busy = false;  // a thread is closing one of them, and here, where it can be found should that never end, is
    Receipt current;    // its receipt
  };

  Fd event;
  std::vector<pthread_t> threads;  // the owner's

  std::mutex mutex;  // guards the rest
  std::condition_variable wake;
  std::map<Lane, Queue> lanes;
  std::deque<Lane> ready;  // lanes with jobs that no thread is at
  std::vector<std::pair<Lane, Receipt>> finished;
  size_t idle = 0;
  bool stopping = false;

  void work();
  [[nodiscard]] bool add_thread(const std::shared_ptr<State>& self);
};

void Closer::State::work() {
  Alarm alarm;
  std::unique_lock lock(mutex);
  for (;;) {
    ++idle;
    wake.wait(lock, [this] { return stopping || !ready.empty(); });
    --idle;
    if (ready.empty()) return;
    Lane lane = ready.front();
    ready.pop_front();
    Queue& queue = lanes[lane];
    Job job = std::move(queue.jobs.front());
    queue.jobs.pop_front();
    queue.busy = true;
    queue.current = std::move(job.receipt);
    lock.unlock();
    alarm.set(kPatienceNs);
    job.fd.reset();
    alarm.set(0);
    lock.lock();
    queue.busy = false;
    finished.emplace_back(lane, std::move(queue.current));
    if (queue.jobs.empty()) {
      lanes.erase(lane);
    } else {
      ready.push_back(lane);
    }
    uint64_t one = 1;
    [[maybe_unused]] ssize_t written = write(event.get(), &one, sizeof one);
  }
}

bool Closer::State::add_thread(const std::shared_ptr<State>& self) {
  auto run = [](void* argument) -> void* {
    std::unique_ptr<std::shared_ptr<State>> state(static_cast<std::shared_ptr<State>*>(argument));
    sigset_t nudge;
    sigemptyset(&nudge);
    sigaddset(&nudge, kNudge);
    pthread_sigmask(SIG_UNBLOCK, &nudge, nullptr);
    (*state)->work();
    return nullptr;
  };
  auto argument = std::make_unique<std::shared_ptr<State>>(self);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_t thread;
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = pthread_create(&thread, nullptr, run, argument.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) {
    errno = error;
    return false;
  }
  (void)argument.release();
  threads.push_back(thread);
  return true;
}

int Closer::start() {
  auto state = std::make_shared<State>();
  state->event = Fd{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!state->event.valid()) return fail_errno(code_of_errno(errno), "cannot make an event descriptor");
  struct sigaction action {};
  action.sa_handler = on_nudge;
  sigaction(kNudge, &action, nullptr);
  if (!state->add_thread(state)) return fail_errno(code_of_errno(errno), "cannot start a thread");
  state_ = std::move(state);
  return 0;
}

Closer::~Closer() {
  if (state_ == nullptr) return;
  {
    std::lock_guard lock(state_->mutex);
    state_->stopping = true;
  }
  state_->wake.notify_all();
  timespec deadline;
  clock_gettime(CLOCK_REALTIME, &deadline);
  deadline.tv_sec += 1;
  for (pthread_t thread : state_->threads)
    if (pthread_timedjoin_np(thread, nullptr, &deadline) != 0) pthread_detach(thread);
  std::vector<std::pair<Lane, Receipt>> receipts;
  std::lock_guard lock(state_->mutex);
  receipts.swap(state_->finished);
  for (auto& [lane, queue] : state_->lanes) {
    receipts.emplace_back(lane, std::move(queue.current));
    for (State::Job& job : queue.jobs) {
      (void)job.fd.release();
      receipts.emplace_back(lane, std::move(job.receipt));
    }
    queue.jobs.clear();
  }
}

const Fd& Closer::event() const { return state_->event; }

void Closer::close(Lane lane, Fd fd, Receipt receipt) {
  if (!fd.valid()) return;
  Count& count = counts_[lane];
  ++count.waiting;
  if (receipt == nullptr) ++count.unpaid;
  bool short_of_threads;
  {
    std::lock_guard lock(state_->mutex);
    State::Queue& queue = state_->lanes[lane];
    queue.jobs.push_back({std::move(fd), std::move(receipt)});
    if (queue.jobs.size() == 1 && !queue.busy) state_->ready.push_back(lane);
    short_of_threads = state_->idle < state_->ready.size();
  }
  if (short_of_threads && state_->threads.size() < kThreadsMax) (void)state_->add_thread(state_);
  state_->wake.notify_one();
}

void Closer::collect() {
  uint64_t ignored;
  [[maybe_unused]] ssize_t size = read(event().get(), &ignored, sizeof ignored);
  std::vector<std::pair<Lane, Receipt>> finished;
  {
    std::lock_guard lock(state_->mutex);
    finished.swap(state_->finished);
  }
  for (auto& [lane, receipt] : finished) {
    auto found = counts_.find(lane);
    if (receipt == nullptr) --found->second.unpaid;
    if (--found->second.waiting == 0) counts_.erase(found);
  }
}

size_t Closer::waiting(Lane lane) const {
  auto found = counts_.find(lane);
  return found == counts_.end() ? 0 : found->second.waiting;
}

size_t Closer::unpaid(Lane lane) const {
  auto found = counts_.find(lane);
  return found == counts_.end() ? 0 : found->second.unpaid;
}

}  // namespace tarn::os
