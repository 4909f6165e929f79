// Options: structs of the caller's that begin with their size.
#pragma once

#include <cstddef>

#include "base/error.hpp"
#include "tarn/tarn.h"

namespace tarn {

inline constexpr size_t kOptionsSizeMax = 4096;  // of any header to come

// Whether a struct of `size` bytes, of which this library knows `known`, says nothing that it does not know: what a newer header has
// behind that has to be zero.
[[nodiscard]] inline int check_options(const void* given, size_t size, size_t known, const char* type) {
  if (size == known) [[likely]]
    return 0;
  if (size < known || size > kOptionsSizeMax)
    return fail(TARN_E_ARGUMENT, "%s: size is %zu; set it to sizeof(%s), here %zu", type, size, type, known);
  const auto* bytes = static_cast<const unsigned char*>(given);
  for (size_t i = known; i < size; ++i)
    if (bytes[i] != 0)
      return fail(TARN_E_VERSION, "%s: byte %zu is set, and this library knows %zu; it is older than the header", type, i, known);
  return 0;
}

}  // namespace tarn
