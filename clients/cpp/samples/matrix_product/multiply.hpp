// multiply: the product of some rows with a square matrix, by a BLAS if there was one when this was
// built.
#pragma once

#include <cstddef>
#include <span>

namespace matrix_product {

// How it is done, for people.
extern const char* const kMethod;

// Adds `rows` times `b` to `product`, all in C order and with `size` columns; `product` has as many
// rows as `rows`.
void multiply(std::span<const double> rows, std::span<const double> b, std::size_t size,
              std::span<double> product);

}  // namespace matrix_product
