// matrix_product: multiplies two matrices, some rows of the result in each task.
//
// Both matrices are made in place in shared memory. A task gets its rows of A as a slice and B
// whole, neither of them copied; its rows of the result become a result that the client reads in
// place.

#include <tarn/tarn.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <span>
#include <vector>

namespace {

constexpr std::size_t kSize = 512;  // rows and columns
constexpr std::size_t kRowsOfTask = 64;

using Values = std::span<const double>;

std::vector<double> multiply(Values rows, Values b) {
  std::vector<double> product(rows.size());
  for (std::size_t i = 0; i < rows.size() / kSize; ++i) {
    for (std::size_t k = 0; k < kSize; ++k) {
      const double factor = rows[i * kSize + k];
      for (std::size_t j = 0; j < kSize; ++j) product[i * kSize + j] += factor * b[k * kSize + j];
    }
  }
  return product;
}
TARN_TASK(multiply);

// A matrix whose element in row i and column j is value(i, j).
template <class Value>
tarn::object make_matrix(tarn::client& tarn, Value value) {
  return tarn.create<double>(kSize * kSize)
      .fill([value](std::span<double> elements) {
        for (std::size_t i = 0; i < elements.size(); ++i) elements[i] = value(i / kSize, i % kSize);
      })
      .seal();
}

}  // namespace

int main(int argc, char** argv) try {
  tarn::client tarn = tarn::init(argc, argv);

  // The product's element in row i and column j is (i + 1) * kSize / (j + 1).
  tarn::object a = make_matrix(tarn, [](std::size_t i, std::size_t k) {
    return static_cast<double>(i + 1) / static_cast<double>(k + 1);
  });
  tarn::object b = make_matrix(tarn, [](std::size_t k, std::size_t j) {
    return static_cast<double>(k + 1) / static_cast<double>(j + 1);
  });

  constexpr std::size_t kBytesOfTask = kRowsOfTask * kSize * sizeof(double);
  std::vector<tarn::future<std::vector<double>>> parts;
  for (std::size_t at = 0; at < a.size(); at += kBytesOfTask) {
    parts.push_back(tarn.submit(multiply, a.slice(at, kBytesOfTask), b));
  }

  double error = 0;
  std::size_t at = 0;
  for (const auto& part : parts) {
    for (const double element : part.get_view()) {
      const double row = static_cast<double>(at / kSize + 1);
      const double column = static_cast<double>(at++ % kSize + 1);
      error = std::max(error, std::abs(element * column / (row * kSize) - 1));
    }
  }
  std::printf("The product has %zu elements; the largest relative error is %.0e.\n", at, error);
  return at == kSize * kSize && error < 1e-12 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "matrix_product: %s\n", e.what());
  return 1;
}
