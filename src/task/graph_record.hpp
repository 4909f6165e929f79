// GraphNode and GraphHeader: a prebuilt graph of tasks, as it lies in the arena of its maker's segment.
//
// The client writes all of it when the graph is instantiated. A run changes the words of the nodes and their results, and
// nothing else: it is begun by one store of the run's number, its *epoch*, and what bears an older epoch counts as untouched. So
// a graph that runs again is not walked first.
//
//   phase      meaning                                             left by
//   (older)    not begun in this run                               a claim, once the arrivals are complete: kRunning
//   kRunning   claimed by `claimant`                               its finish: kFinished; recovery: kAgain, or kFinished
//   kAgain     its worker died in it, it may be claimed once more  a claim: kRunning
//   kFinished  the result is valid. Its followers are being told,  the next run
//              or were
//
// There is no state after kFinished: who recovers a dead worker tells the followers of all that it had finished once more,
// which changes nothing that was told before. The last node is the *end*: it follows all others, and is the truth about
// whether the run is over.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/ids.hpp"
#include "shm/word.hpp"

namespace tarn::task {

using shm::Word;

enum class NodePhase : uint8_t { kIdle = 0, kRunning = 1, kFinished = 2, kAgain = 3 };

// The state word: epoch 32 | claimant 8 | attempts 8 | phase 8 | flags 8 (kFailed and kObject of task_record.hpp).
struct NodeState {
  uint32_t epoch;
  uint8_t claimant;
  uint8_t attempts;  // in this run
  NodePhase phase;
  uint8_t flags;

  [[nodiscard]] constexpr uint64_t pack() const {
    return uint64_t{epoch} << 32 | uint64_t{claimant} << 24 | uint64_t{attempts} << 16 |
           uint64_t{static_cast<uint8_t>(phase)} << 8 | flags;
  }
  [[nodiscard]] static constexpr NodeState unpack(uint64_t word) {
    return {static_cast<uint32_t>(word >> 32), static_cast<uint8_t>(word >> 24), static_cast<uint8_t>(word >> 16),
            static_cast<NodePhase>(static_cast<uint8_t>(word >> 8)), static_cast<uint8_t>(word)};
  }
};
static_assert(shm::kMembersMax <= 256);

// The arrivals word: epoch 32 | kOneFailed | a bit for each predecessor; those that stand for nobody are set from the start.
inline constexpr uint32_t kPredecessorsMax = 31;  // of one node; more stand behind joints
inline constexpr uint32_t kOneFailed = 1u << 31;

inline constexpr size_t kNodeResultSize = 32;
inline constexpr uint32_t kNodeArgumentsMax = 255;

struct alignas(64) GraphNode {
  static constexpr uint8_t kJoint = 0x80;  // in `shape`: no task, only joins and hands on
  static constexpr uint8_t kEnd = 0x40;

  Word<uint64_t> state;     // NodeState
  Word<uint64_t> arrivals;
  uint32_t task;            // tarn_task
  uint32_t successors;      // where they begin in the list of all
  uint32_t arguments;       // where they begin in the list of all
  uint8_t shape;            // predecessors 5 bits | kEnd | kJoint
  uint8_t level;            // of the upward rank: 255 is the most urgent
  uint8_t argument_count;
  uint8_t result_size;      // of a result in the node
  std::byte result[kNodeResultSize];

  [[nodiscard]] uint32_t predecessors() const { return shape & 0x1f; }
};
#ifndef TARN_MODEL
static_assert(sizeof(GraphNode) == 64 && offsetof(GraphNode, task) == 16 && offsetof(GraphNode, result) == 32);
#endif

// An entry of the list of successors: node 26 bits | which bit of it 5 bits | whether it is the last one.
inline constexpr uint32_t kGraphNodesMax = 1u << 26;
constexpr uint32_t pack_successor(uint32_t node, uint32_t bit, bool is_last) { return node << 6 | bit << 1 | (is_last ? 1 : 0); }
constexpr uint32_t successor_node(uint32_t entry) { return entry >> 6; }
constexpr uint32_t successor_bit(uint32_t entry) { return entry >> 1 & 31; }
constexpr bool is_last_successor(uint32_t entry) { return (entry & 1) != 0; }

// An argument of a node.
struct GraphArgument {
  enum Kind : uint32_t { kArgValue = 0, kArgObject = 1, kArgNode = 2, kArgParameter = 3 };
  uint32_t kind;
  uint32_t size;    // of a value; node: as tarn_arg.part
  uint64_t offset;  // value: in bytes from the header; object: of an ObjectRef; node, parameter: which one
};

// What a run was given. The client changes it between runs.
struct GraphParameter {
  uint32_t is_object;
  uint32_t reserved;
  uint64_t size;    // of a value
  uint64_t offset;  // value: in bytes from the header
  shm::ObjectRef object;
};

inline constexpr uint32_t kRootPartsMax = 64;
inline constexpr uint32_t kRootsAtATime = 16;

// Nodes without predecessors are taken from here, kRootsAtATime at a time: epoch 32 | next 32.
struct alignas(64) RootCursor {
  Word<uint64_t> word;
  uint32_t begin;
  uint32_t end;
};

struct GraphHeader {
  static constexpr uint64_t kMagic = 0x3148'5052'4e524154;

  // Constant while the graph is instantiated. Offsets are in bytes from the header.
  alignas(64) uint64_t magic;
  uint32_t node_count;
  uint32_t root_count;
  uint32_t parts;           // of the list of roots
  uint32_t parameter_count;
  uint32_t attempts_max;
  uint32_t first_line;      // of the header itself, in the arena
  uint64_t nodes_at;
  uint64_t successors_at;
  uint64_t arguments_at;
  uint64_t roots_at;
  alignas(64) uint64_t parameters_at;  // moves between runs when values have grown

  // Of the present run; written by the client before the run begins.
  Word<uint32_t> epoch;
  Word<uint32_t> cancelled;   // the epoch that is not to go on
  // Not 0: nodes may be ready that no hint tells of; workers then look through all of them.
  alignas(64) Word<uint32_t> unhinted;
  Word<uint32_t> scan_cursor;
  Word<uint32_t> any_object;  // 1: some result is an object, to be let go of before the next run

  RootCursor cursors[kRootPartsMax];
};

}  // namespace tarn::task
