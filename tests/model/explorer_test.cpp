// The explorer itself. A checker that finds nothing proves nothing: here are small protocols that are
// known to be broken, each of which must be found, beside a repaired twin that must pass. And two
// sanity checks: merging states must lose no outcome, and a crash must be tried at every step.

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "explorer.hpp"

namespace tarn::model {
namespace {

using shm::kAcquire;
using shm::kRelaxed;
using shm::kRelease;
using shm::kSeqCst;
using shm::Word;

// ---- Store buffers ---------------------------------------------------------------------------

struct Dekker {
  Word<uint32_t> wants[2];
  uint32_t inside;
};

enum class Order { kPlain, kSequential, kBothLight, kLightAndHeavy, kHeavyLate };

Report dekker(const char* name, Order order, bool symmetric = false) {
  Options options{.name = name};
  options.symmetric_fences = symmetric;
  Model<Dekker> model(options);
  auto body = [order](Dekker& s, int me) {
    if (order == Order::kSequential) {
      s.wants[me].store(1, kSeqCst);
    } else {
      s.wants[me].store(1, kRelease);
      if (order == Order::kBothLight || (order == Order::kLightAndHeavy && me == 0)) shm::light_fence();
      if (order == Order::kLightAndHeavy && me == 1) shm::heavy_fence();
    }
    bool other = s.wants[1 - me].load(kAcquire) != 0;
    if (order == Order::kHeavyLate && me == 1) shm::heavy_fence();
    if (other) return;
    ++s.inside;
    check(s.inside == 1, "both are inside");
  };
  model.setup([](Dekker& s) { name_words(s.wants, sizeof s.wants, "wants", 4); });
  model.process("left", Kill::kNever, [body](Dekker& s) { body(s, 0); });
  model.process("right", Kill::kNever, [body](Dekker& s) { body(s, 1); });
  return model.run();
}

TEST(Explorer, DekkerWithPlainStoresIsFound) {
  Report report = dekker("dekker with plain stores", Order::kPlain);
  EXPECT_TRUE(report.violated);
  EXPECT_NE(report.trace.find("(buffered)"), std::string::npos) << report.trace;
}
TEST(Explorer, DekkerWithSequentialStoresHolds) { EXPECT_TRUE(dekker("dekker, seq_cst", Order::kSequential).holds()); }
TEST(Explorer, TwoLightFencesAreFound) { EXPECT_TRUE(dekker("dekker, two light fences", Order::kBothLight).violated); }
TEST(Explorer, LightAgainstHeavyHolds) { EXPECT_TRUE(dekker("dekker, light and heavy", Order::kLightAndHeavy).holds()); }
TEST(Explorer, LightAgainstHeavyHoldsWhenSymmetric) {
  EXPECT_TRUE(dekker("dekker, light and heavy, symmetric", Order::kLightAndHeavy, true).holds());
}
TEST(Explorer, TwoLightFencesHoldWhenSymmetric) {
  EXPECT_TRUE(dekker("dekker, two light fences, symmetric", Order::kBothLight, true).holds());
}
TEST(Explorer, HeavyFenceAfterTheLookIsFound) { EXPECT_TRUE(dekker("dekker, heavy too late", Order::kHeavyLate).violated); }

// Message passing works on x86 without fences: stores stay in order. Must not be reported.
struct Message {
  Word<uint32_t> data, flag;
};
TEST(Explorer, StoresOfOneProcessStayInOrder) {
  Model<Message> model({.name = "message passing"});
  model.process("writer", Kill::kNever, [](Message& s) {
    s.data.store(7, kRelaxed);
    s.flag.store(1, kRelease);
  });
  model.process("reader", Kill::kNever, [](Message& s) {
    if (s.flag.load(kAcquire) == 1) check(s.data.load(kRelaxed) == 7, "flag before data");
  });
  EXPECT_TRUE(model.run().holds());
}

// ---- Sleeping --------------------------------------------------------------------------------

struct Sleep {
  Word<uint32_t> work, parked, futex;
  uint32_t done;
};

enum class Park { kRight, kNoSecondLook, kLookBeforeAnnounce, kTicketLate };

Report park(const char* name, Park variant) {
  Model<Sleep> model({.name = name});
  model.process("producer", Kill::kNever, [](Sleep& s) {
    s.work.store(1, kRelease);
    shm::light_fence();
    if (s.parked.load(kRelaxed) != 0) {
      s.futex.fetch_add(1);
      futex_wake(s.futex.futex_address(), 1);
    }
  });
  model.process("consumer", Kill::kNever, [variant](Sleep& s) {
    while (s.work.load(kAcquire) == 0) {
      uint32_t ticket = 0;
      if (variant != Park::kTicketLate) ticket = s.futex.load(kAcquire);
      bool again = variant == Park::kLookBeforeAnnounce && s.work.load(kAcquire) != 0;
      s.parked.fetch_or(1);
      shm::heavy_fence();
      if (variant == Park::kRight || variant == Park::kTicketLate) again = s.work.load(kAcquire) != 0;
      if (variant == Park::kTicketLate) ticket = s.futex.load(kAcquire);
      if (!again) futex_wait(s.futex.futex_address(), ticket);
      s.parked.fetch_and(0);
    }
    s.done = 1;
  });
  model.finally([](const Sleep& s) { return s.done == 1 ? nullptr : "asleep although there is work"; });
  return model.run();
}

TEST(Explorer, ParkHolds) { EXPECT_TRUE(park("park", Park::kRight).holds()); }
TEST(Explorer, LostWakeUpWithoutSecondLookIsFound) {
  Report report = park("park without a second look", Park::kNoSecondLook);
  EXPECT_TRUE(report.violated);
  EXPECT_NE(report.trace.find("is asleep"), std::string::npos) << report.trace;
}
TEST(Explorer, LostWakeUpWithEarlyLookIsFound) {
  EXPECT_TRUE(park("park, looks before announcing", Park::kLookBeforeAnnounce).violated);
}
TEST(Explorer, LostWakeUpWithLateTicketIsFound) {
  EXPECT_TRUE(park("park, ticket after the look", Park::kTicketLate).violated);
}

// ---- Crashes ---------------------------------------------------------------------------------

// Two workers count down what a task waits for; one may die after it counted and before it said so.
// Recovery does its part again. With a counter that counts twice, with bits it does not.
struct Count {
  Word<uint32_t> arrived;
  Word<uint32_t> said[2];
  uint32_t real[2];
};

Report arrive(const char* name, bool bits) {
  Model<Count> model({.name = name, .crashes_max = 1});
  auto arrive_one = [bits](Count& s, uint32_t me) {
    uint32_t now = bits ? s.arrived.fetch_or(1u << me) | 1u << me : s.arrived.fetch_add(1) + 1;
    if (now == (bits ? 3u : 2u)) check(s.real[0] + s.real[1] == 2, "fires although one has not arrived");
    s.said[me].store(1, kSeqCst);
  };
  for (uint32_t me = 0; me < 2; ++me) {
    model.process(me == 0 ? "first" : "second", me == 0 ? Kill::kAllowed : Kill::kNever, [=](Count& s) {
      s.real[me] = 1;
      arrive_one(s, me);
    });
  }
  model.process("recovery", Kill::kNever, [=](Count& s) {
    await_death(0);
    if (s.said[0].load(kAcquire) == 1) return;
    s.real[0] = 1;
    arrive_one(s, 0);
  });
  return model.run();
}

TEST(Explorer, CounterWithACrashIsFound) {
  Report report = arrive("counter and crash", false);
  EXPECT_TRUE(report.violated);
  EXPECT_NE(report.trace.find("KILLED"), std::string::npos) << report.trace;
}
TEST(Explorer, BitsWithACrashHold) { EXPECT_TRUE(arrive("bits and crash", true).holds()); }

// A replacement is started by a death, and can die like any other, at every step.
TEST(Explorer, AReplacementMayDieAtEveryStep) {
  static std::set<uint32_t> left;
  left.clear();
  Model<Count> model({.name = "death of a replacement", .crashes_max = 2});
  auto body = [](Count& s) {
    s.arrived.fetch_add(1);
    s.arrived.fetch_add(1);
  };
  model.process("mortal", Kill::kAllowed, body);
  model.replacement("second", Kill::kAllowed, 0, body);
  model.replacement("third", Kill::kNever, 1, [](Count& s) { left.insert(s.arrived.load(kAcquire)); });
  EXPECT_TRUE(model.run().holds());
  EXPECT_EQ(left, (std::set<uint32_t>{0, 1, 2}));  // who has ended is not killed any more
}

// A crash may tear what is being written, and hits between any two stores.
struct Torn {
  std::byte bytes[32];
  Word<uint32_t> valid;
  uint32_t seen;
};
uint32_t torn_outcomes(bool stamp_first) {
  Model<Torn> model({.name = stamp_first ? "stamp before the data" : "stamp after the data", .crashes_max = 1});
  model.process("writer", Kill::kAllowed, [stamp_first](Torn& s) {
    std::byte full[32];
    std::memset(full, 1, sizeof full);
    if (stamp_first) s.valid.store(1, kRelease);
    tarn::memcpy(s.bytes, full, sizeof full);
    if (!stamp_first) s.valid.store(1, kRelease);
    uint32_t never = 0;
    futex_wait(&never, 0);
  });
  static uint32_t outcomes;
  outcomes = 0;
  model.process("reader", Kill::kNever, [](Torn& s) {
    await_death(0);
    std::byte copy[32];
    tarn::memcpy(copy, s.bytes, sizeof copy);
    bool head = copy[0] == std::byte{1}, tail = copy[31] == std::byte{1};
    outcomes |= 1u << (s.valid.load(kAcquire) * 4 + head * 2 + tail);
  });
  EXPECT_TRUE(model.run().holds());
  return outcomes;
}
TEST(Explorer, EveryPrefixOfTheStoresSurvivesSomeCrash) {
  // Bits: valid, first half, second half. Nothing, half, all, all and valid.
  EXPECT_EQ(torn_outcomes(false), 1u << 0 | 1u << 2 | 1u << 3 | 1u << 7);
  EXPECT_EQ(torn_outcomes(true), 1u << 0 | 1u << 4 | 1u << 6 | 1u << 7);
}

// ---- Reuse -----------------------------------------------------------------------------------

// A stack of two nodes, linked by index. Popping compares the head only: while one thread sleeps on its
// old view, the other pops both and pushes the first back.
struct Stack {
  Word<uint32_t> head;  // generation 16 | node + 1
  Word<uint32_t> next[2];
  uint32_t owners[2];
};

Report aba(const char* name, bool generation) {
  Model<Stack> model({.name = name});
  model.setup([](Stack& s) {
    s.head.store(1, kRelaxed);
    s.next[0].store(2, kRelaxed);
  });
  auto pop = [generation](Stack& s) -> uint32_t {
    uint32_t head = s.head.load(kAcquire);
    for (;;) {
      uint32_t node = head & 0xffff;
      if (node == 0) return 0;
      uint32_t next = s.next[node - 1].load(kAcquire);
      if (s.head.compare_exchange(head, generation ? ((head & 0xffff0000) + 0x10000) | next : next)) {
        check(++s.owners[node - 1] == 1, "a node was popped by two");
        return node;
      }
    }
  };
  auto push = [generation](Stack& s, uint32_t node) {
    --s.owners[node - 1];
    uint32_t head = s.head.load(kAcquire);
    for (;;) {
      s.next[node - 1].store(head & 0xffff, kRelaxed);
      if (s.head.compare_exchange(head, generation ? ((head & 0xffff0000) + 0x10000) | node : node)) return;
    }
  };
  model.process("slow", Kill::kNever, [=](Stack& s) {
    (void)pop(s);
    (void)pop(s);
  });
  model.process("quick", Kill::kNever, [=](Stack& s) {
    uint32_t first = pop(s);
    (void)pop(s);
    if (first != 0) push(s, first);
  });
  return model.run();
}

TEST(Explorer, AbaWithoutGenerationIsFound) { EXPECT_TRUE(aba("stack without generation", false).violated); }
TEST(Explorer, AbaWithGenerationHolds) { EXPECT_TRUE(aba("stack with generation", true).holds()); }

// ---- Plain data ------------------------------------------------------------------------------

struct Publish {
  std::byte bytes[16];
  Word<uint32_t> flag;
};
Report publish(const char* name, bool data_first) {
  Model<Publish> model({.name = name});
  model.process("writer", Kill::kNever, [data_first](Publish& s) {
    std::byte data[16] = {std::byte{1}};
    if (data_first) tarn::memcpy(s.bytes, data, sizeof data);
    s.flag.store(1, kRelease);
    if (!data_first) tarn::memcpy(s.bytes, data, sizeof data);
  });
  model.process("reader", Kill::kNever, [](Publish& s) {
    std::byte data[16];
    if (s.flag.load(kAcquire) == 1) tarn::memcpy(data, s.bytes, sizeof data);
  });
  return model.run();
}
TEST(Explorer, RaceOnPlainDataIsFound) { EXPECT_TRUE(publish("published too early", false).violated); }
TEST(Explorer, PublishedDataIsNoRace) { EXPECT_TRUE(publish("published", true).holds()); }

// ---- The search ------------------------------------------------------------------------------

struct Litmus {
  Word<uint32_t> x, y;
  uint32_t seen[4];
};
std::set<uint32_t> litmus_outcomes(bool merge) {
  static std::set<uint32_t> outcomes;
  outcomes.clear();
  Model<Litmus> model({.name = merge ? "litmus, merged" : "litmus, each schedule", .crashes_max = 1, .merge = merge});
  model.process("one", Kill::kAllowed, [](Litmus& s) {
    s.x.store(1, kRelaxed);
    s.seen[0] = 1 + s.y.load(kRelaxed);
    s.seen[1] = 1 + s.x.load(kRelaxed);
  });
  model.process("two", Kill::kNever, [](Litmus& s) {
    s.y.store(1, kRelaxed);
    s.seen[2] = 1 + s.x.load(kRelaxed);
    s.seen[3] = 1 + s.x.fetch_add(2);
  });
  model.finally([](const Litmus& s) -> const char* {
    uint32_t outcome = 0;
    for (uint32_t seen : s.seen) outcome = outcome * 8 + seen;
    outcomes.insert(outcome);
    return nullptr;
  });
  EXPECT_TRUE(model.run().holds());
  return outcomes;
}
TEST(Explorer, MergingStatesLosesNoOutcome) {
  std::set<uint32_t> merged = litmus_outcomes(true);
  EXPECT_GT(merged.size(), 10u);
  EXPECT_EQ(merged, litmus_outcomes(false));
}

struct Loop {
  Word<uint32_t> flag;
};
TEST(Explorer, RunningWithoutEndIsFound) {
  Options options{.name = "waits for nobody"};
  options.steps_max = 100;
  Model<Loop> model(options);
  model.process("spinner", Kill::kNever, [](Loop& s) {
    while (s.flag.load(kRelaxed) == 0) {
    }
  });
  EXPECT_TRUE(model.run().violated);
}

TEST(Explorer, AViolationCanBeReplayed) {
  Report found = dekker("dekker, to be replayed", Order::kPlain);
  ASSERT_TRUE(found.violated);
  size_t at = found.trace.find("--replay=");
  ASSERT_NE(at, std::string::npos);
  std::string before = arguments.replay;
  arguments.replay = found.trace.substr(at + 9);
  Report replayed = dekker("dekker, replayed", Order::kPlain);
  arguments.replay = before;
  EXPECT_NE(replayed.trace.find("both are inside"), std::string::npos) << replayed.trace;
}

}  // namespace
}  // namespace tarn::model
