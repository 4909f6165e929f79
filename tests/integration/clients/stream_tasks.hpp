// Tasks that yield, for the tests of streams, and how those read them. Each such program is its own worker.
#pragma once

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

namespace tarn::test::streams {

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

inline tarn_arg value_of(const int64_t& value) { return tarn_arg_value(&value, sizeof value); }

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
inline std::vector<char> item_of(int64_t number, size_t size) {
  std::vector<char> item(std::max(size, sizeof number), 0);
  memcpy(item.data(), &number, sizeof number);
  item.back() = static_cast<char>(number);
  if (size == sizeof number) memcpy(item.data(), &number, sizeof number);
  return item;
}

inline int count_up(tarn_call* call) {
  auto n = argument<int64_t>(call, 0);
  auto size = static_cast<size_t>(argument<int64_t>(call, 1));
  for (int64_t i = 0; i < n; ++i) {
    std::vector<char> item = item_of(i, size);
    if (int r = tarn_call_yield(call, item.data(), item.size()); r < 0) return r;
  }
  return tarn_call_return(call, &n, sizeof n);
}

// The same, without a copy, and says how far it is.
inline int fill_up(tarn_call* call) {
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

inline int fail_after(tarn_call* call) {
  for (int64_t i = 0; i < 3; ++i)
    if (int r = tarn_call_yield(call, &i, sizeof i); r < 0) return r;
  return tarn_call_fail(call, -1000, "Sadness", "three is enough");
}

// Fails until the third attempt, an item later each time.
inline int stumble(tarn_call* call) {
  auto attempt = static_cast<int64_t>(tarn_call_attempt(call));
  for (int64_t i = 0; i < 5; ++i) {
    if (i == attempt && attempt < 3) return tarn_call_fail(call, -1000, nullptr, "stumbled at %d", static_cast<int>(i));
    if (int r = tarn_call_yield(call, &i, sizeof i); r < 0) return r;
  }
  return 0;
}

inline int nap(tarn_call* call) {
  usleep(static_cast<useconds_t>(argument<int64_t>(call, 0) * 1000));
  return 0;
}

// Yields one item every so many ms.
inline int tick(tarn_call* call) {
  for (int64_t i = 0; i < argument<int64_t>(call, 0); ++i) {
    usleep(static_cast<useconds_t>(argument<int64_t>(call, 1) * 1000));
    if (int r = tarn_call_yield(call, &i, sizeof i); r < 0) return r;
  }
  return 0;
}

inline int take_future(tarn_call*) { return 0; }

inline int yield_badly(tarn_call* call) {
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

inline tarn_stream_options window_of(uint32_t items, uint64_t bytes = 0) {
  tarn_stream_options options{};
  options.size = sizeof options;
  options.items = items;
  options.bytes = bytes;
  return options;
}

inline int64_t number_in(tarn_bytes item) {
  int64_t number = -1;
  if (item.size >= sizeof number) memcpy(&number, item.data, sizeof number);
  return number;
}

// Reads a stream of a task of its own and adds it up; with an argument more, reads so many items only.
inline int add_up(tarn_call* call) {
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
inline int wait_then_read(tarn_call* call) {
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

inline const tarn::test::SelfWorker self_worker([] {
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

inline tarn_future submit(tarn_client* tarn, const char* task, std::vector<tarn_arg> args, const tarn_stream_options* window = nullptr,
                   const tarn_submit_options* options = nullptr) {
  tarn_future future{};
  EXPECT_EQ(0, tarn_submit_stream(tarn, tarn_task_id(task), args.data(), args.size(), options, window, &future)) << tarn_last_error();
  return future;
}

inline tarn_future count(tarn_client* tarn, int64_t n, int64_t size, const tarn_stream_options* window = nullptr) {
  return submit(tarn, "count_up", {value_of(n), value_of(size)}, window);
}

inline void release(tarn_client* tarn, tarn_future future) { EXPECT_EQ(0, tarn_future_release(tarn, future)) << tarn_last_error(); }

// Reads `n` items, from `first` on, of `size` bytes each.
inline void read(tarn_client* tarn, tarn_future future, int64_t first, int64_t n, size_t size = sizeof(int64_t)) {
  for (int64_t i = first; i < first + n; ++i) {
    tarn_bytes item{};
    ASSERT_EQ(0, tarn_stream_next(tarn, future, kLong, &item)) << i << ": " << tarn_last_error();
    ASSERT_EQ(size, item.size);
    ASSERT_EQ(i, number_in(item));
    ASSERT_EQ(size == sizeof i ? static_cast<const char*>(item.data)[7] : static_cast<char>(i),
              static_cast<const char*>(item.data)[size - 1]);
  }
}

inline void expect_end(tarn_client* tarn, tarn_future future, int code = TARN_E_END) {
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
inline size_t objects_of(tarn_client* tarn) {
  size_t count = 0;
  EXPECT_EQ(0, tarn_object_list(tarn, nullptr, nullptr, 0, &count));
  return count;
}

}  // namespace tarn::test::streams
