// Errors: a negative TARN_E_* code travels up unchanged; its text is kept for the thread.
//
// The text says what happened, to what, and what to do, and is written where that is known. Library
// rooms return codes and never log; whoever calls decides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace tarn {

// Sets this thread's error text (cut at 1 KiB) and returns `code`, which must be negative.
[[gnu::format(printf, 2, 3)]] int fail(int code, const char* format, ...);

// The same for a failed system call: appends the text of errno. `code` may be chosen by errno, see
// code_of_errno.
[[gnu::format(printf, 2, 3)]] int fail_errno(int code, const char* format, ...);

// ENOMEM and ENOSPC are TARN_E_NO_MEMORY, EACCES and EPERM TARN_E_DENIED, EMFILE and ENFILE
// TARN_E_LIMIT, anything else TARN_E_SYSTEM.
int code_of_errno(int error);

// The text set last in this thread, "" if none.
const char* last_error();

// Whether that text is of `code`, and was set while the thread did what it does now, by the count that it gave (a worker: of its tasks,
// one behind the other). Without one nothing is.
bool is_last_error(int code);
void count_errors_by(const uint64_t* count);

inline constexpr size_t kErrorTextSizeMax = 1024;  // docs/limits.md

struct LastError {
  char text[kErrorTextSizeMax];
  int code;
  uint64_t count;  // when it was set
};

// ErrorGuard: over something that may fail on its way and succeed all the same, so that nobody is told of a failure that was
// none. On the stack, and may be nested. Until something fails it costs two words and copies nothing.
class ErrorGuard {
 public:
  ErrorGuard();
  ~ErrorGuard();
  ErrorGuard(const ErrorGuard&) = delete;
  ErrorGuard& operator=(const ErrorGuard&) = delete;

  // Returns `r`; if that is no error, this thread's text is what it was when this began.
  int end(int r) {
    if (r >= 0 && has_kept_) exchange();
    return r;
  }

  // The text from before becomes this thread's, and its newest one is kept: once more, and they are back.
  void exchange();

 private:
  friend int fail(int code, const char* format, ...);
  void keep();

  ErrorGuard* outer_;
  bool has_kept_ = false;
  LastError kept_;
};

#ifdef TARN_SIM
// For tests/sim, whose processes are fibers of one thread: the errors of the one that goes are put away, those of the next one taken.
struct ErrorState {
  LastError last{};
  const uint64_t* count = nullptr;
  ErrorGuard* innermost = nullptr;
};
void exchange_error_state(ErrorState& other);
#endif

}  // namespace tarn
