#include "base/error.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "base/assert.hpp"
#include "tarn/tarn.h"

namespace tarn {
namespace {

constexpr size_t kTextSizeMax = 1024;
thread_local char text[kTextSizeMax];

}  // namespace

int fail(int code, const char* format, ...) {
  TARN_ASSERT(code < 0);
  // The arguments may point into `text` itself, when a caller adds to what it was told.
  char fresh[kTextSizeMax];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fresh, sizeof fresh, format, arguments);
  va_end(arguments);
  memcpy(text, fresh, sizeof text);
  return code;
}

int fail_errno(int code, const char* format, ...) {
  int error = errno;
  char fresh[kTextSizeMax];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fresh, sizeof fresh, format, arguments);
  va_end(arguments);
  char reason[128];
  return fail(code, "%s: %s", fresh, strerror_r(error, reason, sizeof reason));
}

int code_of_errno(int error) {
  switch (error) {
    case ENOMEM:
    case ENOSPC:
      return TARN_E_NO_MEMORY;
    case EACCES:
    case EPERM:
      return TARN_E_DENIED;
    case EMFILE:
    case ENFILE:
      return TARN_E_LIMIT;
    default:
      return TARN_E_SYSTEM;
  }
}

const char* last_error() { return text; }

}  // namespace tarn
