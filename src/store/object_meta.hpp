// ObjectMeta: what an object says about itself, its type tag, label and metadata.
//
// The tag is a word of the record. Label and metadata lie in one meta block behind the payload, in the same allocation:
//
//   | payload | zero to 8 | MetaHead | label, NUL, zero to 8 | metadata |
//
// An object without either has no block. The block is written before the object is readable and never changes. Readers
// check it as they check a record: they know how many bytes it has, and nothing in it is believed before.
//
// Thread safety: values and pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tarn/tarn.h"

namespace tarn::store {

inline constexpr uint32_t kLabelSizeMax = 63;       // without the NUL; docs/limits.md
inline constexpr uint32_t kMetadataSizeMax = 4096;  // docs/limits.md

struct ObjectMeta {
  uint32_t type = 0;           // 0: none
  std::string_view label;      // ends with a NUL that is not counted, where it was read from a block
  tarn_bytes metadata{};
};

struct MetaHead {
  uint32_t metadata_size;
  uint8_t label_size;  // without the NUL
  uint8_t reserved[3];  // zero
};
static_assert(sizeof(MetaHead) == 8 && alignof(MetaHead) == 4);
static_assert(offsetof(MetaHead, metadata_size) == 0 && offsetof(MetaHead, label_size) == 4);

// As much of a block as holds its label.
inline constexpr uint32_t kMetaLabelEnd = sizeof(MetaHead) + kLabelSizeMax + 1;
inline constexpr uint32_t kMetaSizeMax = kMetaLabelEnd + kMetadataSizeMax;

// Bytes of the block; 0 if `meta` needs none. The sizes in it are within bounds.
[[nodiscard]] uint32_t meta_size(const ObjectMeta& meta);

// Where the block behind a payload of `size` bytes begins. size <= kObjectSizeMax, or bounded by a mapping.
[[nodiscard]] constexpr uint64_t meta_offset(uint64_t size) { return (size + 7) & ~uint64_t{7}; }

// What payload and block take together.
[[nodiscard]] constexpr uint64_t bytes_with_meta(uint64_t size, uint32_t meta_bytes) {
  return meta_bytes == 0 ? size : meta_offset(size) + meta_bytes;
}

// Whether a payload and its block lie inside `room` bytes, whatever the numbers.
[[nodiscard]] constexpr bool fits_with_meta(uint64_t size, uint32_t meta_bytes, uint64_t room) {
  if (size > room) return false;
  if (meta_bytes == 0) return true;
  uint64_t begin = meta_offset(size);
  return begin >= size && begin <= room && meta_bytes <= room - begin;
}

// Writes the block, meta_size(meta) bytes.
void write_meta(std::byte* block, const ObjectMeta& meta);

// Reads a block of `size` bytes that somebody else wrote: label and metadata, in place. TARN_E_PROTOCOL.
[[nodiscard]] int read_meta(const std::byte* block, uint32_t size, ObjectMeta& out);

// The label in the first `size` bytes of a block of `meta_bytes`, "" if there is none or they make no sense.
[[nodiscard]] std::string_view read_label(const std::byte* bytes, size_t size, uint32_t meta_bytes);

// A tag as people read it: "none", "array", or "0x10001".
struct TypeText {
  explicit TypeText(uint32_t type);
  char text[16];
};

// Whether programs may give objects this tag: one of Tarn's own, or one of theirs.
[[nodiscard]] constexpr bool is_known_type(uint32_t type) { return type <= TARN_TYPE_ARRAY || type >= TARN_TYPE_USER; }

}  // namespace tarn::store
