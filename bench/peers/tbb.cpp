// oneTBB: the same calls to a thread of this process, not to another process.
//
//   peer_tbb sync|async|forkjoin|metg.independent|metg.stencil [--ms N] [--flight N]
#include "../metg.h"

#include <atomic>
#include <memory>
#include <string_view>
#include <vector>

#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

namespace {

constexpr std::uint64_t kFlightMax = 4096;

struct alignas(64) Reply {
  std::atomic<std::uint64_t> done{0};
  std::uint64_t value = 0;
};

// A call is enqueued to one worker thread; this thread spins for the reply.
double sync_ns(Measure& measure) {
  constexpr int kCalls = 200;
  oneapi::tbb::task_arena arena(1, 0);
  Reply reply;
  std::uint64_t n = 0;
  while (measure_more(&measure)) {
    measure_begin(&measure);
    for (int i = 0; i < kCalls; ++i) {
      ++n;
      arena.enqueue([&reply, n] {
        reply.value = n + 1;
        reply.done.store(n, std::memory_order_release);
      });
      while (reply.done.load(std::memory_order_acquire) != n) measure_pause();
    }
    measure_end(&measure, kCalls);
  }
  return measure_median_ns(&measure);
}

// `flight` tasks are spawned, then waited for, again and again.
double async_per_second(Measure& measure, std::uint64_t flight) {
  static Reply replies[kFlightMax];
  oneapi::tbb::task_arena arena(2);
  arena.execute([&] {
    while (measure_more(&measure)) {
      constexpr int kBatches = 50;
      measure_begin(&measure);
      for (int batch = 0; batch < kBatches; ++batch) {
        oneapi::tbb::task_group group;
        for (std::uint64_t i = 0; i < flight; ++i) group.run([i] { replies[i].value = i + 1; });
        group.wait();
      }
      measure_end(&measure, static_cast<double>(kBatches * flight));
    }
  });
  return 1e9 / measure_median_ns(&measure);
}

std::uint64_t fib(std::uint64_t n) {
  if (n < 2) return n;
  std::uint64_t left = 0;
  std::uint64_t right = 0;
  oneapi::tbb::task_group group;
  group.run([&left, n] { left = fib(n - 1); });
  group.run([&right, n] { right = fib(n - 2); });
  group.wait();
  return left + right;
}

// Tasks that spawn two tasks each and wait for them.
double forkjoin_ns(Measure& measure) {
  constexpr std::uint64_t kDepth = 24;
  constexpr std::uint64_t kResult = 46'368;
  constexpr double kTasks = 150'048;
  oneapi::tbb::task_arena arena(2);
  arena.execute([&] {
    while (measure_more(&measure)) {
      measure_begin(&measure);
      const std::uint64_t result = fib(kDepth);
      measure_end(&measure, kTasks);
      if (result != kResult) measure_die("a result is wrong");
    }
  });
  return measure_median_ns(&measure);
}

// A flow graph, made once: METG of it (bench/metg.h).
class FlowGraph {
 public:
  explicit FlowGraph(bool is_stencil) {
    for (int step = 0; step < kMetgSteps; ++step)
      for (int x = 0; x < kMetgWidth; ++x) {
        nodes_.push_back(std::make_unique<Node>(graph_, [this](const oneapi::tbb::flow::continue_msg&) { metg_work(turns_); }));
        if (!is_stencil || step == 0) {
          make_edge(start_, *nodes_.back());
          continue;
        }
        for (int from = x - 1; from <= x + 1; ++from)
          if (from >= 0 && from < kMetgWidth) make_edge(*nodes_[static_cast<std::size_t>((step - 1) * kMetgWidth + from)], *nodes_.back());
      }
  }

  static double run(void* self, std::uint64_t turns) {
    auto& it = *static_cast<FlowGraph*>(self);
    it.turns_ = turns;
    const std::int64_t begin = measure_now_ns();
    it.start_.try_put({});
    it.graph_.wait_for_all();
    return static_cast<double>(measure_now_ns() - begin);
  }

 private:
  using Node = oneapi::tbb::flow::continue_node<oneapi::tbb::flow::continue_msg>;

  std::uint64_t turns_ = 0;
  oneapi::tbb::flow::graph graph_;
  oneapi::tbb::flow::broadcast_node<oneapi::tbb::flow::continue_msg> start_{graph_};
  std::vector<std::unique_ptr<Node>> nodes_;
};

double metg(Measure& measure, bool is_stencil) {
  double result = 0;
  oneapi::tbb::task_arena arena(kMetgCores);
  arena.execute([&] {
    FlowGraph graph(is_stencil);
    while (measure.count == 0 || measure_now_ns() < measure.deadline_ns)
      measure_add(&measure, metg_ns(FlowGraph::run, &graph, double{kMetgWidth} * double{kMetgSteps}));
    result = measure_median_ns(&measure);
  });
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  static Measure measure;
  const std::string_view what = argc > 1 ? argv[1] : "";
  const auto flight = static_cast<std::uint64_t>(measure_option_int(argc, argv, "--flight", 256));
  if (flight == 0 || flight > kFlightMax || (what != "sync" && what != "async" && what != "forkjoin" && !what.starts_with("metg."))) {
    fprintf(stderr, "usage: peer_tbb sync|async|forkjoin|metg.independent|metg.stencil [--ms N] [--flight N]\n");
    return 2;
  }
  oneapi::tbb::global_control threads(oneapi::tbb::global_control::max_allowed_parallelism, 2);
  measure_start(&measure, argc, argv);
  if (what == "sync") {
    measure_print("sync", sync_ns(measure), "ns", "threads; task_arena::enqueue");
  } else if (what.starts_with("metg.")) {
    measure_print(argv[1], metg(measure, what == "metg.stencil"), "ns", "threads; flow graph of continue_nodes, 2 threads");
  } else if (what == "forkjoin") {
    measure_print("forkjoin", forkjoin_ns(measure), "ns", "threads; task_group, 2 threads");
  } else {
    measure_print("async", async_per_second(measure, flight), "1/s", "threads; task_group, 2 threads");
  }
  return 0;
}
