// Graphs by tarn.hpp: results, parameters and edges have types; a node that fails comes out as an exception.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tasks.hpp"

namespace tarn::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

class GraphTest : public ::testing::Test {
 protected:
  client tarn = init(0, nullptr, {.address = "private", .workers = 1});
};

TEST_F(GraphTest, hands_results_on_and_runs_again) {
  graph graph(tarn);
  const auto x = graph.parameter<int>();
  const auto a = graph.add(add, x, 1);
  const auto b = graph.add(add, x, a);
  const auto c = graph.add(add, a, b);
  for (int i = 0; i < 100; ++i) {
    graph.set(x, i);
    graph.run();
    EXPECT_EQ(graph.get(a), i + 1);
    EXPECT_EQ(graph.get(c), 3 * i + 2);
  }
  graph.run();  // what was set stays
  EXPECT_EQ(graph.get(c), 3 * 99 + 2);
}

TEST_F(GraphTest, takes_strings_vectors_and_objects) {
  graph graph(tarn);
  const auto text = graph.parameter<std::string>();
  const auto bytes = graph.parameter<object>();
  const auto joined = graph.add(join, text, " and a literal");
  const auto lines = graph.add(count_lines, bytes);
  const auto total = graph.add(sum, std::vector<double>{1, 2, 3});
  graph.set(text, std::string(5000, 'x'));
  graph.set(bytes, tarn.put("one\ntwo\n"));
  graph.run();
  EXPECT_EQ(graph.get(joined), std::string(5000, 'x') + " and a literal");
  EXPECT_EQ(graph.get(lines), 2);
  EXPECT_EQ(graph.get(total), 6.0);
  EXPECT_EQ(graph.get_view(joined).size(), 5014u);
  const object kept = graph.get_object(joined);
  graph.set(text, "short");
  graph.run();
  EXPECT_EQ(graph.get(joined), "short and a literal");
  EXPECT_EQ(kept.size(), 5014u);
}

TEST_F(GraphTest, is_part_of_another) {
  graph inner(tarn);
  const auto x = inner.parameter<int>();
  const auto twice = inner.add(add, x, x);
  graph outer(tarn);
  const auto y = outer.parameter<int>();
  const auto first = outer.add_graph(inner, y);
  const auto second = outer.add_graph(inner, first[twice]);
  const auto last = outer.add(add, second[twice], 1);
  outer.add_edge(second.end(), last);
  outer.set(y, 5);
  outer.run();
  EXPECT_EQ(outer.get(last), 21);
  EXPECT_THROW(static_cast<void>(outer.add_graph(inner)), bad_argument);
}

TEST_F(GraphTest, throws_what_failed) {
  graph graph(tarn);
  const auto x = graph.parameter<int>();
  const auto a = graph.add(add, x, 1);
  EXPECT_THROW(graph.run(), bad_argument);  // never set
  graph.set(x, 1);
  EXPECT_FALSE(graph.cancel());
  graph.run();
  EXPECT_THROW(static_cast<void>(graph.add(add, 1, 2)), error);  // it has run
  EXPECT_EQ(graph.get(a), 2);

  tarn::graph circle(tarn);
  const auto egg = circle.add({.name = "egg"}, add, 1, 2);
  const auto hen = circle.add({.name = "hen"}, add, egg, 2);
  circle.add_edge(hen, egg);
  try {
    circle.instantiate();
    ADD_FAILURE();
  } catch (const error& e) {
    EXPECT_EQ(e.code(), TARN_E_STUCK_GRAPH);
    EXPECT_THAT(e.what(), HasSubstr("'hen'"));
  }
}

TEST_F(GraphTest, outlives_its_client_harmlessly) {
  graph graph(tarn);
  static_cast<void>(graph.add(add, 1, 2));
  tarn.close();
  EXPECT_THROW(graph.run(), error);
}

}  // namespace
}  // namespace tarn::testing
