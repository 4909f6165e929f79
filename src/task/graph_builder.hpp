// GraphBuilder: a graph while it is described, in private memory; then writes it as it lies in the arena.
//
// Adding appends to a few arrays and checks what can be checked at once. prepare() looks at the whole: whether it can proceed,
// how urgent each node is (its upward rank: the longest way from it to the end, by the costs of the nodes), and which joints are
// needed, since a node has room for 31 predecessors. It takes time in proportion to nodes and edges. A node knows no pointer, so
// what was written may be mapped anywhere.
//
// Thread safety: none; the graph's gate (clients/c/api_graph.cpp).
#pragma once

#include <cstdint>

#include "base/array.hpp"
#include "tarn/tarn.h"
#include "task/graph_record.hpp"

namespace tarn::task {

inline constexpr uint32_t kGraphUserNodesMax = 1u << 21;  // docs/limits.md
inline constexpr uint32_t kGraphParametersMax = 1024;
inline constexpr size_t kGraphValueSizeMax = size_t{1} << 20;
inline constexpr uint32_t kNoNode = ~uint32_t{0};

class GraphBuilder {
 public:
  struct NodeOptions {
    const char* name = nullptr;
    int32_t priority = 0;
    uint32_t cost = 1;
  };

  // What an object among the arguments is; the caller keeps it from then on, whatever becomes of the call. (Those of an inner
  // graph are the caller's to keep if the call succeeds.)
  using Resolve = int (*)(void* context, const tarn_object& handle, shm::ObjectRef& out);

  [[nodiscard]] int add(tarn_task task, const tarn_arg* args, size_t count, const NodeOptions& options, Resolve resolve,
                        void* context, uint32_t& node) {
    return add_usual(task, args, count, options, node) ? 0 : add_any(task, args, count, options, resolve, context, node);
  }
  [[nodiscard]] int add_edge(uint32_t before, uint32_t after);
  // All of `inner`, with `args` for its parameters. `node` is one that follows all of it, and waits for nothing else.
  [[nodiscard]] int add_graph(const GraphBuilder& inner, const tarn_arg* args, size_t count, const char* name, Resolve resolve,
                              void* context, uint32_t& node);

  [[nodiscard]] int prepare();

  [[nodiscard]] uint32_t node_count() const { return static_cast<uint32_t>(nodes_.size()); }
  [[nodiscard]] uint32_t parameter_count() const { return parameter_count_; }
  [[nodiscard]] uint64_t critical_path() const { return longest_; }
  [[nodiscard]] uint64_t edge_count() const { return edges_.size(); }
  [[nodiscard]] const Array<shm::ObjectRef>& objects() const { return objects_; }
  // What a node is called: its name, or the one of its task, or "a join". Valid until the next call in this thread.
  [[nodiscard]] const char* name_of(uint32_t node) const;
  [[nodiscard]] bool is_joint(uint32_t node) const { return nodes_[node].is_joint; }
  [[nodiscard]] tarn_task task_of(uint32_t node) const { return nodes_[node].task; }
  // A predecessor for which `is_it` holds, or kNoNode.
  template <class F>
  [[nodiscard]] uint32_t find_predecessor(uint32_t node, F is_it) const {
    for (uint32_t i = before_begin_[node]; i < before_begin_[node + 1]; ++i)
      if (is_it(before_[i])) return before_[i];
    return kNoNode;
  }

  // After prepare(): the bytes that write() needs, a multiple of 64, parameters included.
  [[nodiscard]] uint64_t size() const;
  // Into zeroed or used memory at a multiple of 64, that is line `first_line` of its arena. For `parts` workers.
  void write(GraphHeader& header, uint32_t first_line, uint32_t parts, uint32_t attempts_max) const;

 private:
  struct Node {
    tarn_task task;
    uint32_t first_argument;
    uint32_t argument_count;
    uint32_t name;  // in names_, + 1; 0: none
    uint32_t cost;
    int16_t priority;
    bool is_joint;
  };
  struct Edge {
    uint32_t before;
    uint32_t after;
  };
  struct Argument {
    uint32_t kind;    // GraphArgument::Kind
    uint32_t size;    // as that of GraphArgument
    uint64_t offset;  // value: in values_; object: in objects_; node, parameter: which
  };

  // How much there is of everything but objects, which are kept: what a call that fails goes back to.
  struct Sizes {
    size_t nodes, edges, arguments, values, names;
    uint32_t parameters;
  };
  [[nodiscard]] Sizes sizes() const {
    return {nodes_.size(), edges_.size(), arguments_.size(), values_.size(), names_.size(), parameter_count_};
  }
  int go_back(const Sizes& sizes, int error);

  // What a loop adds: one more of the task that was added last, with parameters that are known and results of nodes. False: it
  // is another, or there is no room at hand, and nothing has changed.
  [[nodiscard]] bool add_usual(tarn_task task, const tarn_arg* args, size_t count, const NodeOptions& options, uint32_t& node) {
    size_t index = nodes_.size(), first = arguments_.size(), edges = edges_.size();
    if (task != checked_task_ || task == 0 || options.name != nullptr || options.priority != 0 || args == nullptr) return false;
    if (index >= kGraphUserNodesMax || count > kNodeArgumentsMax) return false;
    if (!nodes_.has_room(1) || !arguments_.has_room(count)) return false;
    for (size_t i = 0; i < count; ++i) {
      const tarn_arg& arg = args[i];
      bool is_node = arg.kind == TARN_ARG_NODE;
      bool is_usual = is_node ? arg.u.index < index && edges_.has_room(1)
                              : arg.kind == TARN_ARG_PARAMETER && arg.u.index < parameter_count_;
      if (!is_usual) {
        arguments_.shorten(first);
        edges_.shorten(edges);
        return false;
      }
      if (is_node) (void)edges_.push({arg.u.index, static_cast<uint32_t>(index)});
      (void)arguments_.push({is_node ? GraphArgument::kArgNode : GraphArgument::kArgParameter, is_node ? arg.part : 0, arg.u.index});
    }
    (void)nodes_.push({task, static_cast<uint32_t>(first), static_cast<uint32_t>(count), 0, options.cost, 0, false});
    node = static_cast<uint32_t>(index);
    return true;
  }
  [[nodiscard]] int add_any(tarn_task task, const tarn_arg* args, size_t count, const NodeOptions& options, Resolve resolve,
                            void* context, uint32_t& node);
  [[nodiscard]] int check_node(tarn_task task, const tarn_arg* args, size_t count, const NodeOptions& options) const;
  [[nodiscard]] int add_argument(const tarn_arg& arg, size_t index, Resolve resolve, void* context);
  [[nodiscard]] int add_name(const char* name, uint32_t& out);
  [[nodiscard]] int sort_edges(uint32_t count);
  [[nodiscard]] int order(uint32_t count);
  [[nodiscard]] int stuck(const uint32_t* waiting, uint32_t done) const;
  [[nodiscard]] int gather(Array<uint32_t>& sources, uint8_t level);
  [[nodiscard]] uint32_t total() const { return static_cast<uint32_t>(predecessors_.size()); }

  Array<Node> nodes_;
  Array<Edge> edges_;
  Array<Argument> arguments_;
  Array<std::byte> values_;
  Array<shm::ObjectRef> objects_;
  Array<char> names_;
  uint32_t parameter_count_ = 0;
  tarn_task checked_task_ = 0;  // is defined: tasks are never undefined. 0: none yet

  // By prepare(). Nodes beyond those that were added are joints, and the end.
  Array<Edge> final_edges_;
  Array<uint32_t> predecessors_;  // how many of each
  Array<uint32_t> before_begin_;  // of the user's nodes: where their predecessors begin
  Array<uint32_t> before_;
  Array<uint64_t> ranks_;
  Array<uint8_t> levels_;
  uint64_t longest_ = 0;
};

}  // namespace tarn::task
