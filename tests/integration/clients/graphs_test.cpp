// Graphs, run by real workers. What could go wrong: a node runs before what it follows, twice, or never; a run begins with what the
// one before left behind; a worker dies and the run hangs or has another result; a graph that is freed is still worked on; an error
// does not say which node.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;
using Clock = std::chrono::steady_clock;

constexpr int64_t kLong = 120'000'000'000;

uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ b) * 0x9e3779b97f4a7c15;
  return (x ^ x >> 29) * 0xbf58476d1ce4e5b9 + b;
}

uint64_t number_at(tarn_call* call, size_t index) {
  uint64_t value = 0;
  tarn_bytes bytes = tarn_call_arg(call, index);
  memcpy(&value, bytes.data, std::min(bytes.size, sizeof value));
  return value;
}

// All arguments, in their order.
int mix_all(tarn_call* call) {
  uint64_t sum = 0;
  for (size_t i = 0; i < tarn_call_arg_count(call); ++i) sum = mix(sum, number_at(call, i));
  return tarn_call_return(call, &sum, sizeof sum);
}
int nap(tarn_call* call) {
  for (uint64_t left = number_at(call, 0); left > 0 && tarn_call_cancelled(call) == 0; --left) usleep(1000);
  return tarn_call_cancelled(call) != 0 ? TARN_E_CANCELLED : 0;
}
int refuse(tarn_call* call) { return tarn_call_fail(call, -1000, "refusal", "not today"); }
int die(tarn_call*) { kill(getpid(), SIGKILL); return 0; }
int die_at_first(tarn_call* call) {
  if (tarn_call_attempt(call) == 1) kill(getpid(), SIGKILL);
  uint64_t attempt = tarn_call_attempt(call);
  return tarn_call_return(call, &attempt, sizeof attempt);
}
// A result of so many bytes, each the low byte of the second argument.
int large(tarn_call* call) {
  void* data;
  size_t size = number_at(call, 0);
  if (int r = tarn_call_return_buffer(call, size, &data); r < 0) return r;
  memset(data, static_cast<int>(number_at(call, 1)), size);
  return 0;
}
int sum_bytes(tarn_call* call) {
  tarn_bytes bytes = tarn_call_arg(call, 0);
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size; ++i) sum += static_cast<const uint8_t*>(bytes.data)[i];
  return tarn_call_return(call, &sum, sizeof sum);
}
// Submits a task and waits for it.
int ask_another(tarn_call* call) {
  uint64_t value = number_at(call, 0);
  tarn_arg arg = tarn_arg_value(&value, sizeof value);
  tarn_future future;
  tarn_bytes bytes;
  if (int r = tarn_submit(tarn_call_client(call), tarn_task_id("mix_all"), &arg, 1, nullptr, &future); r < 0) return r;
  if (int r = tarn_result(tarn_call_client(call), future, kLong, &bytes); r < 0) return r;
  return tarn_call_return(call, bytes.data, bytes.size);
}
int own_pid(tarn_call* call) {
  uint64_t pid = static_cast<uint64_t>(getpid());
  return tarn_call_return(call, &pid, sizeof pid);
}

void define_tasks() {
  tarn_task_define("mix_all", mix_all);
  tarn_task_define("nap", nap);
  tarn_task_define("refuse", refuse);
  tarn_task_define("die", die);
  tarn_task_define("die_at_first", die_at_first);
  tarn_task_define("large", large);
  tarn_task_define("sum_bytes", sum_bytes);
  tarn_task_define("ask_another", ask_another);
  tarn_task_define("own_pid", own_pid);
}
tarn::test::SelfWorker worker(define_tasks);

tarn_arg value_of(const uint64_t& value) { return tarn_arg_value(&value, sizeof value); }

class Graph {
 public:
  explicit Graph(tarn_client* client, const tarn_graph_options* options = nullptr) {
    EXPECT_EQ(0, tarn_graph_create(client, options, &graph_)) << tarn_last_error();
  }
  ~Graph() { tarn_graph_free(graph_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  operator tarn_graph*() const { return graph_; }

  tarn_node add(const char* task, std::vector<tarn_arg> args = {}, const char* name = nullptr) {
    tarn_node_options options{};
    options.size = sizeof options;
    options.name = name;
    tarn_node node = TARN_GRAPH_ANY;
    EXPECT_EQ(0, tarn_graph_add(graph_, tarn_task_id(task), args.data(), args.size(), &options, &node)) << tarn_last_error();
    return node;
  }
  void edge(tarn_node before, tarn_node after) { EXPECT_EQ(0, tarn_graph_add_edge(graph_, before, after)) << tarn_last_error(); }
  int run(std::vector<tarn_arg> parameters = {}) {
    int r = tarn_graph_run(graph_, parameters.data(), parameters.size());
    return r < 0 ? r : tarn_graph_wait(graph_, kLong);
  }
  uint64_t number(tarn_node node) {
    tarn_bytes bytes{};
    EXPECT_EQ(0, tarn_graph_result(graph_, node, &bytes)) << tarn_last_error();
    uint64_t value = 0;
    if (bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
    return value;
  }
  void give_up() { graph_ = nullptr; }

 private:
  tarn_graph* graph_ = nullptr;
};

class Graphs : public testing::Test {
 protected:
  PrivateClient client_{2};

  std::string text() { return tarn_last_error(); }
  pid_t pid_of(uint32_t index) {
    tarn_slot_info info{};
    info.size = sizeof info;
    return tarn_client_get_slot(client_, index, &info) == 0 ? info.pid : 0;
  }
};

TEST_F(Graphs, ANodeHasTheResultsOfThoseBefore) {
  Graph graph(client_);
  uint64_t one = 1, two = 2;
  tarn_node a = graph.add("mix_all", {value_of(one)});
  tarn_node b = graph.add("mix_all", {value_of(two)});
  tarn_node c = graph.add("mix_all", {tarn_arg_node(a), tarn_arg_node(b), tarn_arg_node(a)});
  ASSERT_EQ(0, graph.run()) << text();
  EXPECT_EQ(mix(0, 1), graph.number(a));
  EXPECT_EQ(mix(mix(mix(0, mix(0, 1)), mix(0, 2)), mix(0, 1)), graph.number(c));
}

TEST_F(Graphs, RunAgainWithOtherParameters) {
  Graph graph(client_);
  tarn_node a = graph.add("mix_all", {tarn_arg_parameter(0)});
  tarn_node b = graph.add("mix_all", {tarn_arg_parameter(1), tarn_arg_node(a)});
  for (uint64_t i = 0; i < 3000; ++i) {
    uint64_t other = i * 7;
    ASSERT_EQ(0, graph.run({value_of(i), value_of(other)})) << text();
    ASSERT_EQ(mix(mix(0, other), mix(0, i)), graph.number(b)) << i;
  }
}

TEST_F(Graphs, ParametersGrowAndAreObjects) {
  Graph graph(client_);
  tarn_node sum = graph.add("sum_bytes", {tarn_arg_parameter(0)});
  for (size_t size : {size_t{10}, size_t{1000}, size_t{100'000}, size_t{5}}) {
    std::vector<uint8_t> bytes(size, 3);
    ASSERT_EQ(0, graph.run({tarn_arg_value(bytes.data(), bytes.size())})) << text();
    EXPECT_EQ(3 * size, graph.number(sum));
    tarn_object object;
    ASSERT_EQ(0, tarn_put(client_, bytes.data(), bytes.size(), &object)) << text();
    ASSERT_EQ(0, tarn_graph_run(graph, std::vector{tarn_arg_object(object)}.data(), 1)) << text();
    ASSERT_EQ(0, tarn_release(client_, object)) << text();  // the run holds it
    ASSERT_EQ(0, tarn_graph_wait(graph, kLong)) << text();
    EXPECT_EQ(3 * size, graph.number(sum));
  }
}

TEST_F(Graphs, AnObjectStaysForTheGraph) {
  std::vector<uint8_t> bytes(100'000, 5);
  tarn_object object;
  ASSERT_EQ(0, tarn_put(client_, bytes.data(), bytes.size(), &object)) << text();
  Graph graph(client_);
  tarn_node sum = graph.add("sum_bytes", {tarn_arg_object(object)});
  ASSERT_EQ(0, tarn_release(client_, object)) << text();
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(0, graph.run()) << text();
    EXPECT_EQ(500'000u, graph.number(sum));
  }
}

TEST_F(Graphs, LargeResultsAreHandedOnAndLetGoOf) {
  Graph graph(client_);
  uint64_t size = 1 << 20;
  tarn_node made = graph.add("large", {value_of(size), tarn_arg_parameter(0)});
  tarn_node sum = graph.add("sum_bytes", {tarn_arg_node(made)});
  for (uint64_t i = 0; i < 200; ++i) {
    ASSERT_EQ(0, graph.run({value_of(i)})) << text();
    EXPECT_EQ((i & 0xff) * size, graph.number(sum));
    tarn_bytes bytes{};
    if (i % 3 == 0) {
      ASSERT_EQ(0, tarn_graph_result(graph, made, &bytes)) << text();
      EXPECT_EQ(size, bytes.size);
      EXPECT_EQ(i & 0xff, static_cast<const uint8_t*>(bytes.data)[size - 1]);
    }
  }
  // As an object it outlives the next run.
  tarn_object object;
  ASSERT_EQ(0, tarn_graph_result_object(graph, made, &object)) << text();
  uint64_t next = 1;
  ASSERT_EQ(0, graph.run({value_of(next)})) << text();
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_get(client_, object, &bytes)) << text();
  EXPECT_EQ(199, static_cast<const uint8_t*>(bytes.data)[0]);
  EXPECT_EQ(0, tarn_release(client_, object));
}

// `count` nodes that each follow up to `most` earlier ones, here and in a serial run.
struct RandomGraph {
  std::vector<tarn_node> last;
  std::vector<std::vector<uint32_t>> before;

  void build(Graph& graph, uint32_t count, uint32_t most, uint32_t seed) {
    std::mt19937 random(seed);
    before.resize(count);
    for (uint32_t i = 0; i < count; ++i) {
      uint64_t own = i;
      std::vector<tarn_arg> args{value_of(own), tarn_arg_parameter(0)};
      uint32_t wanted = i == 0 ? 0 : static_cast<uint32_t>(random() % (most + 1));
      uint32_t window = random() % 4 == 0 ? i : std::min(i, 50u);  // near ones, and some from far away
      for (uint32_t k = 0; k < wanted; ++k) {
        before[i].push_back(i - 1 - static_cast<uint32_t>(random() % window));
        args.push_back(tarn_arg_node(before[i].back()));
      }
      ASSERT_EQ(i, graph.add("mix_all", args));
    }
  }
  std::vector<uint64_t> serial(uint64_t parameter) const {
    std::vector<uint64_t> values(before.size());
    for (size_t i = 0; i < before.size(); ++i) {
      values[i] = mix(mix(0, i), parameter);
      for (uint32_t other : before[i]) values[i] = mix(values[i], values[other]);
    }
    return values;
  }
  void compare(Graph& graph, uint64_t parameter) const {
    std::vector<uint64_t> wanted = serial(parameter);
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < wanted.size(); ++i) wrong += graph.number(i) != wanted[i];
    EXPECT_EQ(0u, wrong);
  }
};

TEST_F(Graphs, ARandomGraphComparedWithASerialRun) {
  for (uint32_t seed : {1u, 2u, 3u}) {
    Graph graph(client_);
    RandomGraph random;
    random.build(graph, 100'000, seed == 3 ? 50 : 4, seed);
    for (uint64_t run = 0; run < 3; ++run) {
      ASSERT_EQ(0, graph.run({value_of(run)})) << text();
      random.compare(graph, run);
    }
  }
}

TEST_F(Graphs, ARandomGraphWhileWorkersAreKilled) {
  tarn_graph_options options{};
  options.size = sizeof options;
  options.retries = 200;
  Graph graph(client_, &options);
  RandomGraph random;
  random.build(graph, 100'000, 4, 4);
  std::atomic<bool> done{false};
  std::atomic<uint32_t> kills{0};
  std::thread killer([&] {
    std::mt19937 seed(5);
    while (!done) {
      usleep(static_cast<useconds_t>(seed() % 20'000));
      pid_t pid = pid_of(seed() % 2);
      if (pid > 0 && kill(pid, SIGKILL) == 0) ++kills;
    }
  });
  uint64_t run = 0;
  for (auto end = Clock::now() + std::chrono::seconds(5); Clock::now() < end; ++run) {
    ASSERT_EQ(0, graph.run({value_of(run)})) << text();
    random.compare(graph, run);
  }
  done = true;
  killer.join();
  EXPECT_GT(kills, 20u);
  printf("%llu runs, %u kills\n", static_cast<unsigned long long>(run), kills.load());
}

TEST_F(Graphs, TwoAtOnceAndTasksBeside) {
  Graph first(client_), second(client_);
  RandomGraph a, b;
  a.build(first, 20'000, 4, 6);
  b.build(second, 20'000, 4, 7);
  for (uint64_t run = 0; run < 10; ++run) {
    uint64_t other = run + 100;
    tarn_arg of_first = value_of(run), of_second = value_of(other);
    ASSERT_EQ(0, tarn_graph_run(first, &of_first, 1)) << text();
    ASSERT_EQ(0, tarn_graph_run(second, &of_second, 1)) << text();
    std::vector<tarn_future> futures(200);
    for (auto& future : futures)
      ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("mix_all"), &of_first, 1, nullptr, &future)) << text();
    ASSERT_EQ(0, tarn_wait(client_, futures.data(), futures.size(), futures.size(), kLong, nullptr, nullptr)) << text();
    for (auto& future : futures) ASSERT_EQ(0, tarn_future_release(client_, future));
    ASSERT_EQ(0, tarn_graph_wait(first, kLong)) << text();
    ASSERT_EQ(0, tarn_graph_wait(second, kLong)) << text();
    a.compare(first, run);
    b.compare(second, other);
  }
}

TEST_F(Graphs, ALongNodeHoldsUpNoOther) {
  Graph graph(client_);
  uint64_t ms = 300;
  tarn_node slow = graph.add("nap", {value_of(ms)});
  uint64_t few = 1;
  std::vector<tarn_node> fast;
  for (int i = 0; i < 40; ++i) fast.push_back(graph.add("nap", {value_of(few)}));
  auto begin = Clock::now();
  ASSERT_EQ(0, graph.run()) << text();
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(600));
  (void)slow;
}

TEST_F(Graphs, NodesRunOnBothWorkers) {
  Graph graph(client_);
  uint64_t ms = 20;
  std::vector<tarn_node> pids;
  for (int i = 0; i < 20; ++i) {
    tarn_node slow = graph.add("nap", {value_of(ms)});
    pids.push_back(graph.add("own_pid"));
    graph.edge(slow, pids.back());
  }
  auto begin = Clock::now();
  ASSERT_EQ(0, graph.run()) << text();
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(390));
  uint64_t first = graph.number(pids[0]);
  EXPECT_TRUE(std::any_of(pids.begin(), pids.end(), [&](tarn_node node) { return graph.number(node) != first; }));
}

TEST_F(Graphs, ANodeMaySubmitTasks) {
  Graph graph(client_);
  std::vector<tarn_node> nodes;
  for (uint64_t i = 0; i < 200; ++i) nodes.push_back(graph.add("ask_another", {value_of(i)}));
  ASSERT_EQ(0, graph.run()) << text();
  for (uint64_t i = 0; i < nodes.size(); ++i) EXPECT_EQ(mix(0, i), graph.number(nodes[i]));
}

TEST_F(Graphs, ManyBeforeAndManyAfter) {
  Graph graph(client_);
  tarn_node root = graph.add("mix_all", {tarn_arg_parameter(0)});
  std::vector<tarn_node> middle;
  for (uint64_t i = 0; i < 5000; ++i) middle.push_back(graph.add("mix_all", {value_of(i), tarn_arg_node(root)}));
  tarn_node last = graph.add("mix_all", {tarn_arg_node(middle[17])});
  for (tarn_node node : middle) graph.edge(node, last);
  for (uint64_t run = 0; run < 20; ++run) {
    ASSERT_EQ(0, graph.run({value_of(run)})) << text();
    EXPECT_EQ(mix(0, mix(mix(0, 17), mix(0, run))), graph.number(last));
  }
}

TEST_F(Graphs, AGraphWithinAnother) {
  Graph inner(client_);
  tarn_node a = inner.add("mix_all", {tarn_arg_parameter(0)});
  tarn_node b = inner.add("mix_all", {tarn_arg_node(a), tarn_arg_parameter(1)}, "inner b");
  Graph outer(client_);
  tarn_node first = outer.add("mix_all", {tarn_arg_parameter(0)});
  uint64_t nine = 9;
  std::vector<tarn_arg> args{tarn_arg_node(first), value_of(nine)};
  tarn_node joint;
  ASSERT_EQ(0, tarn_graph_add_graph(outer, inner, args.data(), args.size(), nullptr, &joint)) << text();
  tarn_node inner_b = joint - 2 + b;
  tarn_node last = outer.add("mix_all", {tarn_arg_node(inner_b)});
  outer.edge(joint, last);
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_graph_add_graph(outer, outer, nullptr, 0, nullptr, nullptr));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_graph_add_graph(outer, inner, args.data(), 1, nullptr, nullptr));
  for (uint64_t run = 1; run < 5; ++run) {
    ASSERT_EQ(0, outer.run({value_of(run)})) << text();
    EXPECT_EQ(mix(0, mix(mix(0, mix(0, mix(0, run))), 9)), outer.number(last));
  }
}

TEST_F(Graphs, AFailureReachesWhatFollowsWithItsCauses) {
  Graph graph(client_);
  tarn_node a = graph.add("refuse", {}, "load");
  tarn_node b = graph.add("mix_all", {tarn_arg_node(a)}, "sort");
  tarn_node c = graph.add("mix_all", {tarn_arg_node(b)}, "sum");
  uint64_t one = 1;
  tarn_node other = graph.add("mix_all", {value_of(one)});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(TARN_E_TASK_FAILED, graph.run());
    EXPECT_NE(std::string::npos, text().find("'load'")) << text();
    EXPECT_NE(std::string::npos, text().find("not today")) << text();
    tarn_bytes bytes;
    EXPECT_EQ(TARN_E_DEPENDENCY, tarn_graph_result(graph, c, &bytes));
    EXPECT_EQ("node 2 'sum' failed because node 1 'sort' failed because node 0 'load' (task 'refuse') failed: not today", text());
    EXPECT_EQ(mix(0, 1), graph.number(other));
    tarn_task_error error{};
    error.size = sizeof error;
    ASSERT_EQ(0, tarn_graph_error(graph, c, &error)) << text();
    EXPECT_EQ(TARN_E_DEPENDENCY, error.code);
    EXPECT_EQ(-1000, error.cause);
    EXPECT_STREQ("load", error.task);
    EXPECT_STREQ("not today", error.message);
    ASSERT_EQ(0, tarn_graph_error(graph, TARN_GRAPH_ANY, &error)) << text();
    EXPECT_EQ(-1000, error.code);
    EXPECT_EQ(TARN_E_STATE, tarn_graph_error(graph, other, &error));
  }
}

TEST_F(Graphs, ANodeWhoseWorkerDiesRunsAgain) {
  Graph graph(client_);
  std::vector<tarn_node> nodes;
  for (int i = 0; i < 5; ++i) nodes.push_back(graph.add("die_at_first"));
  ASSERT_EQ(0, graph.run()) << text();
  for (tarn_node node : nodes) EXPECT_EQ(2u, graph.number(node));
}

TEST_F(Graphs, AttemptsAreUsedUp) {
  tarn_graph_options options{};
  options.size = sizeof options;
  options.retries = 1;
  Graph graph(client_, &options);
  tarn_node a = graph.add("die", {}, "poison");
  tarn_node b = graph.add("mix_all", {tarn_arg_node(a)});
  EXPECT_EQ(TARN_E_WORKER_CRASHED, graph.run());
  EXPECT_NE(std::string::npos, text().find("'poison'")) << text();
  EXPECT_NE(std::string::npos, text().find("signal 9")) << text();
  EXPECT_NE(std::string::npos, text().find("attempt 2 of 2")) << text();
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(0, tarn_graph_error(graph, b, &error)) << text();
  EXPECT_EQ(TARN_E_WORKER_CRASHED, error.cause);
  EXPECT_EQ(9, error.signal);
}

TEST_F(Graphs, WhatWaitsForItselfIsNamed) {
  Graph graph(client_);
  uint64_t one = 1;
  tarn_node a = graph.add("mix_all", {value_of(one)}, "first");
  tarn_node b = graph.add("mix_all", {tarn_arg_node(a)}, "egg");
  tarn_node c = graph.add("mix_all", {tarn_arg_node(b)}, "hen");
  graph.edge(c, b);
  EXPECT_EQ(TARN_E_STUCK_GRAPH, tarn_graph_instantiate(graph));
  EXPECT_EQ("2 of 3 nodes can never begin, because they wait for one another, round and round: node 1 'egg', 2 'hen'", text());
  EXPECT_EQ(TARN_E_STUCK_GRAPH, tarn_graph_run(graph, nullptr, 0));
}

TEST_F(Graphs, CancelledARunEndsAndTheNextIsWhole) {
  Graph graph(client_);
  uint64_t ms = 10'000;
  tarn_node slow = graph.add("nap", {tarn_arg_parameter(0)}, "slow");
  tarn_node after = graph.add("mix_all", {value_of(ms)});
  graph.edge(slow, after);
  for (int i = 0; i < 3; ++i) {
    tarn_arg parameter = value_of(ms);
    ASSERT_EQ(0, tarn_graph_run(graph, &parameter, 1)) << text();
    usleep(20'000);
    auto begin = Clock::now();
    ASSERT_EQ(0, tarn_graph_cancel(graph)) << text();
    EXPECT_EQ(TARN_E_CANCELLED, tarn_graph_wait(graph, kLong)) << text();
    EXPECT_LT(Clock::now() - begin, std::chrono::seconds(1));
    EXPECT_EQ(TARN_E_STATE, tarn_graph_cancel(graph));
    uint64_t none = 0;
    ASSERT_EQ(0, graph.run({value_of(none)})) << text();
    EXPECT_EQ(mix(0, ms), graph.number(after));
  }
}

TEST_F(Graphs, AWaitMayTimeOut) {
  Graph graph(client_);
  uint64_t ms = 200;
  graph.add("nap", {value_of(ms)});
  ASSERT_EQ(0, tarn_graph_run(graph, nullptr, 0)) << text();
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_graph_wait(graph, 0));
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_graph_wait(graph, 20'000'000));
  EXPECT_EQ(TARN_E_STATE, tarn_graph_run(graph, nullptr, 0));
  tarn_bytes bytes;
  EXPECT_EQ(TARN_E_STATE, tarn_graph_result(graph, 0, &bytes));
  EXPECT_EQ(0, tarn_graph_wait(graph, kLong)) << text();
}

TEST_F(Graphs, FreedWhileTheyRun) {
  for (uint64_t i = 0; i < 300; ++i) {
    Graph graph(client_);
    RandomGraph random;
    random.build(graph, 300, 3, static_cast<uint32_t>(i));
    tarn_arg parameter = value_of(i);
    ASSERT_EQ(0, tarn_graph_run(graph, &parameter, 1)) << text();
    if (i % 7 == 0) usleep(50);
  }
  // Their memory is used again, and by a run that comes out right.
  Graph graph(client_);
  RandomGraph random;
  random.build(graph, 20'000, 4, 1);
  uint64_t parameter = 3;
  ASSERT_EQ(0, graph.run({value_of(parameter)})) << text();
  random.compare(graph, parameter);
}

TEST_F(Graphs, OneAfterTheOtherInTheSamePlace) {
  auto begin = Clock::now();
  for (uint64_t i = 0; i < 500; ++i) {
    Graph graph(client_);
    tarn_node a = graph.add("mix_all", {value_of(i)});
    tarn_node b = graph.add("mix_all", {tarn_arg_node(a)});
    ASSERT_EQ(0, graph.run()) << text();
    ASSERT_EQ(mix(0, mix(0, i)), graph.number(b));
  }
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(5));  // nobody waits for somebody to look
}

TEST_F(Graphs, MoreThanTheirMemoryHolds) {
  std::vector<std::unique_ptr<Graph>> graphs;
  int r = 0;
  for (int i = 0; i < 50 && r == 0; ++i) {
    graphs.push_back(std::make_unique<Graph>(client_));
    uint64_t n = 1;
    tarn_arg arg = value_of(n);
    for (int k = 0; k < 200'000 && r == 0; ++k) r = tarn_graph_add(*graphs.back(), tarn_task_id("mix_all"), &arg, 1, nullptr, nullptr);
    ASSERT_EQ(0, r) << text();
    r = tarn_graph_instantiate(*graphs.back());
  }
  EXPECT_EQ(TARN_E_LIMIT, r) << text();
  // Once one is gone there is room again.
  tarn_graph* last = *graphs.back();
  graphs.front().reset();
  EXPECT_EQ(0, tarn_graph_run(last, nullptr, 0)) << text();
  EXPECT_EQ(0, tarn_graph_wait(last, kLong)) << text();
}

TEST_F(Graphs, WrongUseIsToldWhatIsWrong) {
  Graph graph(client_);
  tarn_node node;
  tarn_arg arg = tarn_arg_node(0);
  EXPECT_EQ(TARN_E_ARGUMENT, graph.run());
  EXPECT_NE(std::string::npos, text().find("no nodes")) << text();
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_graph_add(graph, tarn_task_id("mix_all"), &arg, 1, nullptr, &node));
  EXPECT_NE(std::string::npos, text().find("add that node first")) << text();
  EXPECT_EQ(TARN_E_NO_TASK, tarn_graph_add(graph, tarn_task_id("nobody"), nullptr, 0, nullptr, &node));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_graph_add(graph, tarn_task_id("mix_all"), nullptr, 1, nullptr, &node));
  EXPECT_EQ(TARN_E_STATE, tarn_graph_wait(graph, 0));
  EXPECT_EQ(TARN_E_STATE, tarn_graph_cancel(graph));
  node = graph.add("mix_all", {tarn_arg_parameter(1)});
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_graph_add_edge(graph, node, node));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_graph_add_edge(graph, node, 7));
  EXPECT_EQ(TARN_E_ARGUMENT, graph.run());
  EXPECT_NE(std::string::npos, text().find("the graph has 2")) << text();
  uint64_t one = 1;
  EXPECT_EQ(TARN_E_ARGUMENT, graph.run({value_of(one), tarn_arg_node(0)}));
  ASSERT_EQ(0, graph.run({value_of(one), value_of(one)})) << text();
  EXPECT_EQ(TARN_E_STATE, tarn_graph_add(graph, tarn_task_id("mix_all"), nullptr, 0, nullptr, &node));
  EXPECT_EQ(TARN_E_STATE, tarn_graph_add_edge(graph, 0, 0));
  tarn_bytes bytes;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_graph_result(graph, 1, &bytes));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_graph_create(client_, nullptr, nullptr));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_graph_run(nullptr, nullptr, 0));
  tarn_graph_free(nullptr);
}

}  // namespace
