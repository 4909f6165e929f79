// matrix_product: multiplies two matrices, some rows of the result in each call.
//
// Both matrices are made in place in shared memory. A call gets its rows of A as a slice and B
// whole, neither of them copied. The product of the rows is a BLAS's, if there is one:
// OMP_NUM_THREADS, OPENBLAS_NUM_THREADS and MKL_NUM_THREADS say in every worker how many cores its
// slot has, so that the BLAS does not begin a thread for each core of the host in each of them.
// Then one call multiplies them as a whole, on all cores of a NUMA node that the session has: it
// finds that number there.

#include <tarn/tarn.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "multiply.hpp"

namespace {

constexpr std::size_t kSize = 512;  // rows and columns
constexpr std::size_t kRowsOfCall = 16;

using Values = std::span<const double>;

std::vector<double> multiply_rows(Values rows, Values b) {
  std::vector<double> product(rows.size());
  matrix_product::multiply(rows, b, kSize, product);
  return product;
}
TARN_TASK(multiply_rows);

std::string threads_of_blas() {
  const char* threads = std::getenv("OPENBLAS_NUM_THREADS");
  if (threads == nullptr) threads = std::getenv("OMP_NUM_THREADS");
  return threads != nullptr ? threads : "?";
}
TARN_TASK(threads_of_blas);

// The largest relative error in the elements that begin with number `at`.
double error_of(Values elements, std::size_t at) {
  double error = 0;
  for (const double element : elements) {
    const double row = static_cast<double>(at / kSize + 1);
    const double column = static_cast<double>(at++ % kSize + 1);
    error = std::max(error, std::abs(element * column / (row * kSize) - 1));
  }
  return error;
}

// How many slots lie on the node that has most of them.
std::uint32_t slots_on_a_node(const tarn::client& tarn) {
  std::map<int, std::uint32_t> slots;
  for (const tarn::slot& slot : tarn.slots()) ++slots[slot.node];
  std::uint32_t most = 1;
  for (const auto& [node, count] : slots) most = std::max(most, count);
  return most;
}

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
  const tarn::object a = make_matrix(tarn, [](std::size_t i, std::size_t k) {
    return static_cast<double>(i + 1) / static_cast<double>(k + 1);
  });
  const tarn::object b = make_matrix(tarn, [](std::size_t k, std::size_t j) {
    return static_cast<double>(k + 1) / static_cast<double>(j + 1);
  });

  const std::vector<std::vector<double>> parts =
      tarn.map(multiply_rows, tarn::slices(a, kRowsOfCall * kSize), b);

  double error = 0;
  std::size_t at = 0;
  for (const std::vector<double>& part : parts) {
    error = std::max(error, error_of(part, at));
    at += part.size();
  }
  std::printf("The product has %zu elements; the largest relative error is %.0e.\n", at, error);
  std::printf("It was made by %s, with %s threads a worker.\n", matrix_product::kMethod,
              tarn.submit(threads_of_blas).get().c_str());

  const tarn::task_options several{.cores = slots_on_a_node(tarn)};
  const std::vector<double> whole = tarn.submit(several, multiply_rows, a, b).get();
  error = std::max(error, error_of(whole, 0));
  std::printf("As a whole it was made with %s threads.\n",
              tarn.submit(several, threads_of_blas).get().c_str());
  return at == kSize * kSize && whole.size() == at && error < 1e-12 ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "matrix_product: %s\n", e.what());
  return 1;
}
