// Defining, submitting and awaiting tasks.

#include <cstring>
#include <new>

#include "base/error.hpp"
#include "client.hpp"
#include "task/parts.hpp"
#include "task/registry.hpp"

using namespace tarn;

int tarn_task_define(const char* name, tarn_task_fn fn) {
  return tarn_task_define_typed(name, fn, 0, nullptr);
}

int tarn_task_define_typed(const char* name, tarn_task_fn fn, uint32_t signature, void* context) {
  if (int r = client::check_before_init(name); r < 0) return r;
  return task::define_task(name, fn, signature, context);
}

tarn_task tarn_task_id(const char* name) { return task::task_number(name == nullptr ? "" : name); }

int tarn_submit(tarn_client* client, tarn_task task, const tarn_arg* args, size_t count,
                const tarn_submit_options* options, tarn_future* future) {
  if (int r = client::check_client(client); r < 0) return r;
  if (future == nullptr) return fail(TARN_E_ARGUMENT, "future is NULL");
  return client->submitter.submit(task, args, count, options, *future);
}

int tarn_submit_batch(tarn_client* client, tarn_task task, const tarn_arg* args, size_t args_each, size_t count,
                      const tarn_submit_options* options, tarn_future* futures, size_t* done) {
  size_t ignored;
  if (done != nullptr) *done = 0;
  if (int r = client::check_client(client); r < 0) return r;
  if (count != 0 && futures == nullptr) return fail(TARN_E_ARGUMENT, "futures is NULL, but count is %zu", count);
  return client->submitter.submit_batch(task, args, args_each, count, options, futures, done == nullptr ? ignored : *done);
}

int tarn_wait(tarn_client* client, const tarn_future* futures, size_t count, size_t want, int64_t timeout_ns,
              uint8_t* done, size_t* done_count) {
  if (int r = client::check_client(client); r < 0) return r;
  client->graphs.tidy();
  return client->submitter.wait(futures, count, want, timeout_ns, done, done_count);
}

int tarn_result(tarn_client* client, tarn_future future, int64_t timeout_ns, tarn_bytes* bytes) {
  if (int r = client::check_client(client); r < 0) return r;
  tarn_bytes ignored;
  return client->submitter.result(future, timeout_ns, bytes == nullptr ? ignored : *bytes);
}

int tarn_result_part(tarn_client* client, tarn_future future, uint32_t index, int64_t timeout_ns,
                     tarn_bytes* bytes) {
  if (int r = client::check_client(client); r < 0) return r;
  tarn_bytes ignored;
  return client->submitter.result_part(future, index, timeout_ns,
                                       bytes == nullptr ? ignored : *bytes);
}

int tarn_part_count(tarn_bytes result, size_t* count) {
  if (int r = client::check_pointer(count, "count"); r < 0) return r;
  return task::count_parts(result, nullptr, *count);
}

int tarn_part_read(tarn_bytes result, size_t index, tarn_bytes* part) {
  if (int r = client::check_pointer(part, "part"); r < 0) return r;
  return task::read_part(result, index, nullptr, *part);
}

int tarn_future_object(tarn_client* client, tarn_future future, int64_t timeout_ns, tarn_object* object) {
  if (int r = client::check_client(client); r < 0) return r;
  if (object == nullptr) return fail(TARN_E_ARGUMENT, "object is NULL");
  shm::ObjectRef ref;
  ErrorGuard guard;  // a small result is put, and the store asks for memory more than once
  if (int r = client->submitter.result_object(future, timeout_ns, ref); r < 0) return r;
  (void)guard.end(0);
  *object = client::object_handle(*client, ref);
  return 0;
}

int tarn_future_error(tarn_client* client, tarn_future future, tarn_task_error* error) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_struct(error, "error", "tarn_task_error"); r < 0) return r;
  ErrorGuard guard;  // the task's own words may be lost
  return guard.end(client->submitter.error(future, *error));
}

int tarn_cancel(tarn_client* client, tarn_future future, uint32_t flags) {
  if (int r = client::check_client(client); r < 0) return r;
  if ((flags & ~uint32_t{TARN_CANCEL_KILL}) != 0) return fail(TARN_E_ARGUMENT, "flags is %#x; there is TARN_CANCEL_KILL (1)", flags);
  return client->submitter.cancel(future, (flags & TARN_CANCEL_KILL) != 0);
}

int tarn_future_release(tarn_client* client, tarn_future future) {
  if (int r = client::check_client(client); r < 0) return r;
  return client->submitter.release(future);
}

struct tarn_watch {
  tarn_client* client;
  task::Watch futures;
};

int tarn_watch_open(tarn_client* client, const tarn_future* futures, size_t count, tarn_watch** watch) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(watch, "watch"); r < 0) return r;
  if (count != 0 && futures == nullptr) return fail(TARN_E_ARGUMENT, "futures is NULL, but count is %zu", count);
  auto* made = new (std::nothrow) tarn_watch{client, {}};
  if (made == nullptr) return fail(TARN_E_NO_MEMORY, "no memory for a watch");
  if (int r = client->submitter.open_watch(futures, count, made->futures); r < 0) {
    delete made;
    return r;
  }
  *watch = made;
  return 0;
}

int tarn_watch_next(tarn_watch* watch, int64_t timeout_ns, size_t* positions, size_t capacity, size_t* count) {
  if (int r = client::check_pointer(watch, "watch"); r < 0) return r;
  if (int r = client::check_client(watch->client); r < 0) return r;
  if (int r = client::check_pointer(count, "count"); r < 0) return r;
  if (positions == nullptr || capacity == 0) return fail(TARN_E_ARGUMENT, "positions is NULL, or there is no room in it");
  return watch->client->submitter.watch_next(watch->futures, timeout_ns, positions, capacity, *count);
}

void tarn_watch_close(tarn_client* client, tarn_watch* watch) {
  if (watch == nullptr) return;
  if (client != nullptr) {
    watch->client->submitter.close_watch(watch->futures);
  } else {
    task::Submitter::forget_watch(watch->futures);
  }
  delete watch;
}

int tarn_future_then(tarn_client* client, tarn_future future, tarn_future_fn fn, void* context) {
  if (int r = client::check_outside(client); r < 0) return r;
  return client->submitter.then(future, fn, context);
}
