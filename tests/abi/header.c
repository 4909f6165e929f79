/* tarn.h must compile as strict C11, by itself and first, and mean the same there as in C++. */

#include <tarn/tarn.h>

#include "layout.h"

/* What a C program writes down: every enum is a constant, and the helpers are inline. */
static_assert(TARN_OK == 0 && TARN_E_NOT_INITIALISED == -1 && TARN_E_PROTOCOL == -29, "a code changed its number");
static_assert(TARN_VERSION_NUMBER >= 0x000100, "the version is a number that compares");

int main(void)
{
  const tarn_arg arg = tarn_arg_value("x", 1);
  return arg.kind == TARN_ARG_VALUE && arg.u.value.size == 1 ? 0 : 1;
}
