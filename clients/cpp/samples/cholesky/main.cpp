// cholesky: factors a matrix by tiles, as a graph: described once, run for several matrices.
//
// A symmetric, positive definite A becomes L with L * L' = A. Each task works on one tile and follows those that
// made the tiles which it reads; what waits for what is more than a loop could say, and the graph knows it. The
// nodes on the longest way through it are run first. For another matrix only the tiles of A change: parameters.

#include <tarn/tarn.hpp>

#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <random>
#include <span>
#include <vector>

namespace {

using Tile = std::vector<double>;
using TileView = std::span<const double>;

constexpr std::size_t kTiles = 8;   // on a side
constexpr std::size_t kSide = 64;   // of a tile
constexpr std::size_t kSize = kTiles * kSide;

// L of a tile on the diagonal.
Tile factor(TileView a) {
  Tile l(a.begin(), a.end());
  for (std::size_t k = 0; k < kSide; ++k) {
    l[k * kSide + k] = std::sqrt(l[k * kSide + k]);
    for (std::size_t i = k + 1; i < kSide; ++i) l[i * kSide + k] /= l[k * kSide + k];
    for (std::size_t j = k + 1; j < kSide; ++j) {
      for (std::size_t i = j; i < kSide; ++i) l[i * kSide + j] -= l[i * kSide + k] * l[j * kSide + k];
      l[k * kSide + j] = 0;
    }
  }
  return l;
}
TARN_TASK(factor);

// X of X * L' = A: the tiles below.
Tile solve(TileView l, TileView a) {
  Tile x(a.begin(), a.end());
  for (std::size_t i = 0; i < kSide; ++i)
    for (std::size_t j = 0; j < kSide; ++j) {
      double sum = x[i * kSide + j];
      for (std::size_t k = 0; k < j; ++k) sum -= x[i * kSide + k] * l[j * kSide + k];
      x[i * kSide + j] = sum / l[j * kSide + j];
    }
  return x;
}
TARN_TASK(solve);

// A - X * Y': what is left of the tiles to the right.
Tile update(TileView a, TileView x, TileView y) {
  Tile left(a.begin(), a.end());
  for (std::size_t i = 0; i < kSide; ++i)
    for (std::size_t j = 0; j < kSide; ++j) {
      double sum = 0;
      for (std::size_t k = 0; k < kSide; ++k) sum += x[i * kSide + k] * y[j * kSide + k];
      left[i * kSide + j] -= sum;
    }
  return left;
}
TARN_TASK(update);

// Tile (row, column) of a matrix of that seed: random, and heavy on its diagonal.
Tile make_tile(std::uint64_t seed, std::size_t row, std::size_t column) {
  Tile tile(kSide * kSide);
  for (std::size_t i = 0; i < kSide; ++i)
    for (std::size_t j = 0; j < kSide; ++j) {
      const std::size_t x = row * kSide + i;
      const std::size_t y = column * kSide + j;
      std::minstd_rand random(static_cast<std::uint32_t>(seed * kSize * kSize + std::max(x, y) * kSize + std::min(x, y) + 1));
      tile[i * kSide + j] = static_cast<double>(random() % 1000) / 1000 + (x == y ? kSize : 0);
    }
  return tile;
}

}  // namespace

int main(int argc, char** argv) try {
  tarn::client tarn = tarn::init(argc, argv);
  tarn::graph graph(tarn);

  std::vector<tarn::parameter<Tile>> tiles_of_a;
  std::vector<std::vector<tarn::node<Tile>>> l(kTiles);  // l[row][column]
  const auto at = [&](std::size_t row, std::size_t column) { return tiles_of_a[row * (row + 1) / 2 + column]; };
  for (std::size_t row = 0; row < kTiles; ++row)
    for (std::size_t column = 0; column <= row; ++column) tiles_of_a.push_back(graph.parameter<Tile>());
  for (std::size_t row = 0; row < kTiles; ++row)
    for (std::size_t column = 0; column <= row; ++column) {
      // What all columns to the left leave of this tile, one after the other.
      tarn::node<Tile> left{};
      for (std::size_t k = 0; k < column; ++k) {
        left = k == 0 ? graph.add({.cost = 2}, update, at(row, column), l[row][k], l[column][k])
                      : graph.add({.cost = 2}, update, left, l[row][k], l[column][k]);
      }
      if (row == column) {
        l[row].push_back(column == 0 ? graph.add(factor, at(row, column)) : graph.add(factor, left));
      } else {
        l[row].push_back(column == 0 ? graph.add(solve, l[column][column], at(row, column))
                                     : graph.add(solve, l[column][column], left));
      }
    }

  double error = 0;
  double best_ms = 1e9;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    for (std::size_t row = 0; row < kTiles; ++row)
      for (std::size_t column = 0; column <= row; ++column) graph.set(at(row, column), make_tile(seed, row, column));
    const auto begin = std::chrono::steady_clock::now();
    graph.run();
    best_ms = std::min(best_ms, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());

    // The last row of L * L' against that of A.
    const std::size_t row = kTiles - 1;
    for (std::size_t column = 0; column < kTiles; ++column) {
      Tile product(kSide * kSide);
      for (std::size_t k = 0; k <= column; ++k) {
        const TileView x = graph.get_view(l[row][k]);
        const TileView y = graph.get_view(l[column][k]);
        for (std::size_t i = 0; i < kSide; ++i)
          for (std::size_t j = 0; j < kSide; ++j)
            for (std::size_t m = 0; m < kSide; ++m) product[i * kSide + j] += x[i * kSide + m] * y[j * kSide + m];
      }
      const Tile a = make_tile(seed, row, column);
      for (std::size_t i = 0; i < a.size(); ++i) error = std::max(error, std::abs(product[i] - a[i]) / kSize);
    }
  }
  std::printf("5 matrices of %zu x %zu were factored by one graph of %u tasks, the fastest in %.1f ms; the largest error is %.1g.\n",
              kSize, kSize, l[kTiles - 1][kTiles - 1].number + 1, best_ms, error);
  return error < 1e-12 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "cholesky: %s\n", e.what());
  return 1;
}
