#include "multiply.hpp"

#include <cblas.h>

namespace matrix_product {

const char* const kMethod = "a BLAS";

void multiply(std::span<const double> rows, std::span<const double> b, std::size_t size,
              std::span<double> product) {
  const auto n = static_cast<int>(size);
  const auto m = static_cast<int>(rows.size() / size);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, n, 1, rows.data(), n, b.data(), n, 1,
              product.data(), n);
}

}  // namespace matrix_product
