// TaskRecord: the shared description of one task, from submission to result, in one cache line.
//
// It lies in the segment of the member that submitted it; only that member allocates and frees it.
// Everybody else touches it only between a successful claim and finish, or by the words below.
//
//   phase      meaning                                            left by
//   kFree      not in use                                         owner: writes it, then kWaiting / kReady
//   kWaiting   some dependency bits are missing                   whoever fills `dependencies`: kReady
//   kReady     may be claimed                                     a worker's claim: kRunning
//   kRunning   claimed by `claimant`                              its finish: kFinished or kDone; recovery: kReady
//              (or, of kWaiting and kReady, by its owner, who cancels it)
//   kFinished  the result is valid, others are yet to be told     its claimant, or recovery: kDone
//   kDone      result valid, everybody told; the owner may free   owner: kFree
//
// A crash of the claimant leaves kRunning or kFinished with its index: recovery (task/recovery.hpp)
// runs the one again and tells others about the other again. A generation in the state word and in
// `dependencies` makes late writes to a reused record fail.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/ids.hpp"
#include "shm/member_segment.hpp"
#include "shm/scheduling_class.hpp"
#include "shm/word.hpp"

namespace tarn::task {

using shm::ObjectRef;
using shm::Word;

enum class Phase : uint8_t { kFree = 0, kWaiting = 1, kReady = 2, kRunning = 3, kFinished = 4, kDone = 5 };

enum Flags : uint8_t {
  kNotify = 1,  // count it in the owner's Waiters when finished
  kEdges = 2,   // others depend on it: walk the edges when finished
  kFailed = 4,  // the payload is a TaskErrorPayload
  kObject = 8,  // the payload is an ObjectRef to the result
  // Set by the owner, or by the claimant's watchdog when its time is over; then it does not run again.
  kCancelled = 16,  // nobody wants it any more: the task may look, and end
  kDoomed = 32,     // and the process that runs it ends itself; the run cannot finish any more
  kLate = 64        // it was not the owner, but the time
};

// The state word: generation 32 | claimant 16 | phase 8 | flags 8.
struct State {
  uint32_t generation;
  uint16_t claimant;
  Phase phase;
  uint8_t flags;

  [[nodiscard]] constexpr uint64_t pack() const {
    return uint64_t{generation} << 32 | uint64_t{claimant} << 16 | uint64_t{static_cast<uint8_t>(phase)} << 8 | flags;
  }
  [[nodiscard]] static constexpr State unpack(uint64_t word) {
    return {static_cast<uint32_t>(word >> 32), static_cast<uint16_t>(word >> 16),
            static_cast<Phase>(static_cast<uint8_t>(word >> 8)), static_cast<uint8_t>(word)};
  }
  [[nodiscard]] bool finished() const { return phase >= Phase::kFinished; }
};

inline constexpr size_t kPayloadSize = 32;

// How the arguments lie in the payload: up to 32, one value of that many bytes; otherwise one of these.
enum ArgFormat : uint8_t {
  kOneValueMax = 32,
  kNoArguments = 0xff,
  kValues = 0xfe,  // up to three: sizes in the first three bytes, their count in the fourth, values from byte 8, each aligned to 8
  kOneObject = 0xfd,  // an ObjectRef
  kBlock = 0xfc       // a BlockRef to an argument block in a slab (task/arguments.hpp)
};

inline constexpr uint32_t kNoEdge = 0;

struct alignas(64) TaskRecord {
  Word<uint64_t> state;         // State
  Word<uint64_t> dependencies;  // generation 32 | bits 32, missing ones are 0
  uint32_t task;                // tarn_task
  Word<uint32_t> kind;          // level of priority 3 bits | scheduling class 7 bits | signature of the submission 22 bits, 0: not checked
  Word<uint32_t> edges;         // first edge to a dependent, in the owner's segment; kNoEdge: none
  uint8_t arg_format;           // ArgFormat
  uint8_t result_size;          // of a result in the payload
  uint8_t attempts;             // how often it was started
  uint8_t attempts_max;         // how often it may be
  std::byte payload[kPayloadSize];  // arguments, then the result
};

#ifndef TARN_MODEL
static_assert(sizeof(TaskRecord) == 64 && alignof(TaskRecord) == 64);
static_assert(offsetof(TaskRecord, dependencies) == 8 && offsetof(TaskRecord, task) == 16);
static_assert(offsetof(TaskRecord, edges) == 24 && offsetof(TaskRecord, arg_format) == 28);
static_assert(offsetof(TaskRecord, payload) == 32);
#endif

inline constexpr uint32_t kSignatureBits = 22;
inline constexpr uint32_t kClassBits = 7;
inline constexpr uint32_t kSignatureMask = (1u << kSignatureBits) - 1;
static_assert(shm::kLevels == 8 && shm::kClassesMax == (1u << kClassBits) - 1 && kSignatureBits + kClassBits + 3 == 32);

// What a record has room for of a signature; 0 of 0 alone.
constexpr uint32_t fold_signature(uint32_t signature) { return signature == 0 ? 0 : signature % kSignatureMask + 1; }
constexpr uint32_t pack_kind(uint32_t level, uint32_t number_of_class, uint32_t signature) {
  return level << (kClassBits + kSignatureBits) | number_of_class << kSignatureBits | fold_signature(signature);
}
constexpr uint32_t level_of(uint32_t kind) { return kind >> (kClassBits + kSignatureBits); }
// 0: none (shm/scheduling_class.hpp).
constexpr uint32_t class_of(uint32_t kind) { return kind >> kSignatureBits & ((1u << kClassBits) - 1); }
// Both: equal of those that may be found in the same place.
constexpr uint32_t lane_of(uint32_t kind) { return kind >> kSignatureBits; }
inline constexpr uint32_t kUsualLane = shm::kUsualLevel << kClassBits;

// Why a task failed. `text`, when its size is not 0, is an object that holds an ErrorText.
struct TaskErrorPayload {
  int32_t code;
  uint8_t signal;
  uint8_t exit_status;
  uint16_t worker;  // that died in it, 0: none did
  ObjectRef text;
};
static_assert(sizeof(TaskErrorPayload) == kPayloadSize);

}  // namespace tarn::task
