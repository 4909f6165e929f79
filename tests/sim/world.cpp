#include "world.hpp"

#include <sys/types.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/error.hpp"
#include "base/kill_point.hpp"
#include "fiber.hpp"
#include "os/clock.hpp"
#include "os/futex.hpp"
#include "os/stack.hpp"

namespace tarn::sim {
namespace {

World* world = nullptr;  // while a process of it runs

constexpr size_t kStackSize = size_t{1} << 20;
constexpr int64_t kStepNs = 20;
constexpr int64_t kClockNs = 100;       // so that who spins comes to an end
constexpr uint64_t kStepsMax = 30'000'000;
constexpr int64_t kStopMax = 200'000'000;  // how long a process is stopped

}  // namespace

struct World::Process {
  std::string name;
  bool is_mortal = false;
  std::function<void()> body;
  model::Fiber fiber{kStackSize};
  World* world = nullptr;
  bool is_dead = false;
  bool is_runnable = true;
  const uint32_t* word = nullptr;  // it sleeps on
  int64_t wakes_ns = os::kForever;
  int64_t stopped_until_ns = 0;  // 0: it is not
  uint64_t weight = 1;           // one in so many of its turns it gets
  ErrorState errors;             // of its one thread
};

World::World(uint64_t seed) : seed_(seed), random_(seed) {
  switch_one_in_ = uint64_t{2} << random(6);
  kill_one_in_ = uint64_t{200} << random(8);
}

World::~World() = default;

World* World::current() { return world; }

int World::start(std::string name, bool is_mortal, std::function<void()> body) {
  auto made = std::make_unique<Process>();
  Process& process = *made;
  process.name = std::move(name);
  process.is_mortal = is_mortal;
  process.body = std::move(body);
  process.world = this;
  process.weight = chance(4) ? 20 : 1;
  int number = static_cast<int>(processes_.size());
  processes_.push_back(std::move(made));
  process.fiber.start(
      [](void* context) {
        auto& self = *static_cast<Process*>(context);
        self.body();
        self.world->end_process(self);
        for (;;) self.fiber.suspend();
      },
      &process);
  runnable_.push_back(number);
  return number;
}

void World::end_process(Process& process) {
  process.is_dead = true;
  process.word = nullptr;
}

bool World::is_dead(int process) const { return processes_[static_cast<size_t>(process)]->is_dead; }
bool World::is_stopped(int process) const { return processes_[static_cast<size_t>(process)]->stopped_until_ns != 0; }

int64_t World::wakes_ns(int process) const { return processes_[static_cast<size_t>(process)]->wakes_ns; }

void World::kill(int number) {
  Process& process = *processes_[static_cast<size_t>(number)];
  if (process.is_dead) return;
  end_process(process);
  ++kills_;
  if (on_death) on_death(number);
}

// Those whose time has come can run. False if there is nobody for whom it ever will.
bool World::pass_time() {
  int64_t next = os::kForever;
  for (auto& process : processes_) {
    if (process->is_dead) continue;
    if (process->stopped_until_ns != 0) next = std::min(next, process->stopped_until_ns);
    else if (!process->is_runnable) next = std::min(next, process->wakes_ns);
  }
  if (next == os::kForever) return false;
  now_ns_ = std::max(now_ns_, next);
  for (size_t i = 0; i < processes_.size(); ++i) {
    Process& process = *processes_[i];
    if (process.is_dead) continue;
    if (process.stopped_until_ns != 0 && process.stopped_until_ns <= now_ns_) {
      process.stopped_until_ns = 0;
      if (on_stop) on_stop(static_cast<int>(i), false);
    }
    if (!process.is_runnable && process.wakes_ns <= now_ns_) {
      process.word = nullptr;
      process.is_runnable = true;
    }
  }
  return true;
}

void World::run_one() {
  runnable_.clear();
  int64_t due = os::kForever;
  for (size_t i = 0; i < processes_.size(); ++i) {
    Process& process = *processes_[i];
    if (process.is_dead) continue;
    if (process.stopped_until_ns == 0 && process.is_runnable) runnable_.push_back(static_cast<int>(i));
    else due = std::min(due, process.stopped_until_ns != 0 ? process.stopped_until_ns : process.wakes_ns);
  }
  if (runnable_.empty() && on_idle) on_idle();
  if (runnable_.empty() || due <= now_ns_) {
    if (!pass_time()) violate("nobody can go on, ever");
    if (runnable_.empty()) return;
  }
  int chosen = runnable_[random(runnable_.size())];
  Process& process = *processes_[static_cast<size_t>(chosen)];
  if (process.weight > 1 && runnable_.size() > 1 && !chance(process.weight)) return;
  running_ = chosen;
  world = this;
  exchange_error_state(process.errors);
  process.fiber.resume();
  exchange_error_state(process.errors);
  world = nullptr;
  running_ = -1;
}

void World::run() {
  while (!finished_) run_one();
}

void World::violate(const std::string& what) {
  world = nullptr;
  fprintf(stderr, "sim: seed %llu, step %llu: %s\n", static_cast<unsigned long long>(seed_), static_cast<unsigned long long>(steps_),
          what.c_str());
  for (auto& process : processes_)
    fprintf(stderr, "sim:   %s: %s\n", process->name.c_str(),
            process->is_dead                 ? "dead"
            : process->stopped_until_ns != 0 ? "stopped"
            : process->is_runnable           ? "runs"
            : process->word != nullptr       ? "sleeps for a word"
                                             : "sleeps");
  fflush(stderr);
  std::_Exit(1);
}

// ---- In a process ----------------------------------------------------------------------------

void World::switch_away() { processes_[static_cast<size_t>(running_)]->fiber.suspend(); }

void World::point() {
  Process& self = *processes_[static_cast<size_t>(running_)];
  now_ns_ += kStepNs;
  if (++steps_ > kStepsMax) violate("it does not come to an end");
  if (self.is_mortal && kills_left_ > 0 && chance(kill_one_in_)) {
    --kills_left_;
    if (chance(4)) {
      self.stopped_until_ns = now_ns_ + 1 + static_cast<int64_t>(random(kStopMax));
      if (on_stop) on_stop(running_, true);
    } else {
      die();
    }
    return switch_away();
  }
  if (chance(switch_one_in_)) switch_away();
}

void World::die() {
  kill(running_);
  for (;;) switch_away();
}

int64_t World::read_clock() {
  now_ns_ += kClockNs;
  if (chance(4)) point();
  return now_ns_;
}

void World::sleep_until(int64_t time_ns) {
  Process& self = *processes_[static_cast<size_t>(running_)];
  self.wakes_ns = time_ns;
  self.is_runnable = false;
  while (!self.is_runnable) switch_away();
  self.wakes_ns = os::kForever;
}

void World::futex_wait(const uint32_t* word, uint32_t expected, int64_t deadline_ns) {
  point();
  if (*word != expected) return;
  Process& self = *processes_[static_cast<size_t>(running_)];
  self.word = word;
  sleep_until(deadline_ns);
  self.word = nullptr;
}

void World::futex_wake(const uint32_t* word, int count) {
  point();
  wake(word, count);
}

void World::wake(const uint32_t* word, int count) {
  for (auto& process : processes_) {
    if (count == 0) break;
    if (process->is_dead || process->word != word) continue;
    process->word = nullptr;
    process->is_runnable = true;
    --count;
  }
}

}  // namespace tarn::sim

// ---- The os beneath ---------------------------------------------------------------------------

namespace tarn {

using sim::World;

void kill_point() {
  if (World* world = World::current(); world != nullptr) world->point();
}
void set_kill_role(const char*) {}
uint64_t planned_memory() { return 0; }

namespace os {

void futex_wait(uint32_t* word, uint32_t expected, int64_t deadline_ns) {
  if (World* world = World::current(); world != nullptr) world->futex_wait(word, expected, deadline_ns);
}
void futex_wake(uint32_t* word, int count) {
  if (World* world = World::current(); world != nullptr) world->futex_wake(word, count);
}
size_t stack_left() { return SIZE_MAX; }
void trim_stack() {}

}  // namespace os
}  // namespace tarn

// Of the C library, what the code under test calls for time and for its own end.
extern "C" {

int clock_gettime(clockid_t, timespec* out) noexcept {
  tarn::sim::World* world = tarn::sim::World::current();
  int64_t now = world == nullptr ? 0 : world->read_clock();
  out->tv_sec = now / 1'000'000'000;
  out->tv_nsec = now % 1'000'000'000;
  return 0;
}

int sched_yield() noexcept {
  if (auto* world = tarn::sim::World::current(); world != nullptr) world->point();
  return 0;
}

int usleep(useconds_t micros) {
  if (auto* world = tarn::sim::World::current(); world != nullptr) world->sleep_until(world->now() + int64_t{1000} * micros);
  return 0;
}

int kill(pid_t, int) noexcept {
  if (auto* world = tarn::sim::World::current(); world != nullptr) world->die();
  abort();
}
}
