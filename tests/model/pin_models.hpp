// Models of pins: an object moves out and in while others read it (store/pins.hpp).
#pragma once

#include <cstdint>
#include <string>

#include "explorer.hpp"
#include "store/pins.hpp"

namespace tarn::model {

// Members 2 and 3 read an object again and again, tarnd moves it out and brings it back; 2 may die.
struct PinState {
  store::Pins pins;
  uint32_t present;      // the pages have the bytes
  uint32_t reading[4];   // by member: between a pin that was granted and its end
  uint32_t asked[4];     // by member: it waits until the bytes are back
  uint32_t answered[4];
  uint32_t to_do;        // tarnd shall look
  uint32_t through;      // members that have read all they wanted, or died
};

inline void read_pinned(PinState& s, uint32_t self) {
  if (!s.pins.pin(self)) {
    step();
    s.asked[self] = 1;
    s.to_do = 1;
    await(&s.answered[self]);
    step();
    s.answered[self] = 0;
  }
  s.reading[self] = 1;
  check(s.present != 0, "bytes are read that are not there");
  step();
  check(s.present != 0, "bytes went away while they were read");
  s.reading[self] = 0;
  s.pins.unpin(self);
}

// As the daemon does it: tries to move the object out, twice, and answers who asks.
inline void move_out_and_in(PinState& s) {
  auto serve = [&s] {
    for (uint32_t member = 2; member <= 3; ++member) {
      if (s.asked[member] == 0) continue;
      if (s.pins.is_away()) {
        s.present = 1;
        s.pins.come_back();
      }
      step();
      s.asked[member] = 0;
      s.answered[member] = 1;
    }
  };
  for (int i = 0; i < 2; ++i) {
    if (!s.pins.is_away() && s.pins.leave()) {
      step();
      check(s.reading[2] == 0 && s.reading[3] == 0, "the pages of an object are taken that somebody reads");
      s.present = 0;
    }
    step();
    serve();
  }
  while (s.through != 0b1100) {
    await(&s.to_do);
    step();
    s.to_do = 0;
    serve();
  }
}

inline Report pins_out_and_in(bool crash) {
  Model<PinState> model({.name = crash ? "pins, a reader may die" : "pins", .crashes_max = crash ? 1u : 0u});
  model.setup([](PinState& s) {
    name_words(&s.pins.word, 8, "pins");
    s.pins.reset();
    s.present = 1;
  });
  for (uint32_t member = 2; member <= 3; ++member) {
    bool may_die = crash && member == 2;
    model.process(may_die ? "mortal2" : "reader" + std::to_string(member), may_die ? Kill::kAllowed : Kill::kNever,
                  [member, may_die](PinState& s) {
                    read_pinned(s, member);
                    if (!may_die) read_pinned(s, member);
                    step();
                    s.through |= 1u << member;
                    s.to_do = 1;
                  });
  }
  model.process("tarnd", Kill::kNever, move_out_and_in);
  if (crash)
    model.replacement("sweeper", Kill::kNever, 0, [](PinState& s) {
      s.reading[2] = 0;
      s.asked[2] = 0;
      s.pins.unpin(2);
      step();
      s.through |= 0b100;
      s.to_do = 1;
    });
  model.finally([](const PinState& s) -> const char* {
    if (s.through != 0b1100) return "a reader waits for ever";
    return (s.pins.word.load(shm::kRelaxed) & ~store::kAway) == 0 ? nullptr : "a pin is left";
  });
  return model.run();
}

}  // namespace tarn::model
