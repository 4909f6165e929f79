#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace tarn {

void assert_failed(const char* expression, const char* file, int line) {
  fprintf(stderr, "tarn: bug: %s does not hold at %s:%d\n", expression, file, line);
  abort();
}

}  // namespace tarn
