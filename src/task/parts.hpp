// Parts: several results of a task, as they lie in the bytes of its one result.
//
//   small   PartsTable with up to three ends of 8 bits, the parts, each at a multiple of 8:  at most 32 bytes, so that it stays in the record
//   large   PartsTable, the ends of all parts (64 bits each), the parts, each at a multiple of 64
//
// Ends are counted from the start. A part begins at the first such multiple at or behind the end of the one before it, the first one behind
// the table; so the end of one part and of its predecessor say where it is, however many there are. What comes before the
// first end and between parts is not used.
//
// The result says by itself that it has parts: whatever passes it on, a record, a node of a graph or an object, need not know. It
// was written by another process, of the same tenant, which may still write it: the reader copies, then checks, then uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "os/memory.hpp"
#include "tarn/tarn.h"

struct tarn_call;

namespace tarn::task {

inline constexpr size_t kPartsMax = 65535;  // docs/limits.md

struct PartsTable {
  // No text, and no number that programs are likely to return.
  static constexpr uint32_t kSmall = 0xd3a6'5e01;
  static constexpr uint32_t kLarge = 0xd3a6'5e02;
  static constexpr size_t kSmallCountMax = 3;
  static constexpr uint64_t kSmallSizeMax = 32;

  struct Small {
    uint8_t count;
    uint8_t ends[kSmallCountMax];
  };

  uint32_t kind;
  union {
    uint32_t large_count;
    Small small;
  };

  [[nodiscard]] size_t count() const { return kind == kSmall ? small.count : large_count; }
};
static_assert(sizeof(PartsTable) == 8);

// The sizes of parts, wherever the caller has them.
class PartSizes {
 public:
  PartSizes(const size_t* sizes, size_t count) : PartSizes(sizes, sizeof *sizes, count) {}
  PartSizes(const tarn_bytes* parts, size_t count)
      : PartSizes(count == 0 ? nullptr : &parts->size, sizeof *parts, count) {}
  [[nodiscard]] size_t count() const { return count_; }
  [[nodiscard]] uint64_t operator[](size_t index) const {
    return *reinterpret_cast<const size_t*>(first_ + index * stride_);
  }

 private:
  PartSizes(const size_t* first, size_t stride, size_t count)
      : first_(reinterpret_cast<const std::byte*>(first)), stride_(stride), count_(count) {}

  const std::byte* first_;
  size_t stride_;
  size_t count_;
};

// Where parts of such sizes lie.
class PartsLayout {
 public:
  // TARN_E_TOO_LARGE if they are too many, or more than an object may have.
  [[nodiscard]] int measure(const PartSizes& sizes);
  // Of all together, with the table.
  [[nodiscard]] uint64_t size() const { return size_; }

  // Writes the table to `to`, of size() bytes, and calls each(index, place) for every part, in their order.
  template <class Each>
  void write(std::byte* to, const PartSizes& sizes, Each each) const {
    PartsTable table{};
    table.kind = is_small_ ? PartsTable::kSmall : PartsTable::kLarge;
    if (is_small_) {
      table.small.count = static_cast<uint8_t>(sizes.count());
    } else {
      table.large_count = static_cast<uint32_t>(sizes.count());
    }
    memcpy(to, &table, sizeof table);
    uint64_t end = table_size(sizes.count());
    for (size_t i = 0; i < sizes.count(); ++i) {
      uint64_t begin = os::round_up(end, alignment());
      end = begin + sizes[i];
      if (is_small_) {
        to[offsetof(PartsTable, small) + offsetof(PartsTable::Small, ends) + i] =
            static_cast<std::byte>(end);
      } else {
        memcpy(to + sizeof table + i * sizeof end, &end, sizeof end);
      }
      each(i, to + begin);
    }
  }

 private:
  [[nodiscard]] uint64_t alignment() const { return is_small_ ? 8 : 64; }
  [[nodiscard]] uint64_t table_size(size_t count) const {
    return sizeof(PartsTable) + (is_small_ ? 0 : count * sizeof(uint64_t));
  }

  bool is_small_ = false;
  uint64_t size_ = 0;
};

// How many parts a result has: TARN_E_TYPE if it is none with parts, TARN_E_PROTOCOL if it is damaged. `task`, for the words of errors,
// is the one whose result it is; nullptr: not known.
[[nodiscard]] int count_parts(tarn_bytes result, const char* task, size_t& count);

// The part `index` of a result, in place; inside of it, whatever the bytes are. TARN_E_ARGUMENT if there is none of that index; else as
// count_parts. `out` may be where `result` is.
[[nodiscard]] int read_part(tarn_bytes result, size_t index, const char* task, tarn_bytes& out);

// The result of a run: a copy of those parts, or room for parts of such sizes, whose places are set.
[[nodiscard]] int return_parts(tarn_call& call, const tarn_bytes* parts, size_t count);
[[nodiscard]] int reserve_parts(tarn_call& call, const size_t* sizes, size_t count, void** places);

}  // namespace tarn::task
