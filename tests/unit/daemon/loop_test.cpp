// The loop calls back into objects that drop each other, and themselves, while it does. Whatever they
// drop must not be called any more, and must not be destroyed under somebody's feet. The prefaulter is
// the one thing that runs beside it.
#include "loop.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/memory.hpp"
#include "prefault.hpp"
#include "throttle.hpp"

namespace tarn::daemon {
namespace {

Fd raised_event() { return Fd{eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)}; }

TEST(Loop, DoesNotCallAWatchThatWasDroppedInTheSameRound) {
  Loop loop;
  Fd first = raised_event();
  Fd second = raised_event();
  Loop::Watch watches[2];
  int calls = 0;
  // Whoever comes first drops the other.
  watches[0] = loop.watch(first.get(), EPOLLIN, [&](uint32_t) { ++calls, watches[1].reset(), watches[0].reset(); });
  watches[1] = loop.watch(second.get(), EPOLLIN, [&](uint32_t) { ++calls, watches[0].reset(), watches[1].reset(); });
  loop.run_ready();
  EXPECT_EQ(calls, 1);
}

TEST(Loop, BuriesWhatDropsItself) {
  struct Thing {
    Loop::Watch watch;
    std::shared_ptr<int> alive = std::make_shared<int>(1);
  };
  Loop loop;
  Fd event = raised_event();
  auto thing = std::make_unique<Thing>();
  std::weak_ptr<int> alive = thing->alive;
  bool was_alive = false;
  thing->watch = loop.watch(event.get(), EPOLLIN, [&](uint32_t) {
    thing->watch.reset();
    loop.bury(std::move(thing));
    was_alive = !alive.expired();
  });
  loop.run_ready();
  EXPECT_TRUE(was_alive);
  EXPECT_TRUE(alive.expired());
}

TEST(Loop, RunsTimersInOrderAndNotTheDroppedOnes) {
  Loop loop;
  std::vector<int> order;
  int64_t now = os::now_ns();
  Loop::Timer third = loop.call_at(now + 3'000'000, [&] { order.push_back(3), loop.stop(); });
  Loop::Timer first = loop.call_at(now + 1'000'000, [&] { order.push_back(1); });
  Loop::Timer never = loop.call_at(now + 2'000'000, [&] { order.push_back(2); });
  EXPECT_TRUE(never.armed());
  never.reset();
  EXPECT_FALSE(never.armed());
  loop.run();
  EXPECT_EQ(order, (std::vector<int>{1, 3}));
  EXPECT_FALSE(first.armed());
}

TEST(Loop, DefersUntilTheCallbacksOfTheRoundAreDone) {
  Loop loop;
  Fd events[2] = {raised_event(), raised_event()};
  std::vector<char> order;
  Loop::Watch watches[2];
  for (int i = 0; i < 2; ++i)
    watches[i] = loop.watch(events[i].get(), EPOLLIN, [&, i](uint32_t) {
      order.push_back('c');
      watches[i].reset();
      loop.defer([&] { order.push_back('d'); });
    });
  loop.run_ready();
  EXPECT_EQ(order, (std::vector<char>{'c', 'c', 'd', 'd'}));
}

TEST(Loop, TellsThatADescriptorCannotBeWatched) {
  Loop loop;
  auto watch = loop.watch(1 << 20, EPOLLIN, [](uint32_t) {});
  EXPECT_FALSE(watch.active());
  EXPECT_NE(std::string(last_error()).find("1048576"), std::string::npos);
}

// An object of a dead worker whose last holder was tarnd kept its slab for ever, when its members had been asked to look for such
// less than 20 ms before.
TEST(Throttle, IsNotAskedInVain) {
  constexpr int64_t kPauseNs = 30'000'000;
  Loop loop;
  std::vector<int64_t> times;
  Throttle throttle(loop, kPauseNs, [&] { times.push_back(os::now_ns()); });
  auto run_for = [&loop](int64_t ns) {
    for (int64_t end = os::now_ns() + ns; os::now_ns() < end;)
      if (!loop.run_ready()) usleep(500);
  };
  throttle.ask();
  EXPECT_EQ(times.size(), 1u);  // at once
  throttle.ask();
  throttle.ask();
  EXPECT_EQ(times.size(), 1u);
  run_for(2 * kPauseNs);
  ASSERT_EQ(times.size(), 2u);
  EXPECT_GE(times[1] - times[0], kPauseNs);
  run_for(2 * kPauseNs);
  EXPECT_EQ(times.size(), 2u);  // nobody has asked again
  throttle.ask();
  EXPECT_EQ(times.size(), 3u);
}

TEST(Prefaulter, MakesFilesWarmAtOnceOrOnItsThreadAndKeepsTheOrder) {
  Loop loop;
  std::vector<uint64_t> done;
  auto wanted = std::make_shared<bool>(true);
  {
    Prefaulter prefaulter(loop);
    for (uint64_t size : {uint64_t{8} << 20, uint64_t{6} << 20, uint64_t{1} << 20}) {
      Fd file;
      ASSERT_EQ(os::memfd_create("test", size, file), 0);
      SharedFd shared = share(std::move(file));
      prefaulter.prepare(0, wanted, {shared, 0, size, -1, true}, [&, shared, size](const Prefaulter::Result& result) {
        EXPECT_EQ(result.code, 0);
        os::Mapping mapping;
        ASSERT_EQ(os::Mapping::map(*shared, size, os::Access::kRead, mapping), 0);
        std::vector<unsigned char> resident(size / os::kPageSize);
        ASSERT_EQ(mincore(mapping.data(), size, resident.data()), 0);
        for (unsigned char page : resident) ASSERT_EQ(page & 1, 1);
        done.push_back(size);
        if (done.size() == 3) loop.stop();
      });
    }
    EXPECT_EQ(done, (std::vector<uint64_t>{uint64_t{1} << 20}));  // the small one did not wait
    loop.run();
  }
  EXPECT_EQ(done, (std::vector<uint64_t>{uint64_t{1} << 20, uint64_t{8} << 20, uint64_t{6} << 20}));
}

TEST(Prefaulter, LeavesAloneWhatIsBeforeTheBeginning) {
  Loop loop;
  Prefaulter prefaulter(loop);
  auto wanted = std::make_shared<bool>(true);
  Fd file;
  ASSERT_EQ(os::memfd_create("test", 8 * os::kPageSize, file), 0);
  SharedFd shared = share(std::move(file));
  prefaulter.prepare(0, wanted, {shared, 2 * os::kPageSize, 3 * os::kPageSize, 0, true},
                     [](const Prefaulter::Result& result) { EXPECT_EQ(result.code, 0); });
  struct stat status {};
  fstat(shared->get(), &status);
  EXPECT_EQ(status.st_blocks * 512, static_cast<blkcnt_t>(3 * os::kPageSize));
  EXPECT_EQ(lseek(shared->get(), 0, SEEK_DATA), static_cast<off_t>(2 * os::kPageSize));
}

// Pages go where the slab's owner runs. The policy belongs to the file: also what is touched later, by others, goes there.
TEST(Prefaulter, PutsPagesOnTheNodeThatWasAskedFor) {
  constexpr int kOfAddress = 2;  // MPOL_F_ADDR
  constexpr int kPreferred = 1;  // MPOL_PREFERRED
  int policy = -1;
  if (syscall(SYS_get_mempolicy, &policy, nullptr, 0, nullptr, 0) < 0) GTEST_SKIP() << "a kernel without NUMA";
  Loop loop;
  Prefaulter prefaulter(loop);
  auto wanted = std::make_shared<bool>(true);
  Fd file;
  ASSERT_EQ(os::memfd_create("test", 4 * os::kPageSize, file), 0);
  SharedFd shared = share(std::move(file));
  prefaulter.prepare(0, wanted, {shared, 0, 2 * os::kPageSize, 0, true}, [](const Prefaulter::Result& result) { EXPECT_EQ(result.code, 0); });
  os::Mapping mapping;
  ASSERT_EQ(os::Mapping::map(*shared, 4 * os::kPageSize, os::Access::kRead, mapping), 0);
  unsigned long nodes[16] = {};
  ASSERT_EQ(syscall(SYS_get_mempolicy, &policy, nodes, 1024, mapping.data(), kOfAddress), 0);
  EXPECT_EQ(policy, kPreferred);
  EXPECT_EQ(nodes[0], 1u);
  ASSERT_EQ(syscall(SYS_get_mempolicy, &policy, nodes, 1024, mapping.data() + 3 * os::kPageSize, kOfAddress), 0);
  EXPECT_NE(policy, kPreferred);  // beyond what was asked for
}

TEST(Prefaulter, TellsWhatWentWrong) {
  Loop loop;
  Prefaulter prefaulter(loop);
  auto wanted = std::make_shared<bool>(true);
  Fd file;
  ASSERT_EQ(os::memfd_create("test", os::kPageSize, file), 0);
  ASSERT_EQ(os::memfd_seal_size(file), 0);
  int code = 0;
  prefaulter.prepare(0, wanted, {share(std::move(file)), 0, 2 * os::kPageSize, -1, true}, [&](const Prefaulter::Result& result) {
    code = result.code;
    EXPECT_FALSE(result.text.empty());
  });
  EXPECT_LT(code, 0);
}

// Of small pages: those that are zeroed here are.
TEST(Prefaulter, TellsWhoFollowsHowFarItIsUntilItIsDone) {
  constexpr uint64_t kSize = uint64_t{40} << 20;
  Loop loop;
  Prefaulter prefaulter(loop);
  auto wanted = std::make_shared<bool>(true);
  Fd file;
  ASSERT_EQ(os::memfd_create("test", kSize, file), 0);
  SharedFd shared = share(std::move(file));
  uint64_t warm = 0;
  auto backed = [&] {
    struct stat status {};
    fstat(shared->get(), &status);
    return static_cast<uint64_t>(status.st_blocks) * 512;
  };
  prefaulter.prepare(
      0, wanted, {shared, 0, kSize, -1, true},
      [&](const Prefaulter::Result& result) {
        EXPECT_EQ(result.code, 0);
        EXPECT_EQ(backed(), kSize);
        loop.stop();
      },
      [&](uint64_t bytes) {
        EXPECT_GT(bytes, warm);
        EXPECT_LT(bytes, kSize);
        EXPECT_GE(backed(), bytes);
        warm = bytes;
      });
  loop.run();
  EXPECT_GT(warm, 0u);
}

TEST(Prefaulter, TellsNobodyWhoDoesNotWantItAnyMore) {
  Loop loop;
  Prefaulter prefaulter(loop);
  auto wanted = std::make_shared<bool>(true);
  Fd file;
  ASSERT_EQ(os::memfd_create("test", uint64_t{64} << 20, file), 0);
  Fd last;
  ASSERT_EQ(os::memfd_create("test", uint64_t{8} << 20, last), 0);
  int told = 0;
  prefaulter.prepare(
      0, wanted, {share(std::move(file)), 0, uint64_t{64} << 20, -1, true}, [](const Prefaulter::Result&) { FAIL(); },
      [&](uint64_t) {
        ++told;
        wanted.reset();
      });
  auto others = std::make_shared<bool>(true);
  prefaulter.prepare(1, others, {share(std::move(last)), 0, uint64_t{8} << 20, -1, false},
                     [&](const Prefaulter::Result&) { loop.stop(); });
  loop.run();
  EXPECT_LE(told, 1);
}

TEST(Prefaulter, MayEndWithWorkLeft) {
  Loop loop;
  Prefaulter prefaulter(loop);
  auto wanted = std::make_shared<bool>(true);
  for (int i = 0; i < 4; ++i) {
    Fd file;
    ASSERT_EQ(os::memfd_create("test", uint64_t{8} << 20, file), 0);
    prefaulter.prepare(0, wanted, {share(std::move(file)), 0, uint64_t{8} << 20, -1, true}, [](const Prefaulter::Result&) { FAIL(); });
  }
}

TEST(Prefaulter, GivesEachUserATurnAndSkipsWhatNobodyWantsAnyMore) {
  Loop loop;
  Prefaulter prefaulter(loop);
  auto wanted = std::make_shared<bool>(true);
  std::vector<int> done;
  auto ask = [&](uid_t user, uint64_t mebibytes, std::weak_ptr<const void> token, int number) {
    Fd file;
    EXPECT_EQ(os::memfd_create("test", mebibytes << 20, file), 0);
    SharedFd shared = share(std::move(file));
    prefaulter.prepare(user, std::move(token), {shared, 0, mebibytes << 20, -1, true}, [&, number](const Prefaulter::Result&) {
      done.push_back(number);
      if (done.size() == 3) loop.stop();
    });
    return shared;
  };
  ask(1, 200, wanted, 1);
  SharedFd unwanted = ask(1, 1000, std::weak_ptr<const void>(), 2);
  ask(1, 8, wanted, 3);
  ask(2, 8, wanted, 4);
  loop.run();
  EXPECT_EQ(done, (std::vector<int>{4, 1, 3}));
  struct stat status {};
  ASSERT_EQ(fstat(unwanted->get(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
}

}  // namespace
}  // namespace tarn::daemon
