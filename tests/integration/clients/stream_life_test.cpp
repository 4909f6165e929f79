// Streams whose worker is killed, in event loops, in tasks that read, and used wrongly. What could go wrong: an item lost or doubled by
// a second run; an end that nobody tells; a task that waits for what only it could read; an argument that nobody expected.
#include "stream_tasks.hpp"

namespace tarn::test::streams {
namespace {

// ---- Crashes ---------------------------------------------------------------------------------

// The worker is killed again and again, at random, while it yields: each item comes once, and in order.
TEST(Stream, AKilledWorkerIsReplacedAndTheStreamGoesOn) {
  PrivateClient tarn(2);
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = 200;
  unsigned seed = 20;
  for (int64_t size : {8, 200}) {
    SharedFile shared;
    tarn_stream_options window = window_of(16);
    int64_t n = 60'000;
    tarn_future future = submit(tarn, "fill_up", {value_of(n), value_of(size), shared.arg()}, &window, &options);
    std::atomic<bool> is_over{false};
    int killed = 0;
    std::thread killer([&] {
      int32_t last = 0;
      while (!is_over && killed < 12) {
        usleep(static_cast<useconds_t>(rand_r(&seed) % 20'000));
        int32_t pid = shared->pid;
        if (pid == 0 || pid == last || is_over) continue;
        last = pid;
        if (kill(pid, SIGKILL) == 0) ++killed;
      }
    });
    for (int64_t i = 0; i < n; i += 100) {
      read(tarn, future, i, 100, static_cast<size_t>(size));
      if (i % 5000 == 0) usleep(20'000);  // and now and then the window is full
    }
    is_over = true;
    killer.join();
    expect_end(tarn, future);
    release(tarn, future);
    EXPECT_GT(killed, 3);
  }
  EXPECT_EQ(0u, objects_of(tarn));
}

TEST(Stream, WithoutRetriesTheItemsBeforeTheCrashAreThere) {
  PrivateClient tarn;
  SharedFile shared;
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = -1;
  tarn_stream_options window = window_of(16);
  int64_t n = 1000;
  int64_t size = 500;
  tarn_future future = submit(tarn, "fill_up", {value_of(n), value_of(size), shared.arg()}, &window, &options);
  ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return shared->yielded == 16; }));
  read(tarn, future, 0, 3, 500);
  ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return shared->yielded == 19; }));
  kill(shared->pid, SIGKILL);
  read(tarn, future, 3, 16, 500);
  expect_end(tarn, future, TARN_E_WORKER_CRASHED);
  release(tarn, future);
  EXPECT_EQ(0u, objects_of(tarn));
}

// ---- Event loops -----------------------------------------------------------------------------

TEST(Stream, TheDescriptorTellsOfItems) {
  PrivateClient tarn;
  int64_t n = 10;
  int64_t ms = 20;
  tarn_future future = submit(tarn, "tick", {value_of(n), value_of(ms)});
  ASSERT_EQ(0, tarn_client_dispatch(tarn));
  int64_t got = 0;
  int polls = 0;
  for (int r = 0; r != TARN_E_END;) {
    tarn_bytes item{};
    while ((r = tarn_stream_next(tarn, future, 0, &item)) == 0) ASSERT_EQ(got++, number_in(item));
    if (r == TARN_E_END) break;
    ASSERT_EQ(TARN_E_TIMED_OUT, r) << tarn_last_error();
    pollfd readable{tarn_client_fd(tarn), POLLIN, 0};
    ASSERT_EQ(1, poll(&readable, 1, 10'000)) << "after " << got;
    ++polls;
    ASSERT_GE(tarn_client_dispatch(tarn), 0);
  }
  EXPECT_EQ(n, got);
  EXPECT_LT(polls, 30);
  release(tarn, future);
}

TEST(Stream, ACallbackComesForAnItemAndForTheEnd) {
  PrivateClient tarn;
  int64_t n = 5;
  int64_t ms = 20;
  tarn_future future = submit(tarn, "tick", {value_of(n), value_of(ms)});
  struct State {
    int64_t got = 0;
    int calls = 0;
    bool is_over = false;
  } state;
  tarn_future_fn on_item = [](tarn_client* client, tarn_future stream, void* context) {
    auto& it = *static_cast<State*>(context);
    ++it.calls;
    tarn_bytes item{};
    int r;
    while ((r = tarn_stream_next(client, stream, 0, &item)) == 0) EXPECT_EQ(it.got++, number_in(item));
    it.is_over = r == TARN_E_END;
  };
  while (!state.is_over) {
    ASSERT_EQ(0, tarn_stream_then(tarn, future, on_item, &state)) << tarn_last_error();
    ASSERT_EQ(TARN_E_STATE, tarn_stream_then(tarn, future, on_item, &state));
    int before = state.calls;
    while (state.calls == before) {
      if (tarn_client_dispatch(tarn) > 0) continue;
      pollfd readable{tarn_client_fd(tarn), POLLIN, 0};
      ASSERT_EQ(1, poll(&readable, 1, 10'000));
    }
  }
  EXPECT_EQ(n, state.got);
  release(tarn, future);
}

// ---- Tasks that read ---------------------------------------------------------------------------

// Until so many workers serve: each has a task that waits.
void await_workers(tarn_client* tarn, size_t count) {
  int64_t ms = 100;
  tarn_arg args[] = {value_of(ms)};
  std::vector<tarn_future> futures(count);
  for (auto& future : futures) ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("nap"), args, 1, nullptr, &future));
  ASSERT_EQ(0, tarn_wait(tarn, futures.data(), count, count, kLong, nullptr, nullptr));
  for (auto& future : futures) release(tarn, future);
}

int64_t run(tarn_client* tarn, const char* task, std::vector<tarn_arg> args) {
  tarn_future future;
  EXPECT_EQ(0, tarn_submit(tarn, tarn_task_id(task), args.data(), args.size(), nullptr, &future)) << tarn_last_error();
  tarn_bytes result{};
  EXPECT_EQ(0, tarn_result(tarn, future, kLong, &result)) << task << ": " << tarn_last_error();
  int64_t number = number_in(result);
  release(tarn, future);
  return number;
}

TEST(Stream, ATaskReadsAStreamOfItsOwn) {
  for (uint32_t workers : {1u, 2u}) {  // by one worker alone it runs within the read
    PrivateClient tarn(workers);
    for (int64_t size : {8, 1000})
      for (int64_t items : {1, 16, 1000}) {
        int64_t n = 3000;
        EXPECT_EQ(n * (n - 1) / 2, run(tarn, "add_up", {value_of(n), value_of(size), value_of(items)}));
      }
    // All of the workers at the same time.
    std::vector<tarn_future> futures(20);
    int64_t n = 500;
    int64_t items = 3;
    int64_t size = 64;
    tarn_arg args[] = {value_of(n), value_of(size), value_of(items)};
    for (auto& future : futures) ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("add_up"), args, 3, nullptr, &future));
    for (auto& future : futures) {
      tarn_bytes result{};
      ASSERT_EQ(0, tarn_result(tarn, future, kLong, &result)) << tarn_last_error();
      EXPECT_EQ(n * (n - 1) / 2, number_in(result));
      release(tarn, future);
    }
    EXPECT_EQ(0u, objects_of(tarn));
  }
}

TEST(Stream, WhatATaskDoesNotReadEndsWithIt) {
  for (uint32_t workers : {1u, 2u}) {
    PrivateClient tarn(workers);
    await_workers(tarn, workers);
    int64_t n = 100'000'000;
    int64_t size = 8;
    int64_t items = 4;
    for (int64_t reads : {0, 3}) {
      // Where it runs within the read, all of it would come first.
      if (workers == 1 && reads != 0) n = 1000;
      EXPECT_EQ(reads * (reads - 1) / 2, run(tarn, "add_up", {value_of(n), value_of(size), value_of(items), value_of(reads)}));
    }
  }
}

// Without another worker an endless stream has no end: its task is told.
TEST(Stream, WhatRunsWithinTheReadIsBounded) {
  PrivateClient tarn;
  int64_t n = 100'000'000;
  int64_t size = 8;
  int64_t items = 4;
  tarn_arg args[] = {value_of(n), value_of(size), value_of(items)};
  tarn_future future;
  ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("add_up"), args, 3, nullptr, &future));
  EXPECT_EQ(TARN_E_TASK_FAILED, tarn_result(tarn, future, kLong, nullptr));
  EXPECT_NE(std::string::npos, std::string(tarn_last_error()).find("task 'count_up': a stream has 1048576 items that were not read")) << tarn_last_error();
  release(tarn, future);
}

TEST(Stream, ATaskWaitsForTheEndAndReadsThen) {
  for (uint32_t workers : {1u, 2u}) {
    PrivateClient tarn(workers);
    EXPECT_EQ(1000, run(tarn, "wait_then_read", {}));
  }
}

// ---- Misuse ----------------------------------------------------------------------------------

TEST(Stream, Misuse) {
  PrivateClient tarn;
  auto text = [] { return std::string(tarn_last_error()); };
  tarn_bytes item{};
  tarn_object object{};
  tarn_future plain{};
  int64_t ms = 0;
  tarn_arg args[] = {value_of(ms), value_of(ms)};
  ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("nap"), args, 1, nullptr, &plain));
  EXPECT_EQ(TARN_E_STATE, tarn_stream_next(tarn, plain, kLong, &item));
  EXPECT_NE(std::string::npos, text().find("tarn_submit_stream")) << text();
  EXPECT_EQ(TARN_E_STATE, tarn_stream_next_object(tarn, plain, kLong, &object));
  EXPECT_EQ(TARN_E_STATE, tarn_stream_then(tarn, plain, [](tarn_client*, tarn_future, void*) {}, nullptr));
  release(tarn, plain);
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_stream_next(tarn, plain, kLong, &item));

  // A task that yields, but is no stream.
  int64_t n = 1;
  tarn_arg counts[] = {value_of(n), value_of(n)};
  ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("count_up"), counts, 2, nullptr, &plain));
  EXPECT_EQ(TARN_E_TASK_FAILED, tarn_result(tarn, plain, kLong, nullptr));
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(0, tarn_future_error(tarn, plain, &error));
  EXPECT_EQ(TARN_E_STATE, error.code);
  release(tarn, plain);

  tarn_future future = submit(tarn, "yield_badly", {});
  ASSERT_EQ(0, tarn_stream_next(tarn, future, kLong, &item)) << text();
  EXPECT_EQ(0u, item.size);
  expect_end(tarn, future);
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_stream_next(tarn, future, -2, &item));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_stream_next(tarn, future, 0, nullptr));

  // As an argument of another task it would be waited for, and nobody read it.
  tarn_arg argument = tarn_arg_future(future);
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(tarn, tarn_task_id("take_future"), &argument, 1, nullptr, &plain));
  EXPECT_NE(std::string::npos, text().find("stream")) << text();
  release(tarn, future);

  for (auto change : {+[](tarn_stream_options& o) { o.size = 8; }, +[](tarn_stream_options& o) { o.items = 4097; },
                      +[](tarn_stream_options& o) { o.reserved2 = 1; }, +[](tarn_stream_options& o) { o.reserved[1] = 1; }}) {
    tarn_stream_options options = window_of(1);
    change(options);
    EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit_stream(tarn, tarn_task_id("count_up"), counts, 2, nullptr, &options, &plain));
  }
  EXPECT_EQ(TARN_E_NO_TASK, tarn_submit_stream(tarn, 12345, nullptr, 0, nullptr, nullptr, &plain));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit_stream(tarn, tarn_task_id("count_up"), counts, 2, nullptr, nullptr, nullptr));
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_stream_next(nullptr, plain, 0, &item));
}

// Streams that nobody reads fill the arena: the next one is refused, and fits when others are gone.
TEST(Stream, TooManyAreRefused) {
  PrivateClient tarn(2);
  tarn_stream_options window = window_of(4096);
  std::vector<tarn_future> futures;
  int r = 0;
  int64_t n = 0;
  tarn_arg counts[] = {value_of(n), value_of(n)};
  while (futures.size() < 2000) {
    tarn_future future;
    r = tarn_submit_stream(tarn, tarn_task_id("count_up"), counts, 2, nullptr, &window, &future);
    if (r < 0) break;
    futures.push_back(future);
  }
  EXPECT_EQ(TARN_E_LIMIT, r) << tarn_last_error();
  EXPECT_GT(futures.size(), 700u);
  for (auto future : futures) expect_end(tarn, future);
  for (auto future : futures) release(tarn, future);
  tarn_future future;
  ASSERT_EQ(0, tarn_submit_stream(tarn, tarn_task_id("count_up"), counts, 2, nullptr, &window, &future)) << tarn_last_error();
  expect_end(tarn, future);
  release(tarn, future);
}

}  // namespace
}  // namespace tarn::test::streams
