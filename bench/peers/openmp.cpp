// OpenMP: METG (bench/metg.h) of the same graphs, by tasks of two threads of this process. There are no prebuilt graphs in it: each run
// makes its tasks, as Task Bench does.
//
//   peer_openmp metg.independent|metg.stencil [--ms N]
#include "../metg.h"

#include <cstring>

#include <omp.h>

namespace {

char places[kMetgSteps + 1][kMetgWidth + 2];  // what tasks depend on: only the addresses count

// Of the variables that clang makes for a taskloop itself.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
double run_independent(void*, uint64_t turns) {
  const int64_t begin = measure_now_ns();
#pragma omp parallel num_threads(kMetgCores)
#pragma omp single
#pragma omp taskloop grainsize(1) nogroup
  for (uint64_t i = 0; i < uint64_t{kMetgWidth} * kMetgSteps; ++i) metg_work(turns);
  return static_cast<double>(measure_now_ns() - begin);
}
#pragma GCC diagnostic pop

double run_stencil(void*, uint64_t turns) {
  const int64_t begin = measure_now_ns();
#pragma omp parallel num_threads(kMetgCores)
#pragma omp single
  for (int step = 0; step < kMetgSteps; ++step)
    for (int x = 0; x < kMetgWidth; ++x) {
      [[maybe_unused]] char* before = &places[step][x];
      [[maybe_unused]] char* after = &places[step + 1][x + 1];
#pragma omp task depend(in : before[0], before[1], before[2]) depend(out : after[0]) firstprivate(turns)
      metg_work(turns);
    }
  return static_cast<double>(measure_now_ns() - begin);
}

}  // namespace

int main(int argc, char** argv) {
  static Measure measure;
  const char* what = argc > 1 ? argv[1] : "";
  const bool is_stencil = strcmp(what, "metg.stencil") == 0;
  if (!is_stencil && strcmp(what, "metg.independent") != 0) {
    fprintf(stderr, "usage: peer_openmp metg.independent|metg.stencil [--ms N]\n");
    return 2;
  }
  measure_start(&measure, argc, argv);
  while (measure.count == 0 || measure_now_ns() < measure.deadline_ns)
    measure_add(&measure, metg_ns(is_stencil ? run_stencil : run_independent, nullptr, double{kMetgWidth} * double{kMetgSteps}));
  measure_print(what, measure_median_ns(&measure), "ns", is_stencil ? "threads; tasks with depend" : "threads; taskloop, one turn a task");
  return 0;
}
