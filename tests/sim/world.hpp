// World: a machine in small, for the simulation. Processes are fibers of one thread, time is a number, and every choice comes from
// one seed: who runs next, for how long, who is killed or stopped and when. The same seed gives the same history.
//
// It stands beneath the code under test, in place of the os: the processes pass a point at each operation that changes shared
// memory (the kill points of base/kill_point.hpp) and each time that they look at the clock, sleep, wake or yield. At a point
// another one may go on, and a mortal one may be killed: then its fiber is never run again, and what it had in private memory is
// lost, as a process's is. A futex sleeper wakes when it is woken, or at its time. When nobody can run, time jumps.
//
// Memory is sequentially consistent here; store buffers are for tests/model, which explores a few steps completely. This goes
// through many.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace tarn::sim {

class World {
 public:
  explicit World(uint64_t seed);
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World();

  // ---- For the harness.

  // A process that begins to run some time from now. Returns its number. `body` does not own memory that matters.
  int start(std::string name, bool is_mortal, std::function<void()> body);
  // From now on points may kill or stop the mortal ones, `kills` of them at most.
  void allow_kills(uint32_t kills) { kills_left_ = kills; }
  [[nodiscard]] uint32_t kills() const { return kills_; }
  void kill(int process);
  [[nodiscard]] bool is_dead(int process) const;
  [[nodiscard]] bool is_stopped(int process) const;
  // When it goes on by itself, if it sleeps.
  [[nodiscard]] int64_t wakes_ns(int process) const;
  // Called when a process was killed, stopped or continued, outside of any process.
  std::function<void(int process)> on_death;
  std::function<void(int process, bool is_stopped)> on_stop;
  // Called when nobody can run before time has passed.
  std::function<void()> on_idle;

  // Runs until `finish` is called.
  void run();
  void finish() { finished_ = true; }
  // Ends the program: the history went wrong.
  [[noreturn]] void violate(const std::string& what);

  uint64_t random(uint64_t below) { return random_() % below; }
  bool chance(uint64_t one_in) { return random(one_in) == 0; }
  [[nodiscard]] int64_t now() const { return now_ns_; }
  [[nodiscard]] uint64_t steps() const { return steps_; }
  [[nodiscard]] uint64_t seed() const { return seed_; }

  // ---- For the process that runs now.

  [[nodiscard]] static World* current();  // nullptr outside of processes
  [[nodiscard]] int self() const { return running_; }
  void point();
  int64_t read_clock();
  void sleep_until(int64_t time_ns);
  void futex_wait(const uint32_t* word, uint32_t expected, int64_t deadline_ns);
  void futex_wake(const uint32_t* word, int count);
  void wake(const uint32_t* word, int count);  // without a point: also outside of processes
  [[noreturn]] void die();

 private:
  struct Process;
  void switch_away();
  void run_one();
  void end_process(Process& process);
  [[nodiscard]] bool pass_time();

  uint64_t seed_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Process>> processes_;
  std::vector<int> runnable_;
  int running_ = -1;
  int64_t now_ns_ = 1'000'000'000;
  uint64_t steps_ = 0;
  uint64_t switch_one_in_;
  uint64_t kill_one_in_;
  uint32_t kills_left_ = 0;
  uint32_t kills_ = 0;
  bool finished_ = false;
};

}  // namespace tarn::sim
