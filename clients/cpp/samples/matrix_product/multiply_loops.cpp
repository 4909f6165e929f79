#include "multiply.hpp"

namespace matrix_product {

const char* const kMethod = "plain loops";

void multiply(std::span<const double> rows, std::span<const double> b, std::size_t size,
              std::span<double> product) {
  for (std::size_t i = 0; i < rows.size() / size; ++i) {
    for (std::size_t k = 0; k < size; ++k) {
      const double factor = rows[i * size + k];
      for (std::size_t j = 0; j < size; ++j) product[i * size + j] += factor * b[k * size + j];
    }
  }
}

}  // namespace matrix_product
