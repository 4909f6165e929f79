// Tasks that fail, throw, exit, abort or are killed: what the client is told.
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;

constexpr int64_t kLong = 20'000'000'000;

int fail_with_words(tarn_call* call) { return tarn_call_fail(call, -4711, "Weather", "%d drops", 17); }
int fail_with_code(tarn_call*) { return -4712; }
int return_argument(tarn_call* call) {
  int code = 0;
  memcpy(&code, tarn_call_arg(call, 0).data, sizeof code);
  return code;
}
int become_another_program(tarn_call*) { return execl("/bin/sleep", "sleep", "30", nullptr); }
int fail_with_success(tarn_call* call) { return tarn_call_fail(call, 0, nullptr, "not so well"); }
int exit_with_seven(tarn_call*) { _exit(7); }

int die(tarn_call* call) {
  int number = 0;
  memcpy(&number, tarn_call_arg(call, 0).data, sizeof number);
  rlimit no_core{};
  setrlimit(RLIMIT_CORE, &no_core);
  signal(number, SIG_DFL);
  raise(number);
  return 0;
}

int go_deep(int depth) {
  volatile char room[4096];
  for (volatile char& each : room) each = static_cast<char>(depth);
  return depth < 0 ? 0 : go_deep(depth + 1) + room[17];
}
int overflow_the_stack(tarn_call*) {
  rlimit no_core{};
  setrlimit(RLIMIT_CORE, &no_core);
  signal(SIGSEGV, SIG_DFL);  // a sanitizer would exit with a status
  return go_deep(1) == 0 ? -1 : 0;
}

int attempt(tarn_call* call) {
  uint32_t attempt = tarn_call_attempt(call);
  if (attempt < 3) _exit(1);
  return tarn_call_return(call, &attempt, sizeof attempt);
}

int nothing(tarn_call*) { return 0; }

int return_22(tarn_call*) {
  return 22;
}

int argument_count() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string line{std::istreambuf_iterator<char>(file), {}};
  return static_cast<int>(std::count(line.begin(), line.end(), '\0'));
}

int count_arguments(tarn_call* call) {
  int count = argument_count();
  return tarn_call_return(call, &count, sizeof count);
}

// What a task gets that opens a session, and one that submits without.
int use_tarn(tarn_call* call) {
  tarn_options options{};
  options.size = sizeof options;
  options.address = "private";
  tarn_client* client = nullptr;
  tarn_future future;
  int codes[] = {tarn_init(&client, nullptr, nullptr, &options),
                 tarn_submit(nullptr, tarn_task_id("nothing"), nullptr, 0, nullptr, &future)};
  return tarn_call_return(call, codes, sizeof codes);
}

// Its child comes back from the task as well. The result is how the child ended.
int fork_and_return(tarn_call* call) {
  pid_t child = fork();
  if (child == 0) {
    void* data;
    if (tarn_call_return_buffer(call, 1000, &data) != TARN_E_FORKED) _exit(2);
    return 0;
  }
  int status = 0;
  for (int i = 0; waitpid(child, &status, WNOHANG) == 0; ++i) {
    if (i == 2000) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      break;
    }
    usleep(1000);
  }
  return tarn_call_return(call, &status, sizeof status);
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("fail_with_words", fail_with_words);
  tarn_task_define("fail_with_code", fail_with_code);
  tarn_task_define("return_argument", return_argument);
  tarn_task_define("become_another_program", become_another_program);
  tarn_task_define("fail_with_success", fail_with_success);
  tarn_task_define("exit_with_seven", exit_with_seven);
  tarn_task_define("die", die);
  tarn_task_define("attempt", attempt);
  tarn_task_define("overflow_the_stack", overflow_the_stack);
  tarn_task_define("nothing", nothing);
  tarn_task_define("return_22", return_22);
  tarn_task_define("count_arguments", count_arguments);
  tarn_task_define("use_tarn", use_tarn);
  tarn_task_define("fork_and_return", fork_and_return);
  tarn_task_define_typed("typed", nothing, 5, nullptr);
  if (getenv("TARN_WORKER_FD") == nullptr) tarn_task_define("only_in_the_client", nothing);
}};

class TaskFailures : public testing::Test {
 protected:
  // Submits, waits for the failure and fills error_. Returns what tarn_result returned.
  int failure_of(const char* task, int32_t retries = 0, const void* argument = nullptr, size_t size = 0,
                 uint32_t signature = 0) {
    tarn_submit_options options{};
    options.size = sizeof options;
    options.retries = retries;
    options.signature = signature;
    tarn_arg arg = tarn_arg_value(argument, size);
    EXPECT_EQ(0, tarn_submit(client_, tarn_task_id(task), &arg, argument == nullptr ? 0 : 1, &options, &future_))
        << tarn_last_error();
    tarn_bytes bytes{};
    int code = tarn_result(client_, future_, kLong, &bytes);
    text_ = tarn_last_error();
    error_.size = sizeof error_;
    EXPECT_EQ(0, tarn_future_error(client_, future_, &error_)) << tarn_last_error();
    type_ = error_.type == nullptr ? "" : error_.type;
    message_ = error_.message == nullptr ? "" : error_.message;
    task_ = error_.task == nullptr ? "" : error_.task;
    EXPECT_EQ(0, tarn_future_release(client_, future_));
    return code;
  }

  PrivateClient client_;
  tarn_future future_{};
  tarn_task_error error_{};
  std::string text_, type_, message_, task_;
};

TEST_F(TaskFailures, OwnWordsArrive) {
  EXPECT_EQ(TARN_E_TASK_FAILED, failure_of("fail_with_words"));
  EXPECT_EQ(-4711, error_.code);
  EXPECT_EQ("Weather", type_);
  EXPECT_EQ("17 drops", message_);
  EXPECT_EQ("fail_with_words", task_);
  EXPECT_EQ(1u, error_.attempts) << "a task that reports an error is not run again";
  EXPECT_EQ(0, error_.signal);
  EXPECT_NE(std::string::npos, text_.find("17 drops")) << text_;
  EXPECT_NE(std::string::npos, text_.find("fail_with_words")) << text_;
}

TEST_F(TaskFailures, CodeAloneArrives) {
  EXPECT_EQ(TARN_E_TASK_FAILED, failure_of("fail_with_code"));
  EXPECT_EQ(-4712, error_.code);
  EXPECT_EQ("fail_with_code", task_);
}

TEST_F(TaskFailures, FailingWithSuccessIsAFailure) {
  EXPECT_EQ(TARN_E_TASK_FAILED, failure_of("fail_with_success"));
  EXPECT_EQ(TARN_E_TASK_FAILED, error_.code);
  EXPECT_EQ("not so well", message_);
}

TEST_F(TaskFailures, AbortIsToldWithItsSignal) {
  int number = SIGABRT;
  EXPECT_EQ(TARN_E_WORKER_CRASHED, failure_of("die", -1, &number, sizeof number));
  EXPECT_EQ(SIGABRT, error_.signal);
  EXPECT_EQ(1u, error_.attempts);
  EXPECT_EQ("die", task_);
}

TEST_F(TaskFailures, SegmentationFaultIsRetriedThreeTimes) {
  int number = SIGSEGV;
  EXPECT_EQ(TARN_E_WORKER_CRASHED, failure_of("die", 0, &number, sizeof number));
  EXPECT_EQ(SIGSEGV, error_.signal);
  EXPECT_EQ(4u, error_.attempts);
}

TEST_F(TaskFailures, KillIsToldWithItsSignal) {
  int number = SIGKILL;
  EXPECT_EQ(TARN_E_WORKER_CRASHED, failure_of("die", 1, &number, sizeof number));
  EXPECT_EQ(SIGKILL, error_.signal);
  EXPECT_EQ(2u, error_.attempts);
}

TEST_F(TaskFailures, ExitIsToldWithItsStatus) {
  EXPECT_EQ(TARN_E_WORKER_CRASHED, failure_of("exit_with_seven", -1));
  EXPECT_EQ(0, error_.signal);
  EXPECT_EQ(7, error_.exit_status);
  EXPECT_NE(std::string::npos, text_.find('7')) << text_;
}

TEST_F(TaskFailures, AStackThatOverflowsIsAFault) {
  EXPECT_EQ(TARN_E_WORKER_CRASHED, failure_of("overflow_the_stack", -1));
  EXPECT_EQ(SIGSEGV, error_.signal);
  EXPECT_NE(std::string::npos, text_.find("Segmentation fault")) << text_;
}

TEST_F(TaskFailures, RetriesEndInAResult) {
  tarn_future future;
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("attempt"), nullptr, 0, nullptr, &future));
  ASSERT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
  uint32_t attempt = 0;
  ASSERT_EQ(sizeof attempt, bytes.size);
  memcpy(&attempt, bytes.data, sizeof attempt);
  EXPECT_EQ(3u, attempt);
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(TaskFailures, TaskThatTheWorkerDoesNotKnow) {
  EXPECT_EQ(TARN_E_NO_TASK, failure_of("only_in_the_client"));
  EXPECT_EQ("only_in_the_client", task_);
}

TEST_F(TaskFailures, OtherTypesThanTheTaskHas) {
  EXPECT_EQ(TARN_E_TYPE, failure_of("typed", 0, nullptr, 0, 6));
}

TEST_F(TaskFailures, DependentsFailWithTheCause) {
  tarn_future first;
  tarn_future second;
  tarn_future third;
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("fail_with_words"), nullptr, 0, nullptr, &first));
  tarn_arg argument = tarn_arg_future(first);
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("nothing"), &argument, 1, nullptr, &second));
  argument = tarn_arg_future(second);
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("nothing"), &argument, 1, nullptr, &third));
  tarn_bytes bytes{};
  EXPECT_EQ(TARN_E_DEPENDENCY, tarn_result(client_, third, kLong, &bytes));
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(0, tarn_future_error(client_, third, &error));
  EXPECT_STREQ("fail_with_words", error.task);
  EXPECT_STREQ("17 drops", error.message);
  EXPECT_EQ(TARN_E_DEPENDENCY, error.code);
  EXPECT_EQ(-4711, error.cause);
  for (tarn_future future : {first, second, third}) EXPECT_EQ(0, tarn_future_release(client_, future));
}

// Numbers that speak of the call when tarn_result returns them: not initialised, bad argument, cancelled, timed out, ...
TEST_F(TaskFailures, ATasksOwnCodeIsNoErrorOfTheCall) {
  for (int code : {-1, -2, -9, -10, -12, -16, -22, -29, -30}) {
    EXPECT_EQ(TARN_E_TASK_FAILED, failure_of("return_argument", 0, &code, sizeof code)) << code;
    EXPECT_EQ(code, error_.code);
    EXPECT_EQ(code, error_.cause);
  }
}

// Its worker is no more, though the process goes on: tarnd sees the connection close.
TEST_F(TaskFailures, ATaskThatBecomesAnotherProgramHasCrashed) {
  EXPECT_EQ(TARN_E_WORKER_CRASHED, failure_of("become_another_program", -1));
  EXPECT_EQ(SIGKILL, error_.signal);
}

TEST_F(TaskFailures, APositiveResultIsAnError) {
  EXPECT_EQ(TARN_E_TASK_FAILED, failure_of("return_22"));
  EXPECT_EQ("the task returned 22; 0 or a negative code is wanted", message_);
}

TEST_F(TaskFailures, ATaskCannotSubmit) {
  tarn_future future;
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("use_tarn"), nullptr, 0, nullptr, &future));
  ASSERT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
  int codes[2];
  ASSERT_EQ(sizeof codes, bytes.size);
  memcpy(codes, bytes.data, sizeof codes);
  EXPECT_EQ(TARN_E_NOT_IN_TASK, codes[0]);
  EXPECT_EQ(TARN_E_NOT_IN_TASK, codes[1]);
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(TaskFailures, AForkedChildThatReturnsIsEnded) {
  tarn_future future;
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("fork_and_return"), nullptr, 0, nullptr, &future));
  ASSERT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
  int status = 0;
  ASSERT_EQ(sizeof status, bytes.size);
  memcpy(&status, bytes.data, sizeof status);
  EXPECT_TRUE(WIFEXITED(status)) << "it went on as a second worker";
  EXPECT_EQ(1, WEXITSTATUS(status));
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(TaskFailures, OtherTasksGoOnWhileWorkersCrash) {
  int number = SIGKILL;
  tarn_arg arg = tarn_arg_value(&number, sizeof number);
  tarn_future crash;
  tarn_future futures[200];
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("die"), &arg, 1, nullptr, &crash));
  for (tarn_future& future : futures)
    ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("nothing"), nullptr, 0, nullptr, &future));
  tarn_bytes bytes{};
  for (tarn_future& future : futures) {
    EXPECT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
    EXPECT_EQ(0, tarn_future_release(client_, future));
  }
  EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client_, crash, kLong, &bytes));
  EXPECT_EQ(0, tarn_future_release(client_, crash));
}

// Each of them ends four workers. Those between them do not mind, and when they are used up the pool is as it was.
TEST(Poison, DoesNotTakeThePoolDown) {
  PrivateClient client(2);
  const int number = SIGSEGV;
  tarn_arg arg = tarn_arg_value(&number, sizeof number);
  std::vector<tarn_future> poison(40);
  std::vector<tarn_future> good(200);
  for (size_t i = 0; i < good.size(); ++i) {
    if (i % 5 == 0) {
      ASSERT_EQ(0, tarn_submit(client, tarn_task_id("die"), &arg, 1, nullptr, &poison[i / 5]));
    }
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("nothing"), nullptr, 0, nullptr, &good[i]));
  }
  for (tarn_future future : good) {
    EXPECT_EQ(0, tarn_result(client, future, kLong, nullptr)) << tarn_last_error();
    EXPECT_EQ(0, tarn_future_release(client, future));
  }
  for (tarn_future future : poison) {
    EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client, future, kLong, nullptr)) << tarn_last_error();
    tarn_task_error error{};
    error.size = sizeof error;
    EXPECT_EQ(0, tarn_future_error(client, future, &error));
    EXPECT_EQ(SIGSEGV, error.signal);
    EXPECT_EQ(4u, error.attempts);
    EXPECT_EQ(0, tarn_future_release(client, future));
  }
  tarn_future last;
  ASSERT_EQ(0, tarn_submit(client, tarn_task_id("nothing"), nullptr, 0, nullptr, &last));
  EXPECT_EQ(0, tarn_result(client, last, kLong, nullptr)) << tarn_last_error();
  EXPECT_EQ(0, tarn_future_release(client, last));
}

// Started by the next one with many arguments, which tarn_init is not told of here.
TEST(Arguments, DISABLED_OfAProgramWithMany) {
  PrivateClient client;
  tarn_future future;
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_submit(client, tarn_task_id("count_arguments"), nullptr, 0, nullptr, &future));
  ASSERT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
  int count = 0;
  ASSERT_EQ(sizeof count, bytes.size);
  memcpy(&count, bytes.data, sizeof count);
  EXPECT_GT(count, 3000);
  EXPECT_EQ(argument_count(), count);
  EXPECT_EQ(0, tarn_future_release(client, future));
}

TEST(Arguments, ReachTheWorkersHoweverManyThereAre) {
  std::string name = "many";
  std::string filter = "--gtest_filter=Arguments.DISABLED_OfAProgramWithMany";
  std::string disabled = "--gtest_also_run_disabled_tests";
  std::vector<char*> argv{name.data(), filter.data(), disabled.data()};
  std::string word = "word";
  argv.resize(3003, word.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  ASSERT_EQ(0, posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, argv.data(), environ));
  int status = 0;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
}

}  // namespace
