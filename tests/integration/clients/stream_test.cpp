// Tasks that yield results one by one. What could go wrong: an item lost, doubled or out of order, above all when the worker that
// yields is killed; a reader or a task that sleeps for ever; memory that the window does not bound; something left behind.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "support/own_daemon.hpp"
#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;
using Clock = std::chrono::steady_clock;

constexpr int64_t kLong = 60'000'000'000;
constexpr int64_t kMs = 1'000'000;

template <class T>
T argument(const tarn_call* call, size_t index) {
  T value{};
  tarn_bytes bytes = tarn_call_arg(call, index);
  if (bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
  return value;
}

tarn_arg value_of(const int64_t& value) { return tarn_arg_value(&value, sizeof value); }

// What several processes see: the file descriptor goes to workers by its path.
struct Shared {
  std::atomic<int64_t> yielded;
  std::atomic<int64_t> last_code;
  std::atomic<int32_t> pid;
  std::atomic<int64_t> attempts;
};

class SharedFile {
 public:
  SharedFile() {
    char path[] = "/tmp/tarn-stream-XXXXXX";
    int fd = mkstemp(path);
    path_ = path;
    EXPECT_EQ(0, ftruncate(fd, sizeof(Shared)));
    close(fd);
    shared_ = open_at(path_);
  }
  ~SharedFile() {
    munmap(shared_, sizeof(Shared));
    unlink(path_.c_str());
  }
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;

  static Shared* open_at(const std::string& path) {
    int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    void* at = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return static_cast<Shared*>(at);
  }
  [[nodiscard]] tarn_arg arg() const { return tarn_arg_value(path_.data(), path_.size()); }
  Shared* operator->() const { return shared_; }

 private:
  std::string path_;
  Shared* shared_;
};

// That of a task, whose last argument names it.
class TaskShared {
 public:
  explicit TaskShared(const tarn_call* call) {
    tarn_bytes path = tarn_call_arg(call, tarn_call_arg_count(call) - 1);
    shared_ = SharedFile::open_at(std::string(static_cast<const char*>(path.data), path.size));
    shared_->pid = getpid();
    ++shared_->attempts;
  }
  ~TaskShared() { munmap(shared_, sizeof(Shared)); }
  TaskShared(const TaskShared&) = delete;
  TaskShared& operator=(const TaskShared&) = delete;
  Shared* operator->() const { return shared_; }

 private:
  Shared* shared_;
};

// ---- Tasks -----------------------------------------------------------------------------------

// The numbers from 0 to n - 1, each in `size` bytes whose last is the low byte of the number.
std::vector<char> item_of(int64_t number, size_t size) {
  std::vector<char> item(std::max(size, sizeof number), 0);
  memcpy(item.data(), &number, sizeof number);
  item.back() = static_cast<char>(number);
  if (size == sizeof number) memcpy(item.data(), &number, sizeof number);
  return item;
}

int count_up(tarn_call* call) {
  auto n = argument<int64_t>(call, 0);
  auto size = static_cast<size_t>(argument<int64_t>(call, 1));
  for (int64_t i = 0; i < n; ++i) {
    std::vector<char> item = item_of(i, size);
    if (int r = tarn_call_yield(call, item.data(), item.size()); r < 0) return r;
  }
  return tarn_call_return(call, &n, sizeof n);
}

// The same, without a copy, and says how far it is.
int fill_up(tarn_call* call) {
  TaskShared shared(call);
  auto n = argument<int64_t>(call, 0);
  auto size = static_cast<size_t>(argument<int64_t>(call, 1));
  for (int64_t i = 0; i < n; ++i) {
    std::vector<char> item = item_of(i, size);
    void* data;
    int r = tarn_call_yield_buffer(call, item.size(), &data);
    if (r == 0) memcpy(data, item.data(), item.size());
    if (r == 0) r = tarn_call_yield_filled(call);
    shared->last_code = r;
    if (r < 0) return r;
    shared->yielded = i + 1;
  }
  return 0;
}

int fail_after(tarn_call* call) {
  for (int64_t i = 0; i < 3; ++i)
    if (int r = tarn_call_yield(call, &i, sizeof i); r < 0) return r;
  return tarn_call_fail(call, -1000, "Sadness", "three is enough");
}

// Fails until the third attempt, an item later each time.
int stumble(tarn_call* call) {
  auto attempt = static_cast<int64_t>(tarn_call_attempt(call));
  for (int64_t i = 0; i < 5; ++i) {
    if (i == attempt && attempt < 3) return tarn_call_fail(call, -1000, nullptr, "stumbled at %d", static_cast<int>(i));
    if (int r = tarn_call_yield(call, &i, sizeof i); r < 0) return r;
  }
  return 0;
}

int nap(tarn_call* call) {
  usleep(static_cast<useconds_t>(argument<int64_t>(call, 0) * 1000));
  return 0;
}

// Yields one item every so many ms.
int tick(tarn_call* call) {
  for (int64_t i = 0; i < argument<int64_t>(call, 0); ++i) {
    usleep(static_cast<useconds_t>(argument<int64_t>(call, 1) * 1000));
    if (int r = tarn_call_yield(call, &i, sizeof i); r < 0) return r;
  }
  return 0;
}

int take_future(tarn_call*) { return 0; }

int yield_badly(tarn_call* call) {
  if (tarn_call_yield(call, nullptr, 3) != TARN_E_ARGUMENT) return -1;
  if (tarn_call_yield_filled(call) != TARN_E_STATE) return -2;
  void* data;
  if (tarn_call_yield_buffer(call, 100, &data) != 0) return -3;
  if (tarn_call_yield(call, "x", 1) != TARN_E_STATE) return -4;
  if (tarn_call_yield_buffer(call, 0, &data) != 0) return -5;  // the first one is taken back
  if (tarn_call_yield_filled(call) != 0) return -6;
  if (tarn_call_yield_buffer(call, 1000, &data) != 0) return -7;  // never filled
  return 0;
}

tarn_stream_options window_of(uint32_t items, uint64_t bytes = 0) {
  tarn_stream_options options{};
  options.size = sizeof options;
  options.items = items;
  options.bytes = bytes;
  return options;
}

int64_t number_in(tarn_bytes item) {
  int64_t number = -1;
  if (item.size >= sizeof number) memcpy(&number, item.data, sizeof number);
  return number;
}

// Reads a stream of a task of its own and adds it up; with an argument more, reads so many items only.
int add_up(tarn_call* call) {
  tarn_client* tarn = tarn_call_client(call);
  auto n = argument<int64_t>(call, 0);
  auto size = argument<int64_t>(call, 1);
  auto items = static_cast<uint32_t>(argument<int64_t>(call, 2));
  auto reads = tarn_call_arg_count(call) > 3 ? argument<int64_t>(call, 3) : n + 1;
  tarn_stream_options window = window_of(items);
  tarn_arg args[] = {value_of(n), value_of(size)};
  tarn_future future;
  if (int r = tarn_submit_stream(tarn, tarn_task_id("count_up"), args, 2, nullptr, &window, &future); r < 0)
    return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  int64_t sum = 0;
  for (int64_t i = 0; i < reads; ++i) {
    tarn_bytes item;
    int r = tarn_stream_next(tarn, future, kLong, &item);
    if (r == TARN_E_END && i == n) break;
    if (r < 0) return tarn_call_fail(call, r, nullptr, "read %d: %s", static_cast<int>(i), tarn_last_error());
    if (number_in(item) != i) return tarn_call_fail(call, -1001, nullptr, "item %d is %d", static_cast<int>(i), static_cast<int>(number_in(item)));
    sum += number_in(item);
  }
  return tarn_call_return(call, &sum, sizeof sum);  // what was not read ends with the task
}

// Waits for the end of a stream that it does not read, then reads it.
int wait_then_read(tarn_call* call) {
  tarn_client* tarn = tarn_call_client(call);
  int64_t n = 1000;
  int64_t size = 8;
  tarn_stream_options window = window_of(4);
  tarn_arg args[] = {value_of(n), value_of(size)};
  tarn_future future;
  tarn_bytes bytes;
  if (int r = tarn_submit_stream(tarn, tarn_task_id("count_up"), args, 2, nullptr, &window, &future); r < 0) return r;
  if (int r = tarn_result(tarn, future, kLong, &bytes); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  if (number_in(bytes) != n) return -1;
  for (int64_t i = 0; i < n; ++i)
    if (tarn_stream_next(tarn, future, 0, &bytes) != 0 || number_in(bytes) != i) return -2;
  return tarn_stream_next(tarn, future, 0, &bytes) == TARN_E_END ? tarn_call_return(call, &n, sizeof n) : -3;
}

const tarn::test::SelfWorker self_worker([] {
  tarn_task_define("count_up", count_up);
  tarn_task_define("fill_up", fill_up);
  tarn_task_define("fail_after", fail_after);
  tarn_task_define("stumble", stumble);
  tarn_task_define("nap", nap);
  tarn_task_define("tick", tick);
  tarn_task_define("take_future", take_future);
  tarn_task_define("yield_badly", yield_badly);
  tarn_task_define("add_up", add_up);
  tarn_task_define("wait_then_read", wait_then_read);
});

// ---- Helpers ---------------------------------------------------------------------------------

tarn_future submit(tarn_client* tarn, const char* task, std::vector<tarn_arg> args, const tarn_stream_options* window = nullptr,
                   const tarn_submit_options* options = nullptr) {
  tarn_future future{};
  EXPECT_EQ(0, tarn_submit_stream(tarn, tarn_task_id(task), args.data(), args.size(), options, window, &future)) << tarn_last_error();
  return future;
}

tarn_future count(tarn_client* tarn, int64_t n, int64_t size, const tarn_stream_options* window = nullptr) {
  return submit(tarn, "count_up", {value_of(n), value_of(size)}, window);
}

void release(tarn_client* tarn, tarn_future future) { EXPECT_EQ(0, tarn_future_release(tarn, future)) << tarn_last_error(); }

// Reads `n` items, from `first` on, of `size` bytes each.
void read(tarn_client* tarn, tarn_future future, int64_t first, int64_t n, size_t size = sizeof(int64_t)) {
  for (int64_t i = first; i < first + n; ++i) {
    tarn_bytes item{};
    ASSERT_EQ(0, tarn_stream_next(tarn, future, kLong, &item)) << i << ": " << tarn_last_error();
    ASSERT_EQ(size, item.size);
    ASSERT_EQ(i, number_in(item));
    ASSERT_EQ(size == sizeof i ? static_cast<const char*>(item.data)[7] : static_cast<char>(i),
              static_cast<const char*>(item.data)[size - 1]);
  }
}

void expect_end(tarn_client* tarn, tarn_future future, int code = TARN_E_END) {
  tarn_bytes item{};
  for (int again = 0; again < 2; ++again) ASSERT_EQ(code, tarn_stream_next(tarn, future, kLong, &item)) << tarn_last_error();
}

template <class Condition>
bool within(std::chrono::milliseconds limit, Condition condition) {
  Clock::time_point end = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() > end) return false;
    usleep(1000);
  }
  return true;
}

// Bytes of objects that the session has, of the program and of its tasks.
size_t objects_of(tarn_client* tarn) {
  size_t count = 0;
  EXPECT_EQ(0, tarn_object_list(tarn, nullptr, nullptr, 0, &count));
  return count;
}

// ---- Tests -----------------------------------------------------------------------------------

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
  EXPECT_NE(std::string::npos, std::string(tarn_last_error()).find("task 'count_up' failed with code -27")) << tarn_last_error();
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
