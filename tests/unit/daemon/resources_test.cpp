// The book of resources: what is lent to whom never exceeds what there is, whatever sessions say, and every wish is met once others let go.
#include "resources.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "os/clock.hpp"

namespace tarn::daemon {
namespace {

constexpr uint32_t kTotal = 6;

// A session's board, and its workers, who take at once what they may.
struct Program {
  std::unique_ptr<shm::Board> board{new shm::Board{}};
  uint32_t member = shm::kFirstWorker;

  static shm::ResourceCounts some(uint32_t count, uint32_t at) {
    shm::ResourceCounts counts{};
    counts[at] = count;
    return counts;
  }
  [[nodiscard]] uint32_t lent(uint32_t at = 0) const { return board->resources.kind(at).lent.load(shm::kAcquire); }
  [[nodiscard]] uint64_t used(uint32_t at = 0) const { return board->resources.used(at); }
  bool take(uint32_t count, uint32_t at = 0) {
    return board->resources.take(member, some(count, at), [](uint32_t) { return true; }) == shm::Resources::Taken::kYes;
  }
  void give_back(uint32_t count, uint32_t at = 0) { board->resources.give_back(member, some(count, at)); }
};

struct Host {
  Loop loop;
  ResourceBook book{loop, {{"db", kTotal}, {"gpu", 1}}};
  std::vector<Program> programs;

  explicit Host(size_t count) : programs(count) {
    for (uint32_t i = 0; i < count; ++i) book.open(i + 1, *programs[i].board);
  }
  void wish(uint32_t program, uint32_t count, uint32_t at = 0) { book.wish(program + 1, Program::some(count, at)); }
  // Each step when the book has had time to look again. Once.
  void then(const std::vector<std::function<void()>>& steps) {
    size_t next = 0;
    Loop::Timer timer;
    std::function<void()> go_on = [&] {
      steps[next]();
      if (++next == steps.size()) return loop.stop();
      timer = loop.call_at(os::now_ns() + 30'000'000, go_on);
    };
    timer = loop.call_at(os::now_ns() + 30'000'000, go_on);
    loop.run();
    EXPECT_EQ(next, steps.size());
  }
  void expect_no_more_than_there_is() {
    uint64_t used = 0;
    for (Program& each : programs) used += each.used();
    EXPECT_LE(used, kTotal);
    EXPECT_LE(book.lent(0), kTotal);
  }
};

TEST(ResourceBook, TheFirstGetsAllAndTheNextWhatItDoesNotUse) {
  Host host(2);
  Program& first = host.programs[0];
  Program& second = host.programs[1];
  EXPECT_STREQ(first.board->resources.kind(0).name, "db");
  EXPECT_EQ(first.lent(), kTotal);
  EXPECT_EQ(second.lent(), 0u);
  ASSERT_TRUE(first.take(4));
  host.wish(1, 2);
  EXPECT_EQ(second.lent(), 2u);
  EXPECT_EQ(first.lent(), 4u);
  ASSERT_TRUE(second.take(2));
  EXPECT_FALSE(second.take(1));
  EXPECT_FALSE(first.take(1));
  host.expect_no_more_than_there_is();
}

TEST(ResourceBook, WhatIsInUseIsWaitedFor) {
  Host host(2);
  Program& first = host.programs[0];
  Program& second = host.programs[1];
  ASSERT_TRUE(first.take(5));
  host.wish(1, 3);
  EXPECT_LT(second.lent(), 3u);
  EXPECT_FALSE(first.take(1)) << "it may take no more until the other one has its share";
  first.give_back(5);
  host.then({[&] {
    EXPECT_EQ(second.lent(), 3u);
    EXPECT_EQ(first.lent(), 3u);
    host.expect_no_more_than_there_is();
  }});
}

TEST(ResourceBook, AWishForOneThingDoesNotWaitForAnother) {
  Host host(2);
  Program& first = host.programs[0];
  ASSERT_TRUE(first.take(kTotal));
  host.wish(1, 1, 0);
  host.wish(1, 1, 1);
  EXPECT_EQ(host.programs[1].lent(1), 1u);
  EXPECT_EQ(host.programs[1].lent(0), 0u);
}

TEST(ResourceBook, WhoGoesLeavesItToOthers) {
  Host host(2);
  ASSERT_TRUE(host.programs[0].take(kTotal));
  host.wish(1, kTotal);
  host.book.close(1);
  EXPECT_EQ(host.programs[1].lent(), kTotal);
}

// Or two that want the same would take it from each other for ever.
TEST(ResourceBook, WhatWasWishedForStaysUntilItWasUsed) {
  Host host(2);
  Program& first = host.programs[0];
  Program& second = host.programs[1];
  host.wish(1, kTotal);
  ASSERT_EQ(second.lent(), kTotal);
  host.wish(0, kTotal);
  EXPECT_EQ(second.lent(), kTotal);
  ASSERT_TRUE(second.take(kTotal));
  std::vector<std::function<void()>> steps = {[&] {
    EXPECT_EQ(second.lent(), 0u) << "in use, and to be passed on then";
    EXPECT_EQ(first.lent(), 0u);
    second.give_back(kTotal);
  }};
  steps.push_back([&] { EXPECT_EQ(first.lent(), kTotal); });
  // Not for ever, if nobody uses it.
  steps.push_back([&] { host.wish(1, kTotal); });
  for (int i = 0; i < 3; ++i) steps.push_back([] {});
  steps.push_back([&] { EXPECT_EQ(second.lent(), kTotal); });
  host.then(steps);
}

// Each has what the other wants: one gets both, and then the other.
TEST(ResourceBook, TwoThatWantTheSameTwoKinds) {
  Host host(2);
  Program& first = host.programs[0];
  Program& second = host.programs[1];
  host.wish(1, 1, 1);
  ASSERT_EQ(second.lent(1), 1u);
  ASSERT_EQ(first.lent(0), kTotal);
  shm::ResourceCounts both{};
  both[0] = kTotal;
  both[1] = 1;
  auto take = [&](Program& program) {
    return program.board->resources.take(program.member, both, [](uint32_t) { return true; }) == shm::Resources::Taken::kYes;
  };
  int taken[2] = {};
  std::vector<std::function<void()>> steps = {[&] {
    host.book.wish(1, both);
    host.book.wish(2, both);
  }};
  for (int i = 0; i < 8; ++i)
    steps.push_back([&] {
      for (size_t each : {size_t{0}, size_t{1}}) {
        if (!take(host.programs[each])) continue;
        ++taken[each];
        host.programs[each].board->resources.give_back(host.programs[each].member, both);
      }
    });
  host.then(steps);
  EXPECT_GE(taken[0], 1);
  EXPECT_GE(taken[1], 1);
}

TEST(ResourceBook, AWishIsSaidOnceUntilItIsMet) {
  Host host(2);
  Program& first = host.programs[0];
  shm::Resources& second = host.programs[1].board->resources;
  ASSERT_TRUE(first.take(kTotal));
  EXPECT_EQ(first.board->resources.to_be_wished_for(Program::some(1, 0)), 0u) << "it has all that there is";
  EXPECT_EQ(second.to_be_wished_for(Program::some(1, 0)), 1u);
  EXPECT_TRUE(second.begin_wish(1));
  EXPECT_FALSE(second.begin_wish(1));
  EXPECT_TRUE(second.begin_wish(3)) << "that is another kind as well";
  host.wish(1, 1);
  EXPECT_EQ(second.to_be_wished_for(Program::some(1, 0)), 0u);
  first.give_back(kTotal);
  host.then({[&] {
    EXPECT_EQ(host.programs[1].lent(), 1u);
    EXPECT_EQ(second.to_be_wished_for(Program::some(1, 0)), 1u) << "others may want more";
    EXPECT_EQ(second.to_be_wished_for(Program::some(1, 1)), 0u) << "of that nothing was heard yet";
  }});
}

TEST(ResourceBook, LiesAreWorthWhatWasLent) {
  Host host(2);
  Program& liar = host.programs[0];
  for (uint32_t i = 2; i < 10; ++i) (void)liar.board->resources.take(i, Program::some(0, 0), [](uint32_t) { return true; });
  liar.board->resources.kind(0).lent.store(UINT32_MAX, shm::kRelaxed);
  ASSERT_TRUE(liar.take(1'000'000));
  host.wish(0, UINT32_MAX);
  host.wish(1, 1);
  EXPECT_LE(host.book.lent(0), kTotal);
  EXPECT_EQ(host.programs[1].lent(), 0u) << "it has all that there is, and keeps it";
  liar.give_back(1'000'000);
  host.then({[&] { EXPECT_EQ(host.programs[1].lent(), 1u); }});
}

TEST(ResourceBook, ATarndAfterItGoesOnWithWhatWasLent) {
  Host host(2);
  ASSERT_TRUE(host.programs[0].take(2));
  host.wish(1, 3);
  ASSERT_TRUE(host.programs[1].take(3));
  ResourceBook next(host.loop, {{"gpu", 2}, {"new", 1}, {"db", kTotal}});
  for (uint32_t i = 0; i < 2; ++i) next.resume(i + 1, *host.programs[i].board);
  EXPECT_EQ(next.used(2), 5u);
  EXPECT_LE(next.lent(2), kTotal);
  EXPECT_GE(host.programs[0].lent(), 2u);
  EXPECT_STREQ(host.programs[0].board->resources.kind(2).name, "new");
  EXPECT_EQ(host.programs[0].board->resources.kind(1).total.load(shm::kRelaxed), 2u);
  ResourceBook without(host.loop, {{"new", 1}});
  without.resume(1, *host.programs[0].board);
  EXPECT_EQ(host.programs[0].board->resources.kind(0).total.load(shm::kRelaxed), 0u);
}

TEST(ResourceBook, WhateverSessionsDo) {
  std::mt19937 random(20261130);
  Host host(3);
  for (int step = 0; step < 3000; ++step) {
    auto at = static_cast<uint32_t>(random() % 3);
    Program& program = host.programs[at];
    auto count = static_cast<uint32_t>(1 + random() % 3);
    if (random() % 2 == 0) {
      if (!program.take(count)) host.wish(at, count);
    } else if (program.used() >= count) {
      program.give_back(count);
    }
    host.expect_no_more_than_there_is();
  }
  // When all have let go, each can have what it wants.
  for (Program& each : host.programs) each.give_back(static_cast<uint32_t>(each.used()));
  std::vector<std::function<void()>> steps(12, [] {});  // wishes from before
  for (uint32_t at = 0; at < 3; ++at) {
    steps.push_back([&host, at] { host.wish(at, kTotal); });
    for (int i = 0; i < 3; ++i) steps.push_back([] {});  // what the last one had is kept for it
    steps.push_back([&host, at] { EXPECT_EQ(host.programs[at].lent(), kTotal) << at; });
  }
  host.then(steps);
}

}  // namespace
}  // namespace tarn::daemon
