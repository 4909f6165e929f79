// Models of the ring that events are written into while others read it (src/trace/event_ring.hpp).
#pragma once

#include <cstdint>

#include "explorer.hpp"
#include "trace/event_ring.hpp"

namespace tarn::model {

// A member writes events, and may be killed in any of them; a reader comes by several times. What it takes is whole, each event at most
// once and in order; what it says is lost and what it takes are all that were written by then.
inline Report event_ring(unsigned events, unsigned looks, bool crash) {
  static constexpr uint32_t kCapacity = 2;
  struct S {
    shm::Word<uint64_t> end;
    trace::Slot slots[kCapacity];
    uint64_t position;
    uint64_t taken;  // and lost
    uint32_t ended;  // the writer will write no more
  };
  Options options{.name = crash ? "event ring, the writer may die" : "event ring"};
  options.crashes_max = crash ? 1 : 0;
  Model<S> model(options);
  model.setup([](S& s) {
    name_words(&s.end, sizeof s.end, "end", 8);
    name_words(s.slots, sizeof s.slots, "slots", 8);
  });
  model.process("writer", crash ? Kill::kAllowed : Kill::kNever, [events](S& s) {
    for (uint64_t i = 1; i <= events; ++i) trace::append(s.end, s.slots, kCapacity, {{i, i, i, i}});
  });
  model.process("reader", Kill::kNever, [looks](S& s) {
    for (unsigned look = 0; look < looks; ++look) {
      trace::RawEvent copies[kCapacity];
      uint64_t before = s.position;
      trace::Copied copied = trace::copy_events(s.end, s.slots, kCapacity, s.position, copies, kCapacity);
      check(copied.lost + copied.count == s.position - before, "an event is neither taken nor lost");
      for (uint32_t i = 0; i < copied.count; ++i) {
        const uint64_t(&words)[trace::kEventWords] = copies[copied.first + i].words;
        for (uint64_t word : words) check(word == words[0], "an event is torn");
        check(words[0] == before + copied.lost + i + 1, "an event is another one");
      }
    }
  });
  return model.run();
}

}  // namespace tarn::model
