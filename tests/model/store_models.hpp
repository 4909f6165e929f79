// Models of who keeps an object alive: holder bits, returned objects, reuse of a record (store/holders.hpp).
//
// Member 1 owns the records; 2 and 3 get references; 4 and 5 recover for the dead. What a process does
// around the production functions is that of store/store.cpp in short.
#pragma once

#include <cstdint>

#include "explorer.hpp"
#include "store/holders.hpp"

namespace tarn::model {

using store::Holders;

struct StoreState {
  Holders life;
  shm::Word<uint32_t> link;
  shm::Word<uint32_t> returned;
  // Bookkeeping of the harness.
  uint32_t generation;     // of the object that is alive in the owner's eyes, 0: none
  uint32_t freed[3];       // how often the owner freed each generation
  uint32_t held[4][3];     // by member and generation: from taking to just before dropping
  uint32_t given, used;    // the reference was handed on; whoever got it is through with taking it
  uint32_t look;           // the owner shall look at what was returned
  uint32_t is_dead[5];     // the owner was told
};

inline void name_store(StoreState& s) {
  name_words(&s.life.state, 8, "state");
  name_words(&s.life.bits, 8, "bits");
  name_words(&s.link, 4, "link");
  name_words(&s.returned, 4, "returned");
}

// As Store::free_own.
inline void free_own(StoreState& s) {
  uint32_t generation = s.generation;
  check(++s.freed[generation] == 1, "an object was freed twice");
  for (int member = 1; member < 4; ++member)
    check(s.held[member][generation] == 0 || (member == 2 && is_dead(1)), "an object was freed that somebody holds");
  s.generation = 0;
  s.life.recycle(generation);
}

// As Store::give_back.
inline void give_back(StoreState& s, uint32_t self) {
  if (self == 1) return free_own(s);
  store::push_returned(s.returned, [&](uint32_t) -> shm::Word<uint32_t>& { return s.link; }, 0);
  step();
  s.look = 1;
}

inline void make_object(StoreState& s, uint32_t generation, uint64_t holders) {
  s.life.reserve(holders);
  s.life.seal(generation);
  s.generation = generation;
}

inline void release(StoreState& s, uint32_t self, uint32_t generation) {
  s.held[self][generation] = 0;
  if (s.life.drop(self, self)) give_back(s, self);
}

// As Store::take_back and take_back_from_dead, until the object is freed.
inline void take_back(StoreState& s, uint32_t generation) {
  while (s.freed[generation] == 0) {
    await(&s.look);
    step();
    s.look = 0;
    bool dead[] = {s.is_dead[2] != 0, s.is_dead[4] != 0};
    store::take_returned(
        s.returned, [&](uint32_t) -> shm::Word<uint32_t>& { return s.link; }, 1,
        [&](uint32_t) {
          if (s.generation != 0 && (s.life.bits.load(shm::kAcquire) & store::kDead) != 0) free_own(s);
        });
    for (uint32_t i = 0; i < 2; ++i)
      if (dead[i] && s.generation != 0 && s.life.bits.load(shm::kAcquire) == store::dead_by(i == 0 ? 2 : 4)) free_own(s);
  }
}

inline void learn_of_death(StoreState& s, uint32_t member = 2) {
  s.is_dead[member] = 1;
  s.look = 1;
}

// As Store::sweep_dead_member for member 2.
inline void sweep(StoreState& s, uint32_t self = 4) {
  if (s.life.drop(2, self)) give_back(s, self);
}

inline void take_use_release(StoreState& s, uint32_t self, bool giver_waits) {
  Holders::Taken taken = s.life.take(1, self);
  if (taken == Holders::Taken::kHeld) {
    s.held[self][1] = 1;
    check(s.freed[1] == 0, "a reference was taken to an object that is freed");
    check(s.life.state_now().generation == 1, "a reference was taken to another object");
    step();
    s.used |= 1u << self;
    release(s, self, 1);
    return;
  }
  check(!giver_waits, "a reference from somebody who holds the object was refused");
  if (taken == Holders::Taken::kGoneAndFreed) give_back(s, self);
  step();
  s.used |= 1u << self;
}

// The owner hands a reference to two others and keeps its own until both have taken theirs, or are
// dead; one may die anywhere. The object is freed once, when nobody holds it any more.
inline Report holders_hand_over(bool crash) {
  Model<StoreState> model({.name = crash ? "holders, handed to two, one may die" : "holders, handed to two",
                           .crashes_max = crash ? 1u : 0u});
  model.setup([](StoreState& s) {
    name_store(s);
    make_object(s, 1, store::holder_bit(1));
    s.held[1][1] = 1;
  });
  model.process("owner", Kill::kNever, [](StoreState& s) {
    while ((s.used & 0b1000) == 0 || ((s.used & 0b0100) == 0 && s.is_dead[2] == 0)) {
      await(&s.look);
      step();
      s.look = 0;
    }
    release(s, 1, 1);
    s.look = 1;
    take_back(s, 1);
  });
  for (uint32_t member = 2; member <= 3; ++member) {
    bool may_die = crash && member == 2;
    model.process(may_die ? "mortal2" : "member" + std::to_string(member), may_die ? Kill::kAllowed : Kill::kNever,
                  [member](StoreState& s) {
                    take_use_release(s, member, true);
                    step();
                    s.look = 1;
                  });
  }
  if (crash) {
    model.replacement("sweeper", Kill::kNever, 1, [](StoreState& s) { sweep(s); });
    model.replacement("tarnd", Kill::kNever, 1, [](StoreState& s) { learn_of_death(s); });
  }
  model.finally([](const StoreState& s) { return s.freed[1] == 1 ? nullptr : "an object that nobody holds was not freed"; });
  return model.run();
}

// Member 2 is the only holder, hands the reference to member 3, and dies: 3's take races with the
// sweep, with the owner that frees the object, and with the next object in the same record.
inline Report holders_late_take(bool reused, bool sweeper_may_die) {
  Model<StoreState> model({.name = std::string("holders, the giver dies") + (reused ? ", the record is reused" : "") +
                                   (sweeper_may_die ? ", the sweeper dies" : ""),
                           .crashes_max = sweeper_may_die ? 2u : 1u});
  model.setup([](StoreState& s) {
    name_store(s);
    make_object(s, 1, store::holder_bit(2));
    s.held[2][1] = 1;
  });
  model.process("owner", Kill::kNever, [reused](StoreState& s) {
    take_back(s, 1);
    if (!reused) return;
    make_object(s, 2, store::holder_bit(1));
    s.held[1][2] = 1;
    step();
    release(s, 1, 2);
    s.look = 1;
    take_back(s, 2);
  });
  model.process("giver2", Kill::kAllowed, [](StoreState& s) {
    step();
    s.given = 1;
    release(s, 2, 1);
  });
  model.process("taker3", Kill::kNever, [](StoreState& s) {
    await(&s.given);
    take_use_release(s, 3, false);
  });
  // A sweeper that dies is followed by another, who sweeps again; its own holdings are none.
  model.replacement("sweeper", sweeper_may_die ? Kill::kAllowed : Kill::kNever, 1, [](StoreState& s) { sweep(s); });
  model.replacement("tarnd", Kill::kNever, 1, [](StoreState& s) { learn_of_death(s); });
  if (sweeper_may_die) {
    model.replacement("sweeper again", Kill::kNever, 3, [](StoreState& s) { sweep(s, 5); });
    model.replacement("tarnd again", Kill::kNever, 3, [](StoreState& s) { learn_of_death(s, 4); });
  }
  model.finally([reused](const StoreState& s) {
    return s.freed[1] == 1 && (!reused || s.freed[2] == 1) ? nullptr : "an object that nobody holds was not freed";
  });
  return model.run();
}

// Two are the last to let go, at the same time; one may die between letting go and telling the owner.
inline Report holders_last_two(bool crash) {
  Model<StoreState> model({.name = crash ? "holders, the last two let go, one may die" : "holders, the last two let go",
                           .crashes_max = crash ? 1u : 0u});
  model.setup([](StoreState& s) {
    name_store(s);
    make_object(s, 1, store::holder_bit(2) | store::holder_bit(3));
    s.held[2][1] = s.held[3][1] = 1;
  });
  model.process("owner", Kill::kNever, [](StoreState& s) { take_back(s, 1); });
  model.process("member2", crash ? Kill::kAllowed : Kill::kNever, [](StoreState& s) { release(s, 2, 1); });
  model.process("member3", Kill::kNever, [](StoreState& s) { release(s, 3, 1); });
  if (crash) {
    model.replacement("sweeper", Kill::kNever, 1, [](StoreState& s) { sweep(s); });
    model.replacement("tarnd", Kill::kNever, 1, [](StoreState& s) { learn_of_death(s); });
  }
  model.finally([](const StoreState& s) { return s.freed[1] == 1 ? nullptr : "an object that nobody holds was not freed"; });
  return model.run();
}

}  // namespace tarn::model
