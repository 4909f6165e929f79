// Tasks that are run again after an error. What could go wrong: one is forgotten while it waits, by a worker that dies or sleeps; a
// worker waits for it; it runs although it was cancelled, or not often enough, or too often.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;
using Clock = std::chrono::steady_clock;

constexpr int64_t kLong = 20'000'000'000;
constexpr int64_t kMs = 1'000'000;

struct Order {
  uint32_t failures;  // before it succeeds
  int32_t code;       // with which it fails
  uint32_t crashes;   // before that
};

// The result is the number of the attempt.
int fail_at_first(tarn_call* call) {
  Order order;
  memcpy(&order, tarn_call_arg(call, 0).data, sizeof order);
  uint32_t attempt = tarn_call_attempt(call);
  if (attempt <= order.crashes) _exit(1);
  if (attempt <= order.crashes + order.failures) return tarn_call_fail(call, order.code, "Busy", "attempt %u", attempt);
  return tarn_call_return(call, &attempt, sizeof attempt);
}

int nothing(tarn_call*) { return 0; }

int return_argument(tarn_call* call) {
  tarn_bytes bytes = tarn_call_arg(call, 0);
  return tarn_call_return(call, bytes.data, bytes.size);
}

tarn_submit_options options_with(const tarn_retry& retry) {
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retry_on_error = &retry;
  return options;
}

tarn_retry retry_of(uint32_t times, int64_t first_ns = kMs) {
  tarn_retry retry{};
  retry.size = sizeof retry;
  retry.times = times;
  retry.first_ns = first_ns;
  return retry;
}

tarn_future submit(tarn_client* client, const Order& order, const tarn_submit_options& options) {
  tarn_arg argument = tarn_arg_value(&order, sizeof order);
  tarn_future future{};
  EXPECT_EQ(0, tarn_submit(client, tarn_task_id("fail_at_first"), &argument, 1, &options, &future)) << tarn_last_error();
  return future;
}

// The attempt that succeeded, or the code.
int64_t outcome(tarn_client* client, tarn_future future) {
  tarn_bytes bytes{};
  int code = tarn_result(client, future, kLong, &bytes);
  uint32_t attempt = 0;
  if (code == 0 && bytes.size == sizeof attempt) memcpy(&attempt, bytes.data, sizeof attempt);
  return code < 0 ? int64_t{code} : int64_t{attempt};
}

// Submits one that fails 3 times, and waits for it.
int retry_in_a_task(tarn_call* call) {
  tarn_client* client = tarn_call_client(call);
  tarn_retry retry = retry_of(3, 30 * kMs);
  tarn_submit_options options = options_with(retry);
  tarn_future future = submit(client, {3, -17, 0}, options);
  auto attempt = static_cast<uint32_t>(outcome(client, future));
  return tarn_call_return(call, &attempt, sizeof attempt);
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("fail_at_first", fail_at_first);
  tarn_task_define("nothing", nothing);
  tarn_task_define("return_argument", return_argument);
  tarn_task_define("retry_in_a_task", retry_in_a_task);
}};

pid_t worker_of(tarn_client* client) {
  tarn_slot_info slot{};
  slot.size = sizeof slot;
  for (int i = 0; i < 2000 && (tarn_client_get_slot(client, 0, &slot) < 0 || slot.pid <= 0); ++i) usleep(1000);
  return slot.pid;
}

uint64_t cpu_ns(pid_t process) {
  uint64_t running = 0;
  std::ifstream("/proc/" + std::to_string(process) + "/schedstat") >> running;
  return running;
}

tarn_task_error error_of(tarn_client* client, tarn_future future) {
  tarn_task_error error{};
  error.size = sizeof error;
  EXPECT_EQ(0, tarn_future_error(client, future, &error)) << tarn_last_error();
  return error;
}

class Retry : public testing::Test {
 protected:
  // The worker is up: where others work as well, that takes its time.
  void SetUp() override {
    tarn_future future{};
    ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("nothing"), nullptr, 0, nullptr, &future));
    EXPECT_EQ(0, tarn_result(client_, future, kLong, nullptr));
    EXPECT_EQ(0, tarn_future_release(client_, future));
    await_runs(0);
    begin_ = Clock::now();
  }

  // Waits until the worker has done that many runs beside the first: a task has failed, and backs off.
  void await_runs(uint64_t runs) {
    tarn_slot_info slot{};
    slot.size = sizeof slot;
    for (int i = 0; i < 5000; ++i, usleep(500))
      if (tarn_client_get_slot(client_, 0, &slot) == 0 && slot.tasks_done >= runs + 1) return;
    ADD_FAILURE() << "the worker has not run " << runs << " times";
  }
  int64_t elapsed_ms() const { return std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin_).count(); }

  PrivateClient client_;
  Clock::time_point begin_ = Clock::now();
};

TEST_F(Retry, EndsInAResult) {
  tarn_retry retry = retry_of(5, 20 * kMs);
  tarn_future future = submit(client_, {2, -17, 0}, options_with(retry));
  EXPECT_EQ(3, outcome(client_, future)) << tarn_last_error();
  EXPECT_GE(elapsed_ms(), 29) << "10 to 20 ms, then 20 to 40";
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(Retry, EndsWithTheErrorOfTheLast) {
  tarn_retry retry = retry_of(2);
  tarn_future future = submit(client_, {100, -17, 0}, options_with(retry));
  EXPECT_EQ(TARN_E_TASK_FAILED, outcome(client_, future));
  tarn_task_error error = error_of(client_, future);
  EXPECT_EQ(-17, error.code);
  EXPECT_EQ(3u, error.attempts);
  EXPECT_STREQ("attempt 3", error.message);
  EXPECT_STREQ("Busy", error.type);
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(Retry, IsForTheChosenErrorsOnly) {
  int32_t codes[] = {-100, -17};
  tarn_retry retry = retry_of(5);
  retry.codes = codes;
  retry.code_count = 2;
  tarn_future chosen = submit(client_, {1, -17, 0}, options_with(retry));
  tarn_future other = submit(client_, {1, -18, 0}, options_with(retry));
  EXPECT_EQ(2, outcome(client_, chosen));
  EXPECT_EQ(TARN_E_TASK_FAILED, outcome(client_, other));
  EXPECT_EQ(1u, error_of(client_, other).attempts);
  for (tarn_future future : {chosen, other}) EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(Retry, OfAnErrorAndOfACrashCountApart) {
  tarn_retry retry = retry_of(2);
  tarn_submit_options options = options_with(retry);
  options.retries = 1;
  tarn_future future = submit(client_, {2, -17, 1}, options);
  EXPECT_EQ(4, outcome(client_, future)) << tarn_last_error();
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(Retry, OccupiesNoWorkerMeanwhileAndNoProcessor) {
  tarn_retry retry = retry_of(1, 1000 * kMs);
  tarn_future future = submit(client_, {1, -17, 0}, options_with(retry));
  await_runs(1);
  Clock::time_point begin = Clock::now();
  for (int i = 0; i < 100; ++i) {
    tarn_future other{};
    ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("nothing"), nullptr, 0, nullptr, &other));
    EXPECT_EQ(0, tarn_result(client_, other, kLong, nullptr));
    EXPECT_EQ(0, tarn_future_release(client_, other));
  }
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(300));
  usleep(20'000);
  uint64_t before = cpu_ns(worker_of(client_));
  usleep(200'000);
  EXPECT_LT(cpu_ns(worker_of(client_)) - before, 2'000'000u) << "it waits awake";
  EXPECT_EQ(2, outcome(client_, future));
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(Retry, SurvivesTheDeathOfTheWorker) {
  tarn_retry retry = retry_of(1, 300 * kMs);
  std::vector<tarn_future> futures;
  for (int i = 0; i < 20; ++i) futures.push_back(submit(client_, {1, -17, 0}, options_with(retry)));
  await_runs(20);
  kill(worker_of(client_), SIGKILL);
  for (tarn_future future : futures) {
    EXPECT_EQ(2, outcome(client_, future)) << tarn_last_error();
    EXPECT_EQ(0, tarn_future_release(client_, future));
  }
}

TEST_F(Retry, EndsWhenItIsCancelled) {
  tarn_retry retry = retry_of(1, 200 * kMs);
  tarn_future future = submit(client_, {1, -17, 0}, options_with(retry));
  await_runs(1);
  EXPECT_EQ(0, tarn_cancel(client_, future, 0)) << tarn_last_error();
  EXPECT_EQ(TARN_E_CANCELLED, outcome(client_, future));
  usleep(300'000);
  tarn_slot_info slot{};
  slot.size = sizeof slot;
  ASSERT_EQ(0, tarn_client_get_slot(client_, 0, &slot));
  EXPECT_EQ(2u, slot.tasks_done) << "it ran again";
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

// What could not begin again in time fails at once, with its own error.
TEST_F(Retry, DoesNotWaitBeyondTheDeadline) {
  tarn_retry retry = retry_of(10, 200 * kMs);
  retry.factor = 4;
  tarn_submit_options options = options_with(retry);
  options.deadline_ns = 2000 * kMs;
  tarn_future future = submit(client_, {100, -17, 0}, options);
  EXPECT_EQ(TARN_E_TASK_FAILED, outcome(client_, future));
  tarn_task_error error = error_of(client_, future);
  EXPECT_EQ(-17, error.code);
  EXPECT_GE(error.attempts, 2u);
  EXPECT_LE(error.attempts, 4u);
  EXPECT_LT(elapsed_ms(), 2100);
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

// Its worker is busy when it is due: then its deadline passes, and it does not begin.
TEST_F(Retry, FailsIfTheDeadlinePassesWhileNoWorkerIsFree) {
  tarn_retry retry = retry_of(10, 200 * kMs);
  tarn_submit_options options = options_with(retry);
  options.deadline_ns = 500 * kMs;
  tarn_future future = submit(client_, {100, -17, 0}, options);
  await_runs(1);
  pid_t worker = worker_of(client_);
  kill(worker, SIGSTOP);
  EXPECT_EQ(TARN_E_DEADLINE, outcome(client_, future));
  EXPECT_LT(elapsed_ms(), 2000);
  kill(worker, SIGCONT);
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(Retry, DoesNotHoldUpTheEndOfTheClient) {
  tarn_retry retry = retry_of(1, 60'000 * kMs);
  (void)submit(client_, {1, -17, 0}, options_with(retry));
  await_runs(1);  // the destructor closes
}

TEST_F(Retry, IsAwaitedByThoseThatDependOnIt) {
  tarn_retry retry = retry_of(3, 20 * kMs);
  tarn_future first = submit(client_, {3, -17, 0}, options_with(retry));
  tarn_arg argument = tarn_arg_future(first);
  tarn_future second{};
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("return_argument"), &argument, 1, nullptr, &second));
  EXPECT_EQ(4, outcome(client_, second)) << tarn_last_error();
  for (tarn_future future : {first, second}) EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(Retry, OfATaskOfATaskGoesOnWithOneWorker) {
  tarn_future future{};
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("retry_in_a_task"), nullptr, 0, nullptr, &future));
  EXPECT_EQ(4, outcome(client_, future)) << tarn_last_error();
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(Retry, OfManyAtATime) {
  tarn_retry retry = retry_of(4, 5 * kMs);
  std::vector<tarn_future> futures;
  for (uint32_t i = 0; i < 3000; ++i) futures.push_back(submit(client_, {i % 4, -17, 0}, options_with(retry)));
  for (uint32_t i = 0; i < 3000; ++i) {
    EXPECT_EQ(i % 4 + 1, outcome(client_, futures[i]));
    EXPECT_EQ(0, tarn_future_release(client_, futures[i]));
  }
}

TEST_F(Retry, OptionsAreChecked) {
  auto refused = [&](const std::function<void(tarn_retry&)>& change) {
    tarn_retry retry = retry_of(1);
    change(retry);
    tarn_submit_options options = options_with(retry);
    tarn_future future{};
    return tarn_submit(client_, tarn_task_id("nothing"), nullptr, 0, &options, &future) == TARN_E_ARGUMENT;
  };
  int32_t code = -1;
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.size = 8; }));
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.times = 0; }));
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.times = 201; }));
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.factor = 0.5; }));
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.factor = 0.0 / 0.0; }));
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.first_ns = -1; }));
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.first_ns = 2 * (retry.max_ns = kMs); }));
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.max_ns = int64_t{25} * 3600 * 1000 * kMs; }));
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.code_count = 1; }));
  EXPECT_TRUE(refused([&](tarn_retry& retry) { retry.codes = &code; }));
  EXPECT_TRUE(refused([](tarn_retry& retry) { retry.reserved[1] = 1; }));
  tarn_submit_options options{};
  options.size = sizeof options;
  std::string labels = "k=" + std::string(254, 'x');
  options.labels = labels.c_str();
  tarn_future future{};
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client_, tarn_task_id("nothing"), nullptr, 0, &options, &future));
  for (const char* wrong : {"nokey", "=v", "a=1,,b=2", "a=1,", "a=1,b"}) {
    options.labels = wrong;
    EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client_, tarn_task_id("nothing"), nullptr, 0, &options, &future)) << wrong;
  }
  labels.pop_back();
  options.labels = labels.c_str();
  EXPECT_EQ(0, tarn_submit(client_, tarn_task_id("nothing"), nullptr, 0, &options, &future)) << tarn_last_error();
  EXPECT_EQ(0, tarn_result(client_, future, kLong, nullptr));
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

}  // namespace
