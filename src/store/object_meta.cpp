#include "store/object_meta.hpp"

#include <cstdio>
#include <cstring>

#include "base/error.hpp"

namespace tarn::store {
namespace {

// What a label of that size takes, with its NUL.
uint32_t label_room(uint32_t size) { return size == 0 ? 0 : (size + 1 + 7) / 8 * 8; }

bool is_plausible(const MetaHead& head, uint32_t size) {
  return (head.reserved[0] | head.reserved[1] | head.reserved[2]) == 0 && head.label_size <= kLabelSizeMax &&
         head.metadata_size <= kMetadataSizeMax &&
         size == sizeof head + label_room(head.label_size) + head.metadata_size;
}

}  // namespace

uint32_t meta_size(const ObjectMeta& meta) {
  if (meta.label.empty() && meta.metadata.size == 0) return 0;
  return static_cast<uint32_t>(sizeof(MetaHead) + label_room(static_cast<uint32_t>(meta.label.size())) +
                               meta.metadata.size);
}

void write_meta(std::byte* block, const ObjectMeta& meta) {
  MetaHead head{static_cast<uint32_t>(meta.metadata.size), static_cast<uint8_t>(meta.label.size()), {}};
  memcpy(block, &head, sizeof head);
  std::byte* at = block + sizeof head;
  if (uint32_t room = label_room(head.label_size); room != 0) {
    memset(at, 0, room);
    memcpy(at, meta.label.data(), meta.label.size());
    at += room;
  }
  if (meta.metadata.size != 0) memcpy(at, meta.metadata.data, meta.metadata.size);
}

int read_meta(const std::byte* block, uint32_t size, ObjectMeta& out) {
  MetaHead head;
  if (size < sizeof head) return fail(TARN_E_PROTOCOL, "an object's metadata is cut off");
  memcpy(&head, block, sizeof head);
  if (!is_plausible(head, size))
    return fail(TARN_E_PROTOCOL, "an object's metadata is damaged: a label of %u bytes and %u more, in %u", head.label_size,
                head.metadata_size, size);
  const auto* label = reinterpret_cast<const char*>(block + sizeof head);
  if (head.label_size != 0 && label[head.label_size] != '\0')
    return fail(TARN_E_PROTOCOL, "an object's label does not end where it says");
  out.label = head.label_size == 0 ? std::string_view("") : std::string_view(label, head.label_size);
  out.metadata = {block + sizeof head + label_room(head.label_size), head.metadata_size};
  if (head.metadata_size == 0) out.metadata.data = nullptr;
  return 0;
}

std::string_view read_label(const std::byte* bytes, size_t size, uint32_t meta_bytes) {
  MetaHead head;
  if (size < sizeof head) return "";
  memcpy(&head, bytes, sizeof head);
  if (!is_plausible(head, meta_bytes) || head.label_size > size - sizeof head) return "";
  const auto* label = reinterpret_cast<const char*>(bytes + sizeof head);
  return {label, strnlen(label, head.label_size)};
}

TypeText::TypeText(uint32_t type) {
  constexpr const char* kNames[] = {"none", "bytes", "string", "array"};
  static_assert(TARN_TYPE_BYTES == 1 && TARN_TYPE_STRING == 2 && TARN_TYPE_ARRAY == 3);
  if (type < std::size(kNames)) {
    snprintf(text, sizeof text, "%s", kNames[type]);
  } else {
    snprintf(text, sizeof text, "0x%x", type);
  }
}

}  // namespace tarn::store
