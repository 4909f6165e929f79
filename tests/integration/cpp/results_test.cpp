// Tasks with several results, by their types. What could go wrong: a part arrives as another type, or another part; one is used whose
// future has gone; types that do not fit are found out when the program runs, and not by the compiler.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>
#include <string>
#include <type_traits>
#include <vector>

#include "refusal.hpp"
#include "tasks.hpp"

namespace tarn::testing {
namespace {

using ::testing::HasSubstr;

class ResultsTest : public ::testing::Test {
 protected:
  client tarn = init(0, nullptr, {.address = "private", .workers = 2});
};

std::vector<double> numbers_to(std::size_t count) {
  std::vector<double> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0.0);
  return numbers;
}

TEST_F(ResultsTest, come_together_as_a_tuple) {
  auto [quotient, remainder] = tarn.submit(divide, 17, 5).get();
  EXPECT_EQ(quotient, 3);
  EXPECT_EQ(remainder, 2);
  const auto cut = tarn.submit(cut_in_two, tarn.put(numbers_to(5)), std::size_t{2}).get();
  static_assert(
      std::is_same_v<decltype(cut), const results<std::vector<double>, std::vector<double>>>);
  EXPECT_EQ(std::get<0>(cut), (std::vector<double>{0, 1}));
  EXPECT_EQ(std::get<1>(cut), (std::vector<double>{2, 3, 4}));
  auto [order, words, number] = tarn.submit(describe, "a name").get();
  EXPECT_EQ(order.customer, "a name");
  EXPECT_EQ(words, (std::vector<std::string>{"a", "name"}));
  EXPECT_EQ(number, 2);
}

TEST_F(ResultsTest, are_read_one_by_one) {
  for (const std::size_t count : {0u, 4u, 100'000u}) {
    const auto cut = tarn.submit(cut_in_two, numbers_to(count), count / 4);
    EXPECT_EQ(cut.part<1>().get().size(), count - count / 4);
    EXPECT_EQ(cut.part<0>().get(), numbers_to(count / 4));
    const std::span<const double> view = cut.part<1>().get_view();
    EXPECT_EQ(std::vector<double>(view.begin(), view.end()), cut.part<1>().get());
    EXPECT_TRUE(count == 0 || view.back() == static_cast<double>(count - 1));
  }
  const auto described = tarn.submit(describe, "two words");
  EXPECT_EQ(described.part<0>().get().customer, "two words");
  EXPECT_EQ(described.part<1>().get(), (std::vector<std::string>{"two", "words"}));
  EXPECT_EQ(described.part<2>().get(), 2);
}

TEST_F(ResultsTest, are_arguments_one_by_one) {
  const auto divided = tarn.submit(divide, 1000, 7);
  EXPECT_EQ(tarn.submit(add, divided.part<0>(), divided.part<1>()).get(), 1000 / 7 + 1000 % 7);
  EXPECT_EQ(tarn.submit(add, 1, divided.part<1>()).get(), 1 + 1000 % 7);
  const auto cut = tarn.submit(cut_in_two, numbers_to(1000), std::size_t{10});
  EXPECT_EQ(tarn.submit(sum, cut.part<0>()).get(), 45);
  EXPECT_EQ(tarn.submit(sum, cut.part<1>()).get(), 999.0 * 1000 / 2 - 45);
  EXPECT_EQ(tarn.submit(object_size, cut.part<0>()).get(), 10 * sizeof(double));
  const auto described = tarn.submit(describe, "somebody");
  EXPECT_EQ(tarn.submit(echo_order, described.part<0>()).get().customer, "somebody");
  const std::vector parts{cut.part<0>(), cut.part<1>()};
  double total = 0;
  for (const auto& each : tarn.submit_many(sum, parts)) total += each.get();
  EXPECT_EQ(total, 999.0 * 1000 / 2);
}

TEST_F(ResultsTest, parts_do_not_outlive_their_future_but_their_tasks_do) {
  part<std::span<const double>> left;
  future<double> summed;
  object kept;
  {
    const auto cut = tarn.submit(cut_in_two, numbers_to(100'000), std::size_t{50'000});
    left = cut.part<0>();
    summed = tarn.submit(sum, cut.part<1>());
    kept = cut.part<0>().get_object();
  }
  const Refusal read = refusal([&] { static_cast<void>(left.get()); });
  EXPECT_EQ(read.code, TARN_E_NO_FUTURE);
  EXPECT_THAT(read.text, HasSubstr("it was released"));
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.submit(sum, left)); }).code, TARN_E_NO_FUTURE);
  EXPECT_EQ(summed.get(), 99'999.0 * 100'000 / 2 - 49'999.0 * 50'000 / 2);
  EXPECT_EQ(kept.view<double>().size(), 50'000u);
  EXPECT_EQ(kept.view<double>()[49'999], 49'999);
  EXPECT_EQ(refusal([&] { static_cast<void>(part<int>().get()); }).code, TARN_E_NO_FUTURE);
  EXPECT_EQ(refusal([&] { static_cast<void>(tarn.submit(add, part<int>(), 1)); }).code,
            TARN_E_NO_FUTURE);
  const future<results<int, int>> empty;
  EXPECT_EQ(refusal([&] { static_cast<void>(empty.part<0>()); }).code, TARN_E_NO_FUTURE);
}

TEST_F(ResultsTest, small_ones_become_objects_too) {
  const auto divided = tarn.submit(divide, 17, 5);
  EXPECT_EQ(tarn.submit(twice<int>, divided.part<1>().get_object()).get(), 4);
}

TEST_F(ResultsTest, a_task_that_fails_has_none) {
  const auto divided = tarn.submit(divide, 1, 0);
  EXPECT_THROW(static_cast<void>(divided.get()), task_error);
  EXPECT_THROW(static_cast<void>(divided.part<0>().get()), task_error);
  EXPECT_THROW(static_cast<void>(divided.part<0>().get_object()), task_error);
  try {
    static_cast<void>(tarn.submit(add, divided.part<0>(), 1).get());
    ADD_FAILURE() << "it did not fail";
  } catch (const task_error& e) {
    EXPECT_EQ(e.code(), TARN_E_DEPENDENCY);
    EXPECT_EQ(e.task(), "divide");
    EXPECT_EQ(e.message(), "division by 0");
  }
}

TEST_F(ResultsTest, come_from_nodes_of_a_graph) {
  graph graph(tarn);
  const auto by = graph.parameter<int>();
  const auto divided = graph.add(divide, 1000, by);
  const auto sum = graph.add(add, divided.part<0>(), divided.part<1>());
  for (const int number : {7, 30, 999}) {
    graph.set(by, number);
    graph.run();
    EXPECT_EQ(graph.get(sum), 1000 / number + 1000 % number);
    EXPECT_EQ(std::get<1>(graph.get(divided)), 1000 % number);
  }
}

TEST_F(ResultsTest, of_many_calls_come_from_a_map) {
  const auto all = tarn.map(divide, indices(100), 7);
  ASSERT_EQ(all.size(), 100u);
  for (int i = 0; i < 100; ++i)
    EXPECT_EQ(all[static_cast<std::size_t>(i)], (results<int, int>{i / 7, i % 7}));
}

// ---- What the compiler says.

template <class Task, class... As>
concept submits = requires(client& c, Task task, As... as) {
  { c.submit(task, as...) } -> std::same_as<future<int>>;
};
static_assert(submits<decltype(&twice<int>), part<int>>);
static_assert(!submits<decltype(&twice<int>), part<double>>);
static_assert(!submits<decltype(&twice<int>), part<std::vector<int>>>);

template <class F, std::size_t I>
concept has_part = requires(const F& f) {
  f.template part<I>();
};
static_assert(has_part<future<results<int, std::string>>, 1>);
static_assert(!has_part<future<std::tuple<int, std::string>>, 1>);
static_assert(!has_part<future<int>, 0>);
// A future that is about to go would take its parts with it.
template <class F>
concept has_part_of_temporary = requires {
  F().template part<0>();
};
static_assert(!has_part_of_temporary<future<results<int, int>>>);
static_assert(
    std::is_same_v<
        decltype(std::declval<const future<results<int, std::string_view>>&>().part<1>().get()),
        std::string>);
static_assert(std::tuple_size_v<results<int, char>> == 2);
static_assert(std::is_same_v<decltype(results(1, 'c')), results<int, char>>);

}  // namespace
}  // namespace tarn::testing
