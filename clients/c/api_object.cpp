// Objects: putting, sharing, reading and releasing bytes.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/error.hpp"
#include "client.hpp"

using namespace tarn;

namespace {

// A handle: origin = process id of the daemon 32 | session 32, for each private daemon's first session is its
// session 1; id = generation 32 | object id 32.

// Handles reach us from the program, so everything in them is checked on the way to the record.
int not_ours(const tarn_object& handle) {
  if (handle.origin == 0) return fail(TARN_E_NO_OBJECT, "this object is empty: it was moved from, or never made");
  return fail(TARN_E_NO_OBJECT, "the object (%llx) is not of this session; use it with the client that made it",
              static_cast<unsigned long long>(handle.id));
}

// Reads `size` bytes of `file`; TARN_E_FILE_CHANGED if it has fewer by now.
int read_all(const Fd& file, std::byte* to, uint64_t size, const char* path) {
  for (uint64_t at = 0; at < size;) {
    ssize_t count = read(file.get(), to + at, std::min<uint64_t>(size - at, 1 << 30));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return fail_errno(TARN_E_FILE, "cannot read %s", path);
    if (count == 0) return fail(TARN_E_FILE_CHANGED, "%s became shorter while it was copied", path);
    at += static_cast<uint64_t>(count);
  }
  return 0;
}

int open_regular(const char* path, Fd& file, uint64_t& size) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  file = Fd{open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  if (!file.valid()) {
    int code = errno == EACCES || errno == EPERM ? TARN_E_DENIED : TARN_E_FILE;
    return fail_errno(code, "cannot open %s", path);
  }
  struct stat status;
  if (fstat(file.get(), &status) < 0) return fail_errno(TARN_E_FILE, "cannot look at %s", path);
  if (S_ISDIR(status.st_mode)) return fail(TARN_E_FILE, "%s is a directory; name a regular file", path);
  if (!S_ISREG(status.st_mode)) return fail(TARN_E_FILE, "%s is not a regular file", path);
  size = static_cast<uint64_t>(status.st_size);
  if (size > store::kObjectSizeMax)
    return fail(TARN_E_TOO_LARGE, "%s has %llu bytes; an object may have %llu", path,
                static_cast<unsigned long long>(size), static_cast<unsigned long long>(store::kObjectSizeMax));
  return 0;
}

}  // namespace

int client::object_ref(const tarn_client& client, const tarn_object& handle, shm::ObjectRef& out) {
  if (handle.origin != client.origin) return not_ours(handle);
  out = {static_cast<uint32_t>(handle.id), static_cast<uint32_t>(handle.id >> 32), handle.offset, handle.size};
  return 0;
}

tarn_object client::object_handle(const tarn_client& client, const shm::ObjectRef& ref) {
  return {client.origin, uint64_t{ref.generation} << 32 | ref.id, ref.offset, ref.size};
}

int tarn_put(tarn_client* client, const void* data, size_t size, tarn_object* object) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(object, "object"); r < 0) return r;
  if (int r = client::check_bytes(data, size, "data", "size"); r < 0) return r;
  shm::ObjectRef ref{};
  if (int r = client::make_with_room(*client, [&] { return client->store.put(data, size, ref); }); r < 0)
    return r;
  *object = client::object_handle(*client, ref);
  return 0;
}

int tarn_object_create(tarn_client* client, size_t size, tarn_object* object, void** data) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(object, "object"); r < 0) return r;
  if (int r = client::check_pointer(data, "data"); r < 0) return r;
  shm::ObjectRef ref{};
  void* place;
  if (int r = client::make_with_room(*client, [&] { return client->store.create(size, ref, place); });
      r < 0)
    return r;
  *object = client::object_handle(*client, ref);
  *data = place;
  return 0;
}

int tarn_object_seal(tarn_client* client, tarn_object object) {
  if (int r = client::check_client(client); r < 0) return r;
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  return client->store.seal(ref);
}

int tarn_object_from_file(tarn_client* client, const char* path, uint32_t flags, tarn_object* object) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(path, "path"); r < 0) return r;
  if (int r = client::check_pointer(object, "object"); r < 0) return r;
  if (flags > TARN_FILE_COPY) return fail(TARN_E_ARGUMENT, "flags is %#x; allowed are TARN_FILE_MAP and TARN_FILE_COPY", flags);
  Fd file;
  uint64_t size = 0;
  if (int r = open_regular(path, file, size); r < 0) return r;
  shm::ObjectRef ref{};
  if (flags == TARN_FILE_MAP && size != 0) {
    if (int r = client->store.map_file(std::move(file), size, ref); r < 0) return r;
  } else {
    void* data;
    if (int r = client::make_with_room(*client, [&] { return client->store.create(size, ref, data); });
        r < 0)
      return r;
    int r = read_all(file, static_cast<std::byte*>(data), size, path);
    if (r == 0) r = client->store.seal(ref);
    if (r == 0) r = client->store.unpin(ref);  // nobody else got the pointer
    if (r < 0) {
      (void)client->store.release(ref);
      return r;
    }
  }
  *object = client::object_handle(*client, ref);
  return 0;
}

int tarn_object_slice(tarn_client* client, tarn_object object, uint64_t offset, uint64_t size, tarn_object* slice) {
  if (int r = client::check_client(client); r < 0) return r;
  if (slice == nullptr) return fail(TARN_E_ARGUMENT, "slice is NULL");
  if (offset > object.size || size > object.size - offset)
    return fail(TARN_E_ARGUMENT, "%llu bytes from %llu do not lie inside a range of %llu bytes",
                static_cast<unsigned long long>(size), static_cast<unsigned long long>(offset),
                static_cast<unsigned long long>(object.size));
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  if (int r = client->store.ref(ref); r < 0) return r;
  ref.offset += offset;
  ref.size = size;
  *slice = client::object_handle(*client, ref);
  return 0;
}

int tarn_get(tarn_client* client, tarn_object object, tarn_bytes* bytes) {
  if (int r = client::check_client(client); r < 0) return r;
  if (bytes == nullptr) return fail(TARN_E_ARGUMENT, "bytes is NULL");
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  return client->store.get(ref, *bytes);
}

int tarn_object_unpin(tarn_client* client, tarn_object object) {
  if (int r = client::check_client(client); r < 0) return r;
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  return client->store.unpin(ref);
}

int tarn_object_ref(tarn_client* client, tarn_object object) {
  if (int r = client::check_client(client); r < 0) return r;
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  return client->store.ref(ref);
}

int tarn_release(tarn_client* client, tarn_object object) {
  if (int r = client::check_client(client); r < 0) return r;
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  return client->store.release(ref);
}

int tarn_object_info(tarn_client* client, tarn_object object, tarn_object_details* details) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_struct(details, "details", "tarn_object_details"); r < 0) return r;
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  return client->store.info(ref, *details);
}
