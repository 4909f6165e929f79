// Owners that leak, release twice or let go too early show only later and elsewhere. Move, copy and drop objects, writers
// and futures, and expect what they refer to to live exactly as long; wait in every way, and cut texts of every shape.

#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#if defined(__cpp_impl_coroutine)
#include <coroutine>
#endif

#include "tasks.hpp"

namespace tarn::testing {
namespace {

using namespace std::chrono_literals;

class ClientTest : public ::testing::Test {
 protected:
  // The file goes with the test.
  std::string write_file(std::string_view text) {
    char path[] = "/tmp/tarn_client_test.XXXXXX";
    const int fd = mkstemp(path);
    EXPECT_GE(fd, 0);
    close(fd);
    std::ofstream(path, std::ios::binary) << text;
    files_.push_back(path);
    return path;
  }
  void TearDown() override {
    for (const std::string& file : files_) std::filesystem::remove(file);
  }

  client tarn = init(0, nullptr, {.address = "private", .workers = 2});

 private:
  std::vector<std::string> files_;
};

TEST_F(ClientTest, knows_its_session) {
  EXPECT_EQ(tarn.info().workers, 2u);
  EXPECT_EQ(tarn.info().is_private, 1u);
  tarn.submit(do_nothing).get();
  EXPECT_GE(tarn.slots().size(), 1u);
}

TEST_F(ClientTest, says_what_it_cannot_have) {
  EXPECT_THROW(static_cast<void>(init(0, nullptr, {.address = "private", .workers = 100'000})),
               error);
  EXPECT_THROW(static_cast<void>(init(0, nullptr, {.address = "unix:/nowhere/tarnd.sock"})),
               no_daemon);
  EXPECT_THROW(static_cast<void>(init(0, nullptr, {.address = "nonsense"})), bad_argument);
}

TEST_F(ClientTest, puts_text_elements_and_plain_values) {
  EXPECT_EQ(tarn.put("literal").size(), 7u);
  const object text = tarn.put(std::string("string"));
  EXPECT_EQ(text.view(), "string");
  const object numbers = tarn.put(std::vector<double>{1, 2, 3});
  EXPECT_EQ(numbers.view<double>()[2], 3.0);
  const int array[] = {1, 2, 3, 4};
  const object elements = tarn.put(array);
  EXPECT_EQ(elements.view<int>().size(), 4u);
  const object value = tarn.put(std::int64_t{42});
  EXPECT_EQ(value.view<std::int64_t>()[0], 42);
  const object empty = tarn.put("");
  EXPECT_EQ(empty.view(), "");
}

TEST_F(ClientTest, fills_in_place_and_seals) {
  auto filled = tarn.create<double>(4).fill([](std::span<double> numbers) {
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<double>(i);
  });
  filled.data()[0] = 10;
  const object sealed = std::move(filled).seal();
  EXPECT_EQ(tarn.submit(sum, sealed).get(), 16.0);
  EXPECT_EQ(tarn.create<char>(0).fill('x').seal().size(), 0u);
  EXPECT_THROW(static_cast<void>(tarn.create<double>(SIZE_MAX / 4)), over_limit);
}

TEST_F(ClientTest, drops_what_is_not_sealed) {
  for (int i = 0; i < 50; ++i) {
    auto dropped_at_once = tarn.create<char>(1 << 20);
    auto dropped_filled = tarn.create<char>(1 << 20).fill('x');
  }
  const object object = tarn.create<char>(1 << 20).fill('y').seal();
  EXPECT_EQ(object.view()[12345], 'y');
}

TEST_F(ClientTest, keeps_an_object_for_as_long_as_somebody_refers_to_it) {
  object first = tarn.put("shared text");
  EXPECT_EQ(first.info().references, 1u);
  object copy = first;
  EXPECT_EQ(first.info().references, 2u);
  const object moved = std::move(first);
  EXPECT_EQ(moved.info().references, 2u);
  EXPECT_EQ(first.size(), 0u);
  copy = moved.slice(7);
  EXPECT_EQ(moved.info().references, 2u);
  EXPECT_EQ(copy.view(), "text");
  copy = object();
  EXPECT_EQ(moved.info().references, 1u);
  EXPECT_EQ(moved.view(), "shared text");
  EXPECT_THROW(static_cast<void>(moved.slice(8, 100)), bad_argument);
  EXPECT_THROW(static_cast<void>(moved.slice(100)), bad_argument);
  EXPECT_THROW(static_cast<void>(first.info()), error);
}

TEST_F(ClientTest, makes_objects_of_files) {
  const std::string path = write_file("one\ntwo\n");
  EXPECT_EQ(tarn.submit(count_lines, tarn.from_file(path)).get(), 2);
  const object copied = tarn.from_file(path, file::copy);
  std::ofstream(path) << "other";
  EXPECT_EQ(copied.view(), "one\ntwo\n");
  EXPECT_EQ(tarn.from_file(write_file("")).size(), 0u);
  EXPECT_THROW(static_cast<void>(tarn.from_file("/nowhere/at/all")), file_error);
  EXPECT_THROW(static_cast<void>(tarn.from_file("/tmp")), file_error);
}

TEST_F(ClientTest, says_when_a_mapped_file_shrank_under_a_task) {
  const std::string path = write_file(std::string(1 << 20, '\n'));
  const object mapped = tarn.from_file(path);
  std::filesystem::resize_file(path, 4096);
  try {
    static_cast<void>(tarn.submit(count_lines, mapped).get());
    FAIL() << "it was read to its end";
  } catch (const error& e) {
    EXPECT_EQ(e.code(), TARN_E_FILE_CHANGED);
  }
  EXPECT_EQ(tarn.submit(add, 1, 2).get(), 3);
}

TEST_F(ClientTest, splits_at_line_ends_whatever_the_shape) {
  std::string even;
  for (int i = 0; i < 1000; ++i) even += "line " + std::to_string(i) + "\n";
  const std::string texts[] = {
      "",
      "\n",
      "a",
      "a\n",
      "a\nb",
      "\n\n\n\n",
      even,
      even + "no end",
      std::string(5000, 'x'),
      std::string(5000, 'x') + "\n" + even,
      even + std::string(5000, 'x'),
  };
  for (const std::string& text : texts) {
    const object whole = tarn.put(text);
    for (const std::size_t count : {1u, 2u, 3u, 7u, 100u, 100'000u}) {
      std::string joined;
      const std::vector<object> parts = split_lines(whole, count);
      EXPECT_LE(parts.size(), count);
      for (const object& part : parts) {
        ASSERT_GT(part.size(), 0u);
        joined += part.view();
        EXPECT_TRUE(part.view().back() == '\n' || joined.size() == text.size());
      }
      EXPECT_EQ(joined, text);
    }
  }
  EXPECT_EQ(split_lines(tarn.put(even), 10).size(), 10u);
  EXPECT_THROW(static_cast<void>(split_lines(tarn.put(even), 0)), bad_argument);
}

TEST_F(ClientTest, waits_for_some_for_one_and_for_all) {
  std::vector<future<int>> sums;
  for (int i = 0; i < 20; ++i) sums.push_back(tarn.submit(add, i, i));
  EXPECT_GE(wait(sums, 5).size(), 5u);
  EXPECT_LT(wait_any(sums), sums.size());
  const std::vector<int> results = when_all(sums);
  ASSERT_EQ(results.size(), 20u);
  EXPECT_EQ(results[19], 38);
  EXPECT_EQ(wait(sums, 20, 0ns).size(), 20u);
  EXPECT_THROW(static_cast<void>(wait(sums, 21)), bad_argument);

  EXPECT_TRUE(when_all(std::vector<future<int>>()).empty());
  EXPECT_THROW(static_cast<void>(wait_any(std::vector<future<int>>())), bad_argument);
}

TEST_F(ClientTest, waits_no_longer_than_asked) {
  std::vector<future<void>> sleeps;
  sleeps.push_back(tarn.submit(do_nothing));
  sleeps.front().wait();
  sleeps.push_back(tarn.submit(sleep_ms, 300));
  EXPECT_FALSE(sleeps.back().is_done());
  EXPECT_FALSE(sleeps.back().wait_for(1ms));
  EXPECT_THROW(sleeps.back().get(1ms), timed_out);
  EXPECT_EQ(wait(sleeps, 2, 1ms), std::vector<std::size_t>{0});
  EXPECT_THROW(when_all(sleeps, 1ms), timed_out);
  EXPECT_EQ(wait_any(sleeps, 0ns), 0u);
  when_all(sleeps);
  EXPECT_TRUE(sleeps.back().is_done());
}

TEST_F(ClientTest, cancels_what_waits_what_runs_and_what_does_not_listen) {
  future<void> one = tarn.submit(sleep_until_cancelled);
  future<void> other = tarn.submit(sleep_until_cancelled);
  future<int> waits = tarn.submit(add, 1, 1);  // there are two workers
  EXPECT_TRUE(waits.cancel());
  EXPECT_THROW(static_cast<void>(waits.get(0ns)), cancelled);
  EXPECT_FALSE(waits.cancel());
  EXPECT_TRUE(one.cancel());
  EXPECT_THROW(one.get(), cancelled);
  EXPECT_TRUE(other.kill());
  EXPECT_THROW(other.get(), cancelled);
  EXPECT_THROW(tarn.submit({.timeout = 20ms}, sleep_until_cancelled).get(), deadline_passed);
  EXPECT_THROW(tarn.submit({.deadline = 20ms}, sleep_ms, 5000).get(), deadline_passed);
  EXPECT_EQ(tarn.submit({.timeout = 20s, .deadline = 20s}, add, 2, 3).get(), 5);
  EXPECT_THROW(static_cast<void>(this_task::is_cancelled()), error);
}

// There are two workers.
TEST_F(ClientTest, has_tasks_on_several_cores) {
  EXPECT_EQ(tarn.submit({.cores = 1}, add, 1, 2).get(), 3);
  std::vector<future<int>> sums;
  for (int i = 0; i < 20; ++i) sums.push_back(tarn.submit({.cores = i % 2 == 0 ? 1u : 2u}, add, i, 1));
  int expected = 1;
  for (auto& sum : sums) EXPECT_EQ(sum.get(), expected++);
  try {
    static_cast<void>(tarn.submit({.cores = 1000}, add, 1, 2));
    FAIL();
  } catch (const error& refusal) {
    EXPECT_EQ(refusal.code(), TARN_E_UNSATISFIABLE);
  }
}

TEST_F(ClientTest, passes_on_the_first_failure_of_all) {
  std::vector<future<int>> results;
  results.push_back(tarn.submit(add, 1, 1));
  results.push_back(tarn.submit(throw_number, 1));
  results.push_back(tarn.submit(add, 2, 2));
  EXPECT_THROW(static_cast<void>(when_all(results)), task_error);
}

TEST_F(ClientTest, has_futures_that_move_but_refer_to_one_task) {
  future<int> first = tarn.submit(add, 1, 2);
  future<int> second = std::move(first);
  EXPECT_FALSE(first.valid());
  EXPECT_THROW(static_cast<void>(first.get()), error);
  EXPECT_EQ(second.get(), 3);
  EXPECT_EQ(second.get(), 3);
  second = tarn.submit(add, 2, 3);
  EXPECT_EQ(second.get(), 5);
}

TEST_F(ClientTest, serves_several_threads_at_once) {
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) right += tarn.submit(add, t, i).get() == t + i;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 400);
}

#if defined(__cpp_impl_coroutine)
struct Coroutine {
  struct promise_type {
    Coroutine get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

Coroutine add_three_times(client& tarn, int& sum, std::string& failure) {
  const auto first = tarn.submit(add, 1, 2);
  sum = co_await first;
  sum = co_await tarn.submit(add, sum, 10);
  try {
    co_await tarn.submit(throw_out_of_range, sum);
  } catch (const task_error& e) {
    failure = e.message();
  }
}

TEST_F(ClientTest, resumes_coroutines_in_dispatch) {
  int sum = 0;
  std::string failure;
  add_three_times(tarn, sum, failure);
  tarn.dispatch();
  pollfd ready{tarn.fd(), POLLIN, 0};
  while (failure.empty()) {
    ASSERT_EQ(poll(&ready, 1, 10'000), 1);
    tarn.dispatch();
  }
  EXPECT_EQ(sum, 13);
  EXPECT_EQ(failure, "no 13");
}
#endif

TEST_F(ClientTest, tells_events_in_dispatch) {
  std::vector<std::uint32_t> kinds;
  tarn.dispatch();
  tarn.on_event(TARN_EVENT_SEALED | TARN_EVENT_FREED, [&](const tarn_event& event) {
    kinds.push_back(event.kind);
    // What is running may replace itself.
    if (event.kind == TARN_EVENT_FREED)
      tarn.on_event(TARN_EVENT_SEALED, [&](const tarn_event&) { kinds.push_back(0); });
  });
  static_cast<void>(tarn.put("text"));
  pollfd ready{tarn.fd(), POLLIN, 0};
  ASSERT_EQ(poll(&ready, 1, 10'000), 1);
  EXPECT_EQ(tarn.dispatch(), 2);
  EXPECT_EQ(kinds, (std::vector<std::uint32_t>{TARN_EVENT_SEALED, TARN_EVENT_FREED}));
  static_cast<void>(tarn.put("text"));
  EXPECT_EQ(tarn.dispatch(), 1);
  EXPECT_EQ(kinds.back(), 0u);
  tarn.stop_events();
  static_cast<void>(tarn.put("text"));
  EXPECT_EQ(tarn.dispatch(), 0);
  EXPECT_THROW(tarn.on_event(1u << 30, [](const tarn_event&) {}), bad_argument);
}

TEST_F(ClientTest, can_go_before_what_it_made) {
  future<int> result = tarn.submit(add, 1, 2);
  object text = tarn.put("text");
  object part = text.slice(1);
  auto unfilled = tarn.create<char>(10);
  auto unsealed = tarn.create<char>(10).fill('x');
  tarn.close();
  EXPECT_THROW(static_cast<void>(result.get()), error);
  EXPECT_THROW(static_cast<void>(text.view()), error);
  EXPECT_THROW(static_cast<void>(text.slice(1)), error);
  EXPECT_THROW(static_cast<void>(object(text)), error);
  EXPECT_THROW(static_cast<void>(std::move(unsealed).seal()), error);
}

TEST_F(ClientTest, can_be_moved_and_closed) {
  client other = std::move(tarn);
  EXPECT_EQ(other.submit(add, 1, 2).get(), 3);
  other.close();
  other.close();
  EXPECT_THROW(static_cast<void>(other.submit(add, 1, 2)), error);
  EXPECT_THROW(static_cast<void>(tarn.info()), error);
}

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const error& e) {
    return e.what();
  }
  return "";
}

TEST_F(ClientTest, refuses_what_was_moved_from) {
  future<int> first = tarn.submit(add, 1, 2);
  future<int> second = std::move(first);
  const std::string expected = "this future is empty: it was moved from, or never made";
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.submit(add, first, 1)); }), expected);
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.submit(add, future<int>(), 1)); }), expected);
  EXPECT_EQ(refusal([&] { first.get(); }), expected);
  EXPECT_EQ(refusal([&] { first.wait(); }), expected);
  EXPECT_EQ(refusal([&] { static_cast<void>(when_all(std::array{std::move(first)})); }), expected);
  EXPECT_EQ(tarn.submit(add, second, 1).get(), 4);

  object text = tarn.put("text");
  const object moved = std::move(text);
  const std::string empty = "this object is empty: it was moved from, or never made";
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.submit(count_lines, text)); }), empty);
  EXPECT_EQ(refusal([&] { static_cast<void>(text.view()); }), empty);
}

TEST_F(ClientTest, refuses_what_another_client_made) {
  client other = init(0, nullptr, {.address = "private", .workers = 1});
  const future<int> theirs = other.submit(add, 1, 2);
  const future<int> ours = tarn.submit(add, 10, 20);
  EXPECT_NE(refusal([&] { static_cast<void>(tarn.submit(add, theirs, 1)); }).find("another client"),
            std::string::npos);
  EXPECT_EQ(tarn.submit(add, ours, 1).get(), 31);
  tarn.close();
  EXPECT_EQ(refusal([&] { ours.get(); }), "the client of this future was closed");
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.put("x")); }), "the client was closed");
}

}  // namespace
}  // namespace tarn::testing
