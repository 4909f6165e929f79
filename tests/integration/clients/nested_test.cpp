// Tasks that submit tasks and wait for them. What could go wrong: all workers wait and nobody runs what they wait for; a worker
// dies and its children go on without a parent, or the parent is lost with them; a task is done and something of it still runs;
// what a task did not release stays for ever; the stack is too small for the recursion.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;
using Clock = std::chrono::steady_clock;

constexpr int64_t kLong = 60'000'000'000;

template <class T>
T argument(tarn_call* call, size_t index) {
  T value{};
  memcpy(&value, tarn_call_arg(call, index).data, sizeof value);
  return value;
}

template <class T>
tarn_arg value_of(const T& value) {
  return tarn_arg_value(&value, sizeof value);
}

int give(tarn_call* call, int64_t value) { return tarn_call_return(call, &value, sizeof value); }

// Submits, for tasks: a code that fails is the task's.
int submit(tarn_call* call, const char* task, std::vector<tarn_arg> args, tarn_future* out, const tarn_submit_options* options = nullptr) {
  return tarn_submit(tarn_call_client(call), tarn_task_id(task), args.data(), args.size(), options, out);
}

int number_of(tarn_call* call, tarn_future future, int64_t* out) {
  tarn_bytes bytes;
  if (int r = tarn_result(tarn_call_client(call), future, kLong, &bytes); r < 0) {
    tarn_task_error error{};
    error.size = sizeof error;
    // The child's own words, or of this wait.
    bool is_childs = tarn_future_error(tarn_call_client(call), future, &error) == 0 && *error.message != '\0';
    return tarn_call_fail(call, r, nullptr, "%s", is_childs ? error.message : tarn_last_error());
  }
  memcpy(out, bytes.data, sizeof *out);
  return tarn_future_release(tarn_call_client(call), future);
}

int fib(tarn_call* call) {
  auto n = argument<int64_t>(call, 0);
  if (n < 2) return give(call, n);
  tarn_future futures[2];
  int64_t less[2] = {n - 1, n - 2};
  int64_t numbers[2];
  for (int i = 0; i < 2; ++i)
    if (int r = submit(call, "fib", {value_of(less[i])}, &futures[i]); r < 0) return r;
  for (int i = 0; i < 2; ++i)
    if (int r = number_of(call, futures[i], &numbers[i]); r < 0) return r;
  return give(call, numbers[0] + numbers[1]);
}

// How deep it went: one task below the other.
int descend(tarn_call* call) {
  auto n = argument<int64_t>(call, 0);
  if (n == 0) return give(call, 0);
  int64_t less = n - 1;
  int64_t below = 0;
  tarn_future future;
  if (int r = submit(call, "descend", {value_of(less)}, &future); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  if (int r = number_of(call, future, &below); r < 0) return r;
  return give(call, below + 1);
}

// Sorts an object of 64-bit numbers: the halves are its slices, and the result is an object.
int sort_object(tarn_call* call) {
  tarn_client* tarn = tarn_call_client(call);
  tarn_bytes all = tarn_call_arg(call, 0);
  size_t count = all.size / sizeof(int64_t);
  void* to;
  if (int r = tarn_call_return_buffer(call, all.size, &to); r < 0) return r;
  auto* sorted = static_cast<int64_t*>(to);
  if (count <= 1000) {
    memcpy(sorted, all.data, all.size);
    std::sort(sorted, sorted + count);
    return 0;
  }
  tarn_object whole;
  tarn_object half[2];
  tarn_future futures[2];
  tarn_bytes parts[2];
  if (int r = tarn_call_arg_object(call, 0, &whole); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  size_t middle = count / 2 * sizeof(int64_t);
  for (int i = 0; i < 2; ++i) {
    if (int r = tarn_object_slice(tarn, whole, static_cast<size_t>(i) * middle, i == 0 ? middle : all.size - middle, &half[i]); r < 0) return r;
    if (int r = submit(call, "sort_object", {tarn_arg_object(half[i])}, &futures[i]); r < 0) return r;
    if (int r = tarn_release(tarn, half[i]); r < 0) return r;
  }
  if (int r = tarn_release(tarn, whole); r < 0) return r;
  for (int i = 0; i < 2; ++i)
    if (int r = tarn_result(tarn, futures[i], kLong, &parts[i]); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  auto begin = [&](int i) { return static_cast<const int64_t*>(parts[i].data); };
  auto end = [&](int i) { return begin(i) + parts[i].size / sizeof(int64_t); };
  std::merge(begin(0), end(0), begin(1), end(1), sorted);
  return 0;
}

int add(tarn_call* call) {
  int64_t sum = 0;
  for (size_t i = 0; i < tarn_call_arg_count(call); ++i) sum += argument<int64_t>(call, i);
  return give(call, sum);
}

// A chain of tasks that depend on one another, longest first to be asked for.
int chain(tarn_call* call) {
  int64_t one = 1;
  int64_t sum = 0;
  tarn_future last;
  if (int r = submit(call, "add", {value_of(one)}, &last); r < 0) return r;
  for (int64_t i = 1; i < argument<int64_t>(call, 0); ++i) {
    tarn_future next;
    if (int r = submit(call, "add", {tarn_arg_future(last), value_of(one)}, &next); r < 0) return r;
    if (int r = tarn_future_release(tarn_call_client(call), last); r < 0) return r;
    last = next;
  }
  if (int r = number_of(call, last, &sum); r < 0) return r;
  return give(call, sum);
}

// Leaves its children to themselves, and fails if it is told to.
int leave_children(tarn_call* call) {
  auto count = argument<int64_t>(call, 0);
  for (int64_t i = 0; i < count; ++i) {
    tarn_future future;
    if (int r = submit(call, "add", {value_of(i)}, &future); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  }
  return tarn_call_arg_count(call) > 1 ? tarn_call_fail(call, -1000, nullptr, "as it was told") : 0;
}

int loop_for_ever(tarn_call*) {
  volatile bool is_over = false;
  while (!is_over) {
  }
  return 0;
}

int poll_until_cancelled(tarn_call* call) {
  while (tarn_call_cancelled(call) == 0) usleep(1000);
  return TARN_E_CANCELLED;
}

// A thousand children that nap: 20 s of them.
int wait_for_many(tarn_call* call) {
  int64_t nap = 20;
  std::vector<tarn_future> futures(1000);
  for (tarn_future& future : futures)
    if (int r = submit(call, "nap_ms", {value_of(nap)}, &future); r < 0) return r;
  int r = tarn_wait(tarn_call_client(call), futures.data(), futures.size(), futures.size(), -1, nullptr, nullptr);
  return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
}

// Waits for a child for ever: argument 0 is the child's name, 1 how it is told that it runs.
int wait_for(tarn_call* call) {
  tarn_bytes name = tarn_call_arg(call, 0);
  tarn_future future;
  if (int r = submit(call, std::string(static_cast<const char*>(name.data), name.size).c_str(), {}, &future); r < 0) return r;
  tarn_bytes bytes;
  int r = tarn_result(tarn_call_client(call), future, -1, &bytes);
  return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
}

// A child with a time-out that does not see it; returns the code that its parent gets.
int time_out_child(tarn_call* call) {
  tarn_submit_options options{};
  options.size = sizeof options;
  options.timeout_ns = 50'000'000;
  tarn_future future;
  tarn_bytes bytes;
  if (int r = submit(call, "poll_until_cancelled", {}, &future, &options); r < 0) return r;
  return give(call, tarn_result(tarn_call_client(call), future, kLong, &bytes));
}

int crash_if(tarn_call* call) {
  if (argument<int64_t>(call, 0) != 0) raise(SIGKILL);
  return give(call, 7);
}

// The first attempt has a child that crashes.
int crash_once_below(tarn_call* call) {
  int64_t crash = tarn_call_attempt(call) == 1 ? 1 : 0;
  int64_t number = 0;
  tarn_future future;
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = -1;
  if (int r = submit(call, "crash_if", {value_of(crash)}, &future, &options); r < 0) return r;
  // Where another worker ran it, the child has failed; where this one did, this attempt is over.
  if (number_of(call, future, &number) < 0) number = 7;
  return give(call, number);
}

int nap_ms(tarn_call* call) {
  usleep(static_cast<useconds_t>(argument<int64_t>(call, 0)) * 1000);
  return give(call, argument<int64_t>(call, 0));
}

// Dies while another worker runs its child, the first time.
int die_over_child(tarn_call* call) {
  int64_t nap = 3000;
  tarn_future future;
  if (tarn_call_attempt(call) > 1) return give(call, 11);
  if (int r = submit(call, "loop_for_ever", {}, &future); r < 0) return r;
  if (int r = submit(call, "nap_ms", {value_of(nap)}, &future); r < 0) return r;
  usleep(100'000);
  raise(SIGKILL);
  return 0;
}

int use_what_is_not_there(tarn_call* call) {
  tarn_client* tarn = tarn_call_client(call);
  int64_t one = 1;
  tarn_future future;
  if (int r = submit(call, "add", {value_of(one)}, &future); r < 0) return r;
  tarn_client* another = nullptr;
  int codes[] = {tarn_client_fd(tarn), tarn_client_dispatch(tarn), tarn_future_then(tarn, future, [](auto...) {}, nullptr),
                 tarn_client_on_event(tarn, TARN_EVENT_FREED, [](auto...) {}, nullptr), tarn_init(&another, nullptr, nullptr, nullptr)};
  tarn_close(tarn);
  // Another thread could not help, and would wait for ever.
  int in_thread = 0;
  std::thread([&] { in_thread = tarn_result(tarn, future, -1, nullptr); }).join();
  if (in_thread != TARN_E_NOT_IN_TASK) return give(call, in_thread);
  int64_t still = 0;
  if (int r = number_of(call, future, &still); r < 0) return r;
  bool all = std::all_of(std::begin(codes), std::end(codes), [](int code) { return code == TARN_E_NOT_IN_TASK; });
  return give(call, all && still == 1 ? 1 : 0);
}

// Objects that a task makes, reads and drops, and one that its child gets.
int make_objects(tarn_call* call) {
  tarn_client* tarn = tarn_call_client(call);
  std::string text(100'000, 'x');
  tarn_object object;
  tarn_bytes bytes;
  tarn_future future;
  if (int r = tarn_put(tarn, text.data(), text.size(), &object); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  if (int r = tarn_get(tarn, object, &bytes); r < 0) return r;
  if (bytes.size != text.size()) return -1000;
  if (int r = submit(call, "size_of", {tarn_arg_object(object)}, &future); r < 0) return r;
  if (int r = tarn_release(tarn, object); r < 0) return r;
  int64_t size = 0;
  if (int r = number_of(call, future, &size); r < 0) return r;
  return give(call, size);
}

int size_of(tarn_call* call) { return give(call, static_cast<int64_t>(tarn_call_arg(call, 0).size)); }

int wait_for_any(tarn_call* call) {
  tarn_future futures[3];
  int64_t naps[3] = {2000, 0, 2000};
  for (int i = 0; i < 3; ++i)
    if (int r = submit(call, i == 1 ? "add" : "poll_until_cancelled", {value_of(naps[i])}, &futures[i]); r < 0) return r;
  size_t done = 0;
  // Only the one in the middle ends by itself; so the first is left to others.
  while (done == 0)
    if (int r = tarn_wait(tarn_call_client(call), futures + 1, 1, 1, kLong, nullptr, &done); r < 0) return r;
  for (int i : {0, 2}) (void)tarn_cancel(tarn_call_client(call), futures[i], 0);
  return give(call, static_cast<int64_t>(done));
}

const tarn::test::SelfWorker self_worker([] {
  tarn_task_define("fib", fib);
  tarn_task_define("descend", descend);
  tarn_task_define("sort_object", sort_object);
  tarn_task_define("add", add);
  tarn_task_define("chain", chain);
  tarn_task_define("leave_children", leave_children);
  tarn_task_define("loop_for_ever", loop_for_ever);
  tarn_task_define("poll_until_cancelled", poll_until_cancelled);
  tarn_task_define("wait_for", wait_for);
  tarn_task_define("wait_for_many", wait_for_many);
  tarn_task_define("time_out_child", time_out_child);
  tarn_task_define("crash_if", crash_if);
  tarn_task_define("crash_once_below", crash_once_below);
  tarn_task_define("nap_ms", nap_ms);
  tarn_task_define("die_over_child", die_over_child);
  tarn_task_define("use_what_is_not_there", use_what_is_not_there);
  tarn_task_define("make_objects", make_objects);
  tarn_task_define("size_of", size_of);
  tarn_task_define("wait_for_any", wait_for_any);
});

class Nested : public testing::TestWithParam<uint32_t> {
 protected:
  tarn_future submit(const char* task, const std::vector<tarn_arg>& args, int32_t retries = 0) {
    tarn_submit_options options{};
    options.size = sizeof options;
    options.retries = retries;
    tarn_future future{};
    EXPECT_EQ(0, tarn_submit(client_, tarn_task_id(task), args.data(), args.size(), &options, &future)) << tarn_last_error();
    return future;
  }
  int64_t number(tarn_future future) {
    tarn_bytes bytes{};
    int64_t value = -1;
    EXPECT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
    if (bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
    EXPECT_EQ(0, tarn_future_release(client_, future));
    return value;
  }
  int64_t number(const char* task, int64_t argument) { return number(submit(task, {value_of(argument)})); }
  int failure(tarn_future future) {
    int code = tarn_result(client_, future, kLong, nullptr);
    text_ = tarn_last_error();
    EXPECT_EQ(0, tarn_future_release(client_, future));
    return code;
  }
  uint64_t tasks_done() {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < GetParam(); ++i) {
      tarn_slot_info info{};
      info.size = sizeof info;
      if (tarn_client_get_slot(client_, i, &info) == 0) sum += info.tasks_done;
    }
    return sum;
  }
  // All workers run tasks, within the time that it takes to start some.
  void expect_all_serve() {
    int64_t nap = 300;
    std::vector<tarn_future> naps;
    auto begin = Clock::now();
    for (uint32_t i = 0; i < GetParam(); ++i) naps.push_back(submit("nap_ms", {value_of(nap)}));
    for (tarn_future future : naps) EXPECT_EQ(nap, number(future));
    EXPECT_LT(Clock::now() - begin, std::chrono::seconds(10));
  }

  PrivateClient client_{GetParam()};
  std::string text_;
};

INSTANTIATE_TEST_SUITE_P(Workers, Nested, testing::Values(1u, 2u), testing::PrintToStringParamName());

TEST_P(Nested, Fib) { EXPECT_EQ(6765, number("fib", 20)); }

TEST_P(Nested, RecursionTenThousandDeep) {
  EXPECT_EQ(10'000, number("descend", 10'000));
  EXPECT_EQ(10'000, number("descend", 10'000));
}

TEST_P(Nested, RecursionWithoutEndFailsAndSaysSo) {
  int64_t endless = int64_t{1} << 40;
  EXPECT_EQ(TARN_E_TASK_FAILED, failure(submit("descend", {value_of(endless)})));
  EXPECT_NE(std::string::npos, text_.find("no room on the stack")) << text_;
  EXPECT_EQ(10, number("descend", 10));
}

TEST_P(Nested, SortsAnObject) {
  std::vector<int64_t> numbers(300'000);
  std::mt19937_64 random(1);
  for (auto& n : numbers) n = static_cast<int64_t>(random());
  tarn_object object;
  ASSERT_EQ(0, tarn_put(client_, numbers.data(), numbers.size() * sizeof(int64_t), &object));
  tarn_bytes bytes{};
  tarn_future future = submit("sort_object", {tarn_arg_object(object)});
  ASSERT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
  std::sort(numbers.begin(), numbers.end());
  ASSERT_EQ(bytes.size, numbers.size() * sizeof(int64_t));
  EXPECT_EQ(0, memcmp(bytes.data, numbers.data(), bytes.size));
  EXPECT_EQ(0, tarn_future_release(client_, future));
  EXPECT_EQ(0, tarn_release(client_, object));
}

TEST_P(Nested, AChainOfDependencies) { EXPECT_EQ(3000, number("chain", 3000)); }

TEST_P(Nested, MakesObjects) {
  int64_t nothing = 0;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(100'000, number("make_objects", nothing));
}

TEST_P(Nested, WaitsForAny) { EXPECT_EQ(1, number("wait_for_any", 0)); }

// When a task is done, so is what it submitted; and nothing of it is left.
TEST_P(Nested, ChildrenAreDoneWhenTheirParentIs) {
  int64_t count = 50'000;
  for (int i = 0; i < 40; ++i) {  // more than there are records
    uint64_t before = tasks_done();
    tarn_future future = submit("leave_children", {value_of(count)});
    ASSERT_EQ(0, tarn_result(client_, future, kLong, nullptr)) << tarn_last_error();
    EXPECT_GE(tasks_done() - before, static_cast<uint64_t>(count));
    ASSERT_EQ(0, tarn_future_release(client_, future));
  }
}

TEST_P(Nested, ChildrenOfATaskThatFailsDoNotBegin) {
  int64_t count = 100;
  uint64_t before = tasks_done();
  EXPECT_EQ(TARN_E_TASK_FAILED, failure(submit("leave_children", {value_of(count), value_of(count)})));
  if (GetParam() == 1) {
    EXPECT_LE(tasks_done() - before, 1u);
  }
  EXPECT_EQ(3, number("fib", 4));
}

TEST_P(Nested, AParentThatIsCancelledEndsWithItsChildren) {
  tarn_future future = submit("wait_for", {tarn_arg_value("poll_until_cancelled", 20)});
  usleep(200'000);
  auto begin = Clock::now();
  ASSERT_EQ(0, tarn_cancel(client_, future, 0)) << tarn_last_error();
  EXPECT_EQ(TARN_E_CANCELLED, failure(future));
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5));
  expect_all_serve();
}

TEST_P(Nested, AParentThatIsCancelledDoesNotRunTheRestOfItsChildren) {
  tarn_future future = submit("wait_for_many", {});
  usleep(100'000);
  auto begin = Clock::now();
  ASSERT_EQ(0, tarn_cancel(client_, future, 0)) << tarn_last_error();
  EXPECT_EQ(TARN_E_CANCELLED, failure(future));
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(3));
}

TEST_P(Nested, AParentThatIsKilledTakesItsChildrenAlong) {
  tarn_future future = submit("wait_for", {tarn_arg_value("loop_for_ever", 13)});
  usleep(300'000);
  ASSERT_EQ(0, tarn_cancel(client_, future, TARN_CANCEL_KILL)) << tarn_last_error();
  EXPECT_EQ(TARN_E_CANCELLED, failure(future));
  expect_all_serve();
}

TEST_P(Nested, AChildHasATimeOut) { EXPECT_EQ(TARN_E_DEADLINE, number("time_out_child", 0)); }

TEST_P(Nested, AChildThatCrashesIsItsParentsMatter) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(7, number("crash_once_below", 0));
}

TEST_P(Nested, AParentThatDiesTakesItsChildrenAlong) {
  EXPECT_EQ(11, number("die_over_child", 0));
  expect_all_serve();
}

TEST_P(Nested, WhatATaskCannotUseIsRefused) { EXPECT_EQ(1, number("use_what_is_not_there", 0)); }

}  // namespace
