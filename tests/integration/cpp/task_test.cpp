// What goes into a task and comes out of it passes through bytes, another process and back. Send every kind of argument
// and expect the result of a plain call; let tasks fail in every way and expect to be told which one, how, and why.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <numeric>

#include "tasks.hpp"

namespace tarn::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

class TaskTest : public ::testing::Test {
 protected:
  client tarn = init(0, nullptr, {.address = "private", .workers = 1});
};

// Calls get() and returns what it throws.
template <class Failure, class R>
Failure failure_of(const future<R>& future) {
  try {
    static_cast<void>(future.get());
  } catch (const Failure& failure) {
    return failure;
  }
  throw std::logic_error("it did not fail");
}

TEST_F(TaskTest, takes_and_returns_values_of_every_kind) {
  EXPECT_EQ(tarn.submit(add, 20, 22).get(), 42);
  EXPECT_EQ(tarn.submit(twice<double>, 1.5).get(), 3.0);
  EXPECT_EQ(tarn.submit(join, "from a literal ", std::string("and a string")).get(),
            "from a literal and a string");
  EXPECT_EQ(tarn.submit(sum, std::vector<double>{1, 2, 3}).get(), 6.0);
  EXPECT_EQ(tarn.submit(sum, std::span<const double>()).get(), 0.0);
  EXPECT_EQ(tarn.submit(repeat, Query{"ab", 3}).get(), "ababab");
  const Fraction inverse = tarn.submit(invert, Fraction(2, 3)).get();
  EXPECT_EQ(inverse.numerator(), 3);
  EXPECT_EQ(inverse.denominator(), 2);
  const Order order{"somebody", 7, "a note", {"one", "", std::string(5000, 'x')}, {'c', 0.5}};
  EXPECT_EQ(tarn.submit(echo_order, order).get(), order);
  tarn.submit(do_nothing).get();
}

TEST_F(TaskTest, takes_objects_where_it_takes_bytes_or_elements) {
  const object text = tarn.put("one\ntwo\nthree\n");
  EXPECT_EQ(tarn.submit(count_lines, text).get(), 3);
  EXPECT_EQ(tarn.submit(count_lines, text.slice(4)).get(), 2);
  EXPECT_EQ(tarn.submit(join, text.slice(0, 3), "!").get(), "one!");
  EXPECT_EQ(tarn.submit(object_size, text).get(), text.size());
  EXPECT_EQ(tarn.submit(sum, tarn.put(std::vector<double>{1, 2})).get(), 3.0);
  EXPECT_EQ(tarn.submit(add, tarn.put(40), 2).get(), 42);
}

TEST_F(TaskTest, sees_an_object_where_it_is_each_time) {
  const object large = tarn.create<char>(8 << 20).fill('x').seal();
  const std::uint64_t address = tarn.submit(address_of, large).get();
  EXPECT_EQ(address % 64, 0u);
  EXPECT_EQ(tarn.submit(address_of, large).get(), address);
  EXPECT_EQ(tarn.submit(address_of, large.slice(12345, 10)).get(), address + 12345);
}

TEST_F(TaskTest, takes_futures_and_runs_after_them) {
  auto value = tarn.submit(add, 0, 0);
  for (int i = 0; i < 100; ++i) value = tarn.submit(add, value, 1);
  EXPECT_EQ(value.get(), 100);
  EXPECT_EQ(tarn.submit(sum, tarn.submit(count_up, 1000u)).get(), 499500.0);
  EXPECT_EQ(tarn.submit(count_lines, tarn.submit(join, "a\n", "b\n")).get(), 2);
  EXPECT_EQ(tarn.submit(object_size, tarn.submit(join, "a", "b")).get(), 2u);
}

TEST_F(TaskTest, runs_for_each_of_many) {
  const std::vector<Query> queries{{"a", 1}, {"b", 2}, {"", 3}};
  EXPECT_EQ(when_all(tarn.submit_many(repeat, queries)), (std::vector<std::string>{"a", "bb", ""}));
  const object text = tarn.put("one\ntwo\nthree\n");
  const std::vector<object> parts{text, text.slice(4), text.slice(0, 0)};
  EXPECT_EQ(when_all(tarn.submit_many(count_lines, parts)), (std::vector<std::int64_t>{3, 2, 0}));
  EXPECT_EQ(when_all(tarn.submit_many({.priority = 2}, twice<double>, std::vector<double>{1.5, 2})),
            (std::vector<double>{3, 4}));
  EXPECT_TRUE(tarn.submit_many(count_lines, std::vector<std::string>()).empty());
  std::vector<double> numbers(20'000);
  std::iota(numbers.begin(), numbers.end(), 0.0);
  const auto doubled = when_all(tarn.submit_many(twice<double>, numbers));
  EXPECT_EQ(std::accumulate(doubled.begin(), doubled.end(), 0.0), 2.0 * 19'999 * 10'000);
  // An element that cannot be sent. Expect: it is told, and nothing is left.
  EXPECT_THROW(static_cast<void>(tarn.submit_many(count_lines, std::vector<std::string>{"a\n", std::string(2 << 20, 'x')})),
               over_limit);
}

TEST_F(TaskTest, gives_results_in_place_and_as_objects) {
  const auto numbers = tarn.submit(count_up, 100'000u);
  const std::span<const double> view = numbers.get_view();
  ASSERT_EQ(view.size(), 100'000u);
  EXPECT_EQ(view[99'999], 99'999.0);
  EXPECT_EQ(numbers.get_view().data(), view.data());
  EXPECT_EQ(numbers.get().size(), view.size());

  const object kept = numbers.get_object();
  EXPECT_EQ(kept.view<double>()[5], 5.0);
  EXPECT_EQ(tarn.submit(sum, kept).get(), 99'999.0 * 50'000.0);

  const auto text = tarn.submit(middle, "aaabbbccc");
  EXPECT_EQ(text.get_view(), "bbb");
  const std::string owned = text.get();
  EXPECT_EQ(owned, "bbb");
}

TEST_F(TaskTest, tells_where_it_runs) {
  EXPECT_EQ(tarn.submit(attempt).get(), 1u);
  const int there = tarn.submit(core).get();
  ASSERT_EQ(tarn.slots().size(), 1u);
  EXPECT_EQ(tarn.slots().front().core, there);
  EXPECT_THROW(static_cast<void>(this_task::attempt()), error);
}

TEST_F(TaskTest, that_throws_fails_with_type_and_text) {
  const auto range = failure_of<task_error>(tarn.submit(throw_out_of_range, 7));
  EXPECT_EQ(range.code(), TARN_E_TASK_FAILED);
  EXPECT_EQ(range.type(), "std::out_of_range");
  EXPECT_EQ(range.message(), "no 7");
  EXPECT_EQ(range.task(), "throw_out_of_range");
  EXPECT_EQ(range.attempts(), 1u);
  EXPECT_EQ(range.signal(), 0);
  EXPECT_STREQ(range.what(), "task throw_out_of_range: std::out_of_range: no 7");

  const auto odd = failure_of<task_error>(tarn.submit(throw_odd));
  EXPECT_EQ(odd.type(), "tarn::testing::OddError");
  EXPECT_EQ(odd.message(), "100% odd: %s");

  EXPECT_EQ(failure_of<task_error>(tarn.submit(throw_number, 3)).type(), "int");
  EXPECT_EQ(failure_of<task_error>(tarn.submit(throw_words, false)).message(), "plain words");
  EXPECT_EQ(failure_of<task_error>(tarn.submit(throw_words, true)).message(), "a string");

  const auto library = failure_of<task_error>(tarn.submit(throw_library_error));
  EXPECT_EQ(library.code(), TARN_E_STORE_FULL);
  EXPECT_EQ(library.message(), "no room for it");

  const auto memory = failure_of<task_error>(tarn.submit(take_memory, std::uint64_t{1} << 46));
  EXPECT_EQ(memory.code(), TARN_E_TASK_FAILED);
  EXPECT_EQ(memory.type(), "std::bad_alloc");

  EXPECT_EQ(tarn.submit(add, 1, 1).get(), 2);  // the worker has survived all that
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which allocate by themselves
TEST_F(TaskTest, may_take_only_so_much_memory) {
  const auto memory = failure_of<task_error>(
      tarn.submit({.memory = 16 << 20}, take_memory, std::uint64_t{64} << 20));
  EXPECT_EQ(memory.code(), TARN_E_TASK_FAILED);
  EXPECT_EQ(memory.type(), "std::bad_alloc");
  EXPECT_NE(memory.message().find("16 MiB (needs.memory)"), std::string::npos) << memory.message();
  EXPECT_NO_THROW(tarn.submit(take_memory, std::uint64_t{64} << 20).get());
  EXPECT_NO_THROW(tarn.submit({.memory = 128 << 20}, take_memory, std::uint64_t{64} << 20).get());
}
#endif

TEST_F(TaskTest, is_run_again_after_an_exception) {
  const auto often = failure_of<task_error>(
      tarn.submit({.on_error = retry(2).first(1ms).longest(5ms), .labels = "kind=test"}, throw_number, 3));
  EXPECT_EQ(often.attempts(), 3u);
  const auto chosen = failure_of<task_error>(
      tarn.submit({.on_error = retry(2).after({TARN_E_TASK_FAILED}).first(1ms)}, throw_number, 3));
  EXPECT_EQ(chosen.attempts(), 3u);
  const auto other = failure_of<task_error>(tarn.submit({.on_error = retry(2).after({-5})}, throw_number, 3));
  EXPECT_EQ(other.attempts(), 1u);
  EXPECT_THROW(tarn.submit({.on_error = retry(2).factor(0.1)}, throw_number, 3), bad_argument);
}

TEST_F(TaskTest, asks_for_a_place_and_for_resources) {
  EXPECT_EQ(tarn.submit({.at = on_slot(0)}, add, 1, 2).get(), 3);
  EXPECT_EQ(tarn.submit({.at = on_node(999)}, add, 1, 2).get(), 3);
  EXPECT_THROW(tarn.submit({.at = only_on_node(999)}, add, 1, 2), error);
  EXPECT_THROW(tarn.submit({.at = only_on_slot(999)}, add, 1, 2), error);
  EXPECT_THROW(tarn.submit({.resources = "unknown=1"}, add, 1, 2), error);
  EXPECT_THROW(tarn.submit({.resources = "="}, add, 1, 2), bad_argument);
}

TEST_F(TaskTest, after_one_that_failed_names_the_first_cause) {
  const auto first = tarn.submit(throw_number, 3);
  const auto second = tarn.submit(add, first, 1);
  const auto third = tarn.submit(add, 1, second);
  const auto failure = failure_of<task_error>(third);
  EXPECT_EQ(failure.code(), TARN_E_DEPENDENCY);
  EXPECT_EQ(failure.task(), "throw_number");
}

TEST_F(TaskTest, that_kills_its_worker_says_how) {
  const task_options once{.retries = -1};
  const auto killed = failure_of<task_error>(tarn.submit(once, die, SIGKILL));
  EXPECT_EQ(killed.code(), TARN_E_WORKER_CRASHED);
  EXPECT_EQ(killed.signal(), SIGKILL);
  EXPECT_EQ(killed.task(), "die");
  EXPECT_EQ(killed.attempts(), 1u);
  EXPECT_THAT(killed.what(), HasSubstr("signal 9"));

  const auto gone = failure_of<task_error>(tarn.submit(once, die, 0));
  EXPECT_EQ(gone.code(), TARN_E_WORKER_CRASHED);
  EXPECT_EQ(gone.exit_status(), 3);
  EXPECT_EQ(gone.signal(), 0);

  EXPECT_EQ(
      failure_of<task_error>(tarn.submit(task_options{.retries = 1}, die, SIGKILL)).attempts(), 2u);
}

TEST_F(TaskTest, is_run_again_after_its_worker_died) {
  const std::string marker =
      std::filesystem::temp_directory_path() / ("tarn_die_once." + std::to_string(getpid()));
  EXPECT_EQ(tarn.submit(die_once, marker, 42).get(), 42);
  std::filesystem::remove(marker);
}

TEST_F(TaskTest, refuses_an_object_that_is_not_of_its_type) {
  const auto failure = failure_of<task_error>(tarn.submit(add, 1, tarn.put("three")));
  EXPECT_EQ(failure.code(), TARN_E_TYPE);
  EXPECT_THAT(failure.message(), HasSubstr("argument 2"));
  EXPECT_EQ(failure_of<task_error>(tarn.submit(sum, tarn.put("123"))).code(), TARN_E_TYPE);
  const object numbers = tarn.put(std::vector<double>{1, 2, 3});
  EXPECT_EQ(failure_of<task_error>(tarn.submit(sum, numbers.slice(1, 8))).code(), TARN_E_TYPE);
}

TEST_F(TaskTest, refuses_a_submission_made_for_other_types) {
  const std::string_view text = "a\n";
  const tarn_arg argument = tarn_arg_value(text.data(), text.size());
  tarn_submit_options options{};
  options.size = sizeof options;
  options.signature = detail::signature_of<std::int64_t, std::int64_t>();
  tarn_future handle;
  ASSERT_EQ(
      tarn_submit(tarn.handle(), tarn_task_id("count_lines"), &argument, 1, &options, &handle), 0);
  EXPECT_EQ(failure_of<task_error>(future<std::int64_t>(tarn.opened(), handle)).code(),
            TARN_E_TYPE);

  options.signature = detail::signature_of<std::int64_t, std::string>();
  ASSERT_EQ(
      tarn_submit(tarn.handle(), tarn_task_id("count_lines"), &argument, 1, &options, &handle), 0);
  EXPECT_EQ(future<std::int64_t>(tarn.opened(), handle).get(), 1);
}

// In a process of its own, because a program with such a task cannot go on.
TEST(TaskDefinition, refuses_a_second_task_of_the_same_name) {
  const auto define_again_and_start = [] {
    detail::define<not_a_task>("add");
    try {
      static_cast<void>(init(0, nullptr));
    } catch (const bad_argument& e) {
      std::fprintf(stderr, "%s\n", e.what());
      _exit(0);
    }
    _exit(1);
  };
  EXPECT_EXIT(define_again_and_start(), ::testing::ExitedWithCode(0), "add");
}

TEST_F(TaskTest, must_have_been_defined) {
  try {
    static_cast<void>(tarn.submit(not_a_task, 1));
    FAIL() << "it was submitted";
  } catch (const error& e) {
    EXPECT_EQ(e.code(), TARN_E_NO_TASK);
    EXPECT_THAT(e.what(), HasSubstr("TARN_TASK"));
  }
}

TEST_F(TaskTest, takes_no_values_beyond_the_limit_but_any_object) {
  const std::string large(2 << 20, '\n');
  EXPECT_THROW(static_cast<void>(tarn.submit(count_lines, large)), over_limit);
  EXPECT_EQ(tarn.submit(count_lines, tarn.put(large)).get(), 2 << 20);
}

TEST_F(TaskTest, goes_on_without_its_future) {
  for (int i = 0; i < 100; ++i) static_cast<void>(tarn.submit(add, i, i));
  EXPECT_EQ(tarn.submit(add, 1, 2).get(), 3);
}

}  // namespace
}  // namespace tarn::testing
