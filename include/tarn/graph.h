/* graph.h: graphs of tasks, in C. Part of tarn.h, which includes it; the conventions are those of that. */
#ifndef TARN_GRAPH_H
#define TARN_GRAPH_H

#include <tarn/tarn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A graph is many tasks that follow one another, described once and run as often as wanted: a run costs some tens of
 * nanoseconds a task, where tarn_submit costs some hundred. Add nodes and edges; tarn_graph_run makes the graph ready
 * (tarn_graph_instantiate does so earlier) and begins it; wait; read the results; run it again with other parameters.
 *
 * A graph is used by one thread at a time, except that any thread may cancel its run. Only the program itself uses graphs, not a
 * task (TARN_E_NOT_IN_TASK). A graph does not outlive its client.
 *
 * If the worker of a node dies, the node runs again, as a task would. A node that fails has those that follow it fail with
 * TARN_E_DEPENDENCY, and the others run. */
typedef struct tarn_graph tarn_graph;
typedef uint32_t tarn_node; /* a node of one graph: they count from 0 in the order in which they were added */

#define TARN_GRAPH_ANY UINT32_MAX

typedef struct tarn_graph_options {
  size_t size;          /* sizeof(tarn_graph_options) */
  int32_t retries;      /* of a node whose worker died; -1: none, 0: the default of 3, at most 200 */
  uint32_t reserved2;   /* zero */
  uint64_t reserved[4]; /* zero */
} tarn_graph_options;

typedef struct tarn_node_options {
  size_t size;          /* sizeof(tarn_node_options) */
  const char *name;     /* for errors; NULL: the task's. Copied */
  int32_t priority;     /* TARN_PRIORITY_MIN to TARN_PRIORITY_MAX; among equals, what the longest way to the end begins with is first */
  uint32_t cost;        /* how long it takes, in a unit of your choice, for that way; 0: 1 */
  uint64_t reserved[4]; /* zero */
} tarn_node_options;

/* Makes an empty graph. `options` may be NULL. Free it with tarn_graph_free. Does not block. Errors: TARN_E_NO_MEMORY,
 * TARN_E_ARGUMENT, TARN_E_NOT_IN_TASK. Since 0.1. */
TARN_API int tarn_graph_create(tarn_client *client, const tarn_graph_options *options, tarn_graph **graph);

/* Adds a run of `task` and sets `*node`, unless `node` is NULL. Arguments, at most 255, are values (copied), objects (held until the
 * graph is freed), results of nodes added before, which it then follows (tarn_arg_node), or one of several (tarn_arg_node_part), and parameters (tarn_arg_parameter), a
 * number that tarn_graph_run is to give. `options` may be NULL. Does not block. Errors: TARN_E_NO_TASK,
 * TARN_E_ARGUMENT, TARN_E_NO_OBJECT, TARN_E_TOO_LARGE (a value of more than 1 MiB), TARN_E_LIMIT, TARN_E_NO_MEMORY, TARN_E_STATE
 * (it is instantiated, and stays as it is). Since 0.1. */
TARN_API int tarn_graph_add(tarn_graph *graph, tarn_task task, const tarn_arg *args, size_t count,
                            const tarn_node_options *options, tarn_node *node);

/* Has `after` begin when `before` has ended. Errors: TARN_E_ARGUMENT, TARN_E_NO_MEMORY, TARN_E_STATE. Since 0.1. */
TARN_API int tarn_graph_add_edge(tarn_graph *graph, tarn_node before, tarn_node after);

/* Adds all nodes of `inner`, with `args` in place of its parameters. Node i of it becomes node `*node` - n + i, if it has n nodes;
 * `*node` itself has no result, and follows all of them. `inner` stays the caller's and may be changed, run or freed; of `options`, the
 * name counts. Errors as tarn_graph_add. Since 0.1. */
TARN_API int tarn_graph_add_graph(tarn_graph *graph, const tarn_graph *inner, const tarn_arg *args, size_t count,
                                  const tarn_node_options *options, tarn_node *node);

/* Checks the graph as a whole and puts it where workers see it; from then on it does not change. May wait for memory. To do it
 * twice does no harm. Errors: TARN_E_STUCK_GRAPH (nodes wait for one another; named), TARN_E_ARGUMENT (no nodes), TARN_E_LIMIT,
 * TARN_E_STORE_FULL, TARN_E_QUOTA, TARN_E_NO_MEMORY, TARN_E_DAEMON_GONE. Since 0.1. */
TARN_API int tarn_graph_instantiate(tarn_graph *graph);

/* Begins a run. `parameters` are values (copied) and objects (held until the run is over), as many as the graph has. The
 * results of the run before, and pointers to them, become invalid. Does not wait for the run, but perhaps for memory. At most 64 runs of
 * a session at a time. Errors: TARN_E_STATE (it runs), TARN_E_ARGUMENT, TARN_E_NO_OBJECT, TARN_E_TOO_LARGE, TARN_E_LIMIT,
 * TARN_E_UNSATISFIABLE (no workers), and those of tarn_graph_instantiate. Since 0.1. */
TARN_API int tarn_graph_run(tarn_graph *graph, const tarn_arg *parameters, size_t count);

/* Waits until the run is over. 0: all nodes succeeded. Otherwise the error of the first node that failed by itself, by name, or
 * TARN_E_CANCELLED; the other nodes' results can be read all the same. Blocks without using the processor after a short spin. Errors:
 * TARN_E_TIMED_OUT (nothing was lost), TARN_E_STATE (it was never run), TARN_E_DAEMON_GONE; from a node TARN_E_TASK_FAILED,
 * TARN_E_WORKER_CRASHED, TARN_E_NO_TASK, TARN_E_FILE_CHANGED; TARN_E_STUCK_GRAPH (nothing of it can proceed). Since 0.1. */
TARN_API int tarn_graph_wait(tarn_graph *graph, int64_t timeout_ns);

/* Has the run end early: nodes that have not begun never do, those that run can see it (tarn_call_cancelled). The run is over when
 * tarn_graph_wait says so. Thread-safe. Errors: TARN_E_STATE (it does not run). Since 0.1. */
TARN_API int tarn_graph_cancel(tarn_graph *graph);

/* Sets `*bytes` to the result of a node, in place: valid until the next run or tarn_graph_free. TARN_E_STATE while the graph runs,
 * TARN_E_ARGUMENT if there is no such node; if the node failed, its error, told with the nodes that it failed for. For a result that
 * has left memory also those of tarn_get. Since 0.1. */
TARN_API int tarn_graph_result(tarn_graph *graph, tarn_node node, tarn_bytes *bytes);

/* The same as an object, with one reference, to be released with tarn_release; it outlives the graph. Errors as of
 * tarn_graph_result and, for a result of up to 32 bytes, tarn_put. Since 0.1. */
TARN_API int tarn_graph_result_object(tarn_graph *graph, tarn_node node, tarn_object *object);

/* Fills `*error` for a node that failed; TARN_GRAPH_ANY: the first one that failed by itself. `cause` and `task`, here a node's name, are those
 * of the first cause. Strings live until the next run. TARN_E_STATE if the graph runs or the node did not fail. Since 0.1. */
TARN_API int tarn_graph_error(tarn_graph *graph, tarn_node node, tarn_task_error *error);

typedef struct tarn_graph_info {
  size_t size;            /* sizeof(tarn_graph_info) */
  uint32_t nodes;         /* those of inner graphs included */
  uint32_t parameters;
  uint64_t edges;
  uint64_t critical_path; /* cost of the longest way through it; 0 before it is instantiated */
  uint64_t bytes;         /* of shared memory, once it is instantiated */
  uint64_t runs;          /* that were begun */
  uint64_t reserved[3];
} tarn_graph_info;

/* Fills `*info`. Does not block. Since 0.1. */
TARN_API int tarn_graph_get_info(tarn_graph *graph, tarn_graph_info *info);

/* Gives the graph back, with its results. If it runs, the run is cancelled; its memory is free when that is over. NULL is allowed.
 * WARNING: `graph` is freed; to pass it to any function afterwards, or after tarn_close, is undefined. Since 0.1. */
TARN_API void tarn_graph_free(tarn_graph *graph);

static inline tarn_arg tarn_arg_node(tarn_node node)
{
  tarn_arg arg;
  arg.kind = TARN_ARG_NODE;
  arg.part = 0;
  arg.u.index = node;
  return arg;
}

/* The part `index` of what the node returns: tarn_arg_part for a node. */
static inline tarn_arg tarn_arg_node_part(tarn_node node, uint32_t index)
{
  tarn_arg arg = tarn_arg_node(node);
  arg.part = index < UINT32_MAX ? index + 1 : UINT32_MAX;
  return arg;
}

static inline tarn_arg tarn_arg_parameter(uint32_t index)
{
  tarn_arg arg;
  arg.kind = TARN_ARG_PARAMETER;
  arg.part = 0;
  arg.u.index = index;
  return arg;
}

#ifdef __cplusplus
}
#endif

#endif /* TARN_GRAPH_H */
