// Tasks that yield results one by one. What could go wrong: an item lost, doubled or out of order; a reader or a task that sleeps
// for ever; memory that the window does not bound; something left behind. What becomes of them when somebody is killed, and who else
// may read, is in stream_life_test.cpp.
#include "stream_tasks.hpp"

namespace tarn::test::streams {
namespace {

TEST(Stream, ItemsOfEverySizeComeInOrder) {
  PrivateClient tarn(2);
  for (int64_t size : {8, 32, 40, 41, 100, 4096, 100'000}) {
    tarn_future future = count(tarn, 600, size);
    read(tarn, future, 0, 600, static_cast<size_t>(size));
    expect_end(tarn, future);
    // It is a task as well.
    tarn_bytes result{};
    ASSERT_EQ(0, tarn_result(tarn, future, 0, &result)) << tarn_last_error();
    EXPECT_EQ(600, number_in(result));
    release(tarn, future);
  }
  EXPECT_EQ(0u, objects_of(tarn));
}

TEST(Stream, AMillionItems) {
  PrivateClient tarn;
  tarn_future future = count(tarn, 1'000'000, 8);
  read(tarn, future, 0, 1'000'000);
  expect_end(tarn, future);
  release(tarn, future);
}

TEST(Stream, ManyStreamsAfterAndBesideOneAnother) {
  PrivateClient tarn(2);
  tarn_stream_options window = window_of(3);
  for (int round = 0; round < 300; ++round) {
    tarn_future futures[5];
    for (auto& future : futures) future = count(tarn, 7, round % 2 == 0 ? 8 : 64, &window);
    // Two at most run at a time: the others begin when those are through.
    for (auto& future : futures) {
      read(tarn, future, 0, 7, round % 2 == 0 ? 8 : 64);
      expect_end(tarn, future);
      release(tarn, future);
    }
  }
  EXPECT_EQ(0u, objects_of(tarn));
}

// A task that yields waits when the window is full, and goes on when items are read.
TEST(Stream, TheWindowHolds) {
  PrivateClient tarn;
  struct Case {
    uint32_t items;
    uint64_t bytes;
    int64_t size;
    int64_t fit;
  };
  for (Case c : {Case{1, 0, 8, 1}, Case{5, 0, 8, 5}, Case{4096, 0, 8, 4096}, Case{100, 800, 80, 10}, Case{100, 70, 80, 1}, Case{7, 1000, 100, 7}}) {
    SharedFile shared;
    tarn_stream_options window = window_of(c.items, c.bytes);
    int64_t n = 3 * c.fit + 1;
    tarn_future future = submit(tarn, "fill_up", {value_of(n), value_of(c.size), shared.arg()}, &window);
    ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return shared->yielded == c.fit; })) << shared->yielded;
    usleep(60'000);
    EXPECT_EQ(c.fit, shared->yielded);
    read(tarn, future, 0, 1, static_cast<size_t>(c.size));
    // At the latest when it looks by itself.
    EXPECT_TRUE(within(std::chrono::seconds(5), [&] { return shared->yielded == c.fit + 1; })) << shared->yielded;
    read(tarn, future, 1, n - 1, static_cast<size_t>(c.size));
    expect_end(tarn, future);
    release(tarn, future);
  }
}

// 100 MB go through a session that may have 64 MiB in all, and no disk.
TEST(Stream, MoreThanThereIsMemory) {
  tarn::test::OwnDaemon daemon("[memory]\nper_client = \"64MiB\"\nspill_directory = \"\"");
  tarn_client* tarn = daemon.connect(1);
  ASSERT_NE(nullptr, tarn);
  tarn_stream_options window = window_of(0, 2'000'000);
  tarn_future future = count(tarn, 1000, 100'000, &window);
  tarn_object kept{};
  for (int64_t i = 0; i < 1000; ++i) {
    if (i == 500) {
      // As an object it outlives the stream.
      ASSERT_EQ(0, tarn_stream_next_object(tarn, future, kLong, &kept)) << tarn_last_error();
      continue;
    }
    read(tarn, future, i, 1, 100'000);
  }
  expect_end(tarn, future);
  release(tarn, future);
  EXPECT_EQ(1u, objects_of(tarn));
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_get(tarn, kept, &bytes)) << tarn_last_error();
  EXPECT_EQ(500, number_in(bytes));
  EXPECT_EQ(100'000u, bytes.size);
  EXPECT_EQ(0, tarn_release(tarn, kept));
  tarn_close(tarn);
}

TEST(Stream, SmallItemsAsObjects) {
  PrivateClient tarn;
  tarn_future future = count(tarn, 3, 8);
  std::vector<tarn_object> kept(3);
  for (auto& object : kept) ASSERT_EQ(0, tarn_stream_next_object(tarn, future, kLong, &object)) << tarn_last_error();
  expect_end(tarn, future);
  release(tarn, future);
  for (size_t i = 0; i < 3; ++i) {
    tarn_bytes bytes{};
    ASSERT_EQ(0, tarn_get(tarn, kept[i], &bytes));
    EXPECT_EQ(static_cast<int64_t>(i), number_in(bytes));
    EXPECT_EQ(0, tarn_release(tarn, kept[i]));
  }
}

// The reader is there before the items, and sleeps in between.
TEST(Stream, AReaderIsWokenForEachItem) {
  PrivateClient tarn;
  int64_t n = 20;
  int64_t ms = 5;
  tarn_future future = submit(tarn, "tick", {value_of(n), value_of(ms)});
  Clock::time_point begin = Clock::now();
  read(tarn, future, 0, n);
  // Not one of them waited for the look every 100 ms.
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(20 * 5 + 1500));
  expect_end(tarn, future);
  release(tarn, future);
}

TEST(Stream, ATimeOutLosesNothing) {
  PrivateClient tarn;
  int64_t n = 3;
  int64_t ms = 60;
  tarn_future future = submit(tarn, "tick", {value_of(n), value_of(ms)});
  tarn_bytes item{};
  int timed_out = 0;
  for (int64_t i = 0; i < n;) {
    int r = tarn_stream_next(tarn, future, i % 2 == 0 ? 10 * kMs : 0, &item);
    if (r == TARN_E_TIMED_OUT) {
      ++timed_out;
      continue;
    }
    ASSERT_EQ(0, r) << tarn_last_error();
    EXPECT_EQ(i++, number_in(item));
  }
  EXPECT_GT(timed_out, 3);
  release(tarn, future);
}

// The only worker waits in a yield, and this thread for another task: the window gives way, rather than that both wait for ever.
TEST(Stream, AnotherTaskIsAwaitedWhileAllWorkersYield) {
  PrivateClient tarn;
  tarn_stream_options window = window_of(2);
  tarn_future future = count(tarn, 200, 64, &window);
  int64_t ms = 0;
  tarn_arg args[] = {value_of(ms)};
  for (int64_t i = 0; i < 200; ++i) {
    read(tarn, future, i, 1, 64);
    tarn_future other;
    ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("nap"), args, 1, nullptr, &other));
    if (i % 3 == 0) {
      ASSERT_EQ(0, tarn_result(tarn, other, kLong, nullptr)) << i << ": " << tarn_last_error();
    } else if (i % 3 == 1) {
      // By looking, without ever sleeping here.
      ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return tarn_wait(tarn, &other, 1, 1, 0, nullptr, nullptr) == 0; }));
    } else {
      bool is_done = false;
      ASSERT_EQ(0, tarn_future_then(tarn, other, [](tarn_client*, tarn_future, void* done) { *static_cast<bool*>(done) = true; }, &is_done));
      while (!is_done) {
        ASSERT_GE(tarn_client_dispatch(tarn), 0) << tarn_last_error();
        pollfd readable{tarn_client_fd(tarn), POLLIN, 0};
        if (is_done) break;
        ASSERT_EQ(1, poll(&readable, 1, 20'000)) << i;
      }
    }
    release(tarn, other);
  }
  expect_end(tarn, future);
  release(tarn, future);
}

// By who only looks, for several, in each way that there is.
TEST(Stream, OthersAreAwaitedByLookingWhileAllWorkersYield) {
  for (bool watches : {false, true}) {
    PrivateClient tarn;
    tarn_stream_options window = window_of(2);
    tarn_future streams[4];
    for (auto& stream : streams) stream = count(tarn, 50, 64, &window);
    int64_t ms = 0;
    tarn_arg args[] = {value_of(ms)};
    tarn_future others[2];
    for (auto& other : others) ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("nap"), args, 1, nullptr, &other));
    tarn_watch* watch = nullptr;
    if (watches) {
      ASSERT_EQ(0, tarn_watch_open(tarn, others, 2, &watch)) << tarn_last_error();
    }
    size_t done = 0;
    EXPECT_TRUE(within(std::chrono::seconds(20), [&] {
      if (!watches) return tarn_wait(tarn, others, 2, 2, 0, nullptr, nullptr) == 0;
      size_t positions[2], taken = 0;
      if (tarn_watch_next(watch, 0, positions, 2, &taken) == 0) done += taken;
      return done == 2;
    })) << watches;
    if (watches) tarn_watch_close(tarn, watch);
    for (auto& other : others) release(tarn, other);
    for (auto& stream : streams) release(tarn, stream);
  }
}

// When the stream has no end, the wait has one: a stand-in comes to the task, or there are too many items.
TEST(Stream, AnotherTaskIsAwaitedBehindAnEndlessStream) {
  PrivateClient tarn;
  tarn_future future = count(tarn, 1'000'000'000, 8);
  int64_t ms = 0;
  tarn_arg args[] = {value_of(ms)};
  tarn_future other;
  ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("nap"), args, 1, nullptr, &other));
  int r = tarn_result(tarn, other, kLong, nullptr);
  EXPECT_TRUE(r == 0 || r == TARN_E_LIMIT) << tarn_last_error();
  bool is_told = std::string(tarn_last_error()).find("1048576 items that were not read") != std::string::npos;
  EXPECT_TRUE(r == 0 || is_told) << tarn_last_error();
  read(tarn, future, 0, 1000);  // nothing was lost
  release(tarn, future);
  EXPECT_EQ(0, tarn_result(tarn, other, kLong, nullptr)) << tarn_last_error();
  release(tarn, other);
}

// ---- The end ---------------------------------------------------------------------------------

TEST(Stream, AnErrorComesAfterTheItems) {
  PrivateClient tarn;
  tarn_future future = submit(tarn, "fail_after", {});
  ASSERT_EQ(TARN_E_TASK_FAILED, tarn_result(tarn, future, kLong, nullptr));
  read(tarn, future, 0, 3);
  expect_end(tarn, future, TARN_E_TASK_FAILED);
  EXPECT_NE(std::string::npos, std::string(tarn_last_error()).find("three is enough")) << tarn_last_error();
  release(tarn, future);
}

TEST(Stream, ATaskThatIsRunAgainAfterErrorsGoesOn) {
  PrivateClient tarn;
  tarn_retry retry{};
  retry.size = sizeof retry;
  retry.times = 5;
  retry.first_ns = kMs;
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retry_on_error = &retry;
  for (uint32_t items : {1u, 100u}) {
    tarn_stream_options window = window_of(items);
    tarn_future future = submit(tarn, "stumble", {}, &window, &options);
    read(tarn, future, 0, 5);
    expect_end(tarn, future);
    release(tarn, future);
  }
}

TEST(Stream, WhoReadsNoMoreIsTold) {
  PrivateClient tarn;
  for (int64_t reads : {0, 1, 50}) {
    for (int64_t size : {8, 1000}) {
      SharedFile shared;
      tarn_stream_options window = window_of(4);
      int64_t n = 1'000'000'000;
      tarn_future future = submit(tarn, "fill_up", {value_of(n), value_of(size), shared.arg()}, &window);
      read(tarn, future, 0, reads, static_cast<size_t>(size));
      ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return shared->yielded >= reads + 4; }));  // it waits
      release(tarn, future);
      EXPECT_TRUE(within(std::chrono::seconds(5), [&] { return shared->last_code == TARN_E_NO_READER; })) << shared->last_code;
    }
  }
  // Its worker serves again, and nothing is left.
  tarn_future future = count(tarn, 10, 8);
  read(tarn, future, 0, 10);
  expect_end(tarn, future);
  release(tarn, future);
  EXPECT_EQ(0u, objects_of(tarn));
}

TEST(Stream, AStreamThatHasNotBegunMayBeReleased) {
  PrivateClient tarn;
  int64_t ms = 100;
  tarn_arg args[] = {value_of(ms)};
  tarn_future before;
  ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("nap"), args, 1, nullptr, &before));
  SharedFile shared;
  int64_t n = 10;
  release(tarn, submit(tarn, "fill_up", {value_of(n), value_of(n), shared.arg()}));
  EXPECT_TRUE(within(std::chrono::seconds(5), [&] { return shared->last_code == TARN_E_NO_READER; }));
  EXPECT_EQ(0, shared->yielded);
  release(tarn, before);
}

TEST(Stream, CancelEndsAYieldThatWaits) {
  PrivateClient tarn;
  SharedFile shared;
  tarn_stream_options window = window_of(4);
  int64_t n = 1000;
  int64_t size = 8;
  tarn_future future = submit(tarn, "fill_up", {value_of(n), value_of(size), shared.arg()}, &window);
  ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return shared->yielded == 4; }));
  ASSERT_EQ(0, tarn_cancel(tarn, future, 0)) << tarn_last_error();
  EXPECT_TRUE(within(std::chrono::seconds(5), [&] { return shared->last_code == TARN_E_CANCELLED; }));
  // What it had yielded is there.
  read(tarn, future, 0, 4);
  expect_end(tarn, future, TARN_E_CANCELLED);
  release(tarn, future);
}

TEST(Stream, CancelledWhileItWaitsForAWorker) {
  PrivateClient tarn;
  int64_t ms = 200;
  tarn_arg args[] = {value_of(ms)};
  tarn_future before;
  ASSERT_EQ(0, tarn_submit(tarn, tarn_task_id("nap"), args, 1, nullptr, &before));
  tarn_future future = count(tarn, 10, 8);
  ASSERT_EQ(0, tarn_cancel(tarn, future, 0)) << tarn_last_error();
  expect_end(tarn, future, TARN_E_CANCELLED);
  release(tarn, future);
  release(tarn, before);
}

TEST(Stream, KilledWhileItWaits) {
  PrivateClient tarn;
  SharedFile shared;
  tarn_stream_options window = window_of(4);
  int64_t n = 1000;
  int64_t size = 64;
  tarn_future future = submit(tarn, "fill_up", {value_of(n), value_of(size), shared.arg()}, &window);
  ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return shared->yielded == 4; }));
  ASSERT_EQ(0, tarn_cancel(tarn, future, TARN_CANCEL_KILL)) << tarn_last_error();
  read(tarn, future, 0, 4, 64);
  expect_end(tarn, future, TARN_E_CANCELLED);
  release(tarn, future);
  EXPECT_EQ(0u, objects_of(tarn));
}

TEST(Stream, TimeOutAndDeadline) {
  PrivateClient tarn;
  for (bool is_deadline : {false, true}) {
    SharedFile shared;
    tarn_stream_options window = window_of(4);
    tarn_submit_options options{};
    options.size = sizeof options;
    (is_deadline ? options.deadline_ns : options.timeout_ns) = 300 * kMs;
    int64_t n = 1000;
    int64_t size = 8;
    tarn_future future = submit(tarn, "fill_up", {value_of(n), value_of(size), shared.arg()}, &window, &options);
    ASSERT_TRUE(within(std::chrono::seconds(20), [&] { return shared->yielded == 4; }));
    EXPECT_TRUE(within(std::chrono::seconds(5), [&] { return shared->last_code == TARN_E_DEADLINE; })) << shared->last_code;
    read(tarn, future, 0, 4);
    expect_end(tarn, future, TARN_E_DEADLINE);
    release(tarn, future);
  }
}

// A result is asked for, and nobody reads: what comes is kept.
TEST(Stream, WaitingForTheEndTakesTheItemsIn) {
  PrivateClient tarn;
  tarn_stream_options window = window_of(4);
  tarn_future future = count(tarn, 10'000, 64, &window);
  tarn_bytes result{};
  read(tarn, future, 0, 10, 64);
  ASSERT_EQ(0, tarn_result(tarn, future, kLong, &result)) << tarn_last_error();
  EXPECT_EQ(10'000, number_in(result));
  read(tarn, future, 10, 4990, 64);
  release(tarn, future);  // with the other half unread
  EXPECT_EQ(0u, objects_of(tarn));
}

}  // namespace
}  // namespace tarn::test::streams
