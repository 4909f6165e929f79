// Models of a stream: yield, read, sleep and wake on both sides, a writer that dies and is run again, a reader that leaves
// (shm/stream_ring.hpp).
//
// The loops are those of task/stream_writer.cpp and task/submitter_stream.cpp in short, without the spinning and without the look
// every 20 ms: every wake has to come. Waiters, on which the reader sleeps, has models of its own (shm_models.hpp): a counter stands
// for it here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "explorer.hpp"
#include "shm/stream_ring.hpp"

namespace tarn::model {

using shm::kAcquire;
using shm::Word;

struct StreamState {
  static constexpr uint32_t kCapacity = 2;
  static constexpr uint32_t kPayload = 16;
  static constexpr uint32_t kMarked = 1;
  static constexpr uint32_t kFinished = 2;

  shm::StreamRing ring;
  shm::StreamEntry entries[kCapacity];
  Word<uint32_t> events;  // stands for Waiters
  Word<uint32_t> record;  // stands for the state word of the task
  uint32_t read;
  uint32_t ended;  // the reader is through
  uint32_t told;   // the writer knows that nobody reads any more
};

// What a stream's window holds: so many items of kPayload bytes.
enum class Window { kTwoItems, kOneItem, kBytesOfOne };

inline void open_stream(StreamState& s, Window window) {
  auto* base = reinterpret_cast<std::byte*>(&s.ring);
  name_words(base, 64, "const", 4);
  name_words(base + 64, 64, "head", 8);
  name_words(base + 128, 64, "parked", 4);
  name_words(s.entries, sizeof s.entries, "entry", sizeof(shm::StreamEntry));
  name_words(&s.events, sizeof s.events, "events");
  name_words(&s.record, sizeof s.record, "record");
  s.ring.open(StreamState::kCapacity, window == Window::kOneItem ? 1 : 2,
              window == Window::kBytesOfOne ? StreamState::kPayload : 1000);
}

inline void tell_reader(StreamState& s) {
  (void)s.events.fetch_add(1);
  futex_wake(s.events.futex_address(), 1);
}

// A run of the task, which yields numbers.
inline void run_stream(StreamState& s, uint32_t items) {
  shm::StreamRing::Writer writer = s.ring.resume();
  check(writer.position <= items, "a run goes on beyond the end");
  if (writer.position != 0) tell_reader(s);
  for (auto i = static_cast<uint32_t>(writer.position); i < items && !s.ring.is_gone(); ++i) {
    while (!s.ring.has_room(writer, StreamState::kPayload) && !s.ring.is_gone()) {
      if (!s.ring.park(writer, StreamState::kPayload)) continue;
      futex_wait(s.ring.parked_address(), 1);
      s.ring.unpark();
    }
    if (s.ring.is_gone()) break;
    std::byte payload[StreamState::kPayload];
    for (auto& byte : payload) byte = static_cast<std::byte>(1 + i);
    s.ring.put(writer, sizeof payload, payload, sizeof payload);
    if (s.ring.take_wish()) tell_reader(s);
    forget(writer.position << 32 | writer.head << 16 | writer.taken);
  }
  if (s.ring.is_gone()) s.told = 1;
  if ((s.record.fetch_or(StreamState::kFinished) & StreamState::kMarked) != 0) tell_reader(s);
}

// True if there was an item.
inline bool read_item(StreamState& s) {
  const shm::StreamEntry* entry = s.ring.peek(s.read);
  if (entry == nullptr) return false;
  std::byte payload[StreamState::kPayload];
  tarn::memcpy(payload, entry->payload, sizeof payload);
  for (auto byte : payload) check(byte == static_cast<std::byte>(1 + s.read), "an item is not the next one");
  ++s.read;
  if (s.ring.advance(s.read, uint64_t{s.read} * StreamState::kPayload)) futex_wake(s.ring.parked_address(), 1);
  return true;
}

inline void read_stream(StreamState& s, uint32_t leaves_after) {
  for (;;) {
    while (s.read < leaves_after && read_item(s)) forget();
    if (s.read == leaves_after) {
      if (s.ring.leave()) futex_wake(s.ring.parked_address(), 1);
      break;
    }
    uint32_t events = s.events.load(kAcquire);
    s.ring.want();
    bool is_finished = (s.record.fetch_or(StreamState::kMarked) & StreamState::kFinished) != 0;
    bool is_there = s.ring.peek(s.read) != nullptr;
    if (!is_there && is_finished) break;
    if (!is_there) futex_wait(s.events.futex_address(), events);
    forget();
  }
  s.ended = 1;
}

// A task yields `items`, and a process reads them, or leaves after some. The worker of the task may die at any place, `crashes`
// times; its replacement wakes the reader and runs the task again.
inline Report stream(Window window, uint32_t items, uint32_t leaves_after, unsigned crashes, bool symmetric_fences,
                     unsigned preemptions = kUnbounded) {
  Options options{.name = "stream, " + std::to_string(items) + " items, window " + std::to_string(static_cast<int>(window)) +
                          (leaves_after < items ? ", the reader leaves after " + std::to_string(leaves_after) : "") +
                          (crashes != 0 ? ", the writer may die" : "")};
  options.crashes_max = crashes;
  options.symmetric_fences = symmetric_fences;
  options.preemptions_max = preemptions;
  Model<StreamState> model(options);
  model.setup([window](StreamState& s) { open_stream(s, window); });
  model.process("reader", Kill::kNever, [leaves_after](StreamState& s) { read_stream(s, leaves_after); });
  model.process("writer", crashes != 0 ? Kill::kAllowed : Kill::kNever, [items](StreamState& s) { run_stream(s, items); });
  for (unsigned dead = 1; dead <= crashes; ++dead)
    model.replacement("replacement" + std::to_string(dead), dead < crashes ? Kill::kAllowed : Kill::kNever, static_cast<int>(dead),
                      [items](StreamState& s) {
                        // As Executor::recover_member, and wake_all_waiters by tarnd.
                        tell_reader(s);
                        if ((s.record.load(kAcquire) & StreamState::kFinished) == 0) run_stream(s, items);
                      });
  model.finally([=](const StreamState& s) -> const char* {
    if (s.ended == 0) return "the reader sleeps although there is something for it";
    if ((s.record.load(kAcquire) & StreamState::kFinished) == 0) return "the writer sleeps although there is room, or nobody reads";
    if (s.read != std::min(items, leaves_after)) return "the reader has not had all items";
    return nullptr;
  });
  return model.run();
}

}  // namespace tarn::model
