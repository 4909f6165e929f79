#include "base/error.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/assert.hpp"
#include "tarn/tarn.h"

namespace tarn {
namespace {

thread_local char text[kErrorTextSizeMax];
thread_local ErrorGuard* innermost = nullptr;

}  // namespace

int fail(int code, const char* format, ...) {
  TARN_ASSERT(code < 0);
  // The arguments may point into `text` itself, when a caller adds to what it was told.
  char fresh[kErrorTextSizeMax];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fresh, sizeof fresh, format, arguments);
  va_end(arguments);
  // Those around one that has kept the text have kept it as well.
  for (ErrorGuard* guard = innermost; guard != nullptr && !guard->has_kept_; guard = guard->outer_) guard->keep();
  memcpy(text, fresh, sizeof text);
  return code;
}

int fail_errno(int code, const char* format, ...) {
  int error = errno;
  char fresh[kErrorTextSizeMax];
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

// kept_ is not initialised: nobody reads it before it is kept.
ErrorGuard::ErrorGuard() : outer_(innermost) { innermost = this; }

ErrorGuard::~ErrorGuard() { innermost = outer_; }

void ErrorGuard::keep() {
  memcpy(kept_, text, sizeof kept_);
  has_kept_ = true;
}

void ErrorGuard::exchange() {
  if (!has_kept_) return;
  char newest[kErrorTextSizeMax];
  memcpy(newest, text, sizeof newest);
  memcpy(text, kept_, sizeof text);
  memcpy(kept_, newest, sizeof kept_);
}

#ifdef TARN_SIM
void exchange_error_state(ErrorState& other) {
  for (size_t i = 0; i < sizeof text; ++i) std::swap(text[i], other.text[i]);
  std::swap(innermost, other.innermost);
}
#endif

}  // namespace tarn
