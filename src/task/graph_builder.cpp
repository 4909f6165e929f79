#include "task/graph_builder.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "base/error.hpp"
#include "os/memory.hpp"
#include "task/registry.hpp"

namespace tarn::task {
namespace {

constexpr uint32_t kNamesShown = 8;     // of nodes that wait for each other
constexpr uint32_t kPriorities = 8;
constexpr uint32_t kRanksEach = 256 / kPriorities;

int no_memory() { return fail(TARN_E_NO_MEMORY, "no memory for the description of the graph"); }

}  // namespace

// ---- Describing ------------------------------------------------------------------------------

int GraphBuilder::add_name(const char* name, uint32_t& out) {
  out = 0;
  if (name == nullptr || *name == '\0') return 0;
  size_t size = strlen(name) + 1;
  if (size > kTaskNameSizeMax + 1)
    return fail(TARN_E_ARGUMENT, "the name of a node has %zu bytes; it may have %zu", size - 1, kTaskNameSizeMax);
  out = static_cast<uint32_t>(names_.size()) + 1;
  char* at = names_.extend(size);
  if (at == nullptr) return no_memory();
  memcpy(at, name, size);
  return 0;
}

int GraphBuilder::add_argument(const tarn_arg& arg, size_t index, Resolve resolve, void* context) {
  Argument out{};
  switch (arg.kind) {
    case TARN_ARG_VALUE: {
      size_t size = arg.u.value.size;
      if (size > kGraphValueSizeMax)
        return fail(TARN_E_TOO_LARGE, "argument %zu has %zu bytes; a value in a graph may have %zu, put more into an object", index,
                    size, kGraphValueSizeMax);
      if (size != 0 && arg.u.value.data == nullptr) return fail(TARN_E_ARGUMENT, "argument %zu: data is NULL, but size is %zu", index, size);
      out = {GraphArgument::kArgValue, static_cast<uint32_t>(size), values_.size()};
      std::byte* at = values_.extend(os::round_up(size, 8));
      if (at == nullptr && size != 0) return no_memory();
      if (size != 0) memcpy(at, arg.u.value.data, size);
      break;
    }
    case TARN_ARG_OBJECT: {
      shm::ObjectRef ref;
      if (!objects_.reserve(objects_.size() + 1)) return no_memory();
      if (int r = resolve(context, arg.u.object, ref); r < 0) return r;
      out = {GraphArgument::kArgObject, 0, objects_.size()};
      (void)objects_.push(ref);
      break;
    }
    case TARN_ARG_NODE:
      if (arg.u.index >= nodes_.size())
        return fail(TARN_E_ARGUMENT, "argument %zu is the result of node %u, and the graph has %zu so far; add that node first",
                    index, arg.u.index, nodes_.size());
      out = {GraphArgument::kArgNode, arg.part, arg.u.index};
      break;
    case TARN_ARG_PARAMETER:
      if (arg.u.index >= kGraphParametersMax)
        return fail(TARN_E_ARGUMENT, "argument %zu is parameter %u; a graph may have %u, from 0 on", index, arg.u.index,
                    kGraphParametersMax);
      out = {GraphArgument::kArgParameter, 0, arg.u.index};
      parameter_count_ = std::max(parameter_count_, arg.u.index + 1);
      break;
    case TARN_ARG_FUTURE:
      return fail(TARN_E_ARGUMENT, "argument %zu is a future; a graph runs many times: make it a parameter, and pass the result to "
                                   "tarn_graph_run (tarn_future_object)", index);
    default: return fail(TARN_E_ARGUMENT, "argument %zu is of kind %u, which there is not", index, arg.kind);
  }
  return arguments_.push(out) ? 0 : no_memory();
}

int GraphBuilder::go_back(const Sizes& sizes, int error) {
  nodes_.shorten(sizes.nodes);
  edges_.shorten(sizes.edges);
  arguments_.shorten(sizes.arguments);
  values_.shorten(sizes.values);
  names_.shorten(sizes.names);
  parameter_count_ = sizes.parameters;
  return error;
}

int GraphBuilder::check_node(tarn_task task, const tarn_arg* args, size_t count, const NodeOptions& options) const {
  if ((task != checked_task_ || task == 0) && find_task(task) == nullptr)
    return fail(TARN_E_NO_TASK, "no task with the number %08x is defined; call tarn_task_define before tarn_init", task);
  if (nodes_.size() >= kGraphUserNodesMax) return fail(TARN_E_LIMIT, "a graph may have %u nodes", kGraphUserNodesMax);
  if (count > kNodeArgumentsMax)
    return fail(TARN_E_ARGUMENT, "%zu arguments; a node may have %u", count, kNodeArgumentsMax);
  if (count != 0 && args == nullptr) return fail(TARN_E_ARGUMENT, "args is NULL, but count is %zu", count);
  if (options.priority < TARN_PRIORITY_MIN || options.priority > TARN_PRIORITY_MAX)
    return fail(TARN_E_ARGUMENT, "priority is %d; it may be %d to %d", options.priority, TARN_PRIORITY_MIN, TARN_PRIORITY_MAX);
  return 0;
}

int GraphBuilder::add_any(tarn_task task, const tarn_arg* args, size_t count, const NodeOptions& options, Resolve resolve,
                          void* context, uint32_t& node) {
  if (int r = check_node(task, args, count, options); r < 0) return r;
  Sizes before = sizes();
  auto index = static_cast<uint32_t>(nodes_.size());
  for (size_t i = 0; i < count; ++i) {
    if (int r = add_argument(args[i], i, resolve, context); r < 0) return go_back(before, r);
    if (args[i].kind == TARN_ARG_NODE && !edges_.push({args[i].u.index, index})) return go_back(before, no_memory());
  }
  uint32_t name = 0;
  if (int r = add_name(options.name, name); r < 0) return go_back(before, r);
  if (!nodes_.push({task, static_cast<uint32_t>(before.arguments), static_cast<uint32_t>(count), name, options.cost,
                    static_cast<int16_t>(options.priority), false}))
    return go_back(before, no_memory());
  checked_task_ = task;
  node = index;
  return 0;
}

int GraphBuilder::add_edge(uint32_t before, uint32_t after) {
  for (uint32_t node : {before, after})
    if (node >= nodes_.size()) return fail(TARN_E_ARGUMENT, "there is no node %u; the graph has %zu so far", node, nodes_.size());
  if (before == after) return fail(TARN_E_ARGUMENT, "node %u ('%s') cannot follow itself", before, name_of(before));
  return edges_.push({before, after}) ? 0 : no_memory();
}

int GraphBuilder::add_graph(const GraphBuilder& inner, const tarn_arg* args, size_t count, const char* name, Resolve resolve,
                            void* context, uint32_t& node) {
  if (count != inner.parameter_count_)
    return fail(TARN_E_ARGUMENT, "%zu arguments for an inner graph that has %u parameters", count, inner.parameter_count_);
  if (inner.nodes_.size() == 0) return fail(TARN_E_ARGUMENT, "the inner graph has no nodes");
  if (nodes_.size() + inner.nodes_.size() + 1 > kGraphUserNodesMax)
    return fail(TARN_E_LIMIT, "with the inner graph's %zu nodes this one would have more than %u", inner.nodes_.size(),
                kGraphUserNodesMax);
  auto first = static_cast<uint32_t>(nodes_.size());
  auto joint = first + inner.node_count();
  Sizes before = sizes();
  // The arguments once, as if for a node of their own; the inner nodes take copies of them.
  Array<Argument> bound;
  int r = 0;
  for (size_t i = 0; i < count && r == 0; ++i) {
    r = add_argument(args[i], i, resolve, context);
    if (r == 0 && !bound.push(arguments_[arguments_.size() - 1])) r = no_memory();
  }
  arguments_.shorten(before.arguments);
  uint32_t own_name = 0;
  if (r == 0) r = add_name(name, own_name);
  size_t names_base = names_.size();
  size_t values_base = values_.size();
  size_t objects_base = objects_.size();
  if (r == 0) {
    char* to_names = names_.extend(inner.names_.size());
    std::byte* to_values = values_.extend(inner.values_.size());
    shm::ObjectRef* to_objects = objects_.extend(inner.objects_.size());
    if (!names_.reserve(1) || !values_.reserve(1) || !objects_.reserve(1) || !nodes_.reserve(joint + 1)) r = no_memory();
    if ((to_names == nullptr && inner.names_.size() != 0) || (to_values == nullptr && inner.values_.size() != 0) ||
        (to_objects == nullptr && inner.objects_.size() != 0))
      r = no_memory();
    if (r == 0) {
      std::copy(inner.names_.begin(), inner.names_.end(), to_names);
      std::copy(inner.values_.begin(), inner.values_.end(), to_values);
      std::copy(inner.objects_.begin(), inner.objects_.end(), to_objects);
    }
  }
  for (size_t i = 0; i < inner.nodes_.size() && r == 0; ++i) {
    Node copy = inner.nodes_[i];
    auto from = copy.first_argument;
    copy.first_argument = static_cast<uint32_t>(arguments_.size());
    if (copy.name != 0) copy.name += static_cast<uint32_t>(names_base);
    for (uint32_t k = 0; k < copy.argument_count && r == 0; ++k) {
      Argument argument = inner.arguments_[from + k];
      switch (argument.kind) {
        case GraphArgument::kArgValue: argument.offset += values_base; break;
        case GraphArgument::kArgObject: argument.offset += objects_base; break;
        case GraphArgument::kArgNode: argument.offset += first; break;
        default:
          argument = bound[argument.offset];
          if (argument.kind == GraphArgument::kArgNode &&
              !edges_.push({static_cast<uint32_t>(argument.offset), first + static_cast<uint32_t>(i)}))
            r = no_memory();
      }
      if (r == 0 && !arguments_.push(argument)) r = no_memory();
    }
    if (r == 0 && !nodes_.push(copy)) r = no_memory();
  }
  Array<uint32_t> has_follower;
  if (r == 0 && !has_follower.assign(inner.nodes_.size(), 0)) r = no_memory();
  for (size_t i = 0; i < inner.edges_.size() && r == 0; ++i) {
    has_follower[inner.edges_[i].before] = 1;
    if (!edges_.push({inner.edges_[i].before + first, inner.edges_[i].after + first})) r = no_memory();
  }
  for (uint32_t i = 0; i < inner.node_count() && r == 0; ++i)
    if (has_follower[i] == 0 && !edges_.push({first + i, joint})) r = no_memory();
  if (r == 0 && !nodes_.push({0, static_cast<uint32_t>(arguments_.size()), 0, own_name, 0, 0, true})) r = no_memory();
  if (r < 0) {
    objects_.shorten(objects_base);
    return go_back(before, r);
  }
  node = joint;
  return 0;
}

const char* GraphBuilder::name_of(uint32_t node) const {
  const Node& it = nodes_[node];
  if (it.name != 0) return names_.data() + it.name - 1;
  if (it.is_joint) return "the end of an inner graph";
  return task_name(it.task);
}

// ---- Looking at the whole --------------------------------------------------------------------

// The predecessors of each of the user's nodes, one list behind the other.
int GraphBuilder::sort_edges(uint32_t count) {
  if (!before_begin_.assign(count + size_t{2}, 0)) return no_memory();
  before_.shorten(0);
  if (before_.extend(edges_.size()) == nullptr && edges_.size() != 0) return no_memory();
  for (const Edge& edge : edges_) ++before_begin_[edge.after + size_t{2}];
  for (size_t i = 2; i <= count + size_t{1}; ++i) before_begin_[i] += before_begin_[i - 1];
  for (const Edge& edge : edges_) before_[before_begin_[edge.after + size_t{1}]++] = edge.before;
  return 0;
}

// Nodes that can never begin: each waits for another of them.
int GraphBuilder::stuck(const uint32_t* waiting, uint32_t done) const {
  char list[512] = "";
  size_t at = 0;
  uint32_t shown = 0;
  for (uint32_t i = 0; i < node_count() && shown < kNamesShown; ++i) {
    if (waiting[i] == 0) continue;
    int n = snprintf(list + at, sizeof list - at, "%s%u '%.40s'", shown == 0 ? "" : ", ", i, name_of(i));
    if (n < 0 || at + static_cast<size_t>(n) >= sizeof list) break;
    at += static_cast<size_t>(n);
    ++shown;
  }
  uint32_t left = node_count() - done;
  return fail(TARN_E_STUCK_GRAPH, "%u of %u nodes can never begin, because they wait for one another, round and round: node %s%s", left,
              node_count(), list, left > shown ? ", ..." : "");
}

// Ranks, from the last nodes to the first; finds what can never begin.
int GraphBuilder::order(uint32_t count) {
  Array<uint32_t> waiting;  // for how many followers a node still waits: it is walked backwards
  Array<uint32_t> queue;
  if (!waiting.assign(count, 0) || !queue.reserve(count + size_t{1}) || !ranks_.assign(count, 0)) return no_memory();
  for (const Edge& edge : edges_) ++waiting[edge.before];
  for (uint32_t i = 0; i < count; ++i)
    if (waiting[i] == 0) (void)queue.push(i);
  longest_ = 0;
  for (size_t done = 0; done < queue.size(); ++done) {
    uint32_t node = queue[done];
    ranks_[node] += nodes_[node].cost;
    longest_ = std::max(longest_, ranks_[node]);
    for (uint32_t i = before_begin_[node]; i < before_begin_[node + 1]; ++i) {
      uint32_t before = before_[i];
      ranks_[before] = std::max(ranks_[before], ranks_[node]);
      if (--waiting[before] == 0) (void)queue.push(before);
    }
  }
  if (queue.size() == count) return 0;
  // Backwards, those before a circle wait as well. Said are those that a run would wait for: forwards.
  Array<uint32_t> begin;  // of the followers of each
  Array<uint32_t> after;
  if (!begin.assign(count + size_t{2}, 0) || !after.assign(edges_.size(), 0) || !waiting.assign(count, 0)) return no_memory();
  for (const Edge& edge : edges_) ++begin[edge.before + size_t{2}], ++waiting[edge.after];
  for (size_t i = 2; i <= count + size_t{1}; ++i) begin[i] += begin[i - 1];
  for (const Edge& edge : edges_) after[begin[edge.before + size_t{1}]++] = edge.after;
  queue.shorten(0);
  for (uint32_t i = 0; i < count; ++i)
    if (waiting[i] == 0) (void)queue.push(i);
  for (size_t done = 0; done < queue.size(); ++done)
    for (uint32_t i = begin[queue[done]]; i < begin[queue[done] + size_t{1}]; ++i)
      if (--waiting[after[i]] == 0) (void)queue.push(after[i]);
  return stuck(waiting.data(), static_cast<uint32_t>(queue.size()));
}

// Makes `sources` few enough for one node: joints of 31 take their place.
int GraphBuilder::gather(Array<uint32_t>& sources, uint8_t level) {
  while (sources.size() > kPredecessorsMax) {
    size_t joints = 0;
    for (size_t i = 0; i < sources.size(); i += kPredecessorsMax) {
      auto joint = static_cast<uint32_t>(predecessors_.size());
      size_t end = std::min(i + kPredecessorsMax, sources.size());
      if (!predecessors_.push(static_cast<uint32_t>(end - i)) || !levels_.push(level)) return no_memory();
      for (size_t k = i; k < end; ++k)
        if (!final_edges_.push({sources[k], joint})) return no_memory();
      sources[joints++] = joint;
    }
    sources.shorten(joints);
  }
  return 0;
}

int GraphBuilder::prepare() {
  uint32_t count = node_count();
  if (count == 0) return fail(TARN_E_ARGUMENT, "the graph has no nodes");
  if (int r = sort_edges(count); r < 0) return r;
  if (int r = order(count); r < 0) return r;
  final_edges_.shorten(0);
  if (!predecessors_.assign(count, 0) || !levels_.assign(count, 0) || !final_edges_.reserve(edges_.size() + count)) return no_memory();
  for (uint32_t i = 0; i < count; ++i) {
    uint64_t rank = longest_ == 0 ? 0 : ranks_[i] * (kRanksEach - 1) / longest_;
    levels_[i] = static_cast<uint8_t>(static_cast<uint32_t>(nodes_[i].priority - TARN_PRIORITY_MIN) * kRanksEach + rank);
  }
  Array<uint32_t> sources;
  Array<uint8_t> has_follower;
  if (!has_follower.assign(count, 0)) return no_memory();
  for (const Edge& edge : edges_) has_follower[edge.before] = 1;
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t begin = before_begin_[i], end = before_begin_[i + 1];
    if (end - begin <= kPredecessorsMax) {  // nearly all
      for (uint32_t k = begin; k < end; ++k)
        if (!final_edges_.push({before_[k], i})) return no_memory();
      predecessors_[i] = end - begin;
      continue;
    }
    sources.shorten(0);
    for (uint32_t k = begin; k < end; ++k)
      if (!sources.push(before_[k])) return no_memory();
    if (int r = gather(sources, levels_[i]); r < 0) return r;
    for (uint32_t source : sources)
      if (!final_edges_.push({source, i})) return no_memory();
    predecessors_[i] = static_cast<uint32_t>(sources.size());
  }
  // The end, behind the joints that lead to it.
  sources.shorten(0);
  for (uint32_t i = 0; i < count; ++i)
    if (has_follower[i] == 0 && !sources.push(i)) return no_memory();
  if (int r = gather(sources, 0); r < 0) return r;
  auto last = static_cast<uint32_t>(predecessors_.size());
  if (!predecessors_.push(static_cast<uint32_t>(sources.size())) || !levels_.push(0)) return no_memory();
  for (uint32_t source : sources)
    if (!final_edges_.push({source, last})) return no_memory();
  return 0;
}

// ---- Writing ---------------------------------------------------------------------------------

namespace {

// Where each part lies behind the header.
struct Places {
  uint64_t nodes, successors, roots, arguments, values, objects, parameters, end;
};

Places places(uint64_t nodes, uint64_t edges, uint64_t arguments, uint64_t values, uint64_t objects, uint64_t parameters) {
  Places at{};
  uint64_t next = os::round_up(sizeof(GraphHeader), 64);
  auto take = [&next](uint64_t size) {
    uint64_t place = next;
    next = os::round_up(next + size, 64);
    return place;
  };
  at.nodes = take(nodes * sizeof(GraphNode));
  at.successors = take(edges * sizeof(uint32_t));
  at.roots = take(nodes * sizeof(uint32_t));
  at.arguments = take(arguments * sizeof(GraphArgument));
  at.values = take(values);
  at.objects = take(objects * sizeof(shm::ObjectRef));
  at.parameters = take(parameters * sizeof(GraphParameter));
  at.end = next;
  return at;
}

// Deals them out like cards: those of one part lie together, in the order they had.
void deal(uint32_t* roots, uint32_t count, uint32_t parts) {
  Array<uint32_t> dealt;
  if (!dealt.reserve(count)) return;  // they are run all the same
  for (uint32_t part = 0; part < parts; ++part)
    for (uint32_t i = part; i < count; i += parts) (void)dealt.push(roots[i]);
  std::copy(dealt.begin(), dealt.end(), roots);
}

}  // namespace

uint64_t GraphBuilder::size() const {
  return places(total(), final_edges_.size(), arguments_.size(), values_.size(), objects_.size(), parameter_count_).end;
}

void GraphBuilder::write(GraphHeader& header, uint32_t first_line, uint32_t parts, uint32_t attempts_max) const {
  auto* base = reinterpret_cast<std::byte*>(&header);
  uint32_t count = total();
  Places at = places(count, final_edges_.size(), arguments_.size(), values_.size(), objects_.size(), parameter_count_);
  auto* nodes = reinterpret_cast<GraphNode*>(base + at.nodes);
  auto* successors = reinterpret_cast<uint32_t*>(base + at.successors);
  auto* arguments = reinterpret_cast<GraphArgument*>(base + at.arguments);
  memset(base, 0, at.nodes + count * sizeof(GraphNode));
  header.magic = GraphHeader::kMagic;
  header.node_count = count;
  header.parameter_count = parameter_count_;
  header.attempts_max = attempts_max;
  header.first_line = first_line;
  header.nodes_at = at.nodes;
  header.successors_at = at.successors;
  header.arguments_at = at.arguments;
  header.roots_at = at.roots;
  header.parameters_at = at.parameters;
  memset(base + at.parameters, 0, parameter_count_ * sizeof(GraphParameter));

  for (uint32_t i = 0; i < count; ++i) {
    GraphNode& node = nodes[i];
    bool is_own = i < nodes_.size();
    node.shape = static_cast<uint8_t>(predecessors_[i]);
    node.level = levels_[i];
    if (!is_own || nodes_[i].is_joint) node.shape |= GraphNode::kJoint;
    if (!is_own) continue;
    node.task = nodes_[i].task;
    node.arguments = nodes_[i].first_argument;
    node.argument_count = static_cast<uint8_t>(nodes_[i].argument_count);
  }
  nodes[count - 1].shape |= GraphNode::kEnd;

  // The successors of each, the most urgent last: it is then the first that their worker comes to. `successors` counts, then
  // says where the next goes, then where the list begins.
  for (const Edge& edge : final_edges_) ++nodes[edge.before].successors;
  uint32_t sum = 0;
  for (uint32_t i = 0; i < count; ++i) {
    sum += nodes[i].successors;
    nodes[i].successors = sum - nodes[i].successors;
  }
  for (uint32_t i = 0; i < count; ++i) nodes[i].result_size = 0;  // counts the bits given out, for the moment
  for (const Edge& edge : final_edges_)
    successors[nodes[edge.before].successors++] = pack_successor(edge.after, nodes[edge.after].result_size++, false);
  for (uint32_t i = 0, begin = 0; i < count; ++i) {
    uint32_t end = nodes[i].successors;
    auto less = [nodes](uint32_t a, uint32_t b) { return nodes[successor_node(a)].level < nodes[successor_node(b)].level; };
    if (end - begin > 1 && !std::is_sorted(successors + begin, successors + end, less))
      std::stable_sort(successors + begin, successors + end, less);
    if (end != begin) successors[end - 1] |= 1;
    nodes[i].successors = begin;
    nodes[i].result_size = 0;
    begin = end;
  }

  for (size_t i = 0; i < arguments_.size(); ++i) {
    const Argument& from = arguments_[i];
    arguments[i] = {from.kind, from.size, from.offset};
    if (from.kind == GraphArgument::kArgValue) arguments[i].offset += at.values;
    if (from.kind == GraphArgument::kArgObject) arguments[i].offset = at.objects + from.offset * sizeof(shm::ObjectRef);
  }
  if (values_.size() != 0) memcpy(base + at.values, values_.data(), values_.size());
  if (objects_.size() != 0) memcpy(base + at.objects, objects_.data(), objects_.size() * sizeof(shm::ObjectRef));

  // Roots: neighbours are run by one worker, unless they differ in urgency, and then every worker has its share of the urgent.
  auto* roots = reinterpret_cast<uint32_t*>(base + at.roots);
  uint32_t root_count = 0;
  bool is_level = true;
  for (uint32_t i = 0; i < count; ++i) {
    if (predecessors_[i] != 0) continue;
    is_level &= root_count == 0 || levels_[i] == levels_[roots[0]];
    roots[root_count++] = i;
  }
  header.root_count = root_count;
  header.parts = std::clamp(parts, 1u, kRootPartsMax);
  if (!is_level) std::stable_sort(roots, roots + root_count, [this](uint32_t a, uint32_t b) { return levels_[a] > levels_[b]; });
  if (!is_level) deal(roots, root_count, header.parts);
  uint64_t each = (root_count + header.parts - 1) / header.parts;
  for (uint32_t part = 0; part < header.parts; ++part) {
    header.cursors[part].begin = static_cast<uint32_t>(std::min<uint64_t>(part * each, root_count));
    header.cursors[part].end = static_cast<uint32_t>(std::min<uint64_t>((part + 1) * each, root_count));
  }
}

}  // namespace tarn::task
