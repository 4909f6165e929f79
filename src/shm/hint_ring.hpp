// HintRing: where ready records may be found. One producer process, any number of consumers.
// SharedHintRing: the same with any number of producers, at three times the price.
//
// A hint is the id of a record that was ready when it was pushed. Hints may be lost (a consumer
// advances `head` and dies) or doubled (recovery publishes again): the truth is the record, which is
// claimed by a compare-and-swap of its own. So nothing here needs repair after a crash.
//
// Invariants:
// (1) Positions are 64 bits, only grow and are never reset. Position p lives in slot p % kCapacity.
// (2) A slot is one word: the lap of its position (from 1, so that zero is never valid) and the id.
//     The reader knows by the lap whether the slot holds the position it looks for: there is no tail
//     to read, so a hint costs its reader one cache line.
// (3) The producer writes position p only when head > p - kCapacity.
//
// (4) The tail of a SharedHintRing may be one behind what is written: whoever finds that moves it on, so that a producer
//     which dies in between holds up nobody.
//
// Thread safety: push by one thread of the producer at a time, of a SharedHintRing by anyone; take and empty by anyone. Nobody
// blocks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shm/word.hpp"

namespace tarn::shm {

template <uint32_t kCapacity>
class HintRing {
  static_assert((kCapacity & (kCapacity - 1)) == 0);

 public:
  // What only the producer knows; lives in its private memory. Starts from what the ring holds, so
  // that a producer may also begin on a ring that was used before.
  struct Producer {
    uint64_t tail = 0;
    uint64_t head_seen = 0;
  };

  // Returns false when the ring is full. Publishes with one release store; the caller then rings the
  // doorbell (shm/doorbell.hpp).
  [[nodiscard]] bool push(Producer& producer, uint32_t id) {
    if (producer.tail - producer.head_seen >= kCapacity) {
      producer.head_seen = head_.load(kAcquire);
      if (producer.tail - producer.head_seen >= kCapacity) return false;
    }
    slots_[producer.tail % kCapacity].store(pack(producer.tail, id), kRelease);
    ++producer.tail;
    return true;
  }

  // Takes up to `max` hints into `ids` and returns how many.
  [[nodiscard]] size_t take(uint32_t* ids, size_t max) {
    uint64_t head = head_.load(kAcquire);
    for (;;) {
      size_t count = 0;
      while (count < max && valid(head + count, ids[count])) ++count;
      if (count == 0) {
        // Another consumer may have moved on between the two loads, so that the slot already holds
        // the next lap: only an unmoved head proves the ring empty.
        uint64_t again = head_.load(kAcquire);
        if (again == head) return 0;
        head = again;
        continue;
      }
      if (head_.compare_exchange(head, head + count)) return count;
    }
  }

  // True if there was nothing to take.
  [[nodiscard]] bool empty() const {
    uint64_t head = head_.load(kAcquire);
    for (;;) {
      uint32_t id;
      if (valid(head, id)) return false;
      uint64_t again = head_.load(kAcquire);
      if (again == head) return true;
      head = again;
    }
  }

 private:
  template <uint32_t>
  friend class SharedHintRing;

  static uint64_t pack(uint64_t position, uint32_t id) { return lap(position) << 32 | id; }
  static uint64_t lap(uint64_t position) { return (position / kCapacity + 1) & 0xffffffff; }

  bool valid(uint64_t position, uint32_t& id) const {
    uint64_t slot = slots_[position % kCapacity].load(kAcquire);
    id = static_cast<uint32_t>(slot);
    return slot >> 32 == lap(position);
  }

  alignas(64) Word<uint64_t> head_;
  alignas(64) Word<uint64_t> slots_[kCapacity];
};

template <uint32_t kCapacity>
class SharedHintRing {
  using Ring = HintRing<kCapacity>;

 public:
  // Returns false when the ring is full.
  [[nodiscard]] bool push(uint32_t id) {
    uint64_t tail = tail_.load(kAcquire);
    for (;;) {
      Word<uint64_t>& slot = ring_.slots_[tail % kCapacity];
      uint64_t now = slot.load(kAcquire);
      if (now >> 32 == Ring::lap(tail)) {
        if (tail_.compare_exchange(tail, tail + 1)) ++tail;
      } else if (now >> 32 != lap_before(tail)) {
        tail = tail_.load(kAcquire);  // it was an old one, and the slot is that of a later position
      } else if (static_cast<int64_t>(tail - ring_.head_.load(kAcquire)) >= int64_t{kCapacity}) {
        return false;  // (an old tail may be less than the head)
      } else if (slot.compare_exchange(now, Ring::pack(tail, id))) {
        (void)tail_.compare_exchange(tail, tail + 1);
        return true;
      }
    }
  }
  [[nodiscard]] size_t take(uint32_t* ids, size_t max) { return ring_.take(ids, max); }
  [[nodiscard]] bool empty() const { return ring_.empty(); }

 private:
  static uint64_t lap_before(uint64_t position) { return (Ring::lap(position) - 1) & 0xffffffff; }

  Ring ring_;
  alignas(64) Word<uint64_t> tail_;
};

}  // namespace tarn::shm
