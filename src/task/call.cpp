#include "task/call.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "os/process.hpp"

namespace tarn::task {

void forget_error(tarn_call& call) {
  free(call.error_type);
  free(call.error_message);
  free(call.error_task);
  call.error_type = nullptr;
  call.error_message = nullptr;
  call.error_task = nullptr;
}

int vfail_call(tarn_call& call, int code, const char* type, const char* format, va_list arguments) {
  char message[kCallMessageSizeMax];
  vsnprintf(message, sizeof message, format, arguments);
  forget_error(call);
  // Without memory for its words, the error still has its code.
  call.error_type = type == nullptr ? nullptr : strndup(type, kCallMessageSizeMax - 1);
  call.error_message = strdup(message);
  call.error_code = code < 0 ? code : TARN_E_TASK_FAILED;
  return call.error_code;
}

int fail_call(tarn_call& call, int code, const char* type, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int r = vfail_call(call, code, type, format, arguments);
  va_end(arguments);
  return r;
}

int result_buffer(tarn_call& call, size_t size, void*& data) {
  if (call.forks != os::fork_count)
    return fail(TARN_E_FORKED,
                "this is a process that the task forked; only the worker gives the result");
  if (call.result_object.generation != 0) {
    call.store->discard_result(call.result_object);
    call.result_object.generation = 0;
  }
  if (size <= sizeof call.result) {
    call.result_size = size;
    data = call.result;
    return 0;
  }
  ObjectRef object;
  ErrorGuard guard;  // the store may be refused memory and find some
  if (int r = guard.end(call.store->make_result(size, call.made_for, object, data)); r < 0) return r;
  call.result_object = object;
  return 0;
}

}  // namespace tarn::task
