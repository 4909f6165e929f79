// mandelbrot: which points of a grid belong to the Mandelbrot set, row by row.
//
// A row takes as many steps as its points need to get away: those through the middle of the set a
// hundred times as many as those at its edge. The map cuts the rows while it runs, so that all
// workers end at the same time. The same rows on one core say how much that gains.

#include <tarn/tarn.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>
#include <vector>

namespace {

struct Grid {
  int points = 1000;  // in each direction, from -2 to 2
  int steps = 2000;   // after which a point counts as one of the set
};

// How many points of the row belong to the set.
int count_in_row(int row, const Grid& grid) {
  const double size = 4.0 / grid.points;
  const double y = -2 + (row + 0.5) * size;
  int count = 0;
  for (int column = 0; column < grid.points; ++column) {
    const double x = -2 + (column + 0.5) * size;
    double a = 0;
    double b = 0;
    int step = 0;
    for (; step < grid.steps && a * a + b * b <= 4; ++step) {
      const double next = a * a - b * b + x;
      b = 2 * a * b + y;
      a = next;
    }
    count += step == grid.steps;
  }
  return count;
}
TARN_TASK(count_in_row);

double ms_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

}  // namespace

int main(int argc, char** argv) try {
  tarn::client tarn = tarn::init(argc, argv);
  const Grid grid;

  auto begin = std::chrono::steady_clock::now();
  const std::vector<int> rows =
      tarn.map(count_in_row, tarn::indices(static_cast<std::uint64_t>(grid.points)), grid);
  const double map_ms = ms_since(begin);

  begin = std::chrono::steady_clock::now();
  std::vector<int> expected;
  for (int row = 0; row < grid.points; ++row) expected.push_back(count_in_row(row, grid));
  const double one_core_ms = ms_since(begin);

  std::printf("%d of %d points belong to the set.\n", std::accumulate(rows.begin(), rows.end(), 0),
              grid.points * grid.points);
  std::printf("%u workers took %.0f ms, one core %.0f ms.\n", tarn.info().workers, map_ms,
              one_core_ms);
  return rows == expected ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "mandelbrot: %s\n", e.what());
  return 1;
}
