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
  uint32_t repeatable;   // it is made again rather than copied: then each does all once only, or there are too many schedules
  uint32_t dropped;      // tarnd has no copy: it has to be made again,
  uint32_t ingredients;  // of what is there
};

inline void read_pinned(PinState& s, uint32_t self) {
  if (!s.pins.pin(self)) {
    step();
    bool makes = s.dropped != 0;
    s.asked[self] = 1;
    s.to_do = 1;
    await(&s.answered[self]);
    check(!makes || s.ingredients != 0, "an object is made again of what is gone");
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
        check(s.dropped == 0 || s.ingredients != 0, "an object was dropped, and what it was made of is gone");
        s.present = 1;
        s.pins.come_back();
      }
      step();
      s.asked[member] = 0;
      s.answered[member] = 1;
    }
  };
  for (int i = s.repeatable != 0 ? 1 : 0; i < 2; ++i) {
    bool drops = s.repeatable != 0 && s.pins.is_repeatable();
    if (!s.pins.is_away() && s.pins.leave(drops)) {
      s.dropped = drops ? 1 : 0;
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

// With `repeatable` tarnd keeps no copy, and member 1, for which it was made, lets go of what it was made of when it can.
inline Report pins_out_and_in(bool crash, bool repeatable = false) {
  std::string name = repeatable ? "pins, made again" : "pins";
  Model<PinState> model({.name = crash ? name + ", a reader may die" : name, .crashes_max = crash ? 1u : 0u});
  model.setup([repeatable](PinState& s) {
    name_words(&s.pins.word, 8, "pins");
    s.pins.reset(repeatable ? store::kRepeatable : 0);
    s.present = 1;
    s.repeatable = repeatable ? 1 : 0;
    s.ingredients = 1;
  });
  for (uint32_t member = 2; member <= 3; ++member) {
    bool may_die = crash && member == 2;
    model.process(may_die ? "mortal2" : "reader" + std::to_string(member), may_die ? Kill::kAllowed : Kill::kNever,
                  [member, once = may_die || repeatable](PinState& s) {
                    read_pinned(s, member);
                    if (!once) read_pinned(s, member);
                    step();
                    s.through |= 1u << member;
                    s.to_do = 1;
                  });
  }
  model.process("tarnd", Kill::kNever, move_out_and_in);
  if (repeatable)
    model.process("owner", Kill::kNever, [](PinState& s) {
      if (s.pins.end_repeats(1)) s.ingredients = 0;
    });
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
    return (s.pins.word.load(shm::kRelaxed) & ~(store::kAway | store::kRepeatable)) == 0 ? nullptr : "a pin is left";
  });
  return model.run();
}

}  // namespace tarn::model
