// Errors: a negative TARN_E_* code travels up unchanged; its text is kept for the thread.
//
// The text says what happened, to what, and what to do, and is written where that is known. Library
// rooms return codes and never log; whoever calls decides.
#pragma once

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

}  // namespace tarn
