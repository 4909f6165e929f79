// StreamRing: the results that a task yields one by one, on their way to the process that submitted it.
//
// One writer: the run of the task; one reader: the submitter. When the writer has died, the next run of the task goes on where it
// ended: what is in the ring stays there, and nothing is written twice. That it has certainly died is the caller's to know.
//
// Invariants:
// (1) Positions are 64 bits and only grow. Position p lies in entry p % capacity, and is there once the entry's `turn` is p + 1: one
//     release store, by which both the reader and the next writer know how far it goes. There is no tail.
// (2) The writer writes position p only when p - head < items_max <= capacity, and no more than bytes_max bytes are not taken; a
//     single item may be larger than that.
// (3) The reader has copied an entry, and holds the object in it, before it moves `head` on.
// (4) Whoever sleeps says so first, then looks once more; the other one changes the ring first, then looks whether somebody
//     sleeps. The frequent side has the light fence (shm/word.hpp). Who clears the word that says so wakes: one wake a sleep.
// (5) `reader` has kGone for ever once the reader will take nothing more.
//
// The writer is woken when half of the window is free, not for each item that was taken.
//
// In the arena of the reader's segment: this, then the entries. Thread safety: each side by one thread at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "shm/ids.hpp"
#include "shm/word.hpp"

namespace tarn::shm {

struct alignas(64) StreamEntry {
  static constexpr uint32_t kInlineMax = 40;       // bytes of an item that lies in here
  static constexpr uint32_t kObject = UINT32_MAX;  // in `size`: the payload is an ObjectRef

  Word<uint64_t> turn;  // its position + 1
  uint64_t total;       // bytes of all items up to this one
  uint32_t size;
  uint32_t reserved;
  std::byte payload[kInlineMax];
};
static_assert(sizeof(ObjectRef) <= StreamEntry::kInlineMax);
#ifndef TARN_MODEL
static_assert(sizeof(StreamEntry) == 64);
#endif

inline constexpr uint32_t kStreamItemsMax = 4096;  // not taken, of one stream; docs/limits.md

class StreamRing {
 public:
  // Where the writer is, in its private memory.
  struct Writer {
    uint64_t position;
    uint64_t total;
    uint64_t head;   // as it was when last looked at,
    uint64_t taken;  // and the bytes taken by then, or by a little later
  };

  // Lines of 64 bytes for a ring of so many entries.
  static constexpr uint32_t lines(uint32_t capacity) { return static_cast<uint32_t>(sizeof(StreamRing) / 64) + capacity; }

  // ---- The reader, before anybody else can know of it, and after nobody does any more.

  // Into memory that may have been used. `capacity` is a power of two, and at least `items_max`.
  void open(uint32_t capacity, uint32_t items_max, uint64_t bytes_max) {
    std::memset(static_cast<void*>(this), 0, size_t{lines(capacity)} * 64);
    capacity_ = capacity;
    items_max_ = items_max;
    bytes_max_ = bytes_max;
    magic_.store(kMagic, kRelease);
  }
  void close() { magic_.store(0, kRelease); }

  // ---- The reader.

  // The item at `head`, the first that was not taken; nullptr: it is not there yet.
  [[nodiscard]] const StreamEntry* peek(uint64_t head) const {
    const StreamEntry& entry = at(head);
    return entry.turn.load(kAcquire) == head + 1 ? &entry : nullptr;
  }
  // All before `head` were taken, of `taken` bytes. True: the writer is to be woken.
  [[nodiscard]] bool advance(uint64_t head, uint64_t taken) {
    taken_.store(taken, kRelease);
    head_.store(head, kRelease);
    light_fence();
    if (parked_.load(kAcquire) == 0) [[likely]]
      return false;
    if (head < wake_head_.load(kRelaxed) || taken < wake_taken_.load(kRelaxed)) return false;
    return wake();
  }
  // Asks to be told of the next item. The caller then looks at `head` once more.
  void want() {
    if ((reader_.load(kRelaxed) & kWants) == 0) reader_.fetch_or(kWants);
    heavy_fence();
  }
  // Nothing more will be taken. True: the writer is to be woken.
  [[nodiscard]] bool leave() {
    reader_.fetch_or(kGone);
    return wake();
  }
  // True: the writer slept, and is to be woken: it has something else to look at.
  [[nodiscard]] bool wake() { return parked_.exchange(0) != 0; }
  [[nodiscard]] bool is_parked() const { return parked_.load(kRelaxed) != 0; }
  // It sleeps on this word, while it is 1.
  [[nodiscard]] uint32_t* parked_address() { return parked_.futex_address(); }

  // ---- The writer.

  // Where the run before has ended; 0 for the first one.
  [[nodiscard]] Writer resume() const {
    Writer writer{};
    writer.taken = taken_.load(kAcquire);  // before the head: less, rather than more
    writer.head = head_.load(kAcquire);
    writer.position = writer.head;
    while (writer.position - writer.head < capacity_ && peek(writer.position) != nullptr) ++writer.position;
    if (writer.position != 0) writer.total = at(writer.position - 1).total;
    return writer;
  }

  // Whether an item of `bytes` may be written.
  [[nodiscard]] bool has_room(Writer& writer, uint64_t bytes) const {
    if (fits(writer, bytes)) [[likely]]
      return true;
    writer.head = head_.load(kAcquire);
    writer.taken = taken_.load(kAcquire);
    return fits(writer, bytes);
  }
  // REQUIRES: has_room. `size` bytes of payload, or an ObjectRef (kObject).
  void put(Writer& writer, uint32_t size, const std::byte* payload, uint64_t bytes) {
    StreamEntry& entry = at(writer.position);
    writer.total += bytes;
    entry.total = writer.total;
    entry.size = size;
    size_t payload_size = size == StreamEntry::kObject ? sizeof(ObjectRef) : size;
    if (payload_size != 0) copy_payload(entry.payload, payload, payload_size);
    entry.turn.store(++writer.position, kRelease);
  }
  // After that: true if the reader is to be told, once for each time that it asked.
  [[nodiscard]] bool take_wish() {
    light_fence();
    return (reader_.load(kRelaxed) & kWants) != 0 && (reader_.fetch_and(~kWants) & kWants) != 0;
  }
  [[nodiscard]] bool is_gone() const { return (reader_.load(kRelaxed) & kGone) != 0; }

  // Says that the writer is about to sleep until there is room for `bytes`. False: there is by now, or nobody reads any more.
  [[nodiscard]] bool park(Writer& writer, uint64_t bytes) {
    auto less = [](uint64_t from, uint64_t what) { return from > what ? from - what : 0; };
    bool is_oversized = bytes > bytes_max_;
    wake_head_.store(is_oversized ? writer.position : writer.position - std::min<uint64_t>(items_max_ / 2, writer.position), kRelaxed);
    uint64_t for_item = less(writer.total + bytes, bytes_max_);
    wake_taken_.store(std::min(std::max(less(writer.total, bytes_max_ / 2), for_item), writer.total), kRelaxed);
    parked_.store(1, kRelease);
    heavy_fence();
    if (!has_room(writer, bytes) && !is_gone()) return true;
    unpark();
    return false;
  }
  void unpark() { parked_.store(0, kRelaxed); }

  // ---- Recovery, of what may be something else by now.

  // Whether an item that was not taken is that object.
  [[nodiscard]] bool has_object(uint32_t id, uint32_t generation) const {
    if (!is_open()) return false;
    uint64_t head = head_.load(kAcquire);
    for (uint64_t position = head; position - head < capacity_; ++position) {
      const StreamEntry* entry = peek(position);
      if (entry == nullptr) return false;
      ObjectRef ref;
      std::memcpy(static_cast<void*>(&ref), entry->payload, sizeof ref);
      if (entry->size == StreamEntry::kObject && ref.id == id && ref.generation == generation) return true;
    }
    return false;
  }
  [[nodiscard]] bool is_open() const {
    return magic_.load(kAcquire) == kMagic && capacity_ <= kStreamItemsMax && (capacity_ & (capacity_ - 1)) == 0 && capacity_ != 0;
  }

 private:
  // Of a size that the compiler knows it is two moves, and not a call.
  static void copy_payload(std::byte* to, const std::byte* from, size_t size) {
    if (size == 32) {
      memcpy(to, from, 32);
    } else if (size == 8) {
      memcpy(to, from, 8);
    } else {
      memcpy(to, from, size);
    }
  }
  // In place of what would be the state of a graph's node there, which it cannot be taken for (task/graph_record.hpp).
  static constexpr uint64_t kMagic = 0x314d'5254'5354'5354;
  static constexpr uint32_t kWants = 1;
  static constexpr uint32_t kGone = 2;

  [[nodiscard]] StreamEntry& at(uint64_t position) {
    return reinterpret_cast<StreamEntry*>(this + 1)[position & (capacity_ - 1)];
  }
  [[nodiscard]] const StreamEntry& at(uint64_t position) const {
    return reinterpret_cast<const StreamEntry*>(this + 1)[position & (capacity_ - 1)];
  }
  [[nodiscard]] bool fits(const Writer& writer, uint64_t bytes) const {
    uint64_t items = writer.position - writer.head;
    return items == 0 || (items < items_max_ && writer.total - writer.taken + bytes <= bytes_max_);
  }

  // Constant while it is open, but for `reader_`.
  alignas(64) Word<uint64_t> magic_;
  uint32_t capacity_;
  uint32_t items_max_;
  uint64_t bytes_max_;
  Word<uint32_t> reader_;  // kWants | kGone
  // Written by the reader.
  alignas(64) Word<uint64_t> head_;
  Word<uint64_t> taken_;
  // Written by the writer when it sleeps.
  alignas(64) Word<uint32_t> parked_;
  Word<uint64_t> wake_head_;
  Word<uint64_t> wake_taken_;
};
#ifndef TARN_MODEL
static_assert(sizeof(StreamRing) == 3 * 64);
#endif

}  // namespace tarn::shm
