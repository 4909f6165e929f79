// ObjectRecord: the shared description of one object, in one cache line.
//
// It lies in the segment of the member whose memory the object occupies; only that member allocates
// and reuses it. Its life is in store/holders.hpp. The fields after the two words are written before
// the object becomes readable, and constant from then on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/member_segment.hpp"
#include "store/holders.hpp"
#include "store/pins.hpp"

namespace tarn::store {

inline constexpr uint32_t kNoSlab = 0xffff;       // of an object of 0 bytes
inline constexpr uint64_t kPlaceUnit = 64;        // objects begin at multiples
inline constexpr uint64_t kObjectSizeMax = uint64_t{1} << 40;  // docs/limits.md

// Larger objects have pages of their own, which can leave memory and come back. Smaller ones need no pins.
inline constexpr uint64_t kStaysMax = 32 * 1024;

// Where the bytes are: slab 16 | file 1 | 0 7 | offset in units 40.
struct ObjectPlace {
  uint32_t slab;
  bool is_file;
  uint64_t offset;

  [[nodiscard]] constexpr uint64_t pack() const {
    return uint64_t{slab} << 48 | uint64_t{is_file} << 47 | offset / kPlaceUnit;
  }
  [[nodiscard]] static constexpr ObjectPlace unpack(uint64_t word) {
    return {static_cast<uint32_t>(word >> 48), (word >> 47 & 1) != 0,
            (word & ((uint64_t{1} << 40) - 1)) * kPlaceUnit};
  }
};

struct alignas(64) ObjectRecord {
  Holders life;
  Pins pins;               // of an object that can leave memory (kStaysMax)
  Word<uint32_t> used_at;  // seconds of the monotonic clock when it was made or last unpinned: a hint
  uint32_t meta_size;      // bytes of the meta block behind the payload (store/object_meta.hpp); 0: there is none
  uint64_t recipe;         // kRepeatable: ObjectPlace, in slabs of the member in `link`, of what it was made from (task/recipe.hpp)
  uint64_t place;          // ObjectPlace
  uint64_t size;           // bytes of the payload
  uint32_t type;           // its tag, 0: none
  Word<uint32_t> link;     // a result: record id of the task it was made for; dead: the next returned one
};

// A record as its bytes were at one moment: for whoever copies records that others may be writing.
struct ObjectImage {
  uint64_t state;
  uint64_t holders;
  uint64_t pins;
  uint32_t used_at;
  uint32_t meta_size;
  uint64_t recipe;
  uint64_t place;
  uint64_t size;
  uint32_t type;
  uint32_t link;
};

#ifndef TARN_MODEL
static_assert(sizeof(ObjectImage) == sizeof(ObjectRecord) && offsetof(ObjectImage, holders) == 8);
static_assert(offsetof(ObjectImage, pins) == offsetof(ObjectRecord, pins));
static_assert(offsetof(ObjectImage, used_at) == offsetof(ObjectRecord, used_at));
static_assert(offsetof(ObjectImage, place) == offsetof(ObjectRecord, place));
static_assert(offsetof(ObjectImage, link) == offsetof(ObjectRecord, link));
static_assert(sizeof(ObjectRecord) == shm::kRecordSize && alignof(ObjectRecord) == 64);
static_assert(offsetof(ObjectRecord, life) == 0 && offsetof(ObjectRecord, pins) == 16);
static_assert(offsetof(ObjectRecord, used_at) == 24 && offsetof(ObjectRecord, meta_size) == 28);
static_assert(offsetof(ObjectRecord, recipe) == 32);
static_assert(offsetof(ObjectRecord, place) == 40 && offsetof(ObjectRecord, size) == 48);
static_assert(offsetof(ObjectRecord, type) == 56 && offsetof(ObjectRecord, link) == 60);
#endif

}  // namespace tarn::store
