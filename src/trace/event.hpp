// Event: something that happened to a task, a node of a graph, a worker or an object, and when. 32 bytes.
//
// What is not said otherwise is 0. A *run* is a task: generation 32 | record id 32; a *node* is one of a graph's: the number of the
// graph's run 38 | its index 26. docs/formats/trace.md
#pragma once

#include <cstdint>

#include "trace/event_ring.hpp"

namespace tarn::trace {

enum class Kind : uint8_t {
  kNone = 0,
  // By who submits. `thread` tells the threads of a client apart.
  kSubmit = 1,     // run, task; argument: the run whose task submits it, 0: none
  kDepends = 2,    // run; argument: the run that it waits for
  kGraphBegin = 3, // run: node 0; argument: how many nodes it has
  // By any member.
  kWaitBegin = 4,  // argument: for how many
  kWaitEnd = 5,
  // By a worker. A begin has in its argument: pid 32 | slot 16 | attempt 16.
  kRunBegin = 6,   // run, task
  kRunEnd = 7,     // run; detail: 1: it failed; argument: its code as int64_t
  kNodeReady = 8,  // node; argument: index of the node after which it was
  kNodeBegin = 9,  // node, task; detail: NodeKind
  kNodeEnd = 10,   // node; detail: 1: it failed
  kPark = 11,      // goes to sleep; argument: pid 32 | slot 16
  kWake = 12,
  kBackOff = 13,   // run; argument: until when it does not run again, os::now_ns time
  // By tarnd, in lane 0.
  kStarted = 14,   // task: the member; argument: pid 32 | slot 16
  kDied = 15,      // task: the member; argument: pid 32 | exit status 16 | signal 16
  kSpilled = 16,   // run: the object, generation 32 | id 32; argument: bytes; task: 1: it was dropped rather than written
  kRestored = 17,  // the same; 1: it was made again
  kLast = kRestored
};

enum NodeKind : uint32_t { kTaskNode = 0, kJointNode = 1, kEndNode = 2 };

struct Event {
  uint64_t time_ns;  // os::now_ns
  uint64_t run;
  uint64_t argument;
  uint32_t task;
  uint16_t thread;
  uint8_t detail;
  Kind kind;

  [[nodiscard]] RawEvent pack() const {
    return {{time_ns, run, uint64_t{task} << 32 | uint64_t{thread} << 16 | uint64_t{detail} << 8 | static_cast<uint8_t>(kind), argument}};
  }
  // False if it is none.
  [[nodiscard]] static bool unpack(const RawEvent& raw, Event& out) {
    auto kind = static_cast<uint8_t>(raw.words[2]);
    if (kind == 0 || kind > static_cast<uint8_t>(Kind::kLast)) return false;
    out = {raw.words[0], raw.words[1], raw.words[3], static_cast<uint32_t>(raw.words[2] >> 32), static_cast<uint16_t>(raw.words[2] >> 16),
           static_cast<uint8_t>(raw.words[2] >> 8), static_cast<Kind>(kind)};
    return true;
  }
};

inline constexpr uint32_t kNodeBits = 26;
constexpr uint64_t node_id(uint64_t run_number, uint32_t node) { return run_number << kNodeBits | node; }
constexpr uint32_t node_index(uint64_t node) { return static_cast<uint32_t>(node & ((uint64_t{1} << kNodeBits) - 1)); }
constexpr uint64_t graph_run(uint64_t node) { return node >> kNodeBits; }

constexpr uint64_t pack_process(int32_t pid, uint32_t slot, uint32_t last) {
  return uint64_t{static_cast<uint32_t>(pid)} << 32 | uint64_t{slot & 0xffff} << 16 | (last & 0xffff);
}

}  // namespace tarn::trace
