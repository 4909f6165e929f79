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

thread_local LastError last;
thread_local const uint64_t* counted_by = nullptr;
thread_local ErrorGuard* innermost = nullptr;

}  // namespace

int fail(int code, const char* format, ...) {
  TARN_ASSERT(code < 0);
  // The arguments may point into the text itself, when a caller adds to what it was told.
  char fresh[kErrorTextSizeMax];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fresh, sizeof fresh, format, arguments);
  va_end(arguments);
  // Those around one that has kept the text have kept it as well.
  for (ErrorGuard* guard = innermost; guard != nullptr && !guard->has_kept_; guard = guard->outer_) guard->keep();
  memcpy(last.text, fresh, sizeof fresh);
  last.code = code;
  last.count = counted_by == nullptr ? 0 : *counted_by;
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

const char* last_error() { return last.text; }
bool is_last_error(int code) { return counted_by != nullptr && last.code == code && last.count == *counted_by; }
void count_errors_by(const uint64_t* count) { counted_by = count; }

// kept_ is not initialised: nobody reads it before it is kept.
ErrorGuard::ErrorGuard() : outer_(innermost) { innermost = this; }

ErrorGuard::~ErrorGuard() { innermost = outer_; }

void ErrorGuard::keep() {
  kept_ = last;
  has_kept_ = true;
}

void ErrorGuard::exchange() {
  if (!has_kept_) return;
  std::swap(last, kept_);
}

#ifdef TARN_SIM
void exchange_error_state(ErrorState& other) {
  std::swap(last, other.last);
  std::swap(counted_by, other.count);
  std::swap(innermost, other.innermost);
}
#endif

}  // namespace tarn
