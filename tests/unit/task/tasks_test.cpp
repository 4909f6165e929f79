// Tasks between a client and workers that are threads: every form of argument and result, dependencies,
// waiting, overload, and a worker that is gone in the middle. What could go wrong: a task lost or run
// with another's arguments, a wait that never ends, a record that is never freed.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "support/in_process_host.hpp"
#include "task/registry.hpp"
#include "task/task_protocol.hpp"

namespace tarn::test {
namespace {

using task::Submitter;

constexpr int64_t kTimeoutNs = 20'000'000'000;

int64_t number(tarn_bytes bytes) {
  int64_t value = -1;
  EXPECT_EQ(bytes.size, sizeof value);
  if (bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
  return value;
}

int return_bytes(tarn_call* call, const void* data, size_t size) {
  void* result;
  if (int r = task::result_buffer(*call, size, result); r < 0) return r;
  memcpy(result, data, size);
  return 0;
}

// Adds up all arguments, each a 64-bit number.
int add(tarn_call* call) {
  int64_t sum = 0;
  for (size_t i = 0; i < call->arg_count; ++i) {
    int64_t value;
    if (call->args[i].size != sizeof value) return TARN_E_TYPE;
    memcpy(&value, call->args[i].data, sizeof value);
    sum += value;
  }
  return return_bytes(call, &sum, sizeof sum);
}

// All arguments, one behind the other.
int concatenate(tarn_call* call) {
  std::string all;
  for (size_t i = 0; i < call->arg_count; ++i)
    all.append(static_cast<const char*>(call->args[i].data), call->args[i].size);
  return return_bytes(call, all.data(), all.size());
}

int fail_always(tarn_call* call) { return task::fail_call(*call, -1000, "Sadness", "%s", "it was not to be"); }

std::atomic<bool> gate_open{false};

int wait_for_gate(tarn_call* call) {
  while (!gate_open.load()) std::this_thread::yield();
  return add(call);
}

// The sum of 1 to n, by halves: a task of tasks. One child of each is not asked for.
int add_up(tarn_call* call) {
  auto& submitter = *reinterpret_cast<Submitter*>(call->client);
  int64_t range[2];
  for (size_t i = 0; i < 2; ++i) range[i] = number(call->args[i]);
  if (range[0] == range[1]) return return_bytes(call, &range[0], sizeof range[0]);
  int64_t middle = (range[0] + range[1]) / 2;
  int64_t ends[4] = {range[0], middle, middle + 1, range[1]};
  tarn_future futures[2];
  int64_t sum = 0;
  for (size_t i = 0; i < 2; ++i) {
    tarn_arg args[] = {tarn_arg_value(&ends[2 * i], 8), tarn_arg_value(&ends[2 * i + 1], 8)};
    if (int r = submitter.submit(task::task_number("test.add_up"), args, 2, nullptr, futures[i]); r < 0) return r;
  }
  tarn_future nobodys;
  tarn_arg both[] = {tarn_arg_future(futures[0]), tarn_arg_future(futures[1])};
  if (int r = submitter.submit(task::task_number("test.add"), both, 2, nullptr, nobodys); r < 0) return r;
  for (tarn_future future : futures) {
    tarn_bytes bytes{};
    if (int r = submitter.result(future, kTimeoutNs, bytes); r < 0) return r;
    sum += number(bytes);
  }
  return return_bytes(call, &sum, sizeof sum);
}

// So many children with large results, whose futures are released at once; how many.
int let_go(tarn_call* call) {
  auto& submitter = *reinterpret_cast<Submitter*>(call->client);
  int64_t count = number(call->args[0]);
  std::string text(1000, 'x');
  for (int64_t i = 0; i < count; ++i) {
    tarn_arg arg = tarn_arg_value(text.data(), text.size());
    tarn_future future;
    if (int r = submitter.submit(task::task_number("test.concatenate"), &arg, 1, nullptr, future); r < 0) return r;
    if (int r = submitter.release(future); r < 0) return r;
  }
  return return_bytes(call, &count, sizeof count);
}

// So many children, of which each is waited for before the next is submitted; how many.
int one_by_one(tarn_call* call) {
  auto& submitter = *reinterpret_cast<Submitter*>(call->client);
  int64_t sum = 0;
  int64_t one = 1;
  for (int64_t i = number(call->args[0]); i > 0; --i) {
    tarn_arg arg = tarn_arg_value(&one, sizeof one);
    tarn_future future;
    tarn_bytes bytes{};
    if (int r = submitter.submit(task::task_number("test.add"), &arg, 1, nullptr, future); r < 0) return r;
    if (int r = submitter.result(future, kTimeoutNs, bytes); r < 0) return r;
    sum += number(bytes);
    if (int r = submitter.release(future); r < 0) return r;
  }
  return return_bytes(call, &sum, sizeof sum);
}

std::vector<int64_t> noted;  // by workers that are driven step by step

int note(tarn_call* call) {
  noted.push_back(number(call->args[0]));
  return 0;
}

class Tasks : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    EXPECT_EQ(task::define_task("test.note", note, 0, nullptr), 0);
    EXPECT_EQ(task::define_task("test.add", add, 0, nullptr), 0);
    EXPECT_EQ(task::define_task("test.let_go", let_go, 0, nullptr), 0);
    EXPECT_EQ(task::define_task("test.one_by_one", one_by_one, 0, nullptr), 0);
    EXPECT_EQ(task::define_task("test.add_up", add_up, 0, nullptr), 0);
    EXPECT_EQ(task::define_task("test.concatenate", concatenate, 7, nullptr), 0);
    EXPECT_EQ(task::define_task("test.fail", fail_always, 0, nullptr), 0);
    EXPECT_EQ(task::define_task("test.wait_for_gate", wait_for_gate, 0, nullptr), 0);
  }

  void SetUp() override {
    gate_open = false;
    noted.clear();
  }

  static tarn_future submit_note(InProcessHost& host, int64_t value, int32_t priority, const tarn_future* after = nullptr) {
    tarn_submit_options options{};
    options.size = sizeof options;
    options.priority = priority;
    std::vector<tarn_arg> args{tarn_arg_value(&value, sizeof value)};
    if (after != nullptr) args.push_back(tarn_arg_future(*after));
    tarn_future future{};
    EXPECT_EQ(host.client().submit(task::task_number("test.note"), args.data(), args.size(), &options, future), 0) << last_error();
    return future;
  }

  tarn_future submit(Submitter& client, const char* task, const std::vector<tarn_arg>& args,
                     const tarn_submit_options* options = nullptr) {
    tarn_future future{};
    EXPECT_EQ(client.submit(task::task_number(task), args.data(), args.size(), options, future), 0) << last_error();
    return future;
  }

  tarn_future submit_add(Submitter& client, int64_t value) {
    return submit(client, "test.add", {tarn_arg_value(&value, sizeof value)});
  }

  int64_t result_of(Submitter& client, tarn_future future) {
    tarn_bytes bytes{};
    EXPECT_EQ(client.result(future, kTimeoutNs, bytes), 0) << last_error();
    return number(bytes);
  }
};

TEST_F(Tasks, ValuesOfEverySizeArriveWhole) {
  InProcessHost host(2);
  host.start();
  for (size_t size : {0u, 1u, 7u, 8u, 31u, 32u, 33u, 64u, 1000u, 100'000u}) {
    std::string text(size, 'x');
    for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i % 26);
    tarn_future future = submit(host.client(), "test.concatenate", {tarn_arg_value(text.data(), text.size())});
    tarn_bytes bytes{};
    ASSERT_EQ(host.client().result(future, kTimeoutNs, bytes), 0) << last_error();
    EXPECT_EQ(std::string(static_cast<const char*>(bytes.data), bytes.size), text);
    EXPECT_EQ(host.client().release(future), 0);
  }
}

// Nobody spins, so that each call is two wake-ups, while the board changes from one way of ordering them to the other and back.
TEST_F(Tasks, CallsWakeTheirWorkerWhileTarndChangesWhoFences) {
  InProcessHost host(2, InProcessHost::kMappings, 0);
  host.start();
  std::atomic<bool> done{false};
  std::thread tarnd([&] {
    for (bool both = true; !done.load(); both = !both) host.client_view().board->doorbell.set_order(both);
  });
  for (int64_t value = 0; value < 2000; ++value) {
    tarn_future future = submit_add(host.client(), value);
    EXPECT_EQ(result_of(host.client(), future), value);
    EXPECT_EQ(host.client().release(future), 0);
  }
  done = true;
  tarnd.join();
}

// A worker that wakes up says so once to a tarnd that does not look.
TEST_F(Tasks, AWorkerThatWakesUpIsWatchedAgain) {
  InProcessHost host(1, InProcessHost::kMappings, 0);
  host.start();
  tarn_future future = submit_add(host.client(), 1);
  EXPECT_EQ(result_of(host.client(), future), 1);
  shm::Board& board = *host.client_view().board;
  board.unwatched.store(1, shm::kRelease);
  // It may have been about to sleep, and then sleeps for the first time after this.
  for (int64_t value = 0; value < 1000 && board.unwatched.load(shm::kAcquire) != 0; ++value) {
    usleep(1000);
    tarn_future next = submit_add(host.client(), value);
    EXPECT_EQ(result_of(host.client(), next), value);
    EXPECT_EQ(host.client().release(next), 0);
  }
  EXPECT_EQ(board.unwatched.load(shm::kAcquire), 0u);
  EXPECT_EQ(host.client().release(future), 0);
}

TEST_F(Tasks, SeveralValuesKeepTheirOrderAndLengths) {
  InProcessHost host(1);
  host.start();
  for (size_t count : {0u, 2u, 3u, 4u, 8u, 9u, 300u}) {
    std::vector<std::string> texts;
    std::vector<tarn_arg> args;
    std::string all;
    for (size_t i = 0; i < count; ++i) texts.push_back(std::to_string(i * 37));
    for (auto& text : texts) {
      args.push_back(tarn_arg_value(text.data(), text.size()));
      all += text;
    }
    tarn_future future = submit(host.client(), "test.concatenate", args);
    tarn_bytes bytes{};
    ASSERT_EQ(host.client().result(future, kTimeoutNs, bytes), 0) << last_error();
    EXPECT_EQ(std::string(static_cast<const char*>(bytes.data), bytes.size), all);
    EXPECT_EQ(host.client().release(future), 0);
  }
}

TEST_F(Tasks, ErrorsKeepTheirWords) {
  InProcessHost host(1);
  host.start();
  tarn_future future = submit(host.client(), "test.fail", {});
  tarn_bytes bytes{};
  EXPECT_EQ(host.client().result(future, kTimeoutNs, bytes), TARN_E_TASK_FAILED);
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(host.client().error(future, error), 0);
  EXPECT_EQ(error.code, -1000);
  EXPECT_STREQ(error.type, "Sadness");
  EXPECT_STREQ(error.message, "it was not to be");
  EXPECT_STREQ(error.task, "test.fail");
  EXPECT_EQ(error.attempts, 1u);
  EXPECT_EQ(host.client().release(future), 0);
}

TEST_F(Tasks, WrongSignatureIsATypeError) {
  InProcessHost host(1);
  host.start();
  tarn_submit_options options{};
  options.size = sizeof options;
  options.signature = 8;
  tarn_future future = submit(host.client(), "test.concatenate", {}, &options);
  tarn_bytes bytes{};
  EXPECT_EQ(host.client().result(future, kTimeoutNs, bytes), TARN_E_TYPE);
  EXPECT_EQ(host.client().release(future), 0);
}

TEST_F(Tasks, WrongArgumentsAreRefusedAndLeaveNothing) {
  InProcessHost host(1);
  host.start();
  tarn_future future{};
  EXPECT_EQ(host.client().submit(12345, nullptr, 0, nullptr, future), TARN_E_NO_TASK);
  uint32_t add_number = task::task_number("test.add");
  EXPECT_EQ(host.client().submit(add_number, nullptr, 1, nullptr, future), TARN_E_ARGUMENT);
  std::vector<tarn_arg> too_many(70000, tarn_arg_value(nullptr, 0));
  EXPECT_EQ(host.client().submit(add_number, too_many.data(), too_many.size(), nullptr, future), TARN_E_TOO_LARGE);
  std::vector<char> large(2 << 20);
  tarn_arg arg = tarn_arg_value(large.data(), large.size());
  EXPECT_EQ(host.client().submit(add_number, &arg, 1, nullptr, future), TARN_E_TOO_LARGE);
  arg = tarn_arg_value(nullptr, 3);
  EXPECT_EQ(host.client().submit(add_number, &arg, 1, nullptr, future), TARN_E_ARGUMENT);
  arg = tarn_arg_future(tarn_future{42});
  EXPECT_EQ(host.client().submit(add_number, &arg, 1, nullptr, future), TARN_E_NO_FUTURE);
  arg.kind = 9;
  EXPECT_EQ(host.client().submit(add_number, &arg, 1, nullptr, future), TARN_E_ARGUMENT);
  tarn_bytes bytes{};
  EXPECT_EQ(host.client().result(tarn_future{42}, 0, bytes), TARN_E_NO_FUTURE);
  // A record that was tried and given back is used again.
  EXPECT_EQ(result_of(host.client(), submit_add(host.client(), 5)), 5);
  EXPECT_LE(host.client_segment().records_used.load(shm::kRelaxed), 2u);
}

TEST_F(Tasks, ReleasedFuturesAreNoLongerValid) {
  InProcessHost host(1);
  host.start();
  tarn_future future = submit_add(host.client(), 1);
  EXPECT_EQ(result_of(host.client(), future), 1);
  EXPECT_EQ(host.client().release(future), 0);
  EXPECT_EQ(host.client().release(future), TARN_E_NO_FUTURE);
  tarn_bytes bytes{};
  EXPECT_EQ(host.client().result(future, 0, bytes), TARN_E_NO_FUTURE);
  // Nor are they once the record serves another task.
  tarn_future other = submit_add(host.client(), 2);
  EXPECT_EQ(host.client().result(future, 0, bytes), TARN_E_NO_FUTURE);
  EXPECT_EQ(result_of(host.client(), other), 2);
}

TEST_F(Tasks, AHundredThousandTasksUseFewRecords) {
  InProcessHost host(2);
  host.start();
  int64_t sum = 0;
  std::vector<tarn_future> window(64);
  for (int64_t i = 0; i < 100'000; ++i) {
    tarn_future& future = window[static_cast<size_t>(i) % window.size()];
    if (i >= 64) {
      sum += result_of(host.client(), future);
      ASSERT_EQ(host.client().release(future), 0);
    }
    future = submit_add(host.client(), i);
  }
  for (tarn_future future : window) {
    sum += result_of(host.client(), future);
    ASSERT_EQ(host.client().release(future), 0);
  }
  EXPECT_EQ(sum, 99'999LL * 100'000 / 2);
  EXPECT_LE(host.client_segment().records_used.load(shm::kRelaxed), 128u);
}

TEST_F(Tasks, MoreTasksThanHintsAllRun) {
  InProcessHost host(2);
  // Nobody serves yet: the ring overflows.
  std::vector<tarn_future> futures;
  for (int64_t i = 0; i < 4000; ++i) futures.push_back(submit_add(host.client(), i));
  EXPECT_NE(host.client_segment().usual.unhinted.load(shm::kRelaxed), 0u);
  host.start();
  size_t done_count = 0;
  ASSERT_EQ(host.client().wait(futures.data(), futures.size(), futures.size(), kTimeoutNs, nullptr, &done_count), 0)
      << last_error();
  EXPECT_EQ(done_count, futures.size());
  for (size_t i = 0; i < futures.size(); ++i) {
    EXPECT_EQ(result_of(host.client(), futures[i]), static_cast<int64_t>(i));
    EXPECT_EQ(host.client().release(futures[i]), 0);
  }
}

TEST_F(Tasks, WhatIsMostUrgentBeginsFirst) {
  InProcessHost host(1);
  std::vector<int64_t> expected;
  for (int64_t i = 0; i < 3; ++i)
    for (int32_t priority = TARN_PRIORITY_MIN; priority <= TARN_PRIORITY_MAX; ++priority) submit_note(host, priority * 10 + i, priority);
  for (int32_t priority = TARN_PRIORITY_MAX; priority >= TARN_PRIORITY_MIN; --priority)
    for (int64_t i = 0; i < 3; ++i) expected.push_back(priority * 10 + i);
  while (host.executor(0).run_available() != 0) {
  }
  EXPECT_EQ(noted, expected);
}

// More than a lane has room for: those without a hint are found as well, and before what is less urgent.
TEST_F(Tasks, UrgentOnesWithoutAHintBeginBeforeOthers) {
  constexpr int64_t kEach = 3000;
  InProcessHost host(1);
  for (int64_t i = 0; i < kEach; ++i) {
    submit_note(host, 0, 0);
    submit_note(host, 1, TARN_PRIORITY_MAX);
    submit_note(host, -1, TARN_PRIORITY_MIN);
  }
  while (host.executor(0).run_available() != 0) {
  }
  ASSERT_EQ(noted.size(), static_cast<size_t>(3 * kEach));
  EXPECT_TRUE(std::is_sorted(noted.begin(), noted.end(), std::greater<>()));
}

TEST_F(Tasks, ADependentHasItsOwnUrgency) {
  InProcessHost host(1);
  tarn_future first = submit_note(host, 1, 1);
  submit_note(host, 2, 3, &first);
  for (int i = 0; i < 20; ++i) submit_note(host, 3, 0);
  while (host.executor(0).run_available() != 0) {
  }
  ASSERT_EQ(noted.size(), 22u);
  EXPECT_EQ(noted[0], 1);
  EXPECT_EQ(noted[1], 2);
}

TEST_F(Tasks, PrioritiesHaveBounds) {
  InProcessHost host(1);
  tarn_submit_options options{};
  options.size = sizeof options;
  tarn_future future{};
  int64_t value = 1;
  tarn_arg arg = tarn_arg_value(&value, sizeof value);
  for (int32_t priority : {TARN_PRIORITY_MIN - 1, TARN_PRIORITY_MAX + 1, INT32_MIN, INT32_MAX}) {
    options.priority = priority;
    EXPECT_EQ(host.client().submit(task::task_number("test.note"), &arg, 1, &options, future), TARN_E_ARGUMENT);
  }
}

TEST_F(Tasks, AFutureIsAnArgument) {
  InProcessHost host(2);
  host.start();
  // A chain: each adds one to the result of the one before. Handles are given back at once.
  tarn_future last = submit_add(host.client(), 0);
  int64_t one = 1;
  for (int i = 0; i < 1000; ++i) {
    tarn_future next =
        submit(host.client(), "test.add", {tarn_arg_future(last), tarn_arg_value(&one, sizeof one)});
    ASSERT_EQ(host.client().release(last), 0);
    last = next;
  }
  EXPECT_EQ(result_of(host.client(), last), 1000);
  EXPECT_EQ(host.client().release(last), 0);
}

TEST_F(Tasks, WideFanInWaitsForAll) {
  InProcessHost host(2);
  host.start();
  for (size_t width : {2u, 31u, 32u, 64u, 65u, 1000u, 5000u}) {
    std::vector<tarn_future> futures;
    std::vector<tarn_arg> args;
    int64_t gate = 0;
    gate_open = false;
    // The first keeps the others waiting, so that the edges hang before anything finishes.
    futures.push_back(submit(host.client(), "test.wait_for_gate", {tarn_arg_value(&gate, sizeof gate)}));
    for (size_t i = 1; i < width; ++i) futures.push_back(submit_add(host.client(), static_cast<int64_t>(i)));
    for (tarn_future future : futures) args.push_back(tarn_arg_future(future));
    tarn_future sum = submit(host.client(), "test.add", args);
    tarn_bytes bytes{};
    EXPECT_EQ(host.client().result(sum, 1'000'000, bytes), TARN_E_TIMED_OUT);
    gate_open = true;
    EXPECT_EQ(result_of(host.client(), sum), static_cast<int64_t>(width * (width - 1) / 2)) << width;
    for (tarn_future future : futures) EXPECT_EQ(host.client().release(future), 0);
    EXPECT_EQ(host.client().release(sum), 0);
  }
}

TEST_F(Tasks, AFailedDependencyFailsItsDependents) {
  InProcessHost host(1);
  host.start();
  tarn_future bad = submit(host.client(), "test.fail", {});
  tarn_future next = submit(host.client(), "test.add", {tarn_arg_future(bad)});
  tarn_bytes bytes{};
  EXPECT_EQ(host.client().result(next, kTimeoutNs, bytes), TARN_E_DEPENDENCY);
  EXPECT_NE(std::string(last_error()).find("it was not to be"), std::string::npos) << last_error();
  EXPECT_EQ(host.client().release(bad), 0);
  EXPECT_EQ(host.client().release(next), 0);
}

TEST_F(Tasks, WaitCountsWhatIsDone) {
  InProcessHost host(2);
  host.start();
  int64_t zero = 0;
  tarn_future slow = submit(host.client(), "test.wait_for_gate", {tarn_arg_value(&zero, sizeof zero)});
  tarn_future fast = submit_add(host.client(), 1);
  tarn_future futures[] = {slow, fast};
  uint8_t done[2] = {9, 9};
  size_t count = 9;
  ASSERT_EQ(host.client().wait(futures, 2, 1, kTimeoutNs, done, &count), 0) << last_error();
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(done[0], 0);
  EXPECT_EQ(done[1], 1);
  EXPECT_EQ(host.client().wait(futures, 2, 2, 2'000'000, done, &count), TARN_E_TIMED_OUT);
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(host.client().wait(futures, 2, 3, 0, nullptr, nullptr), TARN_E_ARGUMENT);
  EXPECT_EQ(host.client().wait(nullptr, 0, 0, 0, nullptr, &count), 0);
  EXPECT_EQ(count, 0u);
  gate_open = true;
  EXPECT_EQ(host.client().wait(futures, 2, 2, kTimeoutNs, done, &count), 0);
  EXPECT_EQ(count, 2u);
}

TEST_F(Tasks, ManyThreadsSubmitAndWait) {
  InProcessHost host(2);
  host.start();
  std::vector<std::thread> threads;
  std::atomic<int64_t> total{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int64_t i = 0; i < 2000; ++i) {
        int64_t value = i * 4 + t;
        tarn_arg arg = tarn_arg_value(&value, sizeof value);
        tarn_future future;
        ASSERT_EQ(host.client().submit(task::task_number("test.add"), &arg, 1, nullptr, future), 0);
        total += result_of(host.client(), future);
        ASSERT_EQ(host.client().release(future), 0);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(total.load(), 7999LL * 8000 / 2);
}

TEST_F(Tasks, ReleasingEarlyLosesNothing) {
  InProcessHost host(2);
  host.start();
  // Handles go at once; the tasks run all the same, and their records come back.
  for (int64_t i = 0; i < 20'000; ++i) ASSERT_EQ(host.client().release(submit_add(host.client(), i)), 0);
  EXPECT_EQ(result_of(host.client(), submit_add(host.client(), 3)), 3);
}

TEST_F(Tasks, CallbacksRunInDispatch) {
  InProcessHost host(1);
  host.start();
  Fd event{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  struct Counter {
    int called = 0;
  } counter;
  auto count = [](tarn_client*, tarn_future, void* context) { ++static_cast<Counter*>(context)->called; };
  std::vector<tarn_future> futures;
  for (int64_t i = 0; i < 10; ++i) {
    futures.push_back(submit_add(host.client(), i));
    ASSERT_EQ(host.client().then(futures.back(), count, &counter), 0);
  }
  EXPECT_EQ(host.client().then(futures[0], count, &counter), TARN_E_STATE);
  // One that is released before it is dispatched is not called.
  ASSERT_EQ(host.client().release(futures[9]), 0);
  int64_t deadline = os::deadline_after(kTimeoutNs);
  while (counter.called < 9 && os::now_ns() < deadline) ASSERT_GE(host.client().dispatch(nullptr, event), 0);
  EXPECT_EQ(counter.called, 9);
}

// ---- Crashes ---------------------------------------------------------------------------------

TEST_F(Tasks, AClaimOfADeadWorkerIsRunAgainWithItsArguments) {
  InProcessHost host(2);
  tarn_future future = submit_add(host.client(), 77);
  // Worker 0 claims the record, keeps the arguments, writes half a result, and is gone.
  task::SegmentSpace space(host.client_view(), shm::kClientMember);
  task::TaskRecord& record = space.record(0);
  auto dead = static_cast<uint16_t>(host.member_of(0));
  task::State mine{};
  ASSERT_TRUE(task::claim(record, dead, mine));
  task::save_arguments(host.client_view().segments[dead]->undo, record, mine.generation, space.id(0));
  record.attempts = 1;
  memset(record.payload, 0xee, 20);
  // Worker 1 settles it, twice: the second time changes nothing.
  ASSERT_EQ(host.executor(1).recover_member(dead, 9, 0), 0);
  ASSERT_EQ(host.executor(1).recover_member(dead, 9, 0), 0);
  while (host.executor(1).run_available() != 0) {
  }
  EXPECT_EQ(result_of(host.client(), future), 77);
  EXPECT_EQ(record.attempts, 2);
}

TEST_F(Tasks, ATaskThatKillsItsWorkersFailsInTheEnd) {
  InProcessHost host(2);
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = 2;
  int64_t value = 1;
  tarn_future future = submit(host.client(), "test.add", {tarn_arg_value(&value, sizeof value)}, &options);
  // A second task depends on it, so there is somebody to tell.
  tarn_future next = submit(host.client(), "test.add", {tarn_arg_future(future)});
  task::SegmentSpace space(host.client_view(), shm::kClientMember);
  task::TaskRecord& record = space.record(0);
  auto dead = static_cast<uint16_t>(host.member_of(0));
  for (int attempt = 1; attempt <= 3; ++attempt) {
    task::State mine{};
    ASSERT_TRUE(task::claim(record, dead, mine)) << attempt;
    task::save_arguments(host.client_view().segments[dead]->undo, record, mine.generation, space.id(0));
    ++record.attempts;
    ASSERT_EQ(host.executor(1).recover_member(dead, 11, 0), 0);
  }
  tarn_bytes bytes{};
  EXPECT_EQ(host.client().result(future, 0, bytes), TARN_E_WORKER_CRASHED) << last_error();
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(host.client().error(future, error), 0);
  EXPECT_EQ(error.signal, 11);
  EXPECT_EQ(error.attempts, 3u);
  while (host.executor(1).run_available() != 0) {
  }
  EXPECT_EQ(host.client().result(next, 0, bytes), TARN_E_DEPENDENCY);
}

TEST_F(Tasks, AFinishedRecordOfADeadWorkerIsToldAgain) {
  InProcessHost host(2);
  tarn_future future = submit_add(host.client(), 5);
  tarn_future next = submit(host.client(), "test.add", {tarn_arg_future(future)});
  task::SegmentSpace space(host.client_view(), shm::kClientMember);
  task::TaskRecord& record = space.record(0);
  auto dead = static_cast<uint16_t>(host.member_of(0));
  task::State mine{};
  ASSERT_TRUE(task::claim(record, dead, mine));
  record.result_size = 8;
  // The worker died between making it finished and telling the dependent.
  mine.phase = task::Phase::kFinished;
  mine.flags = task::kEdges;
  record.state.store(mine.pack(), shm::kRelease);
  ASSERT_EQ(host.executor(1).recover_member(dead, 9, 0), 0);
  while (host.executor(1).run_available() != 0) {
  }
  EXPECT_EQ(result_of(host.client(), next), 5);
  EXPECT_EQ(result_of(host.client(), future), 5);
}

TEST_F(Tasks, TasksSubmitTasks) {
  for (uint32_t workers : {1u, 2u, 4u}) {
    InProcessHost host(workers);
    host.start();
    int64_t range[] = {1, 2000};
    for (int i = 0; i < 10; ++i) {
      tarn_future future = submit(host.client(), "test.add_up", {tarn_arg_value(&range[0], 8), tarn_arg_value(&range[1], 8)});
      EXPECT_EQ(result_of(host.client(), future), 2000 * 2001 / 2);
    }
    host.stop();
    for (uint32_t i = 0; i < workers; ++i) EXPECT_LT(host.view(i).own().records_used.load(shm::kRelaxed), shm::kRecordsAtStart);
  }
}

TEST_F(Tasks, WhatADeadWorkerHadSubmittedDoesNotBegin) {
  InProcessHost host(2);
  Submitter& parent = host.submitter(0);
  tarn_future ready = submit_add(parent, 1);
  tarn_future waiting = submit(parent, "test.add", {tarn_arg_future(ready)});
  tarn_future running = submit_add(parent, 3);
  // Another worker runs the third.
  uint32_t dead = host.member_of(0);
  task::SegmentSpace space(host.view(1), dead);
  auto record_of = [&](tarn_future future) -> task::TaskRecord& { return space.record(shm::id_index(static_cast<uint32_t>(future.id))); };
  task::State mine{};
  ASSERT_TRUE(task::claim(record_of(running), static_cast<uint16_t>(host.member_of(1)) + 1, mine));
  ASSERT_EQ(host.executor(1).recover_member(dead, 9, 0), 0);
  ASSERT_EQ(host.executor(1).recover_member(dead, 9, 0), 0);
  while (host.executor(1).run_available() != 0) {
  }
  EXPECT_EQ(host.view(1).board->workers[host.member_of(1)].tasks_done.load(shm::kRelaxed), 0u);
  for (tarn_future future : {ready, waiting}) {
    task::State state = task::State::unpack(record_of(future).state.load(shm::kAcquire));
    EXPECT_EQ(state.phase, task::Phase::kDone);
    EXPECT_NE(state.flags & task::kFailed, 0);
  }
  EXPECT_FALSE(task::finish(space, record_of(running), mine, 0)) << "its process is to end";
}

// Children with results in objects, of which nobody wants any.
TEST_F(Tasks, ResultsThatWereReleasedEarlyGoWithTheirParent) {
  InProcessHost host(1);
  int64_t count = 50;
  tarn_future future = submit(host.client(), "test.let_go", {tarn_arg_value(&count, sizeof count)});
  EXPECT_EQ(host.executor(0).run_available(), 1u);
  EXPECT_EQ(result_of(host.client(), future), count);
  shm::MemberSegment& segment = host.view(0).own();
  EXPECT_GT(segment.objects_used.load(shm::kRelaxed), 0u);
  for (uint32_t i = 0; i < segment.objects_used.load(shm::kRelaxed); ++i)
    EXPECT_NE(reinterpret_cast<store::ObjectRecord*>(segment.object_records)[i].life.bits.load(shm::kRelaxed) & store::kDead, 0u);
}

// What a worker runs while it waits leaves hints in its ring that nobody takes.
TEST_F(Tasks, ARingFullOfHintsOfWhatHasRunTakesNewOnes) {
  InProcessHost host(1);
  int64_t count = 3 * int64_t{shm::kHintRingSlots};
  tarn_future future = submit(host.client(), "test.one_by_one", {tarn_arg_value(&count, sizeof count)});
  EXPECT_EQ(host.executor(0).run_available(), 1u);
  EXPECT_EQ(result_of(host.client(), future), count);
  EXPECT_EQ(host.view(0).own().usual.unhinted.load(shm::kRelaxed), 0u);
}

TEST_F(Tasks, HintsThatDiedWithTheirWorkerAreFoundAgain) {
  InProcessHost host(2);
  std::vector<tarn_future> futures;
  for (int64_t i = 0; i < 20; ++i) futures.push_back(submit_add(host.client(), i));
  uint32_t ids[16];
  ASSERT_EQ(host.client_segment().usual.ring.take(ids, 16), 16u);  // and its taker is gone
  ASSERT_EQ(host.executor(1).recover_member(host.member_of(0), 9, 0), 0);
  while (host.executor(1).run_available() != 0) {
  }
  for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(result_of(host.client(), futures[static_cast<size_t>(i)]), i);
}

// What tarnd has ordered it to do may not have arrived before, and who sleeps would not see what it takes.
TEST_F(Tasks, AWorkerTakesNothingBeforeTarndSaysThatItServes) {
  InProcessHost host(1);
  std::thread worker([&] { (void)host.executor(0).serve(); });
  tarn_future future = submit_add(host.client(), 7);
  tarn_bytes bytes{};
  EXPECT_EQ(host.client().result(future, 100'000'000, bytes), TARN_E_TIMED_OUT);
  shm::begin_serving(*host.view(0).board, host.member_of(0));
  EXPECT_EQ(result_of(host.client(), future), 7);
  host.executor(0).stop();
  worker.join();
}

}  // namespace
}  // namespace tarn::test
