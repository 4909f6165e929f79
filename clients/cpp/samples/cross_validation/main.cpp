// cross_validation: fits a line to four fifths of some points, looks how far off it is on the
// others, twenty times.
//
// A task that splits the points has two results. One goes to the task that fits, the other to the
// one that looks. Both read it where it lies; neither comes to this program.

#include <tarn/tarn.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <random>
#include <span>
#include <utility>
#include <vector>

namespace {

struct Point {
  double x, y;
};

struct Line {
  double slope, intercept;
};

tarn::results<std::vector<Point>, std::vector<Point>> split(std::span<const Point> points,
                                                            std::uint32_t seed) {
  std::vector<Point> training(points.begin(), points.end());
  std::ranges::shuffle(training, std::mt19937(seed));
  const auto middle = training.begin() + static_cast<std::ptrdiff_t>(training.size() / 5 * 4);
  std::vector<Point> test(middle, training.end());
  training.erase(middle, training.end());
  return {std::move(training), std::move(test)};
}
TARN_TASK(split);

Line fit(std::span<const Point> points) {
  double x = 0, y = 0, xx = 0, xy = 0;
  for (const Point& point : points) {
    x += point.x;
    y += point.y;
    xx += point.x * point.x;
    xy += point.x * point.y;
  }
  const auto n = static_cast<double>(points.size());
  const double slope = (n * xy - x * y) / (n * xx - x * x);
  return {slope, (y - slope * x) / n};
}
TARN_TASK(fit);

// The root of the mean square of what the line is off.
double error_of(const Line& line, std::span<const Point> points) {
  double squares = 0;
  for (const Point& point : points) {
    const double off = line.slope * point.x + line.intercept - point.y;
    squares += off * off;
  }
  return std::sqrt(squares / static_cast<double>(points.size()));
}
TARN_TASK(error_of);

// On the line 3 x + 2, but for some noise, of which nothing can know.
std::vector<Point> make_points(std::size_t count) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> anywhere(0, 100);
  std::normal_distribution<double> noise(0, 1);
  std::vector<Point> points(count);
  for (Point& point : points) {
    point.x = anywhere(random);
    point.y = 3 * point.x + 2 + noise(random);
  }
  return points;
}

}  // namespace

int main(int argc, char** argv) try {
  tarn::client tarn = tarn::init(argc, argv);
  constexpr std::uint32_t kSplits = 20;

  const tarn::object points = tarn.put(make_points(100'000));
  std::vector<tarn::future<double>> errors;
  for (std::uint32_t seed = 0; seed < kSplits; ++seed) {
    const auto halves = tarn.submit(split, points, seed);
    const auto line = tarn.submit(fit, halves.part<0>());
    errors.push_back(tarn.submit(error_of, line, halves.part<1>()));
    // The futures may go: the tasks that were given what they stand for have it.
  }
  double sum = 0;
  for (const double error : tarn::when_all(errors)) sum += error;
  std::printf(
      "%u lines, each fitted to four fifths of the points, are off by %.2f on the others.\n",
      kSplits, sum / kSplits);
} catch (const std::exception& e) {
  std::fprintf(stderr, "cross_validation: %s\n", e.what());
  return 1;
}
