// Tasks that need several cores, or that may take only so much memory. What could go wrong: two that want several cores wait for each
// other, or one for ever beside many small ones; a slot is used twice, or is never given back when somebody dies; what was set for a
// run is still set for the next; a bound on memory does not hold, or strikes others.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;
using Clock = std::chrono::steady_clock;

constexpr int64_t kLong = 60'000'000'000;
constexpr int64_t kMs = 1'000'000;
constexpr size_t kMiB = size_t{1} << 20;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kOwnAllocator = true;  // which ends the process where malloc would fail
#else
constexpr bool kOwnAllocator = false;
#endif

int64_t now_ns() { return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count(); }

template <class T>
int give(tarn_call* call, const T& value) {
  return tarn_call_return(call, &value, sizeof value);
}

template <class T>
T argument(tarn_call* call, size_t index = 0) {
  T value{};
  memcpy(&value, tarn_call_arg(call, index).data, sizeof value);
  return value;
}

int cpus_of_this_thread() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : -1;
}

int number_in(const char* variable) {
  const char* text = getenv(variable);
  return text == nullptr ? -1 : atoi(text);
}

// How long it lasted, and where it was.
struct Seen {
  int64_t begin_ns, end_ns;
  int pid, cpus, cpus_of_new_thread, omp, openblas, mkl;
};

int look_around(tarn_call* call) {
  Seen run{};
  run.begin_ns = now_ns();
  run.pid = getpid();
  run.cpus = cpus_of_this_thread();
  std::thread([&] { run.cpus_of_new_thread = cpus_of_this_thread(); }).join();
  run.omp = number_in("OMP_NUM_THREADS");
  run.openblas = number_in("OPENBLAS_NUM_THREADS");
  run.mkl = number_in("MKL_NUM_THREADS");
  usleep(argument<uint32_t>(call) * 1000);
  run.end_ns = now_ns();
  return give(call, run);
}

bool is_there(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

std::string text_of(tarn_call* call, size_t index) {
  tarn_bytes bytes = tarn_call_arg(call, index);
  return {static_cast<const char*>(bytes.data), bytes.size};
}

// Has begun, as the file `argument`.begun says, and goes on until there is a file `argument`.end.
int hold(tarn_call* call) {
  std::string path = text_of(call, 0);
  std::ofstream(path + ".begun") << getpid() << std::flush;
  while (!is_there(path + ".end")) usleep(1000);
  return give(call, getpid());
}

tarn_needs needs_of(uint32_t cores, uint64_t memory = 0) {
  tarn_needs needs{};
  needs.size = sizeof needs;
  needs.cores = cores;
  needs.memory = memory;
  return needs;
}

int submit_with(tarn_client* client, const char* task, const std::vector<tarn_arg>& args, const tarn_needs& needs, tarn_future* out,
                tarn_submit_options options = {}) {
  options.size = sizeof options;
  options.needs = &needs;
  return tarn_submit(client, tarn_task_id(task), args.data(), args.size(), &options, out);
}

// Waits for a task of its own that needs so many cores, for some ms.
int parent(tarn_call* call) {
  auto cores = argument<uint32_t>(call);
  auto ms = argument<uint32_t>(call, 1);
  tarn_client* client = tarn_call_client(call);
  tarn_future future;
  if (int r = submit_with(client, "look_around", {tarn_arg_value(&ms, sizeof ms)}, needs_of(cores), &future); r < 0)
    return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  tarn_bytes bytes{};
  if (int r = tarn_result(client, future, kLong, &bytes); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  Seen run;
  memcpy(&run, bytes.data, sizeof run);
  (void)tarn_future_release(client, future);
  return give(call, run);
}

// Its child waits for a child that needs two cores, and runs in the other worker: both workers wait then.
int grandparent(tarn_call* call) {
  tarn_client* client = tarn_call_client(call);
  std::string path = text_of(call, 0);
  tarn_future future;
  tarn_arg arg = tarn_arg_value(path.data(), path.size());
  if (int r = tarn_submit(client, tarn_task_id("parent_elsewhere"), &arg, 1, nullptr, &future); r < 0) return r;
  while (!is_there(path + ".begun")) usleep(1000);
  tarn_bytes bytes{};
  if (int r = tarn_result(client, future, kLong, &bytes); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  int result = tarn_call_return(call, bytes.data, bytes.size);
  (void)tarn_future_release(client, future);
  return result;
}

int parent_elsewhere(tarn_call* call) {
  std::ofstream(text_of(call, 0) + ".begun") << getpid() << std::flush;
  usleep(50'000);  // its parent sleeps by then
  tarn_client* client = tarn_call_client(call);
  uint32_t ms = 1;
  tarn_future future;
  if (int r = submit_with(client, "look_around", {tarn_arg_value(&ms, sizeof ms)}, needs_of(2), &future); r < 0) return r;
  tarn_bytes bytes{};
  if (int r = tarn_result(client, future, kLong, &bytes); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  int result = tarn_call_return(call, bytes.data, bytes.size);
  (void)tarn_future_release(client, future);
  return result;
}

bool can_take(size_t bytes) {
  void* memory = malloc(bytes);
  if (memory == nullptr) return false;
  memset(memory, 1, bytes);
  free(memory);
  return true;
}

int take_memory(tarn_call* call) { return can_take(argument<uint64_t>(call)) ? 0 : TARN_E_NO_MEMORY; }

int take_memory_in_thread(tarn_call* call) {
  bool ok = false;
  std::thread([&] { ok = can_take(argument<uint64_t>(call)); }).join();
  return ok ? 0 : TARN_E_NO_MEMORY;
}

int take_blindly(tarn_call* call) {
  rlimit no_core{};
  setrlimit(RLIMIT_CORE, &no_core);
  auto* memory = static_cast<volatile char*>(malloc(argument<uint64_t>(call)));
  memory[0] = 1;
  return 0;
}

// A result is an object, and does not count.
int large_result(tarn_call* call) {
  auto size = argument<uint64_t>(call);
  void* data;
  if (int r = tarn_call_return_buffer(call, size, &data); r < 0) return r;
  memset(data, 7, size);
  return 0;
}

int data_limit(tarn_call* call) {
  rlimit limit{};
  getrlimit(RLIMIT_DATA, &limit);
  return give(call, uint64_t{limit.rlim_cur});
}

struct Limits {
  uint64_t before, within, after;
};

// What its limit is before, in and after a task of its own that may take so much.
int nest_limits(tarn_call* call) {
  auto bytes = argument<uint64_t>(call);
  auto limit = [] {
    rlimit now{};
    getrlimit(RLIMIT_DATA, &now);
    return uint64_t{now.rlim_cur};
  };
  Limits limits{limit(), 0, 0};
  tarn_client* client = tarn_call_client(call);
  tarn_future future;
  if (int r = submit_with(client, "data_limit", {}, needs_of(0, bytes), &future); r < 0) return r;
  tarn_bytes result{};
  if (int r = tarn_result(client, future, kLong, &result); r < 0) return r;
  memcpy(&limits.within, result.data, sizeof limits.within);
  limits.after = limit();
  (void)tarn_future_release(client, future);
  return give(call, limits);
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("look_around", look_around);
  tarn_task_define("hold", hold);
  tarn_task_define("parent", parent);
  tarn_task_define("grandparent", grandparent);
  tarn_task_define("parent_elsewhere", parent_elsewhere);
  tarn_task_define("take_memory", take_memory);
  tarn_task_define("take_memory_in_thread", take_memory_in_thread);
  tarn_task_define("take_blindly", take_blindly);
  tarn_task_define("large_result", large_result);
  tarn_task_define("data_limit", data_limit);
  tarn_task_define("nest_limits", nest_limits);
}};

class Needs : public testing::Test {
 protected:
  explicit Needs(uint32_t workers) : client_(workers) {}

  tarn_future submit(const char* task, const std::vector<tarn_arg>& args, const tarn_needs& needs = needs_of(0),
                     const tarn_submit_options& options = {}) {
    tarn_future future{};
    EXPECT_EQ(0, submit_with(client_, task, args, needs, &future, options)) << tarn_last_error();
    return future;
  }
  template <class T>
  tarn_future submit_for(const char* task, const T& value, const tarn_needs& needs = needs_of(0), const tarn_submit_options& options = {}) {
    return submit(task, {tarn_arg_value(&value, sizeof value)}, needs, options);
  }
  tarn_future look_for_ms(uint32_t ms, uint32_t cores = 0, const tarn_submit_options& options = {}) {
    return submit_for("look_around", ms, needs_of(cores), options);
  }

  // Releases the future.
  int code_of(tarn_future future) {
    int code = tarn_result(client_, future, kLong, nullptr);
    tarn_future_release(client_, future);
    return code;
  }
  template <class T>
  T result_of(tarn_future future) {
    tarn_bytes bytes{};
    EXPECT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
    T value{};
    EXPECT_EQ(sizeof value, bytes.size);
    if (bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
    tarn_future_release(client_, future);
    return value;
  }
  Seen seen_of(tarn_future future) { return result_of<Seen>(future); }

  PrivateClient client_;
};

// ---- Several cores ---------------------------------------------------------------------------

class Cores : public Needs {
 protected:
  Cores() : Needs(2) {}
  ~Cores() override {
    for (const char* end : {".begun", ".end"}) unlink((path_ + end).c_str());
  }

  // A task that has one of the workers until `let_go`.
  tarn_future hold_one() {
    tarn_future future = submit("hold", {tarn_arg_value(path_.data(), path_.size())});
    while (!is_there(path_ + ".begun")) usleep(1000);
    return future;
  }
  void let_go() const { std::ofstream(path_ + ".end").flush(); }

  // Each has both cores, one after the other, and nothing else ran meanwhile.
  void expect_alone(const std::vector<Seen>& wide, const std::vector<Seen>& all) {
    for (const Seen& one : wide)
      for (const Seen& other : all) {
        bool is_same = one.begin_ns == other.begin_ns && one.pid == other.pid;
        EXPECT_TRUE(is_same || other.end_ns <= one.begin_ns || one.end_ns <= other.begin_ns)
            << "another ran " << static_cast<double>(other.begin_ns - one.begin_ns) / 1e6 << " ms after one began that lasted "
            << static_cast<double>(one.end_ns - one.begin_ns) / 1e6 << " ms";
      }
  }

  pid_t random_worker() {
    tarn_slot_info slot{};
    slot.size = sizeof slot;
    if (tarn_client_get_slot(client_, static_cast<uint32_t>(random_() % 2), &slot) < 0) return 0;
    return slot.pid;
  }

  std::string path_ = "/tmp/tarn_needs_" + std::to_string(getpid());
  std::mt19937 random_{4711};
};

TEST_F(Cores, ATaskHasThem) {
  Seen wide = seen_of(look_for_ms(1, 2));
  EXPECT_EQ(2, wide.cpus);
  EXPECT_EQ(2, wide.cpus_of_new_thread);
  for (int number : {wide.omp, wide.openblas, wide.mkl}) EXPECT_EQ(2, number);
  for (int i = 0; i < 20; ++i) {
    Seen narrow = seen_of(look_for_ms(1, static_cast<uint32_t>(i % 2)));
    EXPECT_EQ(1, narrow.cpus) << "and has given them back";
    EXPECT_EQ(1, narrow.cpus_of_new_thread);
    for (int number : {narrow.omp, narrow.openblas, narrow.mkl}) EXPECT_EQ(1, number);
  }
}

TEST_F(Cores, ItWaitsUntilTheOtherWorkerHasFinished) {
  tarn_future held = hold_one();
  tarn_future wide = look_for_ms(1, 2);
  usleep(100'000);
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_result(client_, wide, 0, nullptr));
  int64_t end = now_ns();
  let_go();
  EXPECT_EQ(0, code_of(held));
  Seen run = seen_of(wide);
  EXPECT_EQ(2, run.cpus);
  EXPECT_GE(run.begin_ns, end);
  EXPECT_LT(run.begin_ns - end, 5'000 * kMs);
}

// Those that are submitted while it waits do not hold it up.
TEST_F(Cores, ManySmallTasksLeaveItItsTurn) {
  std::vector<tarn_future> small;
  for (int i = 0; i < 20; ++i) small.push_back(look_for_ms(1));
  tarn_future wide = look_for_ms(20, 2);
  for (int i = 0; i < 500; ++i) small.push_back(look_for_ms(1));
  Seen run = seen_of(wide);
  std::vector<Seen> all;
  for (tarn_future future : small) all.push_back(seen_of(future));
  auto later = std::ranges::count_if(all, [&](const Seen& each) { return each.begin_ns > run.end_ns; });
  EXPECT_GT(later, 250);
  expect_alone({run}, all);
}

TEST_F(Cores, SeveralAtOnceTakeTurns) {
  std::vector<tarn_future> futures;
  for (int i = 0; i < 300; ++i) futures.push_back(look_for_ms(static_cast<uint32_t>(i % 3), i % 10 == 0 ? 2 : 0));
  std::vector<Seen> wide;
  std::vector<Seen> all;
  for (size_t i = 0; i < futures.size(); ++i) {
    all.push_back(seen_of(futures[i]));
    if (i % 10 != 0) continue;
    wide.push_back(all.back());
    EXPECT_EQ(2, all.back().cpus);
  }
  expect_alone(wide, all);
}

TEST_F(Cores, WhileItWaitsItCanBeCancelled) {
  tarn_future held = hold_one();
  for (uint32_t flags : {0u, uint32_t{TARN_CANCEL_KILL}, 0u}) {
    tarn_future wide = look_for_ms(1, 2);
    usleep(50'000);
    EXPECT_EQ(0, tarn_cancel(client_, wide, flags)) << tarn_last_error();
    EXPECT_EQ(TARN_E_CANCELLED, code_of(wide)) << tarn_last_error();
    EXPECT_EQ(1, seen_of(look_for_ms(1)).cpus) << "its worker serves again";
  }
  let_go();
  EXPECT_EQ(0, code_of(held));
  EXPECT_EQ(2, seen_of(look_for_ms(1, 2)).cpus);
}

TEST_F(Cores, WhatItWaitsCountsForItsTime) {
  tarn_future held = hold_one();
  tarn_submit_options short_of_time{};
  short_of_time.timeout_ns = 50 * kMs;
  EXPECT_EQ(TARN_E_DEADLINE, code_of(look_for_ms(1, 2, short_of_time))) << tarn_last_error();
  short_of_time = {};
  short_of_time.deadline_ns = 50 * kMs;
  EXPECT_EQ(TARN_E_DEADLINE, code_of(look_for_ms(1, 2, short_of_time))) << tarn_last_error();
  EXPECT_EQ(1, seen_of(look_for_ms(1)).cpus);
  let_go();
  EXPECT_EQ(0, code_of(held));
}

TEST_F(Cores, TasksOfTasksMayNeedThem) {
  struct {
    uint32_t cores, ms;
  } order{2, 5};
  for (uint32_t own : {0u, 2u}) {
    std::vector<tarn_future> futures;
    for (int i = 0; i < 8; ++i)
      futures.push_back(submit("parent", {tarn_arg_value(&order.cores, sizeof order.cores), tarn_arg_value(&order.ms, sizeof order.ms)},
                               needs_of(own)));
    for (tarn_future future : futures) EXPECT_EQ(2, seen_of(future).cpus);
  }
  EXPECT_EQ(1, seen_of(look_for_ms(1)).cpus);
}

TEST_F(Cores, ASlotWhoseWorkersAllWaitIsFree) {
  for (int i = 0; i < 3; ++i) {
    unlink((path_ + ".begun").c_str());
    EXPECT_EQ(2, seen_of(submit("grandparent", {tarn_arg_value(path_.data(), path_.size())})).cpus);
  }
  EXPECT_EQ(2, seen_of(look_for_ms(1, 2)).cpus);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(1, seen_of(look_for_ms(1)).cpus);
}

TEST_F(Cores, AnyWorkerMayDieAtAnyTime) {
  for (int round = 0; round < 40; ++round) {
    std::vector<tarn_future> futures;
    tarn_submit_options again{};
    again.retries = 200;
    for (int i = 0; i < 12; ++i) futures.push_back(look_for_ms(static_cast<uint32_t>(random_() % 8), i % 3 == 0 ? 2 : 0, again));
    usleep(static_cast<useconds_t>(random_() % 40'000));
    if (pid_t worker = random_worker(); worker > 0) kill(worker, SIGKILL);
    for (size_t i = 0; i < futures.size(); ++i) EXPECT_EQ(i % 3 == 0 ? 2 : 1, seen_of(futures[i]).cpus);
  }
}

TEST_F(Cores, AWorkerMayBeStoppedAtAnyTime) {
  for (int round = 0; round < 20; ++round) {
    std::vector<tarn_future> futures;
    for (int i = 0; i < 12; ++i) futures.push_back(look_for_ms(static_cast<uint32_t>(random_() % 4), i % 3 == 0 ? 2 : 0));
    usleep(static_cast<useconds_t>(random_() % 20'000));
    pid_t worker = random_worker();
    if (worker > 0) kill(worker, SIGSTOP);
    usleep(static_cast<useconds_t>(random_() % 50'000));
    if (worker > 0) kill(worker, SIGCONT);
    for (size_t i = 0; i < futures.size(); ++i) EXPECT_EQ(i % 3 == 0 ? 2 : 1, seen_of(futures[i]).cpus);
  }
}

TEST_F(Cores, WhatNobodyHasIsRefused) {
  tarn_future future{};
  EXPECT_EQ(TARN_E_UNSATISFIABLE, submit_with(client_, "look_around", {}, needs_of(1000), &future));
  EXPECT_NE(std::string::npos, std::string(tarn_last_error()).find("1000 cores")) << tarn_last_error();
  EXPECT_NE(std::string::npos, std::string(tarn_last_error()).find("at most 2")) << tarn_last_error();
  tarn_needs bad = needs_of(1);
  bad.size = 8;
  EXPECT_EQ(TARN_E_ARGUMENT, submit_with(client_, "look_around", {}, bad, &future));
  for (size_t i = 0; i < std::size(bad.reserved); ++i) {
    bad = needs_of(1);
    bad.reserved[i] = 1;
    EXPECT_EQ(TARN_E_ARGUMENT, submit_with(client_, "look_around", {}, bad, &future)) << i;
  }
}

// ---- Memory ----------------------------------------------------------------------------------

class Memory : public Needs {
 protected:
  Memory() : Needs(1) {}
  void SetUp() override {
    if (kOwnAllocator) GTEST_SKIP() << "the sanitizer's allocator";
  }

  int take(const char* task, uint64_t bytes, uint64_t limit) { return code_of(submit_for(task, bytes, needs_of(0, limit))); }
};

TEST_F(Memory, ARunMayTakeSoMuch) {
  EXPECT_EQ(0, take("take_memory", 16 * kMiB, 32 * kMiB)) << tarn_last_error();
  EXPECT_EQ(TARN_E_TASK_FAILED, take("take_memory", 64 * kMiB, 32 * kMiB));
  EXPECT_NE(std::string::npos, std::string(tarn_last_error()).find("32 MiB (needs.memory)")) << tarn_last_error();
  EXPECT_EQ(0, take("take_memory", 64 * kMiB, 0)) << "the next is free of it; " << tarn_last_error();
  EXPECT_EQ(0, take("take_memory", 64 * kMiB, 80 * kMiB)) << tarn_last_error();
  EXPECT_EQ(0, take("take_memory", 64 * kMiB, UINT64_MAX)) << tarn_last_error();
}

TEST_F(Memory, ItsThreadsCountToo) {
  EXPECT_EQ(TARN_E_TASK_FAILED, take("take_memory_in_thread", 64 * kMiB, 32 * kMiB));
  EXPECT_EQ(0, take("take_memory_in_thread", 64 * kMiB, 256 * kMiB)) << tarn_last_error();
}

TEST_F(Memory, ItsResultDoesNotCount) { EXPECT_EQ(0, take("large_result", 64 * kMiB, 8 * kMiB)) << tarn_last_error(); }

TEST_F(Memory, WhoDoesNotLookCrashes) {
  uint64_t bytes = 64 * kMiB;
  tarn_submit_options once{};
  once.retries = -1;
  tarn_future future = submit_for("take_blindly", bytes, needs_of(0, 32 * kMiB), once);
  EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client_, future, kLong, nullptr));
  EXPECT_NE(std::string::npos, std::string(tarn_last_error()).find("32 MiB (needs.memory)")) << tarn_last_error();
  tarn_task_error error{};
  error.size = sizeof error;
  EXPECT_EQ(0, tarn_future_error(client_, future, &error));
  EXPECT_EQ(SIGSEGV, error.signal);
  tarn_future_release(client_, future);
  EXPECT_EQ(0, take("take_memory", 64 * kMiB, 0)) << tarn_last_error();
}

TEST_F(Memory, WithinARunTheSmallerOfBothHolds) {
  uint64_t small = 16 * kMiB;
  Limits limits = result_of<Limits>(submit_for("nest_limits", small, needs_of(0, 64 * kMiB)));
  EXPECT_LT(limits.within, limits.before);
  EXPECT_EQ(limits.before, limits.after);
  uint64_t large = 1024 * kMiB;
  limits = result_of<Limits>(submit_for("nest_limits", large, needs_of(0, 64 * kMiB)));
  EXPECT_EQ(limits.within, limits.before);
  EXPECT_EQ(limits.before, limits.after);
  uint64_t none = 0;
  limits = result_of<Limits>(submit_for("nest_limits", none, needs_of(0, 64 * kMiB)));
  EXPECT_EQ(limits.within, limits.before) << "what it waits for counts for it";
  EXPECT_EQ(uint64_t{RLIM_INFINITY}, result_of<uint64_t>(submit("data_limit", {})));
}

}  // namespace
