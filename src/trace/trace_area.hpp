// TraceArea: where the events of a session's members lie, and how they are told to write some.
//
// Behind the board, in the same memory file: a lane for each member, lane 0 for tarnd. The file is sparse, and nothing of this
// costs memory before somebody traces (`tarn trace`): then tarnd backs the lanes of the members that there are, says so in
// Board::trace_lanes, and sets Board::trace, the *trace word*: until when to write events, and how many a lane keeps. Who traces
// has it set again and again; a tracer that is killed is forgotten with its time, and a tarnd that is killed as well.
#pragma once

#include <cstddef>
#include <cstdint>

#include "os/memory.hpp"
#include "shm/board.hpp"
#include "shm/ids.hpp"
#include "trace/event_ring.hpp"

namespace tarn::trace {

inline constexpr uint32_t kEventsLog2Min = 10;
inline constexpr uint32_t kEventsLog2Max = 16;  // more, and a board would not be a file that `ulimit -f` lets pass where segments do
inline constexpr uint32_t kEventsMax = 1u << kEventsLog2Max;  // docs/limits.md
inline constexpr int64_t kTraceAheadMaxNs = 10'000'000'000;  // of one request to go on

// The trace word: os::now_ns time in units of 32 ns | log2 of the events of a lane, 5 bits; 0: nobody traces.
constexpr uint64_t pack_trace(int64_t until_ns, uint32_t events_log2) { return (static_cast<uint64_t>(until_ns) & ~uint64_t{31}) | events_log2; }
constexpr int64_t trace_until(uint64_t word) { return static_cast<int64_t>(word & ~uint64_t{31}); }
// Also of a word that a tenant has scribbled upon.
constexpr uint32_t trace_events(uint64_t word) {
  auto log2 = static_cast<uint32_t>(word & 31);
  return uint32_t{1} << (log2 < kEventsLog2Min ? kEventsLog2Min : log2 > kEventsLog2Max ? kEventsLog2Max : log2);
}

struct Lane {
  alignas(4096) Word<uint64_t> end;
  alignas(4096) Slot slots[kEventsMax];
};
static_assert(sizeof(Lane) == 4096 + (size_t{32} << kEventsLog2Max));

inline constexpr uint64_t kLanesAt = os::round_up(sizeof(shm::Board), os::kPageSize);
inline constexpr uint64_t kBoardFileSize = kLanesAt + shm::kMembersMax * sizeof(Lane);
constexpr uint64_t lane_at(uint32_t member) { return kLanesAt + member * sizeof(Lane); }
constexpr uint64_t lane_size(uint32_t events) { return offsetof(Lane, slots) + uint64_t{events} * sizeof(Slot); }

}  // namespace tarn::trace
