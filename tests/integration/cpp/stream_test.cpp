// Tasks that yield, by tarn.hpp: items have types; the end, an error and a reader that leaves come out as they should.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

#include "tasks.hpp"

namespace tarn::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

class StreamTest : public ::testing::Test {
 protected:
  client tarn_ = init(0, nullptr, {.address = "private", .workers = 2});
};

TEST_F(StreamTest, ALoopReadsAllItems) {
  std::vector<int> got;
  for (int number : tarn_.submit(yield_numbers, 1000)) got.push_back(number);
  std::vector<int> all(1000);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(all, got);
  for (int number : tarn_.submit(yield_numbers, 0)) FAIL() << number;
}

TEST_F(StreamTest, ItemsOfEveryKind) {
  std::vector<std::string> words;
  for (std::string& word : tarn_.submit(yield_words, "to be, or not to be")) words.push_back(std::move(word));
  EXPECT_EQ((std::vector<std::string>{"to", "be,", "or", "not", "to", "be"}), words);

  stream<Order> orders = tarn_.submit(yield_orders, 3);
  for (int i = 0; i < 3; ++i) {
    const std::optional<Order> order = orders.next();
    ASSERT_TRUE(order.has_value());
    EXPECT_EQ("customer " + std::to_string(i), order->customer);
    EXPECT_EQ(static_cast<std::size_t>(i), order->lines.size());
  }
  EXPECT_FALSE(orders.next().has_value());
  EXPECT_FALSE(orders.next().has_value());
}

TEST_F(StreamTest, ViewsAndObjects) {
  stream<std::vector<double>> rows = tarn_.submit(yield_rows, 4, 1000);
  const auto view = rows.next_view();
  ASSERT_TRUE(view.has_value());
  EXPECT_EQ(1000u, view->size());
  EXPECT_EQ(0.0, view->front());
  const std::optional<object> kept = rows.next_object();
  ASSERT_TRUE(kept.has_value());
  EXPECT_EQ(2.0, rows.next()->front());
  EXPECT_EQ(3.0, rows.next_view()->back());
  EXPECT_FALSE(rows.next_view().has_value());
  EXPECT_FALSE(rows.next_object().has_value());
  rows = {};
  EXPECT_FALSE(rows.valid());
  EXPECT_EQ(1000.0, tarn_.submit(sum, *kept).get());  // it outlives the stream, and may be an argument
}

TEST_F(StreamTest, AnExceptionComesAfterTheItems) {
  stream<int> numbers = tarn_.submit(yield_and_throw, 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(i, numbers.next());
  try {
    (void)numbers.next();
    FAIL();
  } catch (const task_error& e) {
    EXPECT_EQ("no more than 3", e.message());
    EXPECT_EQ("std::out_of_range", e.type());
  }
}

TEST_F(StreamTest, WhoLeavesHasTheTaskEnd) {
  // As many as there are workers: if one of them went on, the next ones would not begin.
  for (int i = 0; i < 4; ++i) {
    stream<int> endless = tarn_.submit({.window = {.items = 4}}, yield_numbers, 2'000'000'000);
    EXPECT_EQ(0, endless.next());
    EXPECT_EQ(1, endless.next(10s));
  }
  EXPECT_EQ(0, tarn_.submit(yield_numbers, 1).next(20s));
}

TEST_F(StreamTest, CancelAndTime) {
  stream<int> endless = tarn_.submit({.window = {.items = 4}}, yield_numbers, 2'000'000'000);
  EXPECT_EQ(0, endless.next());
  EXPECT_TRUE(endless.cancel());
  EXPECT_THROW(
      for (;;) (void)endless.next(), cancelled);
  EXPECT_THROW((void)tarn_.submit(yield_after, 10'000).next(10ms), timed_out);
  EXPECT_THROW((void)tarn_.submit({.timeout = 50ms}, yield_after, 10'000).next(), deadline_passed);
}

async<int> add_up(client& tarn, int count, int ms) {
  stream<int> numbers = tarn.submit({.window = {.items = 3}}, yield_slowly, count, ms);
  int total = 0;
  while (std::optional<int> number = co_await numbers) total += *number;
  co_return total;
}

TEST_F(StreamTest, ACoroutineAwaitsItems) {
  async<int> first = add_up(tarn_, 10, 5);
  async<int> second = add_up(tarn_, 100, 0);
  EXPECT_EQ(4950, run(tarn_, std::move(second)));
  EXPECT_EQ(45, run(tarn_, std::move(first)));
}

TEST_F(StreamTest, ATaskReadsAStreamOfItsOwn) {
  EXPECT_EQ(499'500, tarn_.submit(sum_stream, 1000).get());
  client one = init(0, nullptr, {.address = "private", .workers = 1});
  EXPECT_EQ(499'500, one.submit(sum_stream, 1000).get());
}

TEST_F(StreamTest, Misuse) {
  try {
    (void)tarn_.submit({.window = {.items = 4}}, add, 1, 2);
    FAIL();
  } catch (const bad_argument& e) {
    EXPECT_THAT(e.what(), HasSubstr("window is for tasks that yield"));
  }
  EXPECT_THROW((void)tarn_.submit({.window = {.items = 5000}}, yield_numbers, 1), bad_argument);
  stream<int> empty;
  try {
    (void)empty.next();
    FAIL();
  } catch (const error& e) {
    EXPECT_EQ(TARN_E_NO_FUTURE, e.code());
  }
}

}  // namespace
}  // namespace tarn::testing
