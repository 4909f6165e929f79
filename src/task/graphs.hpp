// Graphs: the client's side of graphs. Gives them memory and a place on the board, begins runs, waits, reads what came of them.
//
// A Graph is described (GraphBuilder), instantiated once, and run as often as wanted, one run at a time. Its memory lies in the
// arena of the client's segment (task/arena.hpp). A graph that is given back while its run goes on, or while a worker is still in
// it, keeps its memory until neither is so.
//
// Thread safety: functions that take a Graph, by one thread at a time for each graph, but for `cancel` and `wait`; different
// graphs by different threads.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/array.hpp"
#include "base/gate.hpp"
#include "store/store.hpp"
#include "task/graph_builder.hpp"
#include "task/graph_view.hpp"
#include "task/submitter.hpp"

// One graph of a client.
struct tarn_graph {
  enum class Phase : uint8_t { kDescribed, kReady, kRunning };

  tarn_client* client = nullptr;
  tarn::task::GraphBuilder builder;
  std::atomic<Phase> phase{Phase::kDescribed};
  bool is_given_back = false;
  bool was_run = false;
  tarn::task::GraphView view{};
  uint32_t first_line = 0;
  uint32_t lines = 0;
  uint32_t epoch = 0;
  uint64_t runs = 0;
  std::atomic<uint32_t> slot{tarn::shm::kGraphSlots};  // none
  uint32_t retries = 3;
  tarn::Array<uint32_t> adopted;             // a bit for each node whose object this process has counted
  tarn::Array<tarn::shm::ObjectRef> kept;    // parameters of the present run
  uint32_t values_line = 0;                  // of the parameters' values
  uint32_t values_lines = 0;
  tarn_graph* next = nullptr;                // of the client
};

namespace tarn::task {

using Graph = tarn_graph;

class Graphs {
 public:
  Graphs(SessionView& view, store::Store& store, Submitter& submitter) : view_(view), store_(store), submitter_(submitter), arena_(submitter.arena()) {}
  ~Graphs();
  Graphs(const Graphs&) = delete;
  Graphs& operator=(const Graphs&) = delete;

  void set_object_of(Submitter::ObjectOf fn, void* context) {
    object_of_ = fn;
    object_context_ = context;
  }
  void set_workers(uint32_t workers) { workers_ = workers; }

  [[nodiscard]] int create(Graph*& out);
  [[nodiscard]] int add(Graph& graph, tarn_task task, const tarn_arg* args, size_t count, const GraphBuilder::NodeOptions& options,
                        uint32_t& node) {
    if (int r = check_described(graph); r < 0) [[unlikely]]
      return r;
    return graph.builder.add(task, args, count, options, resolve_and_keep, this, node);
  }
  [[nodiscard]] int add_edge(Graph& graph, uint32_t before, uint32_t after);
  [[nodiscard]] int add_graph(Graph& graph, const Graph& inner, const tarn_arg* args, size_t count, const char* name, uint32_t& node);
  [[nodiscard]] int instantiate(Graph& graph);
  [[nodiscard]] int run(Graph& graph, const tarn_arg* params, size_t count);
  [[nodiscard]] int wait(Graph& graph, int64_t timeout_ns);
  [[nodiscard]] int cancel(Graph& graph);
  [[nodiscard]] int result(Graph& graph, uint32_t node, tarn_bytes& out);
  [[nodiscard]] int result_object(Graph& graph, uint32_t node, ObjectRef& out);
  // kNoNode: of the first node that failed by itself.
  [[nodiscard]] int error(Graph& graph, uint32_t node, tarn_task_error& out);
  void give_back(Graph* graph);
  // Frees what was given back while it ran, and is over by now.
  void tidy() {
    if (leftovers_.load(std::memory_order_relaxed) == 0) [[likely]]
      return;
    Gate::Pass pass(gate_);
    reap();
  }

 private:
  [[nodiscard]] static int check_described(const Graph& graph) {
    return graph.phase.load(std::memory_order_acquire) == Graph::Phase::kDescribed ? 0 : not_described();
  }
  [[nodiscard]] static int not_described();
  [[nodiscard]] int check_over(Graph& graph, uint32_t node);
  static int resolve_and_keep(void* self, const tarn_object& handle, ObjectRef& out);
  [[nodiscard]] int take_slot(Graph& graph);
  [[nodiscard]] int set_parameters(Graph& graph, const tarn_arg* params, size_t count);
  void begin(Graph& graph);
  void settle(Graph& graph);
  void drop_results(Graph& graph);
  [[nodiscard]] int adopt(Graph& graph, uint32_t node, const ObjectRef& ref);
  [[nodiscard]] static ObjectRef object_of_node(const GraphNode& node);
  [[nodiscard]] bool is_anyone_in(const Graph& graph) const;
  [[nodiscard]] bool try_free(Graph* graph);
  void reap();
  void wake_workers();
  [[nodiscard]] int look_for_standstill(Graph& graph);
  [[nodiscard]] uint32_t first_cause(const Graph& graph, uint32_t node) const;
  [[nodiscard]] int code_of(const Graph& graph, uint32_t node) const;
  [[nodiscard]] int node_error(Graph& graph, uint32_t node);
  [[nodiscard]] const ErrorText* error_text(Graph& graph, uint32_t node);

  GraphHeader& header_at(uint32_t line) { return *reinterpret_cast<GraphHeader*>(arena_.at(line)); }

  // Constant once the client is open.
  SessionView& view_;
  store::Store& store_;
  Submitter& submitter_;
  Arena& arena_;
  Submitter::ObjectOf object_of_ = nullptr;
  void* object_context_ = nullptr;
  uint32_t workers_ = 1;

  std::atomic<uint64_t> runs_{0};       // so far, of all graphs
  std::atomic<uint32_t> leftovers_{0};  // given back, and not freed yet

  Gate gate_;
  // Guarded by gate_.
  uint64_t slots_ = 0;
  Graph* first_ = nullptr;
};

}  // namespace tarn::task
