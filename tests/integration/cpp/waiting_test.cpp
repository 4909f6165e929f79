// Who waits for many futures may be told of one twice, of another never, or pay for all each time. Watch and await many that
// finish in every order, fail, are cancelled, crash and are released meanwhile; in threads, tasks, coroutines and event loops.
// Expect each once, with its result.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <numeric>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "tasks.hpp"

namespace tarn::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

class WaitingTest : public ::testing::TestWithParam<unsigned> {
 protected:
  client tarn = init(0, nullptr, {.address = "private", .workers = GetParam()});
};

INSTANTIATE_TEST_SUITE_P(Workers, WaitingTest, ::testing::Values(1u, 2u));

std::vector<int> numbers_to(int count) {
  std::vector<int> numbers(static_cast<std::size_t>(count));
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

int code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const error& e) {
    return e.code();
  }
  return 0;
}

// ---- as_completed -------------------------------------------------------------------------------

TEST_P(WaitingTest, as_completed_tells_of_each_once) {
  for (const int count : {0, 1, 2, 63, 64, 65, 5000, 200'000}) {
    const auto futures = tarn.submit_many(twice<int>, numbers_to(count));
    std::vector<bool> seen(futures.size());
    for (auto [index, future] : as_completed(futures)) {
      ASSERT_FALSE(seen[index]);
      seen[index] = true;
      ASSERT_EQ(&future, &futures[index]);
      ASSERT_EQ(future.get(), 2 * static_cast<int>(index));
    }
    EXPECT_EQ(std::count(seen.begin(), seen.end(), true), count);
    // Again, now that all are done.
    std::size_t again = 0;
    for ([[maybe_unused]] const auto& one : as_completed(futures)) ++again;
    EXPECT_EQ(again, futures.size());
  }
}

TEST_P(WaitingTest, as_completed_does_not_wait_for_the_slow_ones) {
  if (GetParam() < 2) GTEST_SKIP() << "the slow one has a worker for itself";
  std::vector<future<void>> futures;
  futures.push_back(tarn.submit(sleep_until_cancelled));
  for (int i = 0; i < 20; ++i) futures.push_back(tarn.submit(sleep_ms, 1));
  as_completed watched(futures);
  for (int i = 0; i < 20; ++i) EXPECT_NE(watched.next(20s)->index, 0u);
  EXPECT_EQ(code_of([&] { static_cast<void>(watched.next(10ms)); }), TARN_E_TIMED_OUT);
  EXPECT_EQ(code_of([&] { static_cast<void>(watched.next(0ms)); }), TARN_E_TIMED_OUT);
  EXPECT_TRUE(futures[0].cancel());
  EXPECT_EQ(watched.next(20s)->index, 0u);
  EXPECT_FALSE(watched.next().has_value());
  EXPECT_FALSE(watched.next(0ms).has_value());
}

TEST_P(WaitingTest, as_completed_tells_of_failures_too) {
  std::vector<future<int>> futures;
  futures.push_back(tarn.submit(throw_number, 3));
  futures.push_back(tarn.submit(task_options{.retries = 1}, die, SIGKILL));
  futures.push_back(tarn.submit(add, futures[0], 1));
  futures.push_back(tarn.submit(add, 1, 1));
  futures.push_back(tarn.submit(task_options{.deadline = 1ns}, add, 1, 1));
  std::vector<int> codes(5, 1);
  for (auto [index, future] : as_completed(futures))
    codes[index] = code_of([&f = future] { static_cast<void>(f.get()); });
  EXPECT_EQ(codes, (std::vector<int>{TARN_E_TASK_FAILED, TARN_E_WORKER_CRASHED, TARN_E_DEPENDENCY,
                                     0, TARN_E_DEADLINE}));
}

TEST_P(WaitingTest, as_completed_leaves_out_what_is_released) {
  auto futures = tarn.submit_many(twice<int>, numbers_to(100));
  when_all(futures);
  as_completed watched(futures);
  for (std::size_t i = 0; i < 100; i += 2) futures[i] = future<int>();
  std::vector<std::size_t> told;
  for (auto [index, future] : watched) told.push_back(index);
  EXPECT_EQ(told.size(), 50u);
  EXPECT_TRUE(std::all_of(told.begin(), told.end(), [](std::size_t i) { return i % 2 == 1; }));

  // Now before they are done; their records are used again at once.
  auto later = tarn.submit_many(sleep_ms, std::vector<int>(20, 1));
  as_completed rest(later);
  for (std::size_t i = 0; i < 19; ++i) later[i] = future<void>();
  const auto others = tarn.submit_many(twice<int>, numbers_to(100));
  EXPECT_EQ(rest.next(20s)->index, 19u);
  EXPECT_FALSE(rest.next(20s).has_value());
  when_all(others);
}

TEST_P(WaitingTest, as_completed_can_be_left_at_any_time) {
  const auto futures = tarn.submit_many(twice<int>, numbers_to(1000));
  for (int i = 0; i < 5; ++i) {
    as_completed watched(futures);
    static_cast<void>(watched.next());
  }
  EXPECT_EQ(when_all(futures).size(), 1000u);
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& one : as_completed(futures)) ++count;
  EXPECT_EQ(count, 1000u);
}

TEST_P(WaitingTest, refuses_wrong_use) {
  const auto futures = tarn.submit_many(twice<int>, numbers_to(3));
  const as_completed watched(futures);
  EXPECT_EQ(code_of([&] { as_completed again(futures); }), TARN_E_STATE);
  std::vector<future<int>> some;
  some.push_back(tarn.submit(add, 1, 1));
  some.emplace_back();
  EXPECT_EQ(code_of([&] { as_completed empty(some); }), TARN_E_NO_FUTURE);
  client other = init(0, nullptr, {.address = "private", .workers = 1});
  some[1] = other.submit(add, 1, 1);
  EXPECT_EQ(code_of([&] { as_completed two(some); }), TARN_E_ARGUMENT);
  some.pop_back();
  as_completed late(some);
  tarn.close();
  EXPECT_EQ(code_of([&] { static_cast<void>(late.next()); }), TARN_E_NOT_INITIALISED);
}

TEST_P(WaitingTest, the_c_functions_refuse_wrong_use) {
  const auto one = tarn.submit(add, 1, 1);
  const tarn_future handle = one.handle();
  const tarn_future twice[] = {handle, handle};
  tarn_watch* watch = nullptr;
  std::size_t position = 7;
  std::size_t count = 7;
  EXPECT_EQ(tarn_watch_open(nullptr, &handle, 1, &watch), TARN_E_NOT_INITIALISED);
  EXPECT_EQ(tarn_watch_open(tarn.handle(), &handle, 1, nullptr), TARN_E_ARGUMENT);
  EXPECT_EQ(tarn_watch_open(tarn.handle(), nullptr, 1, &watch), TARN_E_ARGUMENT);
  EXPECT_EQ(tarn_watch_open(tarn.handle(), twice, 2, &watch), TARN_E_STATE);
  EXPECT_EQ(watch, nullptr);
  ASSERT_EQ(tarn_watch_open(tarn.handle(), &handle, 1, &watch), 0);
  const auto ignore = [](tarn_client*, tarn_future, void*) {};
  EXPECT_EQ(tarn_future_then(tarn.handle(), handle, ignore, nullptr), TARN_E_STATE);
  EXPECT_EQ(tarn_watch_next(nullptr, -1, &position, 1, &count), TARN_E_ARGUMENT);
  EXPECT_EQ(tarn_watch_next(watch, -1, nullptr, 1, &count), TARN_E_ARGUMENT);
  EXPECT_EQ(tarn_watch_next(watch, -1, &position, 0, &count), TARN_E_ARGUMENT);
  EXPECT_EQ(tarn_watch_next(watch, -1, &position, 1, nullptr), TARN_E_ARGUMENT);
  EXPECT_EQ(tarn_watch_next(watch, -2, &position, 1, &count), TARN_E_ARGUMENT);
  EXPECT_EQ(position, 7u);
  EXPECT_EQ(count, 7u);
  EXPECT_EQ(tarn_watch_next(watch, -1, &position, 1, &count), 0);
  EXPECT_EQ(position, 0u);
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(tarn_watch_next(watch, -1, &position, 1, &count), 0);
  EXPECT_EQ(count, 0u);
  tarn_watch_close(tarn.handle(), watch);
  tarn_watch_close(tarn.handle(), nullptr);
  EXPECT_EQ(tarn_future_then(tarn.handle(), handle, ignore, nullptr), 0) << "it is free again";
  EXPECT_EQ(tarn.dispatch(), 1);
}

TEST_P(WaitingTest, threads_watch_each_their_own) {
  std::vector<std::thread> threads;
  std::atomic<int> sum{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        const auto futures = tarn.submit_many(twice<int>, numbers_to(100));
        for (auto [index, future] : as_completed(futures))
          sum += future.get() == 2 * static_cast<int>(index);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 4 * 20 * 100);
}

TEST_P(WaitingTest, as_completed_goes_on_after_a_worker_was_killed) {
  std::vector<future<void>> futures;
  for (int i = 0; i < 200; ++i) futures.push_back(tarn.submit(sleep_ms, 1));
  std::size_t count = 0;
  for (auto [index, future] : as_completed(futures)) {
    if (++count == 50) {
      while (tarn.slots().empty()) {
      }
      kill(tarn.slots().front().pid, SIGKILL);
    }
    future.get();
  }
  EXPECT_EQ(count, 200u);
}

TEST_P(WaitingTest, works_inside_of_tasks) {
  EXPECT_EQ(tarn.submit(sum_as_completed, 0).get(), 0);
  EXPECT_EQ(tarn.submit(sum_as_completed, 1000).get(), 2 * 999 * 1000 / 2);
  // Two at a time, so that each may run what the other has submitted.
  for (const int sum : when_all(tarn.submit_many(sum_as_completed, std::vector<int>(20, 50))))
    EXPECT_EQ(sum, 49 * 50);
}

// ---- when_any, k of n ---------------------------------------------------------------------------

TEST_P(WaitingTest, when_any_gives_the_first) {
  std::vector<future<int>> futures;
  futures.push_back(tarn.submit(add, 20, 22));
  const auto first = when_any(futures);
  EXPECT_EQ(first.index, 0u);
  EXPECT_EQ(first.result, 42);
  std::vector<future<void>> sleepers;
  sleepers.push_back(tarn.submit(sleep_ms, 1));
  EXPECT_EQ(when_any(sleepers).index, 0u);
  EXPECT_EQ(code_of([&] { static_cast<void>(when_any(std::vector<future<int>>())); }),
            TARN_E_ARGUMENT);
  futures[0] = tarn.submit(throw_number, 1);
  EXPECT_EQ(code_of([&] { static_cast<void>(when_any(futures)); }), TARN_E_TASK_FAILED);
}

TEST_P(WaitingTest, waits_for_some_of_many) {
  const auto futures = tarn.submit_many(twice<int>, numbers_to(1000));
  for (const std::size_t want : {0u, 1u, 500u, 999u, 1000u})
    EXPECT_GE(tarn::wait(futures, want, 20s).size(), want);
  const auto slow = tarn.submit_many(sleep_ms, std::vector<int>(10, 1));
  EXPECT_GE(tarn::wait(slow, 3, 20s).size(), 3u);
  EXPECT_EQ(tarn::wait(slow, 10, 20s).size(), 10u);
}

// All of many, that finish in about the order of their submission, and in the opposite one.
TEST_P(WaitingTest, waits_for_all_in_any_order) {
  auto futures = tarn.submit_many(twice<int>, numbers_to(50'000));
  EXPECT_EQ(when_all(futures).back(), 2 * 49'999);
  std::vector<future<int>> backwards;
  for (auto& future : tarn.submit_many(twice<int>, numbers_to(50'000)))
    backwards.push_back(std::move(future));
  std::reverse(backwards.begin(), backwards.end());
  EXPECT_EQ(when_all(backwards).front(), 2 * 49'999);
  // Each behind the next: what is last in the list is done first.
  std::vector<future<int>> chain(200);
  chain.back() = tarn.submit(add, 1, 1);
  for (std::size_t i = chain.size() - 1; i-- > 0;) chain[i] = tarn.submit(add, chain[i + 1], 1);
  EXPECT_EQ(when_all(chain).front(), 201);
  // One that never ends.
  std::vector<future<void>> stuck;
  stuck.push_back(tarn.submit(sleep_until_cancelled));
  for (int i = 0; i < 5; ++i) stuck.push_back(tarn.submit(do_nothing));
  EXPECT_EQ(code_of([&] { when_all(stuck, 30ms); }), TARN_E_TIMED_OUT);
  stuck[0].cancel();
  EXPECT_EQ(tarn::wait(stuck, stuck.size(), 20s).size(), stuck.size());
}

// ---- Event loops and coroutines -----------------------------------------------------------------

TEST_P(WaitingTest, fits_an_event_loop) {
  const Fd loop{epoll_create1(EPOLL_CLOEXEC)};
  epoll_event event{EPOLLIN, {}};
  ASSERT_EQ(epoll_ctl(loop.get(), EPOLL_CTL_ADD, tarn.fd(), &event), 0);
  int called = 0;
  const auto futures = tarn.submit_many(twice<int>, numbers_to(20'000));
  for (const auto& future : futures) {
    ASSERT_EQ(
        tarn_future_then(
            tarn.handle(), future.handle(),
            [](tarn_client*, tarn_future, void* count) { ++*static_cast<int*>(count); }, &called),
        0);
  }
  tarn.dispatch();
  while (called < 20'000) {
    epoll_event ready;
    ASSERT_EQ(epoll_wait(loop.get(), &ready, 1, 10'000), 1) << called;
    tarn.dispatch();
  }
  EXPECT_EQ(called, 20'000);
  EXPECT_EQ(tarn.dispatch(), 0);
}

#if defined(__cpp_impl_coroutine) && defined(__cpp_lib_coroutine)

async<int> add_three_times(client& tarn, int start) {
  const auto first = tarn.submit(add, start, 1);
  int sum = co_await first;
  sum = co_await tarn.submit(add, sum, 10);
  co_return co_await tarn.submit(add, sum, 100);
}

async<> fail_in_the_middle(client& tarn) {
  co_await tarn.submit(do_nothing);
  co_await tarn.submit(throw_out_of_range, 7);
  ADD_FAILURE() << "goes on";
}

async<int> add_many(client& tarn, int count) {
  std::vector<async<int>> parts;
  for (int i = 0; i < count; ++i) parts.push_back(add_three_times(tarn, i));
  int sum = 0;
  for (auto& part : parts) sum += co_await part;
  co_return sum;
}

async<std::string> not_at_all() {
  co_return "at once";
}

async<std::vector<int>> await_all(client& tarn, int count) {
  const auto futures = tarn.submit_many(twice<int>, numbers_to(count));
  co_return co_await all(futures);
}

TEST_P(WaitingTest, runs_coroutines) {
  EXPECT_EQ(run(tarn, add_three_times(tarn, 1)), 112);
  EXPECT_EQ(run(tarn, add_many(tarn, 1000)), 1000 * 111 + 999 * 500);
  EXPECT_EQ(run(tarn, not_at_all()), "at once");
  const auto doubled = run(tarn, await_all(tarn, 5000));
  EXPECT_EQ(std::accumulate(doubled.begin(), doubled.end(), 0), 4999 * 5000);
  EXPECT_EQ(code_of([&] { run(tarn, fail_in_the_middle(tarn)); }), TARN_E_TASK_FAILED);
}

TEST_P(WaitingTest, a_coroutine_that_nobody_awaits_goes_on) {
  static int ended;
  ended = 0;
  const auto count_up = [](client& session) -> async<> {
    co_await session.submit(do_nothing);
    ++ended;
  };
  { auto left = count_up(tarn); }
  auto kept = count_up(tarn);
  EXPECT_EQ(kept.is_done() ? 0 : code_of([&] { kept.get(); }), kept.is_done() ? 0 : TARN_E_STATE);
  run(tarn, std::move(kept));
  while (ended < 2) tarn.dispatch();
  EXPECT_EQ(ended, 2);
}

#endif

}  // namespace
}  // namespace tarn::testing
