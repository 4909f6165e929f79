// error.hpp: the exceptions of tarn.hpp.
//
// Every failing call of the C interface becomes a tarn::error, or the class derived from it that
// names what callers most often tell apart. What failed inside a task becomes a tarn::task_error.
//
// Thread safety: exceptions are values; nothing here is shared.
#pragma once

#include <tarn/tarn.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace tarn {

// A failed call. what() says what happened, to what, and what to do about it.
class error : public std::runtime_error {
 public:
  error(int code, const std::string& text) : std::runtime_error(text), code_(code) {}

  // The TARN_E_* number. Since 0.1.
  [[nodiscard]] int code() const noexcept { return code_; }
  // Its name, such as "TARN_E_TIMED_OUT". Since 0.1.
  [[nodiscard]] const char* name() const noexcept { return ::tarn_error_name(code_); }

 private:
  int code_;
};

// clang-format off
class timed_out    : public error { using error::error; };  // TARN_E_TIMED_OUT: nothing was lost
class cancelled    : public error { using error::error; };  // TARN_E_CANCELLED
class deadline_passed : public error { using error::error; };  // TARN_E_DEADLINE: of the task
class daemon_gone  : public error { using error::error; };  // TARN_E_DAEMON_GONE
class no_daemon    : public error { using error::error; };  // TARN_E_NO_DAEMON
class denied       : public error { using error::error; };  // TARN_E_DENIED
class bad_argument : public error { using error::error; };  // TARN_E_ARGUMENT
class type_error   : public error { using error::error; };  // TARN_E_TYPE
class file_error   : public error { using error::error; };  // TARN_E_FILE, TARN_E_FILE_CHANGED
class store_full   : public error { using error::error; };  // TARN_E_STORE_FULL
class no_reader    : public error { using error::error; };  // TARN_E_NO_READER: of what a task yields
class over_limit   : public error { using error::error; };  // TARN_E_LIMIT, _QUOTA, _TOO_LARGE
// clang-format on

// What went wrong inside a task: an exception that left it, a code it returned, or the end of its
// worker. what() says it in one line; the parts follow.
class task_error : public error {
 public:
  explicit task_error(const tarn_task_error& e)
      : error(e.code, describe(e)),
        type_(text(e.type)),
        message_(text(e.message)),
        task_(text(e.task)),
        cause_(e.cause),
        signal_(e.signal),
        exit_status_(e.exit_status),
        attempts_(e.attempts),
        output_(text(e.output)) {}

  // The type of the exception, readable, such as "std::out_of_range"; "" if there was none. Since
  // 0.1.
  [[nodiscard]] const std::string& type() const noexcept { return type_; }
  // The exception's own what(), or the task's own words. Since 0.1.
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  // The name of the task that failed: with TARN_E_DEPENDENCY, the first cause. Since 0.1.
  [[nodiscard]] const std::string& task() const noexcept { return task_; }
  // With TARN_E_DEPENDENCY the code of the first cause, else that of this error. Since 0.1.
  [[nodiscard]] int cause() const noexcept { return cause_; }
  // The signal that killed the worker, or 0. Since 0.1.
  [[nodiscard]] int signal() const noexcept { return signal_; }
  // The status with which the worker exited in the task, or 0. Since 0.1.
  [[nodiscard]] int exit_status() const noexcept { return exit_status_; }
  // How often the task was started. Since 0.1.
  [[nodiscard]] std::uint32_t attempts() const noexcept { return attempts_; }
  // The last lines that the task printed before its worker died; "" if there are none. Since 0.1.
  [[nodiscard]] const std::string& output() const noexcept { return output_; }

 private:
  static std::string text(const char* s) { return s != nullptr ? s : ""; }

  static std::string describe(const tarn_task_error& e) {
    std::string line = "task " + text(e.task) + ": ";
    if (!text(e.type).empty()) line += text(e.type) + ": ";
    line += text(e.message).empty() ? ::tarn_strerror(e.code) : text(e.message);
    if (e.signal != 0) line += " (killed by signal " + std::to_string(e.signal) + ")";
    if (e.exit_status != 0) line += " (exited with status " + std::to_string(e.exit_status) + ")";
    if (e.attempts > 1) line += " (started " + std::to_string(e.attempts) + " times)";
    if (!text(e.output).empty()) line += "; it printed last:\n" + text(e.output);
    return line;
  }

  std::string type_;
  std::string message_;
  std::string task_;
  int cause_;
  int signal_;
  int exit_status_;
  std::uint32_t attempts_;
  std::string output_;
};

namespace detail {

// Throws the exception for `code`.
[[noreturn]] inline void raise(int code, const std::string& text) {
  switch (code) {
    case TARN_E_TIMED_OUT:
      throw timed_out(code, text);
    case TARN_E_CANCELLED:
      throw cancelled(code, text);
    case TARN_E_DEADLINE:
      throw deadline_passed(code, text);
    case TARN_E_DAEMON_GONE:
      throw daemon_gone(code, text);
    case TARN_E_NO_DAEMON:
      throw no_daemon(code, text);
    case TARN_E_DENIED:
      throw denied(code, text);
    case TARN_E_ARGUMENT:
      throw bad_argument(code, text);
    case TARN_E_TYPE:
      throw type_error(code, text);
    case TARN_E_FILE:
    case TARN_E_FILE_CHANGED:
      throw file_error(code, text);
    case TARN_E_STORE_FULL:
      throw store_full(code, text);
    case TARN_E_NO_READER:
      throw no_reader(code, text);
    case TARN_E_LIMIT:
    case TARN_E_QUOTA:
    case TARN_E_TOO_LARGE:
      throw over_limit(code, text);
    default:
      throw error(code, text);
  }
}

// Throws what this thread's last call of the C interface failed with.
[[noreturn]] inline void raise_last(int code) {
  const char* text = ::tarn_last_error();
  raise(code, *text != '\0' ? text : ::tarn_strerror(code));
}

// Returns the result of a call of the C interface if it is not negative, and throws otherwise.
inline int check(int result) {
  if (result < 0) raise_last(result);
  return result;
}

// Throws the failure of `future`, or if it has none, `code` itself: an error of the call.
[[noreturn]] inline void raise_failure(tarn_client* client, tarn_future future, int code) {
  const std::string text = ::tarn_last_error();
  tarn_task_error failure{};
  failure.size = sizeof failure;
  const bool failed = code != TARN_E_TIMED_OUT && code != TARN_E_CANCELLED &&
                      code != TARN_E_DEADLINE && ::tarn_future_error(client, future, &failure) == 0;
  if (failed) throw task_error(failure);
  raise(code, text.empty() ? ::tarn_strerror(code) : text);
}

}  // namespace detail
}  // namespace tarn
