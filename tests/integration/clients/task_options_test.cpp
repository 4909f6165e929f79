// Tasks that nobody wants any more, tasks whose time is over, and tasks that are more urgent than others.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;
using Clock = std::chrono::steady_clock;

constexpr int64_t kLong = 20'000'000'000;
constexpr int64_t kMs = 1'000'000;

int nap(tarn_call* call) {
  uint32_t ms = 0;
  memcpy(&ms, tarn_call_arg(call, 0).data, sizeof ms);
  usleep(ms * 1000);
  return 0;
}

// Reads its argument only then.
int are_all_a_later(tarn_call* call) {
  nap(call);
  tarn_bytes bytes = tarn_call_arg(call, 1);
  for (size_t i = 0; i < bytes.size; ++i)
    if (static_cast<const char*>(bytes.data)[i] != 'a') return tarn_call_fail(call, -1000, nullptr, "byte %zu is not what was passed", i);
  return 0;
}

// Which record it has (shm/ids.hpp).
uint32_t record_of(tarn_future future) { return static_cast<uint32_t>(future.id) % (1u << 22); }

// Leaves the file whose name it gets: other tasks say so that they run.
int leave_file(tarn_call* call) {
  tarn_bytes name = tarn_call_arg(call, 0);
  close(open(std::string(static_cast<const char*>(name.data), name.size).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  return 0;
}

int take_future(tarn_call*) { return 0; }

int poll_until_cancelled(tarn_call* call) {
  leave_file(call);
  while (tarn_call_cancelled(call) == 0) usleep(1000);
  return TARN_E_CANCELLED;
}

int poll_and_return(tarn_call* call) {
  leave_file(call);
  while (tarn_call_cancelled(call) == 0) usleep(1000);
  return tarn_call_return(call, "all the same", 12);
}

int say_cancelled(tarn_call*) { return TARN_E_CANCELLED; }

int loop_for_ever(tarn_call* call) {
  leave_file(call);
  volatile bool is_over = false;
  while (!is_over) {
  }
  return 0;
}

// The task has a signal mask of its own: nothing that can be blocked ends it.
int loop_deaf(tarn_call* call) {
  leave_file(call);
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, nullptr);
  for (;;) pause();
}

int sum(tarn_call* call) {
  uint64_t numbers[2];
  for (size_t i = 0; i < 2; ++i) memcpy(&numbers[i], tarn_call_arg(call, i).data, sizeof numbers[i]);
  numbers[0] += numbers[1];
  return tarn_call_return(call, numbers, sizeof numbers[0]);
}

int process(tarn_call* call) {
  int pid = getpid();
  return tarn_call_return(call, &pid, sizeof pid);
}

const tarn::test::SelfWorker self_worker([] {
  tarn_task_define("nap", nap);
  tarn_task_define("leave_file", leave_file);
  tarn_task_define("are_all_a_later", are_all_a_later);
  tarn_task_define("take_future", take_future);
  tarn_task_define("poll_until_cancelled", poll_until_cancelled);
  tarn_task_define("poll_and_return", poll_and_return);
  tarn_task_define("say_cancelled", say_cancelled);
  tarn_task_define("loop_for_ever", loop_for_ever);
  tarn_task_define("loop_deaf", loop_deaf);
  tarn_task_define("process", process);
  tarn_task_define("sum", sum);
});

class TaskOptions : public testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/tarn_cancel_XXXXXX";
    directory_ = mkdtemp(path);
  }
  void TearDown() override {
    unlink(file().c_str());
    rmdir(directory_.c_str());
  }

  [[nodiscard]] std::string file() const { return directory_ + "/ran"; }
  [[nodiscard]] bool file_was_left() const { return access(file().c_str(), F_OK) == 0; }

  tarn_future submit(const char* task, const std::vector<tarn_arg>& args = {}, tarn_submit_options options = {}) {
    tarn_future future{};
    options.size = sizeof options;
    EXPECT_EQ(0, tarn_submit(client_, tarn_task_id(task), args.data(), args.size(), &options, &future)) << tarn_last_error();
    return future;
  }

  tarn_future start_nap(const uint32_t& ms) { return submit("nap", {tarn_arg_value(&ms, sizeof ms)}); }

  tarn_future leave(const std::string& name) { return submit("leave_file", {tarn_arg_value(name.data(), name.size())}); }

  int result(tarn_future future, tarn_bytes* bytes = nullptr, int64_t timeout_ns = kLong) {
    return tarn_result(client_, future, timeout_ns, bytes);
  }

  int pid_of_worker() {
    tarn_bytes bytes{};
    tarn_future future = submit("process");
    EXPECT_EQ(0, result(future, &bytes)) << tarn_last_error();
    int pid = 0;
    if (bytes.size == sizeof pid) memcpy(&pid, bytes.data, sizeof pid);
    tarn_future_release(client_, future);
    return pid;
  }

  // One that says that it runs, and then it does.
  tarn_future submit_and_wait_until_it_runs(const char* task) {
    tarn_future future = submit_announced(task);
    for (int i = 0; i < 20'000 && !file_was_left(); ++i) usleep(1000);
    EXPECT_TRUE(file_was_left()) << task << " does not begin";
    unlink(file().c_str());
    return future;
  }
  tarn_future submit_announced(const char* task, const tarn_submit_options& options = {}) {
    std::string name = file();
    return submit(task, {tarn_arg_value(name.data(), name.size())}, options);
  }

  PrivateClient client_;
  std::string directory_;
};

TEST_F(TaskOptions, WhatHasNotBegunNeverDoes) {
  tarn_future first = start_nap(300);
  tarn_future second = leave(file());
  EXPECT_EQ(0, tarn_cancel(client_, second, 0)) << tarn_last_error();
  EXPECT_EQ(TARN_E_CANCELLED, result(second, nullptr, 0));
  EXPECT_STREQ("task 'leave_file' was cancelled", tarn_last_error());
  EXPECT_EQ(TARN_E_TIMED_OUT, result(first, nullptr, 0)) << "it was said before the worker came to it";
  EXPECT_EQ(0, result(first));
  tarn_future last = start_nap(1);
  EXPECT_EQ(0, result(last));
  EXPECT_FALSE(file_was_left());
  EXPECT_EQ(TARN_E_STATE, tarn_cancel(client_, second, 0));
  EXPECT_EQ(TARN_E_CANCELLED, result(second));
}

TEST_F(TaskOptions, WhatWaitsForOthersNeverBeginsAndWhatWaitsForItFailsForThat) {
  tarn_future first = start_nap(200);
  tarn_future second = submit("take_future", {tarn_arg_future(first)});
  tarn_future third = submit("take_future", {tarn_arg_future(second)});
  EXPECT_EQ(0, tarn_cancel(client_, second, TARN_CANCEL_KILL)) << tarn_last_error();
  EXPECT_EQ(TARN_E_CANCELLED, result(second, nullptr, 0));
  EXPECT_EQ(TARN_E_DEPENDENCY, result(third));
  tarn_task_error error{};
  error.size = sizeof error;
  EXPECT_EQ(0, tarn_future_error(client_, third, &error));
  EXPECT_EQ(TARN_E_CANCELLED, error.cause);
  EXPECT_STREQ("take_future", error.task);
  EXPECT_STREQ("it was cancelled", error.message);
  EXPECT_EQ(0, result(first)) << "nobody cancelled that";
}

TEST_F(TaskOptions, WhatRunsIsToldAndDecides) {
  tarn_future first = submit_and_wait_until_it_runs("poll_until_cancelled");
  EXPECT_EQ(0, tarn_cancel(client_, first, 0)) << tarn_last_error();
  EXPECT_EQ(TARN_E_CANCELLED, result(first));
  tarn_future second = submit_and_wait_until_it_runs("poll_and_return");
  EXPECT_EQ(0, tarn_cancel(client_, second, 0));
  tarn_bytes bytes{};
  EXPECT_EQ(0, result(second, &bytes)) << tarn_last_error();
  EXPECT_EQ(12u, bytes.size);
}

TEST_F(TaskOptions, ATaskThatSaysSoByItselfHasFailed) {
  tarn_future future = submit("say_cancelled");
  EXPECT_EQ(TARN_E_TASK_FAILED, result(future));
}

TEST_F(TaskOptions, AProcessIsEndedWhateverItDoesAndAnotherTakesItsPlace) {
  for (const char* task : {"loop_for_ever", "loop_deaf"}) {
    int before = pid_of_worker();
    tarn_future future = submit_and_wait_until_it_runs(task);
    EXPECT_EQ(0, tarn_cancel(client_, future, TARN_CANCEL_KILL)) << tarn_last_error();
    int again = tarn_cancel(client_, future, TARN_CANCEL_KILL);
    EXPECT_TRUE(again == 0 || again == TARN_E_STATE) << "twice does no harm, also when it is over already: " << tarn_last_error();
    EXPECT_EQ(TARN_E_CANCELLED, result(future)) << task;
    EXPECT_EQ(std::string("task '") + task + "' was cancelled", tarn_last_error()) << "not that its worker was killed";
    tarn_task_error error{};
    error.size = sizeof error;
    EXPECT_EQ(0, tarn_future_error(client_, future, &error));
    EXPECT_EQ(1u, error.attempts) << "it was not run again";
    EXPECT_NE(before, pid_of_worker());
  }
}

TEST_F(TaskOptions, WhatIsDoneIsDone) {
  tarn_future future = start_nap(0);
  EXPECT_EQ(0, result(future));
  EXPECT_EQ(TARN_E_STATE, tarn_cancel(client_, future, TARN_CANCEL_KILL));
  EXPECT_EQ(0, result(future));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_cancel(client_, future, 2));
  tarn_future_release(client_, future);
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_cancel(client_, future, 0));
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_cancel(nullptr, future, 0));
}

// However the cancelling falls, the task has one outcome, and the worker goes on with the next.
TEST_F(TaskOptions, AtAnyMoment) {
  int kinds[3] = {};
  for (int i = 0; i < 300; ++i) {
    uint64_t value = 7;
    tarn_future future = submit("nap", {tarn_arg_value(&value, sizeof value)});
    if (i % 3 == 0) usleep(static_cast<useconds_t>(i % 50));
    bool kill = i % 50 == 49;
    int cancelled = tarn_cancel(client_, future, kill ? TARN_CANCEL_KILL : 0);
    int r = result(future);
    if (cancelled == TARN_E_STATE) {
      EXPECT_EQ(0, r) << tarn_last_error();
    } else if (kill) {
      EXPECT_EQ(TARN_E_CANCELLED, r) << tarn_last_error();
    } else {
      EXPECT_TRUE(r == 0 || r == TARN_E_CANCELLED) << tarn_last_error();
    }
    ++kinds[r == 0];
    tarn_future_release(client_, future);
  }
  EXPECT_EQ(300, kinds[0] + kinds[1]);
}

TEST_F(TaskOptions, ATimeOutEndsARunForGood) {
  tarn_submit_options options{};
  options.timeout_ns = 50 * kMs;
  for (const char* task : {"loop_for_ever", "poll_until_cancelled", "poll_and_return"}) {
    tarn_future future = submit_announced(task, options);
    auto begin = Clock::now();
    EXPECT_EQ(TARN_E_DEADLINE, result(future)) << task << ": " << tarn_last_error();
    EXPECT_EQ(nullptr, strstr(tarn_last_error(), "killed")) << tarn_last_error();
    EXPECT_GE(Clock::now() - begin, std::chrono::milliseconds(50)) << task;
    tarn_task_error error{};
    error.size = sizeof error;
    EXPECT_EQ(0, tarn_future_error(client_, future, &error));
    EXPECT_EQ(TARN_E_DEADLINE, error.code);
    EXPECT_EQ(1u, error.attempts);
  }
  options.timeout_ns = kLong;
  tarn_future future = submit("process", {}, options);
  EXPECT_EQ(0, result(future)) << tarn_last_error();
}

// The timer of one run is nothing to the next.
TEST_F(TaskOptions, ATimeOutIsOfOneRunAlone) {
  tarn_submit_options options{};
  options.timeout_ns = 60 * kMs;
  int before = pid_of_worker();
  for (uint32_t i = 0; i < 5; ++i) {
    uint32_t ms = 20;
    EXPECT_EQ(0, result(submit("nap", {tarn_arg_value(&ms, sizeof ms)}, options))) << tarn_last_error();
  }
  EXPECT_EQ(0, result(start_nap(300))) << tarn_last_error();
  EXPECT_EQ(before, pid_of_worker());
}

TEST_F(TaskOptions, ADeadlineCountsFromTheSubmission) {
  tarn_future first = start_nap(600);
  tarn_submit_options options{};
  options.deadline_ns = 100 * kMs;
  std::string name = file();
  tarn_future second = submit_announced("leave_file", options);
  EXPECT_EQ(TARN_E_DEADLINE, result(second));
  EXPECT_STREQ("task 'leave_file' was not done in the time that it had", tarn_last_error());
  EXPECT_EQ(TARN_E_TIMED_OUT, result(first, nullptr, 0)) << "it was told when the time was over";
  // To look is enough.
  tarn_future looked_at = submit("leave_file", {tarn_arg_value(name.data(), name.size())}, options);
  EXPECT_EQ(TARN_E_TIMED_OUT, result(looked_at, nullptr, 0));
  usleep(120'000);
  EXPECT_EQ(TARN_E_DEADLINE, result(looked_at, nullptr, 0));
  // Nobody waits for this one: the worker sees to it.
  tarn_future third = submit("leave_file", {tarn_arg_value(name.data(), name.size())}, options);
  EXPECT_EQ(0, result(first));
  EXPECT_EQ(TARN_E_DEADLINE, result(third));
  EXPECT_FALSE(file_was_left());
  tarn_future fourth = submit_announced("loop_for_ever", options);
  EXPECT_EQ(TARN_E_DEADLINE, result(fourth));
}

// Also by a worker that sleeps, and has looked at the usual lane alone so far.
TEST_F(TaskOptions, UrgentTasksWakeAWorkerAndGoFirst) {
  EXPECT_EQ(0, result(start_nap(1)));
  usleep(50'000);
  tarn_submit_options urgent{};
  urgent.priority = TARN_PRIORITY_MAX;
  tarn_future future = submit("process", {}, urgent);
  EXPECT_EQ(0, result(future)) << tarn_last_error();
  usleep(50'000);
  tarn_submit_options idle{};
  idle.priority = TARN_PRIORITY_MIN;
  EXPECT_EQ(0, result(submit("process", {}, idle))) << tarn_last_error();
  tarn_future busy = start_nap(100);
  usleep(20'000);
  std::vector<tarn_future> usual;
  uint32_t ms = 30;
  for (int i = 0; i < 10; ++i) usual.push_back(start_nap(ms));
  tarn_future late = submit("process", {}, urgent);
  EXPECT_EQ(0, result(late));
  EXPECT_EQ(0, result(busy, nullptr, 0));
  EXPECT_EQ(TARN_E_TIMED_OUT, result(usual.back(), nullptr, 0)) << "the urgent one was behind ten others";
  EXPECT_EQ(0, result(usual.back()));
}

TEST_F(TaskOptions, ABatchIsAsManyTasks) {
  constexpr size_t kCount = 1000;
  std::vector<uint64_t> numbers(2 * kCount);
  std::vector<tarn_arg> args;
  for (size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = i;
    args.push_back(tarn_arg_value(&numbers[i], sizeof numbers[i]));
  }
  std::vector<tarn_future> futures(kCount);
  size_t done = 7;
  ASSERT_EQ(0, tarn_submit_batch(client_, tarn_task_id("sum"), args.data(), 2, kCount, nullptr, futures.data(), &done));
  EXPECT_EQ(kCount, done);
  for (size_t i = 0; i < kCount; ++i) {
    tarn_bytes bytes{};
    uint64_t sum = 0;
    ASSERT_EQ(0, result(futures[i], &bytes)) << tarn_last_error();
    ASSERT_EQ(sizeof sum, bytes.size);
    memcpy(&sum, bytes.data, sizeof sum);
    EXPECT_EQ(4 * i + 1, sum);
    EXPECT_EQ(0, tarn_future_release(client_, futures[i]));
  }
  // The first error ends it, and what came before is submitted.
  args[2 * 500].kind = 99;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit_batch(client_, tarn_task_id("sum"), args.data(), 2, kCount, nullptr, futures.data(), &done));
  EXPECT_EQ(500u, done);
  for (size_t i = 0; i < done; ++i) EXPECT_EQ(0, result(futures[i])) << i;
  EXPECT_EQ(0, tarn_submit_batch(client_, tarn_task_id("process"), nullptr, 0, 3, nullptr, futures.data(), nullptr));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(0, result(futures[i])) << i;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit_batch(client_, tarn_task_id("sum"), nullptr, 2, 1, nullptr, futures.data(), &done)) << "no arguments";
  EXPECT_EQ(0, tarn_submit_batch(client_, tarn_task_id("sum"), nullptr, 2, 0, nullptr, nullptr, &done)) << "for nothing";
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit_batch(client_, tarn_task_id("process"), nullptr, 0, 1, nullptr, nullptr, &done));
  EXPECT_EQ(TARN_E_NO_TASK, tarn_submit_batch(client_, tarn_task_id("nobody"), nullptr, 0, 1, nullptr, futures.data(), &done));
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_submit_batch(nullptr, tarn_task_id("sum"), nullptr, 0, 1, nullptr, futures.data(), &done));
  EXPECT_EQ(0u, done);
}

TEST_F(TaskOptions, LimitsAreChecked) {
  tarn_future future{};
  tarn_submit_options options{};
  options.size = sizeof options;
  options.timeout_ns = -1;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client_, tarn_task_id("process"), nullptr, 0, &options, &future));
  options.timeout_ns = 0;
  options.deadline_ns = -5;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client_, tarn_task_id("process"), nullptr, 0, &options, &future));
  options.deadline_ns = INT64_MAX;
  EXPECT_EQ(0, tarn_submit(client_, tarn_task_id("process"), nullptr, 0, &options, &future));
  EXPECT_EQ(0, result(future)) << tarn_last_error();
}

// While another thread still waits for it and for others. Its record is another task's then, whose arguments are not to be let go of.
TEST_F(TaskOptions, AFutureMayBeReleasedWhileAnotherThreadWaitsForIt) {
  uint32_t ms = 500, none = 0;
  tarn_future slow = start_nap(ms), fast = start_nap(none);
  ASSERT_EQ(0, result(fast));
  std::thread waits([&] {
    tarn_future both[] = {slow, fast};
    EXPECT_EQ(0, tarn_wait(client_, both, 2, 2, kLong, nullptr, nullptr)) << tarn_last_error();
  });
  usleep(100'000);
  EXPECT_EQ(0, tarn_future_release(client_, fast));
  std::vector<char> bytes(4000, 'a');
  uint32_t late = 1500;
  tarn_future reader = submit("are_all_a_later", {tarn_arg_value(&late, sizeof late), tarn_arg_value(bytes.data(), bytes.size())});
  EXPECT_EQ(record_of(fast), record_of(reader)) << "the record was not used again";
  waits.join();
  std::fill(bytes.begin(), bytes.end(), 'b');
  std::vector<tarn_future> others;
  for (int i = 0; i < 50; ++i) others.push_back(submit("nap", {tarn_arg_value(&none, sizeof none), tarn_arg_value(bytes.data(), bytes.size())}));
  EXPECT_EQ(0, result(reader)) << tarn_last_error();
  for (tarn_future other : others) EXPECT_EQ(0, tarn_future_release(client_, other));
}

// What a newer header has behind what this library knows is refused if it says something.
TEST_F(TaskOptions, OfANewerHeaderAreKnownOrNothing) {
  struct {
    tarn_submit_options known;
    uint64_t more;
  } options{};
  options.known.size = sizeof options;
  tarn_future future{};
  EXPECT_EQ(0, tarn_submit(client_, tarn_task_id("process"), nullptr, 0, &options.known, &future)) << tarn_last_error();
  EXPECT_EQ(0, result(future)) << tarn_last_error();
  options.more = 1;
  EXPECT_EQ(TARN_E_VERSION, tarn_submit(client_, tarn_task_id("process"), nullptr, 0, &options.known, &future));
  options.known.size = size_t{1} << 40;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client_, tarn_task_id("process"), nullptr, 0, &options.known, &future));
}

// A dependent says why, also when the process was ended for that.
TEST_F(TaskOptions, WhatDependsOnATaskThatWasLateSaysSo) {
  tarn_submit_options options{};
  options.timeout_ns = 100 * kMs;
  std::string name = file();
  tarn_future late = submit("loop_for_ever", {tarn_arg_value(name.data(), name.size())}, options);
  tarn_future dependent = submit("take_future", {tarn_arg_future(late)});
  EXPECT_EQ(TARN_E_DEPENDENCY, result(dependent));
  tarn_task_error error{};
  error.size = sizeof error;
  EXPECT_EQ(0, tarn_future_error(client_, dependent, &error));
  EXPECT_EQ(TARN_E_DEADLINE, error.cause);
  EXPECT_STREQ("it was not done in the time that it had", error.message);
}

// A run with a limit, of a task with one inline argument, has all its arguments in a block.
TEST_F(TaskOptions, ArgumentsArriveBesideLimits) {
  tarn_submit_options options{};
  options.timeout_ns = kLong;
  std::string name = file();
  EXPECT_EQ(0, result(submit("leave_file", {tarn_arg_value(name.data(), name.size())}, options))) << tarn_last_error();
  EXPECT_TRUE(file_was_left());
  EXPECT_EQ(0, result(submit("process", {}, options))) << tarn_last_error();
}

}  // namespace
