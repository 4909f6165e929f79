// ObjectRecord: the shared description of one object, in the segment of the member that made it.
//
//   phase      meaning                                         left by
//   kFree      not in use                                      owner: kCreating
//   kCreating  the owner fills it; nobody else may look        owner: kSealed, or kFree (dropped)
//   kSealed    immutable                                       whoever clears the last holder bit: kFreed
//   kFreed     nobody holds it; its memory waits for the owner owner: kFree, with the next generation
//
// A crash of the owner in kCreating frees it with the owner's slabs. A crash of the last holder is a
// cleared bit (Holders), after which whoever cleared it makes the record kFreed; dying in between
// leaves a dead record in kSealed, which the owner's sweep finds by the dead bit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/member_segment.hpp"
#include "shm/word.hpp"
#include "store/holders.hpp"

namespace tarn::store {

enum class ObjectPhase : uint8_t { kFree = 0, kCreating = 1, kSealed = 2, kFreed = 3 };

constexpr uint64_t pack_object_state(uint32_t generation, ObjectPhase phase) {
  return uint64_t{generation} << 32 | static_cast<uint8_t>(phase);
}
constexpr uint32_t object_generation(uint64_t state) { return static_cast<uint32_t>(state >> 32); }
constexpr ObjectPhase object_phase(uint64_t state) { return static_cast<ObjectPhase>(static_cast<uint8_t>(state)); }

struct alignas(64) ObjectRecord {
  shm::Word<uint64_t> state;  // generation 32 | phase 8
  Holders holders;
  uint64_t offset;  // in the slab
  uint64_t size;
  uint32_t slab;  // of the owner
  uint32_t is_file;
  uint64_t made_for;  // a result: generation 32 | id 32 of the task record; else 0
  uint32_t next_returned;  // in the owner's list of returned objects
  uint32_t reserved[3];
};

#ifndef TARN_MODEL
static_assert(sizeof(ObjectRecord) == shm::kRecordSize);
static_assert(offsetof(ObjectRecord, holders) == 8 && offsetof(ObjectRecord, offset) == 16);
#endif

}  // namespace tarn::store
