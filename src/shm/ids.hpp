// Ids of what lives in the segments of a session: which member's segment, and which place in it.
#pragma once

#include <cstdint>

namespace tarn::shm {

inline constexpr uint32_t kDaemonMember = 0;  // tarnd itself
inline constexpr uint32_t kClientMember = 1;  // the process that opened the session
inline constexpr uint32_t kFirstWorker = 2;
inline constexpr uint32_t kMembersMax = 256;  // of one session; docs/limits.md

inline constexpr uint32_t kGraphSlots = 64;  // runs of graphs at a time, in a session; docs/limits.md

inline constexpr uint32_t kIndexBits = 22;
inline constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;

// The place of a task record or an object record: member 10 bits, index 22 bits.
constexpr uint32_t make_id(uint32_t member, uint32_t index) { return member << kIndexBits | index; }
constexpr uint32_t id_member(uint32_t id) { return id >> kIndexBits; }
constexpr uint32_t id_index(uint32_t id) { return id & kIndexMask; }

// An object as it travels in records: its place in the object tables, and a range of it.
struct ObjectRef {
  uint32_t id;  // make_id
  uint32_t generation;
  uint64_t offset;
  uint64_t size;
};
static_assert(sizeof(ObjectRef) == 24);

}  // namespace tarn::shm
