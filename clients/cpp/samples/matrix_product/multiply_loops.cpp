#include <cstdlib>
#include <thread>
#include <vector>

#include "multiply.hpp"

namespace matrix_product {
namespace {

void multiply_on_one_core(std::span<const double> rows, std::span<const double> b, std::size_t size,
                          std::span<double> product) {
  for (std::size_t i = 0; i < rows.size() / size; ++i) {
    for (std::size_t k = 0; k < size; ++k) {
      const double factor = rows[i * size + k];
      for (std::size_t j = 0; j < size; ++j) product[i * size + j] += factor * b[k * size + j];
    }
  }
}

}  // namespace

const char* const kMethod = "plain loops";

// As a BLAS does, with as many threads as the environment says.
void multiply(std::span<const double> rows, std::span<const double> b, std::size_t size,
              std::span<double> product) {
  const char* text = std::getenv("OMP_NUM_THREADS");
  const long wanted = text != nullptr ? std::strtol(text, nullptr, 10) : 1;
  const std::size_t threads = wanted > 1 ? static_cast<std::size_t>(wanted) : 1;
  const std::size_t count = rows.size() / size;
  std::vector<std::jthread> others;
  for (std::size_t i = 0; i < threads; ++i) {
    const std::size_t first = count * i / threads * size;
    const std::size_t values = count * (i + 1) / threads * size - first;
    const auto part = [=] {
      multiply_on_one_core(rows.subspan(first, values), b, size, product.subspan(first, values));
    };
    if (i + 1 < threads) {
      others.emplace_back(part);
    } else {
      part();
    }
  }
}

}  // namespace matrix_product
