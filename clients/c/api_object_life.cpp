// Objects: finding, awaiting and dropping them, and many at once.

#include "base/error.hpp"
#include "client.hpp"
#include "os/clock.hpp"

using namespace tarn;

int tarn_object_exists(tarn_client* client, tarn_object object) {
  if (int r = client::check_client(client); r < 0) return r;
  shm::ObjectRef ref{};
  if (object.origin != client->origin || client::object_ref(*client, object, ref) < 0) return 0;
  return client->store.exists(ref) ? 1 : 0;
}

int tarn_object_list(tarn_client* client, tarn_object* objects, tarn_object_details* details, size_t capacity,
                     size_t* count) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(count, "count"); r < 0) return r;
  if (int r = client::check_bytes(objects, capacity, "objects", "capacity"); r < 0) return r;
  size_t stride = 0;
  if (details != nullptr && capacity != 0) {
    stride = details[0].size;  // of the program's own version of the struct
    if (stride < sizeof *details || stride % alignof(tarn_object_details) != 0 || stride > 4096)
      return fail(TARN_E_ARGUMENT, "details[0].size is %zu; set it to sizeof(tarn_object_details)", stride);
  }
  auto* bytes = stride != 0 ? reinterpret_cast<std::byte*>(details) : nullptr;
  // The references become handles in place, from the last on: a handle takes more room.
  static_assert(sizeof(shm::ObjectRef) <= sizeof(tarn_object) && alignof(shm::ObjectRef) <= alignof(tarn_object));
  auto* refs = reinterpret_cast<shm::ObjectRef*>(objects);
  size_t held = client->store.list(refs, bytes, stride, capacity);
  for (size_t i = held < capacity ? held : capacity; i-- > 0;) {
    shm::ObjectRef ref = refs[i];
    objects[i] = client::object_handle(*client, ref);
    if (bytes != nullptr) reinterpret_cast<tarn_object_details*>(bytes + i * stride)->size = stride;
  }
  *count = held;
  return 0;
}

int tarn_object_wait(tarn_client* client, tarn_object object, int64_t timeout_ns) {
  if (int r = client::check_client(client); r < 0) return r;
  if (timeout_ns < -1)
    return fail(TARN_E_ARGUMENT, "timeout_ns is %lld; 0 does not wait, and -1 waits for ever",
                static_cast<long long>(timeout_ns));
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  return client->store.wait_sealed(ref, timeout_ns == 0 ? 0 : os::deadline_after(timeout_ns));
}

int tarn_object_abort(tarn_client* client, tarn_object object) {
  if (int r = client::check_client(client); r < 0) return r;
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  return client->store.abort(ref);
}

namespace {

// Calls one(i) for each of `count` until it fails; says in `*done` how often it did not. The arrays are given
// to be named if they are missing.
template <class One>
int for_many(tarn_client* client, const void* in, const char* in_name, const void* out, const char* out_name, size_t count,
             size_t* done, One one) {
  if (done == nullptr) return fail(TARN_E_ARGUMENT, "done is NULL; it says how many succeeded");
  *done = 0;
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_bytes(in, count, in_name, "count"); r < 0) return r;
  if (int r = client::check_bytes(out, count, out_name, "count"); r < 0) return r;
  for (size_t i = 0; i < count; ++i) {
    if (int r = one(i); r < 0) return r;
    *done = i + 1;
  }
  return 0;
}

}  // namespace

int tarn_put_many(tarn_client* client, const tarn_bytes* data, size_t count, const tarn_object_options* options,
                  tarn_object* objects, size_t* done) {
  return for_many(client, data, "data", objects, "objects", count, done, [&](size_t i) {
    return tarn_put_with(client, data[i].data, data[i].size, options, &objects[i]);
  });
}

int tarn_get_many(tarn_client* client, const tarn_object* objects, size_t count, tarn_bytes* bytes, size_t* done) {
  return for_many(client, objects, "objects", bytes, "bytes", count, done,
                  [&](size_t i) { return tarn_get(client, objects[i], &bytes[i]); });
}

int tarn_release_many(tarn_client* client, const tarn_object* objects, size_t count, size_t* done) {
  return for_many(client, objects, "objects", objects, "objects", count, done,
                  [&](size_t i) { return tarn_release(client, objects[i]); });
}
