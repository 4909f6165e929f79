// What a task calls while it runs.

#include <cstdarg>
#include <cstring>

#include "base/error.hpp"
#include "client.hpp"
#include "tarn/tarn.h"
#include "task/call.hpp"
#include "task/parts.hpp"

using namespace tarn;

size_t tarn_call_arg_count(const tarn_call* call) { return call->arg_count; }

tarn_bytes tarn_call_arg(const tarn_call* call, size_t index) {
  return index < call->arg_count ? call->args[index] : tarn_bytes{nullptr, 0};
}

int tarn_call_arg_info(const tarn_call* call, size_t index, tarn_arg_details* details) {
  if (int r = client::check_struct(details, "details", "tarn_arg_details"); r < 0) return r;
  shm::ObjectRef ref;
  if (int r = task::argument_object(*call, index, ref); r < 0) return r;
  store::ObjectMeta meta;
  uint64_t size = call->args[index].size;
  if (ref.generation != 0) {
    if (int r = call->store->resolve_meta(ref, meta, size); r < 0) return r;
  }
  details->type = meta.type;
  details->is_object = ref.generation != 0 ? 1 : 0;
  details->bytes = size;
  details->offset = ref.offset;
  details->label = meta.label.empty() ? "" : meta.label.data();
  details->metadata = meta.metadata;
  return 0;
}

tarn_client* tarn_call_client(const tarn_call* call) { return call->client; }

int tarn_call_arg_object(const tarn_call* call, size_t index, tarn_object* object) {
  if (int r = client::check_pointer(object, "object"); r < 0) return r;
  if (int r = client::check_client(call->client); r < 0) return r;
  shm::ObjectRef ref;
  if (int r = task::argument_object(*call, index, ref); r < 0) return r;
  ErrorGuard guard;  // a value is put, and the store asks for memory more than once
  int r = ref.generation != 0 ? call->store->acquire(ref) : call->store->put(call->args[index].data, call->args[index].size, ref);
  if (guard.end(r) < 0) return r;
  *object = client::object_handle(*call->client, ref);
  return 0;
}

void* tarn_call_context(const tarn_call* call) { return call->definition->context; }

int tarn_call_cancelled(const tarn_call* call) {
  return task::code_of_end(*call) != 0 ? 1 : 0;
}

uint32_t tarn_call_attempt(const tarn_call* call) { return call->attempt; }

int tarn_call_return_buffer(tarn_call* call, size_t size, void** data) {
  if (data == nullptr) return fail(TARN_E_ARGUMENT, "data is NULL");
  return task::result_buffer(*call, size, *data);
}

int tarn_call_return(tarn_call* call, const void* data, size_t size) {
  if (data == nullptr && size != 0) return fail(TARN_E_ARGUMENT, "data is NULL, but size is %zu", size);
  void* result;
  if (int r = task::result_buffer(*call, size, result); r < 0) return r;
  if (size == 8) {
    memcpy(result, data, 8);
  } else if (size != 0) {
    store::copy(result, data, size);
  }
  return 0;
}

int tarn_call_return_parts(tarn_call* call, const tarn_bytes* parts, size_t count) {
  if (parts == nullptr && count != 0)
    return fail(TARN_E_ARGUMENT, "parts is NULL, but count is %zu", count);
  return task::return_parts(*call, parts, count);
}

int tarn_call_return_parts_buffer(tarn_call* call, const size_t* sizes, size_t count, void** data) {
  if ((sizes == nullptr || data == nullptr) && count != 0)
    return fail(TARN_E_ARGUMENT, "sizes or data is NULL, but count is %zu", count);
  return task::reserve_parts(*call, sizes, count, data);
}

int tarn_call_fail(tarn_call* call, int code, const char* type, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int r = task::vfail_call(*call, code, type, format, arguments);
  va_end(arguments);
  return r;
}
