// Errors as text.

#include "base/error.hpp"
#include "base/error_info.hpp"
#include "tarn/tarn.h"

const char* tarn_last_error(void) { return tarn::last_error(); }

void tarn_print_error(FILE* stream) { fprintf(stream, "tarn: %s\n", tarn::last_error()); }

const char* tarn_strerror(int code) {
  const tarn::ErrorInfo* info = tarn::error_info(code);
  return info == nullptr ? "Unknown error" : info->meaning;
}

const char* tarn_error_name(int code) {
  const tarn::ErrorInfo* info = tarn::error_info(code);
  return info == nullptr ? "TARN_E_?" : info->name;
}
