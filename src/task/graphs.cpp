#include "task/graphs.hpp"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <new>

#include "base/error.hpp"
#include "os/memory.hpp"
#include "task/graph_protocol.hpp"
#include "task/registry.hpp"

namespace tarn::task {
namespace {

constexpr uint32_t kNamesShown = 8;

}  // namespace

Graphs::~Graphs() {
  while (first_ != nullptr) {
    Graph* next = first_->next;
    delete first_;
    first_ = next;
  }
}

// ---- Describing ------------------------------------------------------------------------------

int Graphs::create(Graph*& out) {
  auto* graph = new (std::nothrow) Graph;
  if (graph == nullptr) return fail(TARN_E_NO_MEMORY, "no memory for a graph");
  Gate::Pass pass(gate_);
  graph->next = first_;
  first_ = graph;
  out = graph;
  return 0;
}

int Graphs::not_described() {
  return fail(TARN_E_STATE, "the graph is instantiated, and does not change any more; make another one");
}

// The graph keeps them until it is given back, also those of a call that then failed.
int Graphs::resolve_and_keep(void* self, const tarn_object& handle, ObjectRef& out) {
  auto& graphs = *static_cast<Graphs*>(self);
  if (int r = graphs.object_of_(graphs.object_context_, handle, out); r < 0) return r;
  return graphs.store_.keep(out);
}

int Graphs::add_edge(Graph& graph, uint32_t before, uint32_t after) {
  if (int r = check_described(graph); r < 0) return r;
  return graph.builder.add_edge(before, after);
}

int Graphs::add_graph(Graph& graph, const Graph& inner, const tarn_arg* args, size_t count, const char* name, uint32_t& node) {
  if (int r = check_described(graph); r < 0) return r;
  if (&graph == &inner) return fail(TARN_E_ARGUMENT, "a graph cannot be a part of itself");
  const Array<ObjectRef>& objects = inner.builder.objects();
  size_t kept = 0;
  int r = 0;
  while (kept < objects.size() && r == 0)
    if (r = store_.keep(objects[kept]); r == 0) ++kept;
  if (r == 0) r = graph.builder.add_graph(inner.builder, args, count, name, resolve_and_keep, this, node);
  if (r < 0)
    for (size_t i = 0; i < kept; ++i) store_.unkeep(objects[i]);
  return r;
}

int Graphs::instantiate(Graph& graph) {
  if (graph.phase.load(std::memory_order_acquire) != Graph::Phase::kDescribed) return 0;
  if (int r = graph.builder.prepare(); r < 0) return r;
  uint64_t lines = graph.builder.size() / shm::kRecordSize;
  if (!graph.adopted.assign((graph.builder.node_count() + 31) / 32, 0)) return fail(TARN_E_NO_MEMORY, "no memory for a graph");
  uint32_t first;
  {
    Gate::Pass pass(gate_);
    reap();
  }
  if (int r = arena_.allocate("graph", static_cast<uint32_t>(std::min<uint64_t>(lines, UINT32_MAX)), first); r < 0) return r;
  GraphHeader& header = header_at(first);
  graph.builder.write(header, first, workers_, graph.retries + 1);
  graph.view = GraphView::of(header);
  graph.first_line = first;
  graph.lines = static_cast<uint32_t>(lines);
  graph.phase.store(Graph::Phase::kReady, std::memory_order_release);
  return 0;
}

// ---- Running ---------------------------------------------------------------------------------

int Graphs::take_slot(Graph& graph) {
  Gate::Pass pass(gate_);
  // Those of runs that are over, and nobody has asked about.
  if (~slots_ == 0)
    for (Graph* it = first_; it != nullptr; it = it->next)
      if (it != &graph && it->phase.load() == Graph::Phase::kRunning && it->view.is_over(it->epoch)) {
        uint32_t slot = it->slot.exchange(shm::kGraphSlots);
        if (slot == shm::kGraphSlots) continue;
        view_.board->graphs.fetch_and(~(uint64_t{1} << slot));
        view_.board->graph_runs[slot].store(0, shm::kSeqCst);
        slots_ &= ~(uint64_t{1} << slot);
      }
  if (~slots_ == 0)
    return fail(TARN_E_LIMIT, "%u graphs of this session run already; wait for one of them", shm::kGraphSlots);
  auto slot = static_cast<uint32_t>(std::countr_one(slots_));
  slots_ |= uint64_t{1} << slot;
  graph.slot.store(slot);
  return 0;
}

// Values go into memory of their own, which grows when they do.
int Graphs::set_parameters(Graph& graph, const tarn_arg* params, size_t count) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < count; ++i) {
    const tarn_arg& arg = params[i];
    if (arg.kind != TARN_ARG_VALUE && arg.kind != TARN_ARG_OBJECT)
      return fail(TARN_E_ARGUMENT, "parameter %zu is of kind %u; a run takes values and objects", i, arg.kind);
    if (arg.kind != TARN_ARG_VALUE) continue;
    if (arg.u.value.size > kGraphValueSizeMax)
      return fail(TARN_E_TOO_LARGE, "parameter %zu has %zu bytes; a value may have %zu, put more into an object", i, arg.u.value.size,
                  kGraphValueSizeMax);
    if (arg.u.value.data == nullptr && arg.u.value.size != 0)
      return fail(TARN_E_ARGUMENT, "parameter %zu: data is NULL, but size is %zu", i, arg.u.value.size);
    bytes += os::round_up(arg.u.value.size, 8);
  }
  auto lines = static_cast<uint32_t>((bytes + shm::kRecordSize - 1) / shm::kRecordSize);
  if (lines > graph.values_lines) {
    uint32_t first;
    if (int r = arena_.allocate("run", lines, first); r < 0) return r;
    arena_.free(graph.values_line, graph.values_lines);
    graph.values_line = first;
    graph.values_lines = lines;
  }
  for (size_t i = 0; i < count; ++i) {
    if (params[i].kind != TARN_ARG_OBJECT) continue;
    ObjectRef ref;
    int r = object_of_(object_context_, params[i].u.object, ref);
    if (r == 0) r = store_.keep(ref);
    if (r == 0 && !graph.kept.push(ref)) {
      store_.unkeep(ref);
      r = fail(TARN_E_NO_MEMORY, "no memory for the parameters of a graph");
    }
    if (r < 0) {
      for (const ObjectRef& kept : graph.kept) store_.unkeep(kept);
      graph.kept.shorten(0);
      return r;
    }
  }
  auto* base = reinterpret_cast<std::byte*>(graph.view.header);
  auto* to = reinterpret_cast<GraphParameter*>(base + graph.view.header->parameters_at);
  std::byte* values = arena_.at(graph.values_line);
  size_t objects = 0;
  for (size_t i = 0; i < count; ++i) {
    if (params[i].kind == TARN_ARG_OBJECT) {
      to[i] = {1, 0, 0, 0, graph.kept[objects++]};
      continue;
    }
    size_t size = params[i].u.value.size;
    to[i] = {0, 0, size, static_cast<uint64_t>(values - base), {}};
    if (size != 0) memcpy(values, params[i].u.value.data, size);
    values += os::round_up(size, 8);
  }
  return 0;
}

void Graphs::wake_workers() {
  if (!view_.board->doorbell.anyone_to_wake()) return;
  // It wakes the next if there is enough to do.
  if (uint32_t worker = view_.board->doorbell.pick(); worker != 0) shm::wake_worker(*view_.board, worker);
}

void Graphs::begin(Graph& graph) {
  GraphHeader& header = *graph.view.header;
  uint32_t slot = graph.slot.load();
  header.any_object.store(0, kRelaxed);
  header.unhinted.store(0, kRelaxed);
  header.cancelled.store(graph.epoch - 1, kRelaxed);
  header.epoch.store(graph.epoch, kRelease);
  uint64_t number = runs_.fetch_add(1, std::memory_order_relaxed) % (uint64_t{1} << shm::kGraphRunBits);
  if (view_.is_traced()) [[unlikely]]
    view_.tracer.write(trace::Kind::kGraphBegin, trace::node_id(number, 0), graph.view.node_count);
  view_.board->graph_runs[slot].store(uint64_t{graph.first_line + 1} << shm::kGraphRunBits | number, shm::kSeqCst);
  view_.board->graphs.fetch_or(uint64_t{1} << slot);
  wake_workers();
}

int Graphs::run(Graph& graph, const tarn_arg* params, size_t count) {
  if (graph.phase.load(std::memory_order_acquire) == Graph::Phase::kRunning) {
    if (!graph.view.is_over(graph.epoch))
      return fail(TARN_E_STATE, "the graph runs; wait for it (tarn_graph_wait), or make another one to run at the same time");
    settle(graph);
  }
  if (int r = submitter_.check_broken(); r < 0) return r;
  if (count != graph.builder.parameter_count())
    return fail(TARN_E_ARGUMENT, "%zu parameters were given; the graph has %u", count, graph.builder.parameter_count());
  if (count != 0 && params == nullptr) return fail(TARN_E_ARGUMENT, "params is NULL, but count is %zu", count);
  if (int r = instantiate(graph); r < 0) return r;
  drop_results(graph);
  if (int r = set_parameters(graph, params, count); r < 0) return r;
  if (int r = take_slot(graph); r < 0) {
    for (const ObjectRef& kept : graph.kept) store_.unkeep(kept);
    graph.kept.shorten(0);
    return r;
  }
  ++graph.epoch;
  graph.was_run = true;
  ++graph.runs;
  graph.phase.store(Graph::Phase::kRunning, std::memory_order_release);
  begin(graph);
  return 0;
}

// Of a run that is over: its place on the board and what it was given.
void Graphs::settle(Graph& graph) {
  uint32_t slot = graph.slot.exchange(shm::kGraphSlots);
  if (slot != shm::kGraphSlots) {
    view_.board->graphs.fetch_and(~(uint64_t{1} << slot));
    view_.board->graph_runs[slot].store(0, shm::kSeqCst);
    Gate::Pass pass(gate_);
    slots_ &= ~(uint64_t{1} << slot);
  }
  for (const ObjectRef& kept : graph.kept) store_.unkeep(kept);
  graph.kept.shorten(0);
  graph.phase.store(Graph::Phase::kReady, std::memory_order_release);
}

int Graphs::wait(Graph& graph, int64_t timeout_ns) {
  if (timeout_ns < -1)
    return fail(TARN_E_ARGUMENT, "timeout_ns is %lld; 0 does not wait, and -1 waits for ever", static_cast<long long>(timeout_ns));
  if (!graph.was_run) return fail(TARN_E_STATE, "the graph was never run; call tarn_graph_run first");
  if (graph.phase.load(std::memory_order_acquire) == Graph::Phase::kRunning) {
    struct Both {
      Graphs& graphs;
      Graph& graph;
    } both{*this, graph};
    int r = submitter_.wait_for(
        [](void* context) {
          Graph& it = static_cast<Both*>(context)->graph;
          return it.view.is_over(it.epoch);
        },
        [](void* context) {
          auto& it = *static_cast<Both*>(context);
          return it.graphs.look_for_standstill(it.graph);
        },
        &both, timeout_ns);
    if (r == TARN_E_TIMED_OUT && timeout_ns == 0) return fail(r, "the graph is not done yet");
    if (r == TARN_E_TIMED_OUT) return fail(r, "the graph was not done after %.9g ms", static_cast<double>(timeout_ns) / 1e6);
    if (r < 0) return r;
    settle(graph);
  }
  NodeState end = NodeState::unpack(graph.view.nodes[graph.view.node_count - 1].state.load(kAcquire));
  return (end.flags & kFailed) == 0 ? 0 : node_error(graph, first_cause(graph, kNoNode));
}

int Graphs::cancel(Graph& graph) {
  if (graph.phase.load(std::memory_order_acquire) != Graph::Phase::kRunning || graph.view.is_over(graph.epoch))
    return fail(TARN_E_STATE, "the graph does not run");
  graph.view.header->cancelled.store(graph.epoch, kRelease);
  return 0;
}

// Called now and then by who waits. Nothing runs, nothing is ready, nobody is in the graph that may be about to change that, and
// yet it is not over: nobody will ever come on. If something is ready, its hint was lost, which should not be: it is looked for.
int Graphs::look_for_standstill(Graph& graph) {
  if (is_anyone_in(graph)) return 0;
  uint32_t ready = 0;
  for (uint32_t i = 0; i < graph.view.node_count; ++i) {
    NodeState state = NodeState::unpack(graph.view.nodes[i].state.load(kAcquire));
    if (state.epoch == graph.epoch && state.phase == NodePhase::kRunning) return 0;
    ready += is_ready(graph.view.nodes[i], graph.epoch);
  }
  if (graph.view.is_over(graph.epoch) || is_anyone_in(graph)) return 0;
  if (ready != 0) {
    graph.view.header->unhinted.fetch_add(1);
    view_.board->graphs_unhinted.fetch_add(1);
    wake_workers();
    return 0;
  }
  char list[512] = "";
  size_t at = 0;
  uint32_t waiting = 0;
  for (uint32_t i = 0; i < graph.builder.node_count(); ++i) {
    if (NodeState::unpack(graph.view.nodes[i].state.load(kAcquire)).epoch == graph.epoch) continue;
    if (++waiting > kNamesShown) continue;
    int n = snprintf(list + at, sizeof list - at, "%s%u '%.40s'", waiting == 1 ? "" : ", ", i, graph.builder.name_of(i));
    if (n > 0 && at + static_cast<size_t>(n) < sizeof list) at += static_cast<size_t>(n);
  }
  return fail(TARN_E_STUCK_GRAPH, "nothing of the graph runs or is ready, and %u nodes wait: node %s%s", waiting, list,
              waiting > kNamesShown ? ", ..." : "");
}

// ---- What came of it -------------------------------------------------------------------------

int Graphs::check_over(Graph& graph, uint32_t node) {
  if (node >= graph.builder.node_count())
    return fail(TARN_E_ARGUMENT, "there is no node %u; the graph has %u", node, graph.builder.node_count());
  if (!graph.was_run) return fail(TARN_E_STATE, "the graph was never run");
  if (graph.phase.load(std::memory_order_acquire) != Graph::Phase::kRunning) return 0;
  if (!graph.view.is_over(graph.epoch)) return fail(TARN_E_STATE, "the graph still runs; wait for it (tarn_graph_wait)");
  settle(graph);
  return 0;
}

ObjectRef Graphs::object_of_node(const GraphNode& node) {
  ObjectRef ref{};
  NodeState state = NodeState::unpack(node.state.load(kAcquire));
  if ((state.flags & kFailed) != 0) {
    TaskErrorPayload error;
    memcpy(&error, node.result, sizeof error);
    ref = error.text;
  } else if ((state.flags & kObject) != 0) {
    memcpy(&ref, node.result, sizeof ref);
  }
  return ref;
}

int Graphs::adopt(Graph& graph, uint32_t node, const ObjectRef& ref) {
  if (node / 32 >= graph.adopted.size() || (graph.adopted[node / 32] >> node % 32 & 1) != 0) return 0;
  if (int r = view_.know(shm::id_member(ref.id)); r < 0) return r;
  if (int r = store_.adopt(ref); r < 0) return r;
  graph.adopted[node / 32] |= uint32_t{1} << node % 32;
  return 0;
}

// Objects among the results of the last run.
void Graphs::drop_results(Graph& graph) {
  if (!graph.was_run || graph.view.header->any_object.load(kAcquire) == 0) return;
  ErrorGuard guard;  // nobody has anything to do with it
  for (uint32_t i = 0; i < graph.builder.node_count(); ++i) {
    ObjectRef ref = object_of_node(graph.view.nodes[i]);
    if (ref.generation == 0) continue;
    if (i / 32 < graph.adopted.size() && (graph.adopted[i / 32] >> i % 32 & 1) != 0) {
      store_.unkeep(ref);
    } else if (view_.know(shm::id_member(ref.id)) == 0) {
      (void)store_.decline(ref);
    }
  }
  (void)guard.end(0);
  std::fill(graph.adopted.begin(), graph.adopted.end(), 0u);
  graph.view.header->any_object.store(0, kRelaxed);
}

int Graphs::code_of(const Graph& graph, uint32_t node) const {
  const GraphNode& it = graph.view.nodes[node];
  if ((NodeState::unpack(it.state.load(kAcquire)).flags & kFailed) == 0) return 0;
  TaskErrorPayload error;
  memcpy(&error, it.result, sizeof error);
  return error.code;
}

// From a node that failed for another, the way back to the one that failed by itself.
uint32_t Graphs::first_cause(const Graph& graph, uint32_t node) const {
  if (node == kNoNode)
    for (uint32_t i = 0; i < graph.builder.node_count(); ++i)
      if (int code = code_of(graph, i); code != 0) {
        node = i;
        if (code != TARN_E_DEPENDENCY) break;
      }
  while (node != kNoNode && code_of(graph, node) == TARN_E_DEPENDENCY) {
    uint32_t before = graph.builder.find_predecessor(node, [&](uint32_t other) { return code_of(graph, other) != 0; });
    if (before == kNoNode) break;
    node = before;
  }
  return node;
}

const ErrorText* Graphs::error_text(Graph& graph, uint32_t node) {
  ObjectRef ref = object_of_node(graph.view.nodes[node]);
  tarn_bytes bytes{};
  if (ref.generation == 0 || adopt(graph, node, ref) < 0 || store_.get_kept(ref, bytes) < 0) return nullptr;
  return check_error_text(bytes);
}

namespace {

// As tarn_result has them: most of a task's own codes would speak of the call instead.
int code_for_caller(int code) {
  switch (code) {
    case TARN_E_CANCELLED:
    case TARN_E_WORKER_CRASHED:
    case TARN_E_DEPENDENCY:
    case TARN_E_NO_TASK:
    case TARN_E_FILE_CHANGED: return code;
    default: return TARN_E_TASK_FAILED;
  }
}

}  // namespace

// This thread's error: what happened to `node`, and through which nodes it came from where.
int Graphs::node_error(Graph& graph, uint32_t node) {
  // When all nodes had come to their end already, and only that of the whole had not been said.
  if (node == kNoNode && graph.view.header->cancelled.load(kAcquire) == graph.epoch)
    return fail(TARN_E_CANCELLED, "the graph was cancelled");
  if (node == kNoNode) return fail(TARN_E_PROTOCOL, "the graph failed, and no node of it says so");
  int code = code_of(graph, node);
  char chain[512] = "";
  size_t at = 0;
  uint32_t cause = node;
  for (uint32_t steps = 0; code_of(graph, cause) == TARN_E_DEPENDENCY; ++steps) {
    uint32_t before = graph.builder.find_predecessor(cause, [&](uint32_t other) { return code_of(graph, other) != 0; });
    if (before == kNoNode) break;
    if (steps < kNamesShown) {
      int n = snprintf(chain + at, sizeof chain - at, "node %u '%.40s' failed because ", cause, graph.builder.name_of(cause));
      if (n > 0 && at + static_cast<size_t>(n) < sizeof chain) at += static_cast<size_t>(n);
    }
    cause = before;
  }
  TaskErrorPayload error;
  memcpy(&error, graph.view.nodes[cause].result, sizeof error);
  const char* task = task_name(graph.builder.task_of(cause));
  uint32_t attempts = NodeState::unpack(graph.view.nodes[cause].state.load(kAcquire)).attempts;
  const ErrorText* text = error_text(graph, cause);
  const char* message = text == nullptr ? "" : reinterpret_cast<const char*>(text + 1) + text->type_size;
  int outer = code_for_caller(code);
  const char* name = graph.builder.name_of(cause);
  if (error.code == TARN_E_CANCELLED && *message == '\0') return fail(outer, "%snode %u '%s' was cancelled", chain, cause, name);
  if (error.signal != 0)
    return fail(outer, "%snode %u '%s' (task '%s'): its worker was killed by signal %d (%s) in attempt %u of %u", chain, cause, name, task,
                error.signal, strsignal(error.signal), attempts, graph.view.header->attempts_max);
  if (error.code == TARN_E_WORKER_CRASHED)
    return fail(outer, "%snode %u '%s' (task '%s'): its worker exited with status %d in attempt %u of %u", chain, cause, name, task,
                error.exit_status, attempts, graph.view.header->attempts_max);
  if (*message == '\0') return fail(outer, "%snode %u '%s' (task '%s') failed with code %d", chain, cause, name, task, error.code);
  return fail(outer, "%snode %u '%s' (task '%s') failed: %s", chain, cause, name, task, message);
}

int Graphs::result(Graph& graph, uint32_t node, tarn_bytes& out) {
  if (int r = check_over(graph, node); r < 0) return r;
  const GraphNode& it = graph.view.nodes[node];
  if (code_of(graph, node) != 0) return node_error(graph, node);
  ObjectRef ref = object_of_node(it);
  if (ref.generation == 0) {
    out = {it.result, it.result_size};
    return 0;
  }
  if (int r = adopt(graph, node, ref); r < 0) return r;
  return store_.get_kept(ref, out);
}

int Graphs::result_object(Graph& graph, uint32_t node, ObjectRef& out) {
  if (int r = check_over(graph, node); r < 0) return r;
  const GraphNode& it = graph.view.nodes[node];
  if (code_of(graph, node) != 0) return node_error(graph, node);
  ObjectRef ref = object_of_node(it);
  if (ref.generation == 0) return store_.put(it.result, it.result_size, out);
  if (int r = adopt(graph, node, ref); r < 0) return r;
  if (int r = store_.share(ref); r < 0) return r;
  out = ref;
  return 0;
}

int Graphs::error(Graph& graph, uint32_t node, tarn_task_error& out) {
  if (int r = check_over(graph, node == kNoNode ? 0 : node); r < 0) return r;
  if (node == kNoNode) node = first_cause(graph, node);
  if (node == kNoNode || code_of(graph, node) == 0) return fail(TARN_E_STATE, "the node did not fail");
  uint32_t cause = first_cause(graph, node);
  TaskErrorPayload error;
  memcpy(&error, graph.view.nodes[cause].result, sizeof error);
  out.code = code_of(graph, node);
  out.cause = error.code;
  out.signal = error.signal;
  out.exit_status = error.exit_status;
  out.attempts = NodeState::unpack(graph.view.nodes[node].state.load(kAcquire)).attempts;
  out.type = "";
  out.message = "";
  out.task = graph.builder.name_of(cause);
  if (const ErrorText* text = error_text(graph, cause); text != nullptr) {
    out.type = reinterpret_cast<const char*>(text + 1);
    out.message = out.type + text->type_size;
  }
  return 0;
}

// ---- Giving back -----------------------------------------------------------------------------

bool Graphs::is_anyone_in(const Graph& graph) const {
  for (uint32_t member = shm::kFirstWorker; member < shm::kMembersMax; ++member)
    if (view_.board->workers[member].graph.load(shm::kSeqCst) == graph.first_line + 1) return true;
  return false;
}

// Behind the gate. False: its run goes on, or somebody is in it.
bool Graphs::try_free(Graph* graph) {
  if (graph->phase.load() == Graph::Phase::kRunning) {
    if (!graph->view.is_over(graph->epoch)) return false;
    uint32_t slot = graph->slot.exchange(shm::kGraphSlots);
    if (slot != shm::kGraphSlots) {
      view_.board->graphs.fetch_and(~(uint64_t{1} << slot));
      view_.board->graph_runs[slot].store(0, shm::kSeqCst);
      slots_ &= ~(uint64_t{1} << slot);
    }
    for (const ObjectRef& kept : graph->kept) store_.unkeep(kept);
    graph->kept.shorten(0);
    graph->phase.store(Graph::Phase::kReady);
  }
  if (graph->phase.load() == Graph::Phase::kReady && is_anyone_in(*graph)) return false;
  if (graph->phase.load() == Graph::Phase::kReady) {
    drop_results(*graph);
    arena_.free(graph->first_line, graph->lines);
    arena_.free(graph->values_line, graph->values_lines);
  }
  for (const ObjectRef& object : graph->builder.objects()) store_.unkeep(object);
  return true;
}

void Graphs::reap() {
  for (Graph** at = &first_; *at != nullptr;) {
    Graph* graph = *at;
    if (!graph->is_given_back || !try_free(graph)) {
      at = &graph->next;
      continue;
    }
    *at = graph->next;
    delete graph;
    leftovers_.fetch_sub(1, std::memory_order_relaxed);
  }
}

void Graphs::give_back(Graph* graph) {
  if (graph->phase.load() == Graph::Phase::kRunning && !graph->view.is_over(graph->epoch))
    graph->view.header->cancelled.store(graph->epoch, kRelease);
  Gate::Pass pass(gate_);
  graph->is_given_back = true;
  leftovers_.fetch_add(1, std::memory_order_relaxed);
  reap();
}

}  // namespace tarn::task
