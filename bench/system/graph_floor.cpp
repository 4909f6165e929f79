// graph_floor: what crash safety costs a node of a prebuilt graph. Two worker processes, no daemon, the production loop and
// graph; beside it the same loop where nothing could be recovered: dependencies are counted, nodes are not claimed, and
// their states not kept. The difference is the figure.
//
//   graph_floor floor|safe|counters [--shape independent|stencil] [--width N] [--steps N] [--work N] [--ms N]
#include "../measure.h"

#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <csignal>
#include <algorithm>
#include <cstring>
#include <string_view>

#include "os/futex.hpp"
#include "task/graph_builder.hpp"
#include "task/graph_loop.hpp"
#include "task/registry.hpp"

namespace {

using namespace tarn;
using namespace tarn::task;

constexpr uint32_t kWorkers = 2;

struct Shared {
  GraphRing rings[kWorkers];
  alignas(64) shm::Word<uint32_t> epoch;  // workers sleep on it
  alignas(64) shm::Word<uint32_t> over;   // the client sleeps on it
  alignas(64) char sums[kWorkers][64];
};

// Dependencies are counted down and set anew by whoever brings the last; whoever finds a node has it.
struct Counters {
  static bool claim(GraphNode&, uint32_t epoch, uint8_t member, NodeState& mine, bool& has_failed) {
    mine = {epoch, member, 1, NodePhase::kRunning, 0};
    has_failed = false;
    return true;
  }
  template <class Space>
  static void finish(Space& space, GraphNode& node, NodeState mine, uint8_t) {
    if ((node.shape & GraphNode::kEnd) != 0) {
      node.state.store(NodeState{mine.epoch, 0, 0, NodePhase::kFinished, 0}.pack(), shm::kRelease);
      return space.over();
    }
    for (const uint32_t* at = space.successors(node);; ++at) {
      GraphNode& next = space.node(successor_node(*at));
      if (next.arrivals.fetch_add(1) + 1 == next.predecessors()) {
        next.arrivals.store(0, shm::kRelaxed);
        space.publish(successor_node(*at));
      }
      if (is_last_successor(*at)) return;
    }
  }
};

uint64_t work_loops = 0;

inline void work() {
  for (uint64_t i = 0; i < work_loops; ++i) asm volatile("" ::: "memory");
}

struct Host {
  Shared& shared;
  uint32_t index;
  uint32_t ran = 0;
  [[nodiscard]] uint32_t self() const { return shm::kFirstWorker + index; }
  [[nodiscard]] uint32_t members_end() const { return shm::kFirstWorker + kWorkers; }
  GraphRing* ring(uint32_t member) { return &shared.rings[member - shm::kFirstWorker]; }
  uint8_t execute(GraphNode& node, uint32_t, NodeState, bool) {
    if ((node.shape & GraphNode::kJoint) == 0) work();
    ++ran;
    return 0;
  }
  void over() {
    shared.over.fetch_add(1);
    os::futex_wake(shared.over.futex_address(), 1);
  }
  void wake_another() {}
  void lose(uint32_t) {}
  [[nodiscard]] bool is_wanted() const { return false; }
  [[nodiscard]] int64_t spin_ns() const { return 1'000'000; }
};

template <class Protocol>
[[noreturn]] void serve(Shared& shared, GraphHeader& header, uint32_t index) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  measure_pin(static_cast<int>(index));
  static Host host{shared, index};
  static GraphLoop<Host, Protocol> loop(host);
  GraphView view = GraphView::of(header);
  for (;;) {
    uint32_t epoch = shared.epoch.load(shm::kAcquire);
    if (epoch != 0 && !view.is_over(epoch)) {
      (void)loop.run(view, 0, epoch);
    } else {
      os::futex_wait(shared.epoch.futex_address(), epoch, os::now_ns() + 50'000'000);
    }
  }
}

int dummy(tarn_call*) { return 0; }

struct Setup {
  bool stencil;
  uint32_t width, steps;
};

void build(GraphBuilder& builder, const Setup& setup) {
  for (uint32_t step = 0; step < setup.steps; ++step)
    for (uint32_t x = 0; x < setup.width; ++x) {
      uint32_t node;
      if (builder.add(task_number("dummy"), nullptr, 0, {}, nullptr, nullptr, node) < 0) measure_die("add");
      if (!setup.stencil || step == 0) continue;
      for (int d = -1; d <= 1; ++d) {
        int64_t from = int64_t{x} + d;
        if (from < 0 || from >= setup.width) continue;
        if (builder.add_edge(node - x - setup.width + static_cast<uint32_t>(from), node) < 0) measure_die("edge");
      }
    }
  if (builder.prepare() < 0) measure_die("prepare");
}

// Nanoseconds of both workers' time for each node.
template <class Protocol>
double measure(const Setup& setup, int argc, char** argv) {
  GraphBuilder builder;
  build(builder, setup);
  auto* shared = static_cast<Shared*>(measure_shared(sizeof(Shared)));
  auto& header = *static_cast<GraphHeader*>(measure_shared(builder.size()));
  builder.write(header, 0, kWorkers, 3);
  pid_t workers[kWorkers];
  for (uint32_t i = 0; i < kWorkers; ++i)
    if ((workers[i] = fork()) == 0) serve<Protocol>(*shared, header, i);
  Measure m;
  measure_start(&m, argc, argv);
  GraphView view = GraphView::of(header);
  uint32_t epoch = 0;
  while (measure_more(&m)) {
    measure_begin(&m);
    header.epoch.store(++epoch, shm::kRelease);
    shared->epoch.store(epoch, shm::kSeqCst);
    os::futex_wake(shared->epoch.futex_address(), kWorkers);
    for (;;) {
      uint32_t over = shared->over.load(shm::kAcquire);
      if (view.is_over(epoch)) break;
      os::futex_wait(shared->over.futex_address(), over, os::now_ns() + 100'000'000);
    }
    measure_end(&m, double(setup.width) * setup.steps / kWorkers);
  }
  for (pid_t worker : workers) {
    kill(worker, SIGKILL);
    waitpid(worker, nullptr, 0);
  }
  munmap(shared, sizeof(Shared));
  munmap(&header, builder.size());
  return measure_median_ns(&m);
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view what = argc > 1 && argv[1][0] != '-' ? argv[1] : "floor";
  Setup setup{};
  setup.stencil = std::string_view(measure_option(argc, argv, "--shape", "stencil")) == "stencil";
  setup.width = static_cast<uint32_t>(measure_option_int(argc, argv, "--width", 64));
  setup.steps = static_cast<uint32_t>(measure_option_int(argc, argv, "--steps", 1000));
  work_loops = static_cast<uint64_t>(measure_option_int(argc, argv, "--work", 0));
  if (define_task("dummy", dummy, 0, nullptr) < 0) measure_die("define_task");
  if (what == "safe") printf("safe %.2f ns\n", measure<CrashSafe>(setup, argc, argv));
  if (what == "counters") printf("counters %.2f ns\n", measure<Counters>(setup, argc, argv));
  if (what != "floor") return 0;
  // In turn, and the median of the differences: the machine changes its speed.
  constexpr int kRounds = 5;
  double differences[kRounds], safes[kRounds];
  for (int i = 0; i < kRounds; ++i) {
    safes[i] = measure<CrashSafe>(setup, argc, argv);
    differences[i] = safes[i] - measure<Counters>(setup, argc, argv);
  }
  std::sort(differences, differences + kRounds);
  std::sort(safes, safes + kRounds);
  char note[160];
  snprintf(note, sizeof note, "of %.1f ns a node on each of 2 cores, %s of %u x %u", safes[kRounds / 2],
           setup.stencil ? "3-point stencil" : "independent", setup.width, setup.steps);
  measure_print("task.floor", differences[kRounds / 2], "ns", note);
  return 0;
}
