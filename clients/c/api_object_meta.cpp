// Objects: the type, label and metadata that go with them.

#include <cstring>

#include "base/error.hpp"
#include "base/options.hpp"
#include "client.hpp"

using namespace tarn;

int client::object_meta(const tarn_object_options* options, uint64_t size, store::ObjectMeta& out,
                        store::Placement& placement) {
  out = {};
  placement = store::Placement::kNear;
  if (options == nullptr) return 0;
  if (int r = check_options(options, options->size, sizeof *options, "tarn_object_options"); r < 0) return r;
  for (uint64_t value : options->reserved2)
    if (value != 0) return fail(TARN_E_ARGUMENT, "tarn_object_options: reserved2 must be zero");
  if (options->placement > TARN_PLACE_INTERLEAVE)
    return fail(TARN_E_ARGUMENT, "tarn_object_options: placement is %u; use TARN_PLACE_NEAR (0) or TARN_PLACE_INTERLEAVE (1)",
                options->placement);
  if (options->placement == TARN_PLACE_INTERLEAVE) placement = store::Placement::kInterleaved;
  if (!store::is_known_type(options->type))
    return fail(TARN_E_ARGUMENT, "type is 0x%x; Tarn's own are 0 to %d, those of programs begin at 0x%x", options->type,
                TARN_TYPE_ARRAY, TARN_TYPE_USER);
  if (options->label != nullptr) {
    size_t length = strnlen(options->label, store::kLabelSizeMax + 1);
    if (length > store::kLabelSizeMax)
      return fail(TARN_E_ARGUMENT, "the label has more than %u bytes", store::kLabelSizeMax);
    out.label = {options->label, length};
  }
  if (int r = client::check_bytes(options->metadata, options->metadata_size, "metadata", "metadata_size"); r < 0) return r;
  if (options->metadata_size > store::kMetadataSizeMax)
    return fail(TARN_E_TOO_LARGE, "%zu bytes of metadata; at most %u go with an object, put more into one of its own",
                options->metadata_size, store::kMetadataSizeMax);
  out.metadata = {options->metadata, options->metadata_size};
  out.type = options->type;
  if (out.type != TARN_TYPE_ARRAY) return 0;
  // An array that nobody could read would be found out far from here.
  tarn_array_layout layout;
  layout.size = sizeof layout;
  return tarn_array_read(out.metadata, size, &layout) < 0
             ? fail(TARN_E_ARGUMENT, "the type is array, but the metadata describes no array of %llu bytes; "
                                     "tarn_array_describe makes it",
                    static_cast<unsigned long long>(size))
             : 0;
}

int tarn_put_with(tarn_client* client, const void* data, size_t size, const tarn_object_options* options,
                  tarn_object* object) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(object, "object"); r < 0) return r;
  if (int r = client::check_bytes(data, size, "data", "size"); r < 0) return r;
  store::ObjectMeta meta;
  store::Placement placement;
  if (int r = client::object_meta(options, size, meta, placement); r < 0) return r;
  shm::ObjectRef ref{};
  if (int r = client::make_with_room(*client, [&] { return client->store.put(data, size, ref, &meta, placement); }); r < 0)
    return r;
  *object = client::object_handle(*client, ref);
  return 0;
}

int tarn_object_create_with(tarn_client* client, size_t size, const tarn_object_options* options, tarn_object* object,
                            void** data) {
  if (int r = client::check_client(client); r < 0) return r;
  if (int r = client::check_pointer(object, "object"); r < 0) return r;
  if (int r = client::check_pointer(data, "data"); r < 0) return r;
  store::ObjectMeta meta;
  store::Placement placement;
  if (int r = client::object_meta(options, size, meta, placement); r < 0) return r;
  shm::ObjectRef ref{};
  void* place;
  if (int r = client::make_with_room(*client, [&] { return client->store.create(size, ref, place, &meta, placement); }); r < 0)
    return r;
  *object = client::object_handle(*client, ref);
  *data = place;
  return 0;
}

int tarn_object_get_metadata(tarn_client* client, tarn_object object, tarn_bytes* metadata) {
  if (int r = client::check_client(client); r < 0) return r;
  if (metadata == nullptr) return fail(TARN_E_ARGUMENT, "metadata is NULL");
  shm::ObjectRef ref{};
  store::ObjectMeta meta;
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  if (int r = client->store.meta(ref, meta); r < 0) return r;
  *metadata = meta.metadata;
  return 0;
}

int tarn_object_get_label(tarn_client* client, tarn_object object, const char** label) {
  if (int r = client::check_client(client); r < 0) return r;
  if (label == nullptr) return fail(TARN_E_ARGUMENT, "label is NULL");
  shm::ObjectRef ref{};
  store::ObjectMeta meta;
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  if (int r = client->store.meta(ref, meta); r < 0) return r;
  *label = meta.label.empty() ? "" : meta.label.data();
  return 0;
}

int tarn_get_typed(tarn_client* client, tarn_object object, uint32_t type, tarn_bytes* bytes) {
  if (int r = client::check_client(client); r < 0) return r;
  if (bytes == nullptr) return fail(TARN_E_ARGUMENT, "bytes is NULL");
  if (type == TARN_TYPE_NONE) return fail(TARN_E_ARGUMENT, "type is 0; tarn_get reads an object of any type");
  shm::ObjectRef ref{};
  if (int r = client::object_ref(*client, object, ref); r < 0) return r;
  return client->store.get_typed(ref, type, *bytes);
}
