// MemberSegment: what one member of a session allocates and all members touch. One memfd each.
//
// Only its member allocates in it (records, edges, groups, object records, hints), by lists in
// private memory, so no crash can corrupt an allocator. The others change the words in it by the
// protocols of shm/, task/ and store/.
//
// The file is sparse: it has the size of the struct, and tarnd backs the beginning of each area with
// memory, more of it on request (kGrow). Everything is zero at first, and zero is the initial state
// of every word. Zero-based indices; edge 0 and group 0 are never used, so that 0 can mean none.
//
// The areas for task and object records are typed by the rooms above (task/, store/).
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/finished_groups.hpp"
#include "shm/hint_ring.hpp"
#include "shm/waiters.hpp"
#include "shm/word.hpp"

namespace tarn::shm {

inline constexpr uint32_t kTaskRecordsMax = 1u << 20;   // tasks in flight a member; docs/limits.md
inline constexpr uint32_t kObjectRecordsMax = 1u << 21; // live objects a member
inline constexpr uint32_t kEdgesMax = 1u << 21;         // dependencies between tasks in flight
inline constexpr uint32_t kGroupWordsMax = 1u << 18;    // words of fan-in trees
inline constexpr uint32_t kGraphLinesMax = 3u << 20;    // of 64 bytes, for graphs
inline constexpr uint32_t kGraphPagesMax = kGraphLinesMax / 64;
inline constexpr uint32_t kHintRingSlots = 2048;
inline constexpr uint32_t kUnusualRingSlots = 1024;     // of each level but the usual one
inline constexpr uint32_t kLevels = 8;                  // of priority, the most urgent last
inline constexpr uint32_t kUsualLevel = 4;              // priority 0
inline constexpr uint32_t kGraphRingSlots = 1024;       // ready nodes of graphs, for other workers
inline constexpr size_t kRecordSize = 64;
inline constexpr size_t kEdgeSize = 16;

// What recovery needs to run a task again whose worker died while it wrote the result over the
// arguments: a copy of them, made after the claim. Valid for the record and generation in `stamp`.
struct alignas(64) UndoLine {
  Word<uint64_t> stamp;  // generation 32 | record id 32; 0: none
  uint64_t reserved[3];
  std::byte payload[32];
};

// Where the ready records of one level of priority may be found.
template <uint32_t kSlots>
struct Lane {
  HintRing<kSlots> ring;
  // Not 0: ready records exist that no hint tells of; workers then look through the records.
  // Raised by the member when the ring is full, and by recovery. `scan_cursor` is where to go on.
  alignas(64) Word<uint32_t> unhinted;
  Word<uint32_t> scan_cursor;
};

struct MemberSegment {
  static constexpr uint64_t kMagic = 0x31474553'4e524154;  // "TARNSEG1"

  // Written by tarnd before anybody maps it.
  alignas(64) uint64_t magic;
  uint32_t member;
  uint32_t reserved;

  // Written by the member.
  alignas(64) Word<uint32_t> records_used;  // records below this index have been in use
  Word<uint32_t> objects_used;
  // Objects of this member that others were the last to hold: index + 1 of the first, linked through
  // their records. Others push, the member takes all.
  alignas(64) Word<uint32_t> returned_objects;
  // When to look for tasks of this member that may run again by then, in ticks (task/back_off.hpp); 0: there are none.
  Word<uint64_t> retry_at;

  Waiters waiters;
  Lane<kHintRingSlots> usual;
  Lane<kUnusualRingSlots> unusual[kLevels];  // that of kUsualLevel is not used
  UndoLine undo;
  FinishedGroups<kTaskRecordsMax> finished;
  HintRing<kGraphRingSlots> graph_hints;  // of a worker: slot of the run, and node

  alignas(4096) Word<uint64_t> group_words[kGroupWordsMax];
  alignas(4096) std::byte edges[kEdgesMax * kEdgeSize];
  alignas(4096) std::byte task_records[kTaskRecordsMax * kRecordSize];
  alignas(4096) std::byte object_records[kObjectRecordsMax * kRecordSize];
  alignas(4096) std::byte graph_arena[kGraphLinesMax * kRecordSize];  // of the client (task/graph_record.hpp)
};

// Calls `f` with the lane of a level.
template <class Segment, class F>
decltype(auto) with_lane(Segment& segment, uint32_t level, F f) {
  return level == kUsualLevel ? f(segment.usual) : f(segment.unusual[level % kLevels]);
}

// The areas that grow, and how far the rest reaches: always backed in whole.
inline constexpr uint64_t kSegmentFixedSize = offsetof(MemberSegment, group_words);
inline constexpr uint32_t kRecordsAtStart = 4096;
inline constexpr uint32_t kObjectsAtStart = 4096;
inline constexpr uint32_t kEdgesAtStart = 16384;
inline constexpr uint32_t kGroupWordsAtStart = 4096;

}  // namespace tarn::shm
