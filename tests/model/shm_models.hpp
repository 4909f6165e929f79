// Models of what processes share beneath the tasks: hint ring, doorbell, waiters, fan-in tree.
//
// Each function describes one situation around a production template, explores it and returns what
// came of it. shm_test.cpp expects them to hold; mutants.py changes the templates and expects them not to.
#pragma once

#include <cstdint>

#include "explorer.hpp"
#include "shm/doorbell.hpp"
#include "shm/fan_in.hpp"
#include "shm/finished_groups.hpp"
#include "shm/hint_ring.hpp"
#include "shm/waiters.hpp"

namespace tarn::model {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;
using shm::Word;

// ---- Hint ring -------------------------------------------------------------------------------

// One producer pushes more than fits, two consumers take up to two at a time. Every hint comes out at
// least once, and exactly once if nobody dies; a consumer that dies loses at most what it had taken.
inline Report ring_two_consumers(bool crash, unsigned hints) {
  static constexpr uint32_t kCapacity = 2;
  struct S {
    shm::HintRing<kCapacity> ring;
    uint32_t taken[8];
    uint32_t pushed, refused;
    Word<uint32_t> visible;
    uint32_t done;  // the producer will push no more, and all it pushed is visible
  };
  Options options{.name = crash ? "hint ring, two consumers, one may die" : "hint ring, two consumers"};
  options.crashes_max = crash ? 1 : 0;
  Model<S> model(options);
  model.setup([](S& s) { name_words(&s.ring, sizeof s.ring, "ring", 8); });
  model.process("producer", Kill::kNever, [hints](S& s) {
    typename shm::HintRing<kCapacity>::Producer producer;
    for (uint32_t id = 1; id <= hints; ++id) {
      bool ok = s.ring.push(producer, id);
      ++(ok ? s.pushed : s.refused);
      if (!ok) s.taken[id] = 1;  // the real producer raises `unhinted` instead
    }
    s.visible.fetch_add(1);
    s.done = 1;
  });
  for (int consumer = 0; consumer < 2; ++consumer) {
    bool may_die = crash && consumer == 0;
    model.process(may_die ? "mortal" : "consumer", may_die ? Kill::kAllowed : Kill::kNever, [hints](S& s) {
      // Once more after the producer has ended, so that nothing stays behind.
      for (bool last = false;;) {
        uint32_t ids[2];
        size_t count = s.ring.take(ids, 2);
        for (size_t i = 0; i < count; ++i) {
          check(ids[i] >= 1 && ids[i] <= hints, "a hint that nobody pushed");
          check(++s.taken[ids[i]] == 1, "a hint came out twice");
        }
        if (count != 0) continue;
        check(s.ring.empty() || !last, "empty() and take() do not agree");
        if (last) return;
        await(&s.done);
        step();
        last = true;
      }
    });
  }
  model.finally([hints, crash](const S& s) -> const char* {
    uint32_t missing = 0;
    for (uint32_t id = 1; id <= hints; ++id) missing += s.taken[id] == 0;
    if (missing > (is_dead(1) ? 2u : 0u)) return "a hint was lost";
    return crash || missing == 0 ? nullptr : "a hint was lost although nobody died";
  });
  return model.run();
}

// ---- Doorbell --------------------------------------------------------------------------------

struct DoorbellState {
  static constexpr uint32_t kCapacity = 4;
  shm::Doorbell bell;
  shm::HintRing<kCapacity> ring[2];
  Word<uint32_t> levels;    // not 0: ring 1 is in use, a lane of another priority
  Word<uint32_t> futex[4];  // of workers 2 and 3
  uint32_t ran[4];
};

// As wake_worker of shm/board.hpp.
inline void wake_worker(DoorbellState& s, uint32_t member) {
  s.futex[member].fetch_add(1);
  futex_wake(s.futex[member].futex_address(), 1);
}

// The loop of task/executor.cpp: take, else announce, look again, sleep.
inline void serve_hints(DoorbellState& s, uint32_t me, bool wake_next) {
  for (;;) {
    uint32_t id = 0;
    size_t count = s.ring[0].take(&id, 1);
    if (count == 0) count = s.ring[1].take(&id, 1);
    if (count != 0) {
      check(++s.ran[id] == 1, "a hint came out twice");
      if (wake_next) {
        if (s.bell.anyone_to_wake())
          if (uint32_t worker = s.bell.pick(); worker != 0) wake_worker(s, worker);
      }
      forget();
      continue;
    }
    uint32_t ticket = s.futex[me].load(kAcquire);
    s.bell.announce(me);
    if (s.ring[0].empty() && s.ring[1].empty()) futex_wait(s.futex[me].futex_address(), ticket);
    s.bell.withdraw(me);
    forget();
  }
}

inline void ring(DoorbellState& s) {
  if (!s.bell.anyone_to_wake()) return;
  if (uint32_t worker = s.bell.pick(); worker != 0) wake_worker(s, worker);
}

// As Submitter::ring of task/submitter.cpp: nobody is woken while those awake are as many as the tasks
// that may occupy them.
inline void ring_if_busy(DoorbellState& s, uint32_t outstanding) {
  if (!s.bell.anyone_to_wake()) return;
  if (outstanding <= s.bell.awake()) return;
  if (uint32_t worker = s.bell.pick(); worker != 0) wake_worker(s, worker);
}

inline void name_doorbell(DoorbellState& s) {
  name_words(&s.bell, 32, "parked", 8);
  name_words(reinterpret_cast<std::byte*>(&s.bell) + 32, 4, "order", 4);
  name_words(reinterpret_cast<std::byte*>(&s.bell) + 64, 32, "serving", 8);
  name_words(&s.ring[0], sizeof s.ring[0], "ring0", 8);
  name_words(&s.ring[1], sizeof s.ring[1], "ring1", 8);
  name_words(s.futex, sizeof s.futex, "futex", 4);
  s.bell.set_serving(2, true);
  s.bell.set_serving(3, true);
}

// Producers push a hint each and ring; when nobody can move, every hint was found.
inline Report doorbell(unsigned producers, unsigned hints_each, unsigned workers, bool symmetric,
                       unsigned preemptions = kUnbounded) {
  Options options{.name = "doorbell, " + std::to_string(producers) + " producers, " + std::to_string(hints_each) +
                          " hints each, " + std::to_string(workers) + " workers" + (symmetric ? ", symmetric" : "")};
  options.symmetric_fences = symmetric;
  options.preemptions_max = preemptions;
  Model<DoorbellState> model(options);
  model.setup(name_doorbell);
  for (uint32_t p = 0; p < producers; ++p) {
    model.process("producer", Kill::kNever, [p, hints_each](DoorbellState& s) {
      shm::HintRing<DoorbellState::kCapacity>::Producer producer;
      for (uint32_t i = 0; i < hints_each; ++i) {
        (void)s.ring[p].push(producer, p * hints_each + i);
        ring(s);
      }
    });
  }
  for (uint32_t w = 0; w < workers; ++w)
    model.process("worker", Kill::kNever, [w](DoorbellState& s) { serve_hints(s, 2 + w, false); });
  model.finally([producers, hints_each](const DoorbellState& s) -> const char* {
    for (uint32_t id = 0; id < producers * hints_each; ++id)
      if (s.ran[id] != 1) return "everybody sleeps although there is a hint";
    return nullptr;
  });
  return model.run();
}

// As SessionView::publish and Executor::find: a lane is looked at once somebody has said that he uses it, before his first hint.
inline Report doorbell_levels(bool symmetric, unsigned workers, unsigned preemptions = kUnbounded) {
  Options options{.name = "doorbell, a lane that is new, " + std::to_string(workers) + " workers" + (symmetric ? ", symmetric" : "")};
  options.symmetric_fences = symmetric;
  options.preemptions_max = preemptions;
  Model<DoorbellState> model(options);
  model.setup([](DoorbellState& s) {
    name_doorbell(s);
    name_words(&s.levels, 4, "levels");
  });
  model.process("producer", Kill::kNever, [](DoorbellState& s) {
    shm::HintRing<DoorbellState::kCapacity>::Producer producers[2];
    for (uint32_t lane : {0u, 1u}) {
      if (lane == 1 && s.levels.load(kRelaxed) == 0) (void)s.levels.fetch_or(1);
      (void)s.ring[lane].push(producers[lane], lane);
      ring(s);
    }
  });
  for (uint32_t me = 2; me < 2 + workers; ++me)
    model.process("worker", Kill::kNever, [me](DoorbellState& s) {
      for (;;) {
        uint32_t id = 0;
        size_t count = s.levels.load(kAcquire) != 0 ? s.ring[1].take(&id, 1) : 0;
        if (count == 0) count = s.ring[0].take(&id, 1);
        if (count != 0) {
          check(++s.ran[id] == 1, "a hint came out twice");
          forget();
          continue;
        }
        uint32_t ticket = s.futex[me].load(kAcquire);
        s.bell.announce(me);
        bool is_empty = s.ring[0].empty() && (s.levels.load(kAcquire) == 0 || s.ring[1].empty());
        if (is_empty) futex_wait(s.futex[me].futex_address(), ticket);
        s.bell.withdraw(me);
        forget();
      }
    });
  model.finally([](const DoorbellState& s) -> const char* {
    return s.ran[0] == 1 && s.ran[1] == 1 ? nullptr : "everybody sleeps although there is a hint";
  });
  return model.run();
}

// A producer may die anywhere between its push and the wake; tarnd then rings for everybody (ring_all).
inline Report doorbell_producer_dies(unsigned preemptions) {
  Model<DoorbellState> model(
      {.name = "doorbell, a producer dies, tarnd rings", .crashes_max = 1, .preemptions_max = preemptions});
  model.setup(name_doorbell);
  model.process("producer", Kill::kAllowed, [](DoorbellState& s) {
    shm::HintRing<DoorbellState::kCapacity>::Producer producer;
    for (uint32_t i = 0; i < 2; ++i) {
      (void)s.ring[0].push(producer, i);
      ring(s);
    }
  });
  for (uint32_t w = 0; w < 2; ++w)
    model.process("worker", Kill::kNever, [w](DoorbellState& s) { serve_hints(s, 2 + w, false); });
  model.replacement("tarnd", Kill::kNever, 0, [](DoorbellState& s) {
    wake_worker(s, 2);
    wake_worker(s, 3);
  });
  model.finally([](const DoorbellState& s) -> const char* {
    // What the dead one had published must be found: its stores that nobody saw do not count.
    return s.ring[0].empty() ? nullptr : "everybody sleeps although there is a hint";
  });
  return model.run();
}

// tarnd has both sides fence, and the sleeper alone again, while hints come and workers fall asleep. It may die in that, and
// the next one then begins anew.
inline Report doorbell_order(bool tarnd_dies, unsigned workers, unsigned preemptions = kUnbounded) {
  Model<DoorbellState> model({.name = "doorbell, who fences changes, " + std::to_string(workers) + " workers" +
                                      (tarnd_dies ? ", tarnd dies" : ""),
                              .crashes_max = tarnd_dies ? 1u : 0u,
                              .preemptions_max = preemptions});
  model.setup(name_doorbell);
  model.process("tarnd", tarnd_dies ? Kill::kAllowed : Kill::kNever, [](DoorbellState& s) {
    s.bell.set_order(true);
    s.bell.set_order(false);
  });
  if (tarnd_dies) model.replacement("tarnd", Kill::kNever, 0, [](DoorbellState& s) { s.bell.set_order(true); });
  model.process("producer", Kill::kNever, [](DoorbellState& s) {
    shm::HintRing<DoorbellState::kCapacity>::Producer producer;
    for (uint32_t i = 0; i < 2; ++i) {
      (void)s.ring[0].push(producer, i);
      ring(s);
    }
  });
  for (uint32_t w = 0; w < workers; ++w)
    model.process("worker", Kill::kNever, [w](DoorbellState& s) { serve_hints(s, 2 + w, false); });
  model.finally([](const DoorbellState& s) -> const char* {
    return s.ring[0].empty() ? nullptr : "everybody sleeps although there is a hint";
  });
  return model.run();
}

// A worker may die with a hint in its hands or as the one that was woken; tarnd takes it out of those
// that sleep, then rings for everybody. Without the first, a producer may pick the dead one's bit.
enum class DeadBit { kWithdrawn, kLeft };
inline Report doorbell_worker_dies(DeadBit bit, unsigned preemptions) {
  Model<DoorbellState> model({.name = std::string("doorbell, a worker dies, ") +
                                      (bit == DeadBit::kWithdrawn ? "tarnd withdraws it and rings" : "tarnd only rings"),
                              .crashes_max = 1,
                              .preemptions_max = preemptions});
  model.setup(name_doorbell);
  model.process("producer", Kill::kNever, [](DoorbellState& s) {
    shm::HintRing<DoorbellState::kCapacity>::Producer producer;
    for (uint32_t i = 0; i < 2; ++i) {
      (void)s.ring[0].push(producer, i);
      ring(s);
    }
  });
  model.process("mortal", Kill::kAllowed, [](DoorbellState& s) { serve_hints(s, 2, false); });
  model.process("worker", Kill::kNever, [](DoorbellState& s) { serve_hints(s, 3, false); });
  model.replacement("tarnd", Kill::kNever, 1, [bit](DoorbellState& s) {
    s.bell.set_serving(2, false);
    if (bit == DeadBit::kWithdrawn) s.bell.withdraw(2);
    wake_worker(s, 3);
  });
  model.finally([](const DoorbellState& s) -> const char* {
    return s.ring[0].empty() ? nullptr : "everybody sleeps although there is a hint";
  });
  return model.run();
}

// Tasks that need one another's company: each runs until all have started. Only if a worker is woken
// for each does anybody come to the end.
enum class Taker { kWakesNextIfMore, kWakesNobody };
inline Report doorbell_counts_the_awake(Taker taker, unsigned tasks_before, unsigned preemptions) {
  struct S : DoorbellState {
    uint32_t started, all_started, seen;
  };
  Model<S> model({.name = std::string("doorbell, wakes only when those awake may all be busy") +
                          (taker == Taker::kWakesNobody ? ", a taker wakes nobody, " : ", ") +
                          std::to_string(tasks_before) + " tasks before",
                  .preemptions_max = preemptions});
  model.setup([](S& s) { name_doorbell(s); });
  model.process("client", Kill::kNever, [tasks_before](S& s) {
    shm::HintRing<DoorbellState::kCapacity>::Producer producer;
    uint32_t outstanding = 0;
    for (uint32_t i = 0; i < tasks_before; ++i) {
      // An ordinary task first, awaited: its worker may be on the way to sleep when the others come.
      (void)s.ring[0].push(producer, 2);
      ring_if_busy(s, ++outstanding);
      await(&s.seen);
      step();
      s.seen = 0;
      --outstanding;
    }
    for (uint32_t i = 0; i < 2; ++i) {
      (void)s.ring[0].push(producer, i);
      ring_if_busy(s, ++outstanding);
    }
  });
  for (uint32_t w = 0; w < 2; ++w) {
    model.process("worker", Kill::kNever, [w, taker](S& s) {
      uint32_t me = 2 + w;
      for (;;) {
        uint32_t id = 0;
        if (s.ring[0].take(&id, 1) != 0) {
          if (taker == Taker::kWakesNextIfMore && !s.ring[0].empty()) ring(s);
          if (id == 2) {
            s.seen = 1;
          } else {
            ++s.ran[id];
            if (++s.started == 2) s.all_started = 1;
            await(&s.all_started);
          }
          forget();
          continue;
        }
        uint32_t ticket = s.futex[me].load(kAcquire);
        s.bell.announce(me);
        if (s.ring[0].empty()) futex_wait(s.futex[me].futex_address(), ticket);
        s.bell.withdraw(me);
        forget();
      }
    });
  }
  model.finally([](const S& s) { return s.all_started == 1 ? nullptr : "a task waits while a worker sleeps"; });
  return model.run();
}

// ---- Waiters ---------------------------------------------------------------------------------

struct WaitersState {
  shm::Waiters waiters;
  Word<uint32_t> record[2];  // stand for two records' state words; 1: marked, 2: finished
  uint32_t returned[2];
};

inline void name_waiters(WaitersState& s) {
  name_words(&s.waiters, sizeof(uint32_t), "events");
  name_words(reinterpret_cast<std::byte*>(&s.waiters) + 8, 8, "parked");
  auto* base = reinterpret_cast<std::byte*>(s.waiters.futex_address(0)) - 4;
  name_words(base, 64, "waiter0", 4);
  name_words(base + 64, 64, "waiter1", 4);
  name_words(s.record, sizeof s.record, "record", 4);
  // What an earlier wait left behind: a target that is far away.
  for (uint32_t waiter = 0; waiter < 2; ++waiter) {
    uint32_t ticket;
    if (s.waiters.prepare(waiter, 0, 1000, ticket)) s.waiters.withdraw(waiter);
  }
}

// As SegmentSpace::wake_set of task/session_view.hpp.
inline void wake_waiters(WaitersState& s, uint64_t set) {
  for (; set != 0; set &= set - 1) {
    auto index = static_cast<uint32_t>(std::countr_zero(set));
    s.waiters.release(index);
    futex_wake(s.waiters.futex_address(index), 1);
  }
}

inline void finish_record(WaitersState& s, uint32_t i) {
  if ((s.record[i].fetch_or(2) & 1) != 0) wake_waiters(s, s.waiters.count_event());
}

// As Submitter::wait of task/submitter_wait.cpp, without the spinning.
inline void wait_for(WaitersState& s, uint32_t waiter, uint32_t first, uint32_t count, uint32_t want) {
  for (;;) {
    uint32_t events = s.waiters.events();
    uint32_t finished = 0;
    for (uint32_t i = first; i < first + count; ++i) finished += (s.record[i].fetch_or(1) & 2) != 0;
    if (finished >= want) break;
    uint32_t ticket;
    if (s.waiters.prepare(waiter, events, want - finished, ticket)) {
      futex_wait(s.waiters.futex_address(waiter), ticket);
      s.waiters.withdraw(waiter);
    }
    forget();
  }
  s.returned[waiter] = 1;
}

// One thread waits for `want` of two records, which two workers finish.
inline Report waiters_one(uint32_t want) {
  Model<WaitersState> model({.name = "waiters, " + std::to_string(want) + " of two"});
  model.setup(name_waiters);
  model.process("client", Kill::kNever, [want](WaitersState& s) { wait_for(s, 0, 0, 2, want); });
  for (uint32_t w = 0; w < 2; ++w)
    model.process("worker", Kill::kNever, [w](WaitersState& s) { finish_record(s, w); });
  model.finally(
      [](const WaitersState& s) { return s.returned[0] == 1 ? nullptr : "sleeps although enough are finished"; });
  return model.run();
}

// Two threads wait, one for both records and one for the second: an event of one is no event of the other.
inline Report waiters_two_threads(unsigned preemptions) {
  Model<WaitersState> model({.name = "waiters, two threads", .preemptions_max = preemptions});
  model.setup(name_waiters);
  model.process("both", Kill::kNever, [](WaitersState& s) { wait_for(s, 0, 0, 2, 2); });
  model.thread("second", [](WaitersState& s) { wait_for(s, 1, 1, 1, 1); });
  for (uint32_t w = 0; w < 2; ++w)
    model.process("worker", Kill::kNever, [w](WaitersState& s) { finish_record(s, w); });
  model.finally([](const WaitersState& s) {
    return s.returned[0] == 1 && s.returned[1] == 1 ? nullptr : "sleeps although enough are finished";
  });
  return model.run();
}

// A finisher may die between counting, taking the bit and waking. Then tarnd calls wake_all_waiters
// (shm/board.hpp), whose look at the waiters is `count_all`, and the replacement finishes again.
enum class AfterDeath { kWakesParked, kWakesEverybody };
inline Report waiters_finisher_dies(AfterDeath after) {
  Model<WaitersState> model(
      {.name = after == AfterDeath::kWakesParked ? "waiters, a finisher dies, the parked are woken"
                                                 : "waiters, a finisher dies, everybody is woken",
       .crashes_max = 1});
  model.setup(name_waiters);
  model.process("client", Kill::kNever, [](WaitersState& s) { wait_for(s, 0, 0, 2, 2); });
  model.process("mortal", Kill::kAllowed, [](WaitersState& s) { finish_record(s, 0); });
  model.process("worker", Kill::kNever, [](WaitersState& s) { finish_record(s, 1); });
  model.replacement("recovery", Kill::kNever, 1, [after](WaitersState& s) {
    finish_record(s, 0);
    uint64_t parked = s.waiters.count_all();
    wake_waiters(s, after == AfterDeath::kWakesParked ? parked : uint64_t{1});
  });
  model.finally(
      [](const WaitersState& s) { return s.returned[0] == 1 ? nullptr : "sleeps although enough are finished"; });
  return model.run();
}

// ---- Finished groups ---------------------------------------------------------------------------

struct GroupsState {
  shm::Waiters waiters;
  shm::FinishedGroups<8192> finished;
  Word<uint32_t> record[2];  // as in WaitersState
  uint32_t told[2];
};

// Two workers finish a record each that a client asked about; it is told of both, also if a worker dies at any place and
// recovery finishes again. `apart` is how far the records lie from each other: in one group, in two, under two bits above.
inline Report finished_groups(uint32_t apart, bool crash, unsigned preemptions) {
  Options options{.name = "finished groups, records " + std::to_string(apart) + " apart" + (crash ? ", one may die" : "")};
  options.preemptions_max = preemptions;
  options.crashes_max = crash ? 1 : 0;
  Model<GroupsState> model(options);
  auto index_of = [apart](uint32_t i) { return i * apart; };
  auto wake = [](GroupsState& s, uint64_t set) {
    if (set == 0) return;
    s.waiters.release(0);
    futex_wake(s.waiters.futex_address(0), 1);
  };
  auto finish = [=](GroupsState& s, uint32_t i) {
    (void)s.record[i].fetch_or(2);
    s.finished.mark(index_of(i));
    wake(s, s.waiters.count_event());
  };
  model.setup([](GroupsState& s) {
    name_words(&s.finished, sizeof s.finished, "finished", 8);
    name_words(s.record, sizeof s.record, "record", 4);
  });
  // As Submitter::watch_next and find_finished of task/submitter_told.cpp.
  model.process("client", Kill::kNever, [index_of](GroupsState& s) {
    for (;;) {
      uint32_t events = s.waiters.events();
      s.finished.take([&](uint32_t first) {
        for (uint32_t i = 0; i < 2; ++i) {
          bool here = index_of(i) / 64 == first / 64;
          if (here && s.told[i] == 0 && (s.record[i].load(shm::kSeqCst) & 2) != 0) s.told[i] = 1;
        }
      });
      if (s.told[0] + s.told[1] == 2) return;
      uint32_t ticket;
      if (s.waiters.prepare(0, events, 1, ticket)) {
        futex_wait(s.waiters.futex_address(0), ticket);
        s.waiters.withdraw(0);
      }
    }
  });
  model.process("mortal", crash ? Kill::kAllowed : Kill::kNever, [=](GroupsState& s) { finish(s, 0); });
  model.process("worker", Kill::kNever, [=](GroupsState& s) { finish(s, 1); });
  if (crash) {
    model.replacement("recovery", Kill::kNever, 1, [=](GroupsState& s) {
      finish(s, 0);
      (void)s.waiters.count_all();
      wake(s, 1);
    });
  }
  model.finally([](const GroupsState& s) {
    return s.told[0] == 1 && s.told[1] == 1 ? nullptr : "is not told of a record that has finished";
  });
  return model.run();
}

// ---- Fan-in ----------------------------------------------------------------------------------

// A tree of two levels, all leaves but the first few of some words arrived before. It fires after the
// last arrival and at least once, also when one that arrives dies and recovery arrives again.
inline Report fan_in(bool crash, unsigned arrivals) {
  static constexpr size_t kLeaves = 130;  // words of 64, 64 and 2 leaves under one
  struct S {
    Word<uint64_t> words[4];
    uint32_t arrived[3];
    uint32_t fired;
  };
  static constexpr size_t kIndex[3] = {0, 129, 1};
  Options options{.name = std::string("fan-in, ") + std::to_string(arrivals) + " arrivals" +
                          (crash ? ", some may die" : "")};
  options.crashes_max = crash ? 2 : 0;
  Model<S> model(options);
  model.setup([arrivals](S& s) {
    name_words(s.words, sizeof s.words, "tree", 8);
    shm::FanIn::init(s.words, kLeaves);
    for (size_t leaf = 0; leaf < kLeaves; ++leaf) {
      bool later = false;
      for (unsigned i = 0; i < arrivals; ++i) later |= kIndex[i] == leaf;
      if (!later) (void)shm::FanIn::arrive(s.words, kLeaves, leaf);
    }
  });
  auto arrive = [arrivals](S& s, unsigned i) {
    s.arrived[i] = 1;
    if (!shm::FanIn::arrive(s.words, kLeaves, kIndex[i])) return;
    for (unsigned other = 0; other < arrivals; ++other) check(s.arrived[other] != 0, "fires although one has not arrived");
    ++s.fired;
  };
  for (unsigned i = 0; i < arrivals; ++i) {
    bool may_die = crash && i < 2;
    model.process("worker" + std::to_string(i), may_die ? Kill::kAllowed : Kill::kNever,
                  [=](S& s) { arrive(s, i); });
  }
  for (unsigned i = 0; crash && i < 2; ++i) {
    model.replacement("recovery" + std::to_string(i), Kill::kNever, static_cast<int>(i), [=](S& s) {
      arrive(s, i);
    });
  }
  model.finally([crash](const S& s) -> const char* {
    if (s.fired == 0) return "has not fired although all have arrived";
    return crash || s.fired == 1 ? nullptr : "fired more than once although nobody died";
  });
  return model.run();
}

}  // namespace tarn::model
