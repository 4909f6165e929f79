// The executor's way through graphs: which runs there are, their nodes as calls of tasks, and recovery.
//
// A worker is in one graph at a time, and says so on the board, so that the graph's memory stays. It looks at a run when the run
// is new to it, and again when hints of graphs lie in somebody's ring, or were lost.

#include <bit>
#include <cstring>
#include <new>

#include "base/error.hpp"
#include "task/executor.hpp"
#include "task/graph_loop.hpp"
#include "task/parts.hpp"

namespace tarn::task {

class Executor::Graphs {
 public:
  explicit Graphs(Executor& executor) : executor_(executor), view_(executor.view_), loop_(*this) {
    // What nodes name as their record: one that nobody cancels.
    no_record_.state.store(State{1, static_cast<uint16_t>(view_.self), Phase::kRunning, 0}.pack(), shm::kRelaxed);
  }

  // ---- What GraphLoop asks for.

  [[nodiscard]] uint32_t self() const { return view_.self; }
  [[nodiscard]] uint32_t members_end() const { return view_.members_end; }
  [[nodiscard]] GraphRing* ring(uint32_t member) {
    shm::MemberSegment* segment = view_.segments[member];
    return segment == nullptr ? nullptr : &segment->graph_hints;
  }
  uint8_t execute(GraphNode& node, uint32_t index, NodeState mine, bool has_failed) {
    is_traced_ = view_.is_traced();
    if (is_traced_) [[unlikely]]
      return execute_traced(node, index, mine, has_failed);
    return execute_untraced(node, index, mine, has_failed);
  }
  // A node has become ready by the end of the one that was executed last.
  void note_ready(uint32_t index) {
    if (is_traced_) [[unlikely]]
      view_.tracer.write(trace::Kind::kNodeReady, trace::node_id(traced_run_, index), traced_node_);
  }
  void over() {
    if (view_.segments[shm::kClientMember] != nullptr) SegmentSpace(view_, shm::kClientMember).notify();
  }
  void wake_another() { executor_.wake_another(); }
  void lose(uint32_t slot) {
    (void)slot;
    if (in_ != nullptr) in_->unhinted.fetch_add(1);
    view_.board->graphs_unhinted.fetch_add(1);
    executor_.wake_another();
  }
  [[nodiscard]] bool is_wanted() {
    was_wanted_ = executor_.stopping_.load(shm::kRelaxed) != 0 || executor_.is_slot_wanted() || executor_.hints_left() ||
                  (executor_.any_class_pending() && executor_.class_tasks_left());
    return was_wanted_;
  }
  [[nodiscard]] int64_t spin_ns() const { return view_.board->spin_budget_ns.load(shm::kRelaxed); }

  // ---- What the executor asks for.

  [[nodiscard]] bool anything_left() const {
    const shm::Board& board = *view_.board;
    uint64_t active = board.graphs.load(shm::kAcquire);
    if (active == 0) return false;
    if (board.graphs_unhinted.load(shm::kAcquire) != unhinted_seen_ || any_hints()) return true;
    for (; active != 0; active &= active - 1) {
      auto slot = static_cast<uint32_t>(std::countr_zero(active));
      uint64_t run = board.graph_runs[slot].load(shm::kAcquire);
      if (run != 0 && run != seen_[slot]) return true;
    }
    return false;
  }

  uint32_t run() {
    uint32_t unhinted = view_.board->graphs_unhinted.load(shm::kAcquire);
    bool look_at_all = unhinted != unhinted_seen_ || any_hints();
    unhinted_seen_ = unhinted;
    uint32_t ran = 0;
    for_each_run([&](uint32_t slot, uint64_t run) {
      if (run == seen_[slot] && !look_at_all) return;
      enter(slot, run, [&](const GraphView& graph, uint32_t epoch) {
        was_wanted_ = false;
        begin_calls(graph, epoch);
        ran += loop_.run(graph, slot, epoch);
        executor_.leave(call_, outer_children_);
        // Left for something else, or for a lack of nodes.
        seen_[slot] = was_wanted_ ? 0 : run;
      });
    });
    return ran;
  }

  // Before this worker sleeps: ready nodes that another worker keeps to itself, and does not come to because it is in a long task.
  // Rarer and rarer while there are none.
  bool look_through() {
    if (looks_skipped_ < looks_to_skip_) {
      ++looks_skipped_;
      return false;
    }
    looks_skipped_ = 0;
    bool found = false;
    for_each_run([&](uint32_t slot, uint64_t run) {
      if (found) return;
      enter(slot, run, [&](const GraphView& graph, uint32_t epoch) {
        if (graph.is_over(epoch)) return;
        loop_.set_run(graph, slot, epoch);
        found = loop_.look_through();
        loop_.share_all();
      });
    });
    looks_to_skip_ = found ? 0 : std::min(looks_to_skip_ * 2 + 1, kLooksSkippedMax);
    return found;
  }

  void share_all() { loop_.share_all(); }

  void recover(uint32_t dead, int signal, int exit_status) {
    for_each_run([&](uint32_t slot, uint64_t run) {
      enter(slot, run, [&](const GraphView& graph, uint32_t epoch) {
        if (graph.is_over(epoch)) {
          over();  // perhaps it died before it said so
          return;
        }
        loop_.set_run(graph, slot, epoch);
        auto give_up = [&](GraphNode& node, NodeState) {
          TaskErrorPayload error{};
          error.code = graph.header->cancelled.load(shm::kAcquire) == epoch ? TARN_E_CANCELLED : TARN_E_WORKER_CRASHED;
          error.signal = static_cast<uint8_t>(signal);
          error.exit_status = static_cast<uint8_t>(exit_status);
          memcpy(node.result, &error, sizeof error);
        };
        for (uint32_t i = 0; i < graph.node_count; ++i)
          task::recover(loop_, i, epoch, static_cast<uint8_t>(dead), static_cast<uint8_t>(view_.self),
                        graph.header->cancelled.load(shm::kAcquire) == epoch ? 0 : graph.header->attempts_max, give_up);
        loop_.share_all();
      });
    });
    view_.board->workers[dead].graph.store(0, shm::kRelease);
  }

 private:
  static constexpr uint32_t kLooksSkippedMax = 63;

  [[gnu::always_inline]] inline uint8_t execute_untraced(GraphNode& node, uint32_t index, NodeState mine, bool has_failed);
  [[gnu::cold]] uint8_t execute_traced(GraphNode& node, uint32_t index, NodeState mine, bool has_failed);

  [[nodiscard]] bool any_hints() const {
    for (uint32_t member = shm::kFirstWorker; member < view_.members_end; ++member)
      if (view_.segments[member] != nullptr && !view_.segments[member]->graph_hints.empty()) return true;
    return false;
  }

  // Beginning behind the one that was looked at last.
  template <class F>
  void for_each_run(F f) {
    uint64_t active = view_.board->graphs.load(shm::kAcquire);
    for (active = std::rotr(active, static_cast<int>(next_)); active != 0; active &= active - 1) {
      uint32_t slot = (next_ + static_cast<uint32_t>(std::countr_zero(active))) % shm::kGraphSlots;
      if (uint64_t run = view_.board->graph_runs[slot].load(shm::kAcquire); run != 0) f(slot, run);
    }
    next_ = (next_ + 1) % shm::kGraphSlots;
  }

  // Calls `f` with the graph of that run, unless it is another one by now.
  template <class F>
  void enter(uint32_t slot, uint64_t run, F f) {
    shm::MemberSegment* client = view_.segments[shm::kClientMember];
    auto line = static_cast<uint32_t>(run >> shm::kGraphRunBits);
    if (client == nullptr || line == 0 || line > shm::kGraphLinesMax) return;
    // Said first, then looked at again: who frees a graph takes its run away first, then looks who is in it.
    executor_.line_.graph.store(line, shm::kSeqCst);
    if (view_.board->graph_runs[slot].load(shm::kSeqCst) == run) {
      traced_run_ = run % (uint64_t{1} << shm::kGraphRunBits);
      is_traced_ = false;
      in_ = reinterpret_cast<GraphHeader*>(client->graph_arena + (line - 1) * shm::kRecordSize);
      f(GraphView::of(*in_), in_->epoch.load(shm::kAcquire));  // that run's, or a later one's
      in_ = nullptr;
    }
    executor_.line_.graph.store(0, shm::kRelease);
  }

  void begin_calls(const GraphView& graph, uint32_t epoch);
  [[nodiscard]] int read_arguments(tarn_call& call, const GraphView& graph, const GraphNode& node);
  [[nodiscard]] int read_argument(tarn_call& call, const GraphView& graph, const GraphArgument& argument, tarn_bytes& out);

  Executor& executor_;
  SessionView& view_;
  GraphLoop<Graphs> loop_;
  GraphHeader* in_ = nullptr;
  bool was_wanted_ = false;
  uint32_t next_ = 0;
  uint32_t looks_skipped_ = 0;
  uint32_t looks_to_skip_ = 0;
  uint32_t unhinted_seen_ = 0;
  bool is_traced_ = false;      // the node that is executed, or was last,
  uint32_t traced_node_ = 0;    // which is this one
  uint64_t traced_run_ = 0;     // the number of the run that this worker is in
  uint64_t seen_[shm::kGraphSlots] = {};
  TaskRecord no_record_{};

  // One call for all nodes of a visit to a graph: what is the same for all is set once, what a node has changed is put back.
  GraphView graph_{};
  uint32_t first_id_ = 0;
  tarn_call call_;
  uint32_t* outer_children_ = nullptr;
};

// ---- A node as a call ------------------------------------------------------------------------

int Executor::Graphs::read_argument(tarn_call& call, const GraphView& graph, const GraphArgument& argument, tarn_bytes& out) {
  switch (argument.kind) {
    case GraphArgument::kArgValue: out = {&graph.at<std::byte>(argument.offset), argument.size}; return 0;
    case GraphArgument::kArgObject: return executor_.resolve(call, graph.at<ObjectRef>(argument.offset), out);
    case GraphArgument::kArgParameter: {
      const GraphParameter& parameter = graph.parameters()[argument.offset];
      if (parameter.is_object != 0) return executor_.resolve(call, parameter.object, out);
      out = {&graph.at<std::byte>(parameter.offset), parameter.size};
      return 0;
    }
    default: {
      const GraphNode& other = graph.nodes[argument.offset];
      if ((NodeState::unpack(other.state.load(shm::kAcquire)).flags & kObject) == 0) {
        out = {other.result, other.result_size};
      } else {
        ObjectRef ref;
        memcpy(&ref, other.result, sizeof ref);
        if (int r = executor_.resolve(call, ref, out); r < 0) return r;
      }
      return argument.size == 0 ? 0 : read_part(out, argument.size - 1, task_name(other.task), out);
    }
  }
}

int Executor::Graphs::read_arguments(tarn_call& call, const GraphView& graph, const GraphNode& node) {
  if (node.argument_count > kCallArgsInline) {
    call.args = static_cast<tarn_bytes*>(malloc(node.argument_count * sizeof(tarn_bytes)));
    call.pinned = static_cast<tarn_call::Pinned*>(malloc(node.argument_count * sizeof(tarn_call::Pinned)));
    if (call.args == nullptr || call.pinned == nullptr) {
      free(call.args);
      free(call.pinned);
      call.args = call.inline_args;
      call.pinned = call.inline_pinned;
      return fail_call(call, TARN_E_NO_MEMORY, nullptr, "no memory for %u arguments", node.argument_count);
    }
  }
  const GraphArgument* arguments = graph.arguments() + node.arguments;
  for (uint32_t i = 0; i < node.argument_count; ++i)
    if (int r = read_argument(call, graph, arguments[i], call.args[i]); r < 0)
      return fail_call(call, r, nullptr, "argument %u: %s", i, last_error());
  call.arg_count = node.argument_count;
  return 0;
}

void Executor::Graphs::begin_calls(const GraphView& graph, uint32_t epoch) {
  graph_ = graph;
  first_id_ = graph.id_of(0);
  executor_.begin_call(call_, no_record_, 0, first_id_, 1);
  call_.graph = &graph_;
  call_.graph_cancelled = &graph.header->cancelled;
  call_.graph_epoch = epoch;
  outer_children_ = executor_.enter(call_);
}

uint8_t Executor::Graphs::execute_traced(GraphNode& node, uint32_t index, NodeState mine, bool has_failed) {
  uint64_t id = trace::node_id(traced_run_, index);
  trace::NodeKind kind = (node.shape & GraphNode::kEnd) != 0     ? trace::kEndNode
                         : (node.shape & GraphNode::kJoint) != 0 ? trace::kJointNode
                                                                 : trace::kTaskNode;
  executor_.trace_begin(trace::Kind::kNodeBegin, id, node.task, mine.attempts, kind);
  uint8_t outcome = execute_untraced(node, index, mine, has_failed);
  view_.tracer.write(trace::Kind::kNodeEnd, id, 0, 0, (outcome & kFailed) != 0 ? 1 : 0);
  is_traced_ = true;  // as before, whatever ran within
  traced_node_ = index;
  return outcome;
}

uint8_t Executor::Graphs::execute_untraced(GraphNode& node, uint32_t index, NodeState mine, bool has_failed) {
  bool is_cancelled = graph_.header->cancelled.load(shm::kRelaxed) == mine.epoch;
  node.result_size = 0;
  if (has_failed || is_cancelled) [[unlikely]] {
    TaskErrorPayload error{};
    error.code = is_cancelled ? TARN_E_CANCELLED : TARN_E_DEPENDENCY;
    memcpy(node.result, &error, sizeof error);
    return kFailed;
  }
  if ((node.shape & GraphNode::kJoint) != 0) return 0;
  if (call_.definition == nullptr || call_.definition->number != node.task) call_.definition = find_task(node.task);
  call_.node = &node;
  call_.made_for = first_id_ + index;
  call_.attempt = mine.attempts;
  call_.arg_count = 0;
  call_.result_size = 0;
  int code = call_.definition != nullptr
                 ? 0
                 : fail_call(call_, TARN_E_NO_TASK, nullptr,
                             "it is not defined in the worker (number %08x); define it before tarn_init, in every process", node.task);
  if (code == 0 && node.argument_count != 0) code = read_arguments(call_, graph_, node);
  if (code == 0) code = executor_.run_definition(call_);
  if (call_.children != 0) [[unlikely]]
    executor_.submitter_->end_children(call_.children, code < 0);
  if (call_.pinned_count != 0 || call_.args != call_.inline_args) executor_.drop_arguments(call_);
  executor_.line_.tasks_done.store(++executor_.tasks_done_, shm::kRelaxed);
  uint8_t outcome = 0;
  if (code >= 0 && call_.result_object.generation == 0) [[likely]] {
    node.result_size = static_cast<uint8_t>(call_.result_size);
    if (call_.result_size == 8) {
      memcpy(node.result, call_.result, 8);
    } else if (call_.result_size != 0) {
      memcpy(node.result, call_.result, sizeof node.result);
    }
    if (call_.error_message != nullptr || call_.error_type != nullptr) [[unlikely]]
      forget_error(call_);
    return 0;
  }
  graph_.header->any_object.store(1, shm::kRelaxed);  // the words of an error may be one, too
  if (code >= 0) {
    if (int r = executor_.store_.publish_result(call_.result_object); r < 0) {
      code = fail_call(call_, r, nullptr, "result: %s", last_error());
    } else {
      memcpy(node.result, &call_.result_object, sizeof call_.result_object);
      outcome = kObject;
    }
  }
  if (code < 0) {
    if (call_.result_object.generation != 0) executor_.store_.discard_result(call_.result_object);
    executor_.write_error(call_, node.result, code);
    outcome = kFailed;
  }
  call_.result_object.generation = 0;
  call_.file_fault = false;
  forget_error(call_);
  return outcome;
}

// ---- For the executor ------------------------------------------------------------------------

Executor::~Executor() { delete graphs_; }

bool Executor::make_graphs() {
  if (graphs_ == nullptr) graphs_ = new (std::nothrow) Graphs(*this);
  return graphs_ != nullptr;  // without memory for it, others serve graphs
}

uint32_t Executor::run_graphs() { return make_graphs() ? graphs_->run() : 0; }

bool Executor::graph_nodes_left() const {
  if (view_.board->graphs.load(shm::kAcquire) == 0) return false;
  return graphs_ == nullptr || graphs_->anything_left();
}

bool Executor::look_through_graphs() {
  return view_.board->graphs.load(shm::kAcquire) != 0 && graphs_ != nullptr && graphs_->look_through();
}

void Executor::hand_back_nodes() {
  if (graphs_ != nullptr && line_.graph.load(shm::kRelaxed) != 0) graphs_->share_all();
}

void Executor::recover_graphs(uint32_t dead, int signal, int exit_status) {
  if (view_.board->graphs.load(shm::kAcquire) != 0 && make_graphs()) return graphs_->recover(dead, signal, exit_status);
  view_.board->workers[dead].graph.store(0, shm::kRelease);
}

// Whether a node has that object for its result, or for the words of its error.
bool Executor::is_referenced_by_node(uint32_t made_for, uint32_t object_id, uint32_t object_generation) const {
  uint32_t line = shm::id_index(made_for) - shm::kTaskRecordsMax;
  if (shm::id_member(made_for) != shm::kClientMember || line >= shm::kGraphLinesMax) return false;
  auto& node = *reinterpret_cast<const GraphNode*>(view_.segments[shm::kClientMember]->graph_arena + size_t{line} * shm::kRecordSize);
  NodeState state = NodeState::unpack(node.state.load(shm::kAcquire));
  if (state.phase != NodePhase::kFinished) return false;
  ObjectRef ref{};
  if ((state.flags & kFailed) != 0) {
    TaskErrorPayload error;
    memcpy(&error, node.result, sizeof error);
    ref = error.text;
  } else if ((state.flags & kObject) != 0) {
    memcpy(&ref, node.result, sizeof ref);
  }
  return ref.id == object_id && ref.generation == object_generation;
}

}  // namespace tarn::task
