// CallQueue: the calls of one caller to one actor, in the order in which they were made.
//
// A hint may be lost, doubled or overtaken (hint_ring.hpp); a call of an actor may not. So this is not a ring but a list of blocks
// in the caller's segment, that grows with what is not settled, and whose reader can begin again anywhere behind what is. An
// entry says which record of the caller's, and its generation. What became of the call is in the record, here as everywhere: an
// entry whose record has another generation, or is finished, is of a call that is over, and is passed by.
//
// Invariants:
// (1) Calls lie in blocks of kCalls, which are numbered. A word is 0 until its call is there: there is no tail to read, and a call
//     costs its reader the line it lies in.
// (2) A block is zero before it is linked.
// (3) `first` says which block the first call lies in that may still have to begin. The reader alone moves it on. The next
//     reader, when this one has died, begins there.
// (4) The caller uses the blocks before `first` again, and no others.
//
// `Space` finds a block: `Block& block(uint32_t line)`. Thread safety: one thread of the caller at a time, and one of the reader's.
#pragma once

#include <cstdint>

#include "shm/word.hpp"

namespace tarn::shm {

template <uint32_t kCount>
struct alignas(64) CallBlock {
  static constexpr uint32_t kCalls = kCount;

  Word<uint64_t> calls[kCount];
  Word<uint32_t> next;  // the line of the block behind this one; 0: there is none yet
};

// 8 lines of the caller's arena.
using ActorCalls = CallBlock<63>;
#ifndef TARN_MODEL
static_assert(sizeof(ActorCalls) == 512);
#endif

constexpr uint64_t pack_call(uint32_t record, uint32_t generation) { return uint64_t{generation} << 32 | (record + 1); }
constexpr uint32_t call_record(uint64_t call) { return static_cast<uint32_t>(call) - 1; }
constexpr uint32_t call_generation(uint64_t call) { return static_cast<uint32_t>(call >> 32); }

// A place in the queue: in private memory, of either side.
struct CallPlace {
  uint32_t line;    // of the block
  uint32_t number;  // of the block
  uint32_t at;      // in the block
};

template <class Block>
class CallQueue {
 public:
  // ---- The caller.

  // Before anybody else can know of it. `line`: of the first block, which is zero.
  [[nodiscard]] CallPlace open(uint32_t line) {
    first_.store(pack(0, line), kRelease);
    return {line, 0, 0};
  }
  // Whether the next call needs another block first.
  [[nodiscard]] static bool is_full(const CallPlace& end) { return end.at == Block::kCalls; }
  template <class Space>
  static void link(Space& space, CallPlace& end, uint32_t line) {
    space.block(end.line).next.store(line, kRelease);
    end = {line, end.number + 1, 0};
  }
  // REQUIRES: !is_full(end).
  template <class Space>
  static void push(Space& space, CallPlace& end, uint64_t call) {
    space.block(end.line).calls[end.at++].store(call, kRelease);
  }
  // Blocks with smaller numbers are not read any more.
  [[nodiscard]] uint32_t first_block() const { return static_cast<uint32_t>(first_.load(kAcquire) >> 32); }

  // ---- The actor.

  [[nodiscard]] CallPlace begin() const {
    uint64_t first = first_.load(kAcquire);
    return {static_cast<uint32_t>(first), static_cast<uint32_t>(first >> 32), 0};
  }
  // The call at that place; 0: it is not there yet.
  template <class Space>
  [[nodiscard]] static uint64_t peek(Space& space, CallPlace& place) {
    if (place.at == Block::kCalls) {
      uint32_t next = space.block(place.line).next.load(kAcquire);
      if (next == 0) return 0;
      place = {next, place.number + 1, 0};
    }
    return space.block(place.line).calls[place.at].load(kAcquire);
  }
  // No call before that place will have to begin, also if this process dies.
  void settle(const CallPlace& place) {
    if (place.number != first_block()) first_.store(pack(place.number, place.line), kRelease);
  }

 private:
  static constexpr uint64_t pack(uint32_t number, uint32_t line) { return uint64_t{number} << 32 | line; }

  Word<uint64_t> first_;  // number 32 | line 32; written by the caller once, then by the actor
};

// Who has made calls to an actor that it may not have seen: a bit for each member.
//
// A caller makes its call, then looks for its bit, then whether the actor sleeps. The actor clears the bits of the queues that it
// found empty, announces that it will sleep (Doorbell::announce, whose fence orders both), and looks at these queues once more. So a bit
// stays set while calls come one behind the other, and a call costs a load of a word that nobody writes.
class Callers {
 public:
  // The caller, behind its call and Doorbell::order_for_producer.
  void mark(uint32_t member) {
    uint64_t bit = uint64_t{1} << member;
    if ((bits_.load(kAcquire) & bit) == 0) (void)bits_.fetch_or(bit);
  }

  [[nodiscard]] uint64_t bits() const { return bits_.load(kAcquire); }
  void clear(uint64_t bits) { (void)bits_.fetch_and(~bits); }

 private:
  Word<uint64_t> bits_;
};

}  // namespace tarn::shm
