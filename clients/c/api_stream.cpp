// Streams: tasks that yield results one by one, and reading them.

#include "base/error.hpp"
#include "client.hpp"
#include "task/call.hpp"

using namespace tarn;

int tarn_submit_stream(tarn_client* client, tarn_task task, const tarn_arg* args, size_t count, const tarn_submit_options* options,
                       const tarn_stream_options* stream_options, tarn_future* future) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(future, "future"); r < 0) return r;
  return client->submitter.submit_stream(task, args, count, options, stream_options, *future);
}

int tarn_stream_next(tarn_client* client, tarn_future future, int64_t timeout_ns, tarn_bytes* bytes) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(bytes, "bytes"); r < 0) return r;
  return client->submitter.stream_next(future, timeout_ns, *bytes);
}

int tarn_stream_next_object(tarn_client* client, tarn_future future, int64_t timeout_ns, tarn_object* object) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(object, "object"); r < 0) return r;
  shm::ObjectRef ref;
  ErrorGuard guard;  // a small item is put, and the store asks for memory more than once
  if (int r = client->submitter.stream_next_object(future, timeout_ns, ref); r < 0) return r;
  (void)guard.end(0);
  *object = client::object_handle(*client, ref);
  return 0;
}

int tarn_stream_then(tarn_client* client, tarn_future future, tarn_future_fn fn, void* context) {
  if (int r = client::check_outside(client); r < 0) return r;
  return client->submitter.stream_then(future, fn, context);
}

int tarn_call_yield(tarn_call* call, const void* data, size_t size) { return task::yield(*call, data, size); }

int tarn_call_yield_buffer(tarn_call* call, size_t size, void** data) {
  if (int r = client::check_pointer(data, "data"); r < 0) return r;
  return task::yield_buffer(*call, size, *data);
}

int tarn_call_yield_filled(tarn_call* call) { return task::yield_filled(*call); }
