#include "task/call.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "os/process.hpp"

namespace tarn::task {

// Tasks that fail because tasks of theirs have failed tell it one after the other, and the first cause comes last.
void cut_middle(char* text, size_t size) {
  constexpr char kGap[] = " [...] ";
  size_t length = strlen(text);
  if (length < size) return;
  size_t left = size / 2 - sizeof kGap;
  memcpy(text + left, kGap, sizeof kGap - 1);
  left += sizeof kGap - 1;
  size_t right = size - 1 - left;
  memmove(text + left, text + length - right, right + 1);
}

void write_code(TaskRecord& record, int code) {
  TaskErrorPayload payload{};
  payload.code = code;
  memcpy(record.payload, &payload, sizeof payload);
}

void forget_error(tarn_call& call) {
  free(call.error_type);
  free(call.error_message);
  free(call.error_task);
  call.error_type = nullptr;
  call.error_message = nullptr;
  call.error_task = nullptr;
}

int vfail_call(tarn_call& call, int code, const char* type, const char* format, va_list arguments) {
  // Before the former words go: the new ones may tell them again.
  char* message = nullptr;
  if (vasprintf(&message, format, arguments) < 0) message = nullptr;
  if (message != nullptr) cut_middle(message, kCallMessageSizeMax);
  char* own_type = type == nullptr ? nullptr : strndup(type, kCallMessageSizeMax - 1);
  forget_error(call);
  // Without memory for its words, the error still has its code.
  call.error_type = own_type;
  call.error_message = message;
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

int code_of_end(const tarn_call& call) {
  for (const TaskRecord* record : {call.record, call.first_record}) {
    uint8_t flags = State::unpack(record->state.load(shm::kRelaxed)).flags;
    if ((flags & kCancelled) != 0) return code_of_cancelled(flags);
  }
  if (call.graph_cancelled != nullptr && call.graph_cancelled->load(shm::kRelaxed) == call.graph_epoch) return TARN_E_CANCELLED;
  return run_watch::is_any_late() ? TARN_E_DEADLINE : 0;
}

static int buffer_again(tarn_call& call, size_t size, void*& data) {
  MadeAgain& again = *call.again;
  if (again.size != 0) call.store->free_block(again.block, again.size);
  again.size = 0;
  if (size <= store::kStaysMax) return fail(TARN_E_LOST, "it made %zu bytes this time, which would never have left memory", size);
  ErrorGuard guard;  // the store may be refused memory and find some
  if (int r = guard.end(call.store->alloc_block(size, again.block)); r < 0) return r;
  again.size = size;
  data = again.block.data;
  return 0;
}

int result_buffer(tarn_call& call, size_t size, void*& data) {
  if (call.forks != os::fork_count)
    return fail(TARN_E_FORKED,
                "this is a process that the task forked; only the worker gives the result");
  if (call.again != nullptr) [[unlikely]]
    return buffer_again(call, size, data);
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
  if (int r = guard.end(call.store->make_result(size, call.made_for, object, data, call.recipe)); r < 0) return r;
  call.result_object = object;
  return 0;
}

}  // namespace tarn::task
