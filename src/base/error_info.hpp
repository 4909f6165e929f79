// ErrorInfo: the name of a TARN_E_* code, what it means and what to do. The list is that of tarn.h.
#pragma once

namespace tarn {

struct ErrorInfo {
  int code;
  const char* name;     // "TARN_E_TIMED_OUT"
  const char* meaning;  // one sentence without a full stop
  const char* advice;   // what the user can do
};

// Static; nullptr if there is no such code. Any thread.
[[nodiscard]] const ErrorInfo* error_info(int code);

}  // namespace tarn
