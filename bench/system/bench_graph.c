/* metg.independent, metg.stencil: METG at 50 % (bench/metg.h) of a prebuilt graph on two workers. graph.build: describing and
 * instantiating one. */
#include "bench.h"
#include "../metg.h"

typedef struct Runner {
  tarn_graph *graph;
} Runner;

int bench_metg_work(tarn_call *call)
{
  uint64_t turns;
  memcpy(&turns, tarn_call_arg(call, 0).data, sizeof turns);
  metg_work(turns);
  return 0;
}

/* 64 by 1000: each node follows its three neighbours of the step before, or nobody. */
static tarn_graph *describe(Bench *bench, int is_stencil)
{
  tarn_graph *graph;
  tarn_task task = tarn_task_id("bench.metg");
  tarn_arg parameter = tarn_arg_parameter(0);
  bench_check(tarn_graph_create(bench->client, NULL, &graph), "tarn_graph_create");
  for (int step = 0; step < kMetgSteps; ++step)
    for (int x = 0; x < kMetgWidth; ++x) {
      tarn_node node;
      bench_check(tarn_graph_add(graph, task, &parameter, 1, NULL, &node), "tarn_graph_add");
      for (int from = x - 1; is_stencil && step > 0 && from <= x + 1; ++from)
        if (from >= 0 && from < kMetgWidth)
          bench_check(tarn_graph_add_edge(graph, node - (tarn_node)(x + kMetgWidth - from), node), "tarn_graph_add_edge");
    }
  return graph;
}

static double run(void *context, uint64_t turns)
{
  Runner *runner = context;
  tarn_arg parameter = tarn_arg_value(&turns, sizeof turns);
  int64_t begin = measure_now_ns();
  bench_check(tarn_graph_run(runner->graph, &parameter, 1), "tarn_graph_run");
  bench_check(tarn_graph_wait(runner->graph, -1), "tarn_graph_wait");
  return (double)(measure_now_ns() - begin);
}

void bench_metg(Bench *bench)
{
  char note[128];
  int is_stencil = strcmp(bench->name, "metg.stencil") == 0;
  bench_open(bench, measure_cpu(1) == measure_cpu(0) ? 1 : 2);
  Runner runner = {describe(bench, is_stencil)};
  measure_start(bench->measure, bench->argc, bench->argv);
  /* Each search is a batch. */
  while (bench->measure->count == 0 || measure_now_ns() < bench->measure->deadline_ns)
    measure_add(bench->measure, metg_ns(run, &runner, (double)kMetgWidth * kMetgSteps));
  snprintf(note, sizeof note, "granularity at 50 %% efficiency, %d x %d%s; 2 worker processes", kMetgWidth, kMetgSteps,
           is_stencil ? ", 3-point stencil" : "");
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
  tarn_graph_free(runner.graph);
}

void bench_graph_build(Bench *bench)
{
  char note[128];
  double tasks = (double)kMetgWidth * kMetgSteps, edges = 0, instantiate_ns = 0;
  bench_open(bench, 1);
  measure_start(bench->measure, bench->argc, bench->argv);
  tarn_task task = tarn_task_id("bench.metg");
  tarn_arg parameter = tarn_arg_parameter(0);
  while (measure_more(bench->measure)) {
    tarn_graph *graph;
    bench_check(tarn_graph_create(bench->client, NULL, &graph), "tarn_graph_create");
    measure_begin(bench->measure);
    for (int i = 0; i < kMetgWidth * kMetgSteps; ++i) bench_check(tarn_graph_add(graph, task, &parameter, 1, NULL, NULL), "tarn_graph_add");
    measure_end(bench->measure, tasks);
    tarn_graph_free(graph);
    graph = describe(bench, 1);
    int64_t begin = measure_now_ns();
    bench_check(tarn_graph_instantiate(graph), "tarn_graph_instantiate");
    instantiate_ns = (double)(measure_now_ns() - begin);
    tarn_graph_info info;
    info.size = sizeof info;
    bench_check(tarn_graph_get_info(graph, &info), "tarn_graph_get_info");
    edges = (double)info.edges;
    tarn_graph_free(graph);
  }
  snprintf(note, sizeof note, "a node with an argument; to instantiate one of a stencil, with %.1f edges: %.1f ns", edges / tasks,
           instantiate_ns / tasks);
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
}
