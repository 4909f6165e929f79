// GraphBuilder: what is written must be the graph that was described: every edge once, every bit of a node given to one
// predecessor, no more than 31 of them, and an end that all nodes come before.
#include "task/graph_builder.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "task/graph_protocol.hpp"
#include "task/graph_view.hpp"
#include "task/registry.hpp"

namespace tarn::task {
namespace {

int nothing(tarn_call*) { return 0; }

tarn_task a_task() {
  static const bool once = define_task("builder_test", nothing, 0, nullptr) == 0;
  (void)once;
  return task_number("builder_test");
}

struct Written {
  explicit Written(const GraphBuilder& builder, uint32_t parts = 2)
      : memory(static_cast<std::byte*>(aligned_alloc(64, builder.size())), free) {
    builder.write(*reinterpret_cast<GraphHeader*>(memory.get()), 0, parts, 4);
    view = GraphView::of(*reinterpret_cast<GraphHeader*>(memory.get()));
  }
  std::unique_ptr<std::byte, void (*)(void*)> memory;
  GraphView view;

  // Follows the words as workers do, in one thread: the order in which nodes ran. `next` chooses among the ready ones.
  std::vector<uint32_t> run(uint32_t epoch, std::mt19937& random) {
    std::vector<uint32_t> ready, order;
    struct Space {
      Written& written;
      std::vector<uint32_t>& ready;
      bool is_over = false;
      GraphNode& node(uint32_t index) { return written.view.nodes[index]; }
      const uint32_t* successors(const GraphNode& node) { return written.view.successors + node.successors; }
      void publish(uint32_t index) { ready.push_back(index); }
      void over() { is_over = true; }
    } space{*this, ready};
    for (uint32_t part = 0; part < view.parts; ++part) {
      uint32_t first;
      while (uint32_t count = take_roots(view.header->cursors[part], epoch, first))
        for (uint32_t i = 0; i < count; ++i) ready.push_back(view.roots[first + i]);
    }
    while (!ready.empty()) {
      size_t at = random() % ready.size();
      uint32_t index = ready[at];
      ready.erase(ready.begin() + static_cast<ptrdiff_t>(at));
      NodeState mine;
      bool has_failed;
      EXPECT_TRUE(claim(view.nodes[index], epoch, 2, mine, has_failed));
      EXPECT_FALSE(claim(view.nodes[index], epoch, 3, mine, has_failed));
      order.push_back(index);
      finish(space, view.nodes[index], {epoch, 2, 1, NodePhase::kRunning, 0}, 0);
    }
    EXPECT_TRUE(space.is_over);
    return order;
  }
};

uint32_t add(GraphBuilder& builder, std::vector<uint32_t> before = {}, GraphBuilder::NodeOptions options = {}) {
  uint32_t node = kNoNode;
  std::vector<tarn_arg> args;
  for (uint32_t other : before) args.push_back(tarn_arg_node(other));
  EXPECT_EQ(0, builder.add(a_task(), args.data(), args.size(), options, nullptr, nullptr, node)) << last_error();
  return node;
}

TEST(GraphBuilder, RunsEveryNodeOnceAfterThoseBeforeIt) {
  std::mt19937 random(1);
  for (int round = 0; round < 20; ++round) {
    GraphBuilder builder;
    std::vector<std::set<uint32_t>> before;
    uint32_t count = 1 + static_cast<uint32_t>(random() % 400);
    for (uint32_t i = 0; i < count; ++i) {
      std::set<uint32_t> these;
      uint32_t most = random() % 10 == 0 ? 200 : 3;  // now and then with joints
      for (uint32_t k = static_cast<uint32_t>(random() % (most + 1)); k > 0 && i > 0; --k) these.insert(static_cast<uint32_t>(random() % i));
      before.push_back(these);
      add(builder, {these.begin(), these.end()});
    }
    ASSERT_EQ(0, builder.prepare()) << last_error();
    Written written(builder, 1 + static_cast<uint32_t>(random() % 4));
    for (uint32_t i = 0; i < written.view.node_count; ++i) ASSERT_LE(written.view.nodes[i].predecessors(), kPredecessorsMax);
    for (uint32_t epoch = 1; epoch < 4; ++epoch) {
      std::vector<uint32_t> order = written.run(epoch, random);
      ASSERT_EQ(written.view.node_count, order.size());
      std::map<uint32_t, size_t> place;
      for (size_t i = 0; i < order.size(); ++i) place[order[i]] = i;
      ASSERT_EQ(order.size(), place.size());
      ASSERT_EQ(order.size() - 1, place[written.view.node_count - 1]);  // the end
      for (uint32_t i = 0; i < count; ++i)
        for (uint32_t other : before[i]) ASSERT_LT(place[other], place[i]);
    }
  }
}

TEST(GraphBuilder, TheLongestWayIsTheMostUrgent) {
  GraphBuilder builder;
  uint32_t root = add(builder);
  uint32_t cheap = add(builder, {root});
  uint32_t dear = add(builder, {root}, {.cost = 10});
  uint32_t urgent = add(builder, {root}, {.priority = 1});
  ASSERT_EQ(0, builder.prepare());
  EXPECT_EQ(11u, builder.critical_path());
  Written written(builder);
  GraphNode* nodes = written.view.nodes;
  EXPECT_LT(nodes[cheap].level, nodes[dear].level);
  EXPECT_LT(nodes[dear].level, nodes[urgent].level);
  const uint32_t* successors = written.view.successors + nodes[root].successors;
  EXPECT_EQ(cheap, successor_node(successors[0]));  // the most urgent last: it is come to first
  EXPECT_EQ(urgent, successor_node(successors[2]));
  EXPECT_TRUE(is_last_successor(successors[2]));
}

TEST(GraphBuilder, NamesWhatWaitsForItself) {
  GraphBuilder builder;
  uint32_t before = add(builder, {}, {.name = "before"});
  uint32_t a = add(builder, {before}, {.name = "a"});
  uint32_t b = add(builder, {a}, {.name = "b"});
  add(builder, {b}, {.name = "after"});
  ASSERT_EQ(0, builder.add_edge(b, a));
  EXPECT_EQ(TARN_E_STUCK_GRAPH, builder.prepare());
  std::string text = last_error();
  EXPECT_NE(std::string::npos, text.find("1 'a', 2 'b', 3 'after'")) << text;
  EXPECT_EQ(std::string::npos, text.find("before'")) << text;
}

TEST(GraphBuilder, ACallThatFailsLeavesNothing) {
  GraphBuilder builder;
  uint32_t node = add(builder);
  std::vector<tarn_arg> args{tarn_arg_node(node), tarn_arg_node(7)};
  uint32_t other;
  EXPECT_EQ(TARN_E_ARGUMENT, builder.add(a_task(), args.data(), args.size(), {}, nullptr, nullptr, other));
  EXPECT_EQ(1u, builder.node_count());
  EXPECT_EQ(0u, builder.edge_count());
  ASSERT_EQ(0, builder.prepare());
}

// Also when the node looked as usual until its last argument, and when the first had made the graph have a parameter.
TEST(GraphBuilder, ANodeThatIsRefusedLeavesNothing) {
  GraphBuilder builder;
  uint32_t node = add(builder), last = add(builder, {node}), other;
  std::vector<tarn_arg> args{tarn_arg_node(node), tarn_arg_node(last), tarn_arg_node(99)};
  EXPECT_EQ(TARN_E_ARGUMENT, builder.add(a_task(), args.data(), args.size(), {}, nullptr, nullptr, other));
  EXPECT_EQ(1u, builder.edge_count());
  args[0] = tarn_arg_parameter(5);
  EXPECT_EQ(TARN_E_ARGUMENT, builder.add(a_task(), args.data(), args.size(), {}, nullptr, nullptr, other));
  EXPECT_EQ(0u, builder.parameter_count());
  EXPECT_EQ(2u, builder.node_count());
  add(builder, {node, last});
  EXPECT_EQ(3u, builder.edge_count());
  ASSERT_EQ(0, builder.prepare());
  std::mt19937 random(3);
  EXPECT_EQ((std::vector<uint32_t>{0, 1, 2, 3}), Written(builder).run(1, random));
}

TEST(GraphBuilder, AnInnerGraphIsCopiedIn) {
  GraphBuilder inner;
  uint32_t node;
  tarn_arg parameter = tarn_arg_parameter(0);
  ASSERT_EQ(0, inner.add(a_task(), &parameter, 1, {.name = "in"}, nullptr, nullptr, node));
  ASSERT_EQ(0, inner.add(a_task(), &parameter, 1, {}, nullptr, nullptr, node));
  GraphBuilder outer;
  uint32_t root = add(outer);
  tarn_arg bound = tarn_arg_node(root);
  uint32_t joint;
  ASSERT_EQ(0, outer.add_graph(inner, &bound, 1, "part", nullptr, nullptr, joint)) << last_error();
  EXPECT_EQ(3u, joint);
  EXPECT_STREQ("in", outer.name_of(1));
  EXPECT_STREQ("part", outer.name_of(joint));
  EXPECT_EQ(4u, outer.edge_count());  // both follow the root, and the joint both
  ASSERT_EQ(0, outer.prepare());
  std::mt19937 random(2);
  Written written(outer);
  EXPECT_EQ(5u, written.run(1, random).size());
  EXPECT_EQ(TARN_E_ARGUMENT, outer.add_graph(inner, nullptr, 0, nullptr, nullptr, nullptr, joint));
}

}  // namespace
}  // namespace tarn::task
