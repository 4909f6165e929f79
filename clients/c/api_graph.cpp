// Graphs of tasks: described, instantiated, run.

#include "base/error.hpp"
#include "base/options.hpp"
#include "client.hpp"
#include "task/graphs.hpp"

using namespace tarn;

namespace {

constexpr int32_t kRetriesDefault = 3;
constexpr int32_t kRetriesMax = 200;

int check_graph(const tarn_graph* graph) {
  if (int r = client::check_pointer(graph, "graph"); r < 0) return r;
  return client::check_outside(graph->client);
}

int node_options(const tarn_node_options* options, task::GraphBuilder::NodeOptions& out) {
  if (options == nullptr) return 0;
  if (int r = check_options(options, options->size, sizeof *options, "tarn_node_options"); r < 0) return r;
  for (uint64_t value : options->reserved)
    if (value != 0) return fail(TARN_E_ARGUMENT, "tarn_node_options: reserved must be zero");
  out.name = options->name;
  out.priority = options->priority;
  if (options->cost != 0) out.cost = options->cost;
  return 0;
}

}  // namespace

int tarn_graph_create(tarn_client* client, const tarn_graph_options* options, tarn_graph** graph) {
  if (int r = client::check_outside(client); r < 0) return r;
  if (int r = client::check_pointer(graph, "graph"); r < 0) return r;
  int32_t retries = kRetriesDefault;
  if (options != nullptr) {
    if (int r = check_options(options, options->size, sizeof *options, "tarn_graph_options"); r < 0) return r;
    for (uint64_t value : options->reserved)
      if (value != 0) return fail(TARN_E_ARGUMENT, "tarn_graph_options: reserved must be zero");
    if (options->reserved2 != 0) return fail(TARN_E_ARGUMENT, "tarn_graph_options: reserved2 must be zero");
    if (options->retries < -1 || options->retries > kRetriesMax)
      return fail(TARN_E_ARGUMENT, "retries is %d; -1 is none, 0 the default of %d, and %d the most", options->retries, kRetriesDefault,
                  kRetriesMax);
    if (options->retries != 0) retries = options->retries < 0 ? 0 : options->retries;
  }
  task::Graph* made;
  if (int r = client->graphs.create(made); r < 0) return r;
  made->client = client;
  made->retries = static_cast<uint32_t>(retries);
  *graph = made;
  return 0;
}

int tarn_graph_add(tarn_graph* graph, tarn_task task, const tarn_arg* args, size_t count, const tarn_node_options* options,
                   tarn_node* node) {
  if (int r = check_graph(graph); r < 0) [[unlikely]]
    return r;
  task::GraphBuilder::NodeOptions own;
  if (int r = node_options(options, own); r < 0) [[unlikely]]
    return r;
  uint32_t made;
  if (int r = graph->client->graphs.add(*graph, task, args, count, own, made); r < 0) return r;
  if (node != nullptr) *node = made;
  return 0;
}

int tarn_graph_add_edge(tarn_graph* graph, tarn_node before, tarn_node after) {
  if (int r = check_graph(graph); r < 0) return r;
  return graph->client->graphs.add_edge(*graph, before, after);
}

int tarn_graph_add_graph(tarn_graph* graph, const tarn_graph* inner, const tarn_arg* args, size_t count,
                         const tarn_node_options* options, tarn_node* node) {
  if (int r = check_graph(graph); r < 0) return r;
  if (int r = client::check_pointer(inner, "inner"); r < 0) return r;
  if (inner->client != graph->client) return fail(TARN_E_ARGUMENT, "the inner graph belongs to another client");
  task::GraphBuilder::NodeOptions own;
  if (int r = node_options(options, own); r < 0) return r;
  uint32_t made;
  if (int r = graph->client->graphs.add_graph(*graph, *inner, args, count, own.name, made); r < 0) return r;
  if (node != nullptr) *node = made;
  return 0;
}

int tarn_graph_instantiate(tarn_graph* graph) {
  if (int r = check_graph(graph); r < 0) return r;
  return graph->client->graphs.instantiate(*graph);
}

int tarn_graph_run(tarn_graph* graph, const tarn_arg* parameters, size_t count) {
  if (int r = check_graph(graph); r < 0) return r;
  return graph->client->graphs.run(*graph, parameters, count);
}

int tarn_graph_wait(tarn_graph* graph, int64_t timeout_ns) {
  if (int r = check_graph(graph); r < 0) return r;
  return graph->client->graphs.wait(*graph, timeout_ns);
}

int tarn_graph_cancel(tarn_graph* graph) {
  if (int r = check_graph(graph); r < 0) return r;
  return graph->client->graphs.cancel(*graph);
}

int tarn_graph_result(tarn_graph* graph, tarn_node node, tarn_bytes* bytes) {
  if (int r = check_graph(graph); r < 0) return r;
  if (int r = client::check_pointer(bytes, "bytes"); r < 0) return r;
  return graph->client->graphs.result(*graph, node, *bytes);
}

int tarn_graph_result_object(tarn_graph* graph, tarn_node node, tarn_object* object) {
  if (int r = check_graph(graph); r < 0) return r;
  if (int r = client::check_pointer(object, "object"); r < 0) return r;
  shm::ObjectRef ref;
  ErrorGuard guard;  // a small result is put, and the store asks for memory more than once
  if (int r = graph->client->graphs.result_object(*graph, node, ref); r < 0) return r;
  (void)guard.end(0);
  *object = client::object_handle(*graph->client, ref);
  return 0;
}

int tarn_graph_error(tarn_graph* graph, tarn_node node, tarn_task_error* error) {
  if (int r = check_graph(graph); r < 0) return r;
  if (int r = client::check_struct(error, "error", "tarn_task_error"); r < 0) return r;
  ErrorGuard guard;  // the task's own words may be lost
  return guard.end(graph->client->graphs.error(*graph, node, *error));
}

int tarn_graph_get_info(tarn_graph* graph, tarn_graph_info* info) {
  if (int r = check_graph(graph); r < 0) return r;
  if (int r = client::check_struct(info, "info", "tarn_graph_info"); r < 0) return r;
  info->nodes = graph->builder.node_count();
  info->parameters = graph->builder.parameter_count();
  info->edges = graph->builder.edge_count();
  bool is_instantiated = graph->phase.load() != tarn_graph::Phase::kDescribed;
  info->critical_path = is_instantiated ? graph->builder.critical_path() : 0;
  info->bytes = uint64_t{graph->lines} * shm::kRecordSize;
  info->runs = graph->runs;
  return 0;
}

void tarn_graph_free(tarn_graph* graph) {
  if (graph == nullptr || client::check_outside(graph->client) < 0) return;
  graph->client->graphs.give_back(graph);
}
