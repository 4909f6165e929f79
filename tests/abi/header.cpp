// tarn.h must compile as strict C++20, by itself and first, and mean the same there as in C.

#include <tarn/tarn.h>
// A second time: the guard holds.
#include <tarn/tarn.h>

#include "layout.h"

int main() {
  const tarn_arg arg = tarn_arg_value("x", 1);
  return arg.kind == TARN_ARG_VALUE && arg.u.value.size == 1 ? 0 : 1;
}
