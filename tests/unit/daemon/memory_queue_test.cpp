// Memory is short: small requests could take for ever what a large one waits for, one user could hold up all others, and
// a request could wait longer than its time or be forgotten. Here the clock is the test's, and nothing is served but when
// the test says so; what comes back by itself is tried once with a real loop.
#include "memory_queue.hpp"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kPatience = 200 * kMs;
constexpr int64_t kWait = 10'000 * kMs;
using Request = MemoryQueue::Request;

class MemoryQueueTest : public testing::Test {
 protected:
  // Asks for `bytes` from `budget`; what it is granted is kept in charges_ under `name`.
  void ask(const std::string& name, Budget& budget, uint64_t bytes, int64_t patience = kPatience,
           int64_t latest = os::kForever, std::shared_ptr<const void> alive = nullptr, bool is_urgent = false) {
    auto attempt = [this, name, &budget, bytes] {
      ++attempts_;
      Charge charge;
      if (int r = Charge::take(budget, bytes, charge); r < 0) return r;
      charges_.emplace(name, std::move(charge));
      log_ += name + " ";
      return 0;
    };
    auto refuse = [this, name](int code) {
      EXPECT_LT(code, 0);
      text_ = last_error();
      code_ = code;
      log_ += "-" + name + " ";
    };
    queue_.submit({alive != nullptr ? alive : alive_, &budget, bytes, now_ + patience, latest, attempt, refuse, is_urgent});
  }
  void give_back(const std::string& name) { charges_.erase(name); }
  void serve_at(int64_t moment) {
    now_ = moment;
    queue_.serve();
  }
  // What was granted ("a") and refused ("-a") since the last time, in order.
  std::string log() { return std::exchange(log_, ""); }

  Loop loop_;
  int64_t now_ = 1'000'000 * kMs;
  const int64_t begin_ = now_;
  bool is_coming_ = false;
  int wanted_ = 0;
  const Budget* wanted_from_ = nullptr;
  uint64_t missing_ = 0;
  int attempts_ = 0;
  int code_ = 0;
  std::string text_;
  std::string log_;
  std::shared_ptr<const void> alive_ = std::make_shared<int>();

  Budget host_{"the host", "bytes", 100, TARN_E_STORE_FULL, nullptr};
  Budget user_{"user 7", "bytes", 60, TARN_E_QUOTA, &host_};
  Budget session_{"session 1", "bytes", 60, TARN_E_STORE_FULL, &user_};
  Budget session2_{"session 2", "bytes", 20, TARN_E_STORE_FULL, &user_};
  Budget other_user_{"user 8", "bytes", 100, TARN_E_QUOTA, &host_};
  Budget other_{"session 3", "bytes", 100, TARN_E_STORE_FULL, &other_user_};
  std::multimap<std::string, Charge> charges_;
  MemoryQueue queue_{loop_, kWait,
                     [this](const Budget& full, uint64_t missing, bool) {
                       ++wanted_;
                       wanted_from_ = &full;
                       missing_ = missing;
                     },
                     [this](const Budget&) { return is_coming_; }, [this] { return now_; }};
};

TEST_F(MemoryQueueTest, GrantsAtOnceWhatThereIsRoomFor) {
  ask("a", session_, 60);
  ask("b", other_, 40);
  EXPECT_EQ(log(), "a b ");
  EXPECT_EQ(queue_.waits().requests, 0u);
  EXPECT_EQ(wanted_, 0);
}

// A large request waits, small ones of another session of the same user come after it. Expect: they do not take what
// comes back bit by bit.
TEST_F(MemoryQueueTest, SmallRequestsDoNotTakeWhatALargeOneWaitsFor) {
  for (const char* name : {"x1", "x2", "x3", "x4", "x5", "x6"}) ask(name, session_, 10);
  log();
  ask("large", session_, 50);
  for (const char* name : {"small1", "small2"}) ask(name, session2_, 10);
  for (const char* name : {"x1", "x2", "x3", "x4"}) {
    give_back(name);
    queue_.serve();
    EXPECT_EQ(log(), "") << name;
  }
  // One that would fit and has just come waits as well.
  ask("small3", session2_, 5);
  EXPECT_EQ(log(), "");
  give_back("x5");
  queue_.serve();
  EXPECT_EQ(log(), "large ");
  give_back("x6");
  queue_.serve();
  EXPECT_EQ(log(), "small1 ");
  give_back("large");
  queue_.serve();
  EXPECT_EQ(log(), "small2 ") << "its session may have 20, of which it holds as many";
  give_back("small1");
  queue_.serve();
  EXPECT_EQ(log(), "small3 ");
  EXPECT_EQ(queue_.waits().requests, 0u);
}

// Requests wait, then urgent ones of the same session and of another come. Expect: these go first, in their order, and take what
// room there is meanwhile.
TEST_F(MemoryQueueTest, UrgentOnesGoBeforeAllOthers) {
  ask("x", session_, 10);
  ask("y", session_, 45);
  ask("large", session_, 50);
  ask("next", session_, 1);
  ask("fits", session_, 2, kPatience, os::kForever, nullptr, true);
  EXPECT_EQ(log(), "x y fits ");
  ask("urgent", session_, 20, kPatience, os::kForever, nullptr, true);
  ask("urgent2", session2_, 12, kPatience, os::kForever, nullptr, true);
  ask("urgent3", session_, 5, kPatience, os::kForever, nullptr, true);
  EXPECT_EQ(queue_.waits().requests, 5u);
  give_back("x");
  queue_.serve();
  EXPECT_EQ(log(), "") << "20 are wanted first, of 13";
  give_back("y");
  queue_.serve();
  EXPECT_EQ(log(), "urgent urgent2 urgent3 ");
  give_back("urgent");
  give_back("urgent2");
  queue_.serve();
  EXPECT_EQ(log(), "large next ");
  EXPECT_EQ(queue_.waits().requests, 0u);
}

TEST_F(MemoryQueueTest, WhoIsPaidFromABudgetWithRoomDoesNotWait) {
  ask("x", session_, 55);
  ask("waits", session_, 20);
  ask("others", other_, 20);
  EXPECT_EQ(log(), "x others ");
  // Session 2 is full by itself; that is no reason for session 1 to wait.
  give_back("x");
  queue_.serve();
  ask("y", session2_, 20);
  ask("z", session2_, 1);
  ask("more", session_, 1);
  EXPECT_EQ(log(), "waits y more ");
  EXPECT_EQ(queue_.waits_of(session2_).requests, 1u);
}

// A user asks for more than there is left to him, and than there is left to the host. Expect: he waits for himself, others
// do not; and once the host's budget is all that he waits for, they do.
TEST_F(MemoryQueueTest, WhoIsAtALimitOfHisOwnDoesNotHoldUpOtherUsers) {
  ask("x", session_, 10);
  ask("y", other_, 50);
  ask("large", session_, 55);
  ask("small", other_, 10);
  ask("same user", session2_, 1);
  EXPECT_EQ(log(), "x y small ");
  give_back("x");
  queue_.serve();
  ask("small too", other_, 10);
  EXPECT_EQ(log(), "");
  give_back("y");
  queue_.serve();
  EXPECT_EQ(log(), "large same user small too ");
}

TEST_F(MemoryQueueTest, RefusesWhatCanNeverBeMetAtOnce) {
  ask("a", session2_, 21);
  EXPECT_EQ(log(), "-a ");
  EXPECT_EQ(code_, TARN_E_STORE_FULL);
  ask("b", session_, 61);
  EXPECT_EQ(log(), "-b ");
  EXPECT_NE(text_.find("no room for 61 B: its limit allows 60 B in all"), std::string::npos) << text_;
  EXPECT_EQ(attempts_, 0);
  EXPECT_EQ(wanted_, 0);
}

TEST_F(MemoryQueueTest, RefusesAtTheDeadlineAndSaysHowLongItWaited) {
  ask("x", session_, 60);
  ask("a", session_, 10);
  serve_at(begin_ + kPatience - 1);
  EXPECT_EQ(log(), "x ");
  serve_at(begin_ + kPatience);
  EXPECT_EQ(log(), "-a ");
  EXPECT_EQ(code_, TARN_E_STORE_FULL);
  EXPECT_NE(text_.find("no room for 10 B: session 1 has 60 B of the 60 B"), std::string::npos) << text_;
  EXPECT_NE(text_.find("it has waited for 0.2 s"), std::string::npos) << text_;
}

// Without patience it is refused at once, or waits as long as memory is on its way; nobody is asked for any.
TEST_F(MemoryQueueTest, WaitsForMemoryThatIsComingThoughTheDeadlineHasPassed) {
  ask("x", session_, 60);
  ask("a", session_, 10, 0);
  EXPECT_EQ(log(), "x -a ");
  is_coming_ = true;
  ask("b", session_, 10, 0);
  serve_at(begin_ + 1000 * kMs);
  EXPECT_EQ(log(), "");
  EXPECT_EQ(wanted_, 0);
  is_coming_ = false;
  serve_at(begin_ + 1010 * kMs);
  EXPECT_EQ(log(), "-b ");
  is_coming_ = true;
  ask("c", session_, 10, 0);
  give_back("x");
  queue_.serve();
  EXPECT_EQ(log(), "c ");
}

// Memory is coming all the time. Expect: each waits until the bound of its own, of the queue or of all, whichever is first,
// and none shorter than its deadline.
TEST_F(MemoryQueueTest, NeverWaitsBeyondItsBound) {
  ask("x", session_, 60);
  log();
  is_coming_ = true;
  ask("a", session_, 10, kPatience, begin_ + 1000 * kMs);
  ask("b", session_, 10);
  ask("c", session_, 10, 20'000 * kMs);
  ask("d", session_, 10, 100'000 * kMs);
  auto expect_refused_at = [this](const std::string& name, int64_t moment) {
    serve_at(moment - 1);
    EXPECT_EQ(log(), "");
    serve_at(moment);
    EXPECT_EQ(log(), "-" + name + " ");
  };
  expect_refused_at("a", begin_ + 1000 * kMs);
  expect_refused_at("b", begin_ + kWait);
  expect_refused_at("c", begin_ + 20'000 * kMs);
  expect_refused_at("d", begin_ + MemoryQueue::kWaitMaxNs);
}

// Behind one that waits longer, in its own session and in another.
TEST_F(MemoryQueueTest, RefusesAtTheDeadlineAlsoWhatWasNotTried) {
  ask("x", session_, 60);
  ask("long", session_, 10, 10'000 * kMs);
  ask("own", session_, 10);
  ask("others", session2_, 10);
  log();
  serve_at(begin_ + kPatience);
  std::string log = this->log();
  EXPECT_NE(log.find("-own "), std::string::npos) << log;
  EXPECT_NE(log.find("-others "), std::string::npos) << log;
  EXPECT_EQ(queue_.waits().requests, 1u);
  give_back("x");
  ask("y", session2_, 1);
  ask("late", session2_, 1, 0);
  EXPECT_EQ(this->log(), "-late ") << "what has come back is for who came first";
  EXPECT_NE(text_.find("others wait already for what is left to "), std::string::npos) << text_;
  queue_.serve();
  EXPECT_EQ(this->log(), "long y ");
}

TEST_F(MemoryQueueTest, ForgetsWhoIsNotThereAnyMore) {
  auto session = std::make_unique<Budget>("session 9", "bytes", 60, TARN_E_STORE_FULL, &user_);
  auto alive = std::make_shared<int>();
  ask("x", session_, 60);
  ask("gone", *session, 60, kPatience, os::kForever, alive);
  ask("gone too", *session, 60, kPatience, os::kForever, alive);
  ask("a", session2_, 10, 10'000 * kMs);
  alive.reset();
  session.reset();
  give_back("x");
  queue_.serve();
  EXPECT_EQ(log(), "x a ");
  EXPECT_EQ(queue_.waits().requests, 0u);
  ask("never", session_, 1, 0, os::kForever, std::shared_ptr<const void>(std::make_shared<int>()));
}

TEST_F(MemoryQueueTest, AsksForWhatTheFirstLacksAndAgainWhileItWaits) {
  ask("x", session_, 50);
  ask("a", session_, 30);
  EXPECT_EQ(wanted_, 1);
  EXPECT_EQ(wanted_from_, &session_);
  EXPECT_EQ(missing_, 20u);
  ask("b", session_, 40);
  queue_.serve();
  EXPECT_EQ(wanted_, 1) << "too soon";
  serve_at(begin_ + MemoryQueue::kTickNs);
  EXPECT_EQ(wanted_, 2);
  serve_at(begin_ + 2 * MemoryQueue::kTickNs);
  EXPECT_EQ(wanted_, 3);
  EXPECT_EQ(missing_, 20u);
  // The user's budget, not the session's, is what lacks memory now.
  give_back("x");
  serve_at(begin_ + 3 * MemoryQueue::kTickNs);
  EXPECT_EQ(wanted_from_, &session_);
  EXPECT_EQ(missing_, 10u);
}

// There is room, and the attempt fails all the same, at once and after it has waited. Expect: the asker hears why, and who
// comes behind it is not held up.
TEST_F(MemoryQueueTest, WhatAnAttemptFailsWithIsForWhoAsked) {
  int refused = 0;
  Request fails{alive_, &session_, 10, now_ + kPatience, os::kForever,
                [] { return fail(TARN_E_LIMIT, "no descriptors"); },
                [&](int code) {
                  refused = code;
                  text_ = last_error();
                }};
  queue_.submit(fails);
  EXPECT_EQ(refused, TARN_E_LIMIT);
  EXPECT_EQ(text_, "no descriptors");
  refused = 0;
  ask("x", session_, 60);
  queue_.submit(fails);
  ask("a", session_, 60);
  give_back("x");
  queue_.serve();
  EXPECT_EQ(refused, TARN_E_LIMIT);
  EXPECT_EQ(log(), "x a ");
}

TEST_F(MemoryQueueTest, SaysWhatWaits) {
  ask("x", session_, 60);
  ask("a", session_, 10);
  now_ += 5 * kMs;
  ask("b", session2_, 20);
  ask("c", session2_, 5);
  auto all = queue_.waits();
  EXPECT_EQ(all.requests, 3u);
  EXPECT_EQ(all.bytes, 35u);
  EXPECT_EQ(all.since_ns, begin_);
  auto of_second = queue_.waits_of(session2_);
  EXPECT_EQ(of_second.requests, 2u);
  EXPECT_EQ(of_second.bytes, 25u);
  EXPECT_EQ(of_second.since_ns, begin_ + 5 * kMs);
  EXPECT_EQ(queue_.waits_of(other_).requests, 0u);
}

TEST_F(MemoryQueueTest, IsBounded) {
  ask("x", session_, 60);
  for (size_t i = 0; i < MemoryQueue::kOfSessionMax; ++i) ask("a", session_, 10);
  EXPECT_EQ(log(), "x ");
  ask("b", session_, 10);
  EXPECT_EQ(log(), "-b ");
  EXPECT_EQ(code_, TARN_E_LIMIT);
  EXPECT_NE(text_.find("1024 of session 1 wait already"), std::string::npos) << text_;
  // Other sessions still may.
  ask("c", session2_, 10);
  EXPECT_EQ(log(), "");
  EXPECT_EQ(queue_.waits_of(session2_).requests, 1u);
  alive_.reset();
  serve_at(begin_ + 10 * MemoryQueue::kWaitMaxNs);
  EXPECT_EQ(queue_.waits().requests, 0u);
}

// 1024 sessions wait, each at its own limit and at its user's. Expect: a pass tries nothing in vain, whatever each of them
// asks for, and asks once for each budget that is full.
TEST_F(MemoryQueueTest, APassLooksAtTheFirstOfEachSessionOnly) {
  std::vector<std::unique_ptr<Budget>> sessions;
  ask("x", session_, 60);
  for (int i = 0; i < 1024; ++i) {
    sessions.push_back(std::make_unique<Budget>("one of many", "bytes", 60, TARN_E_STORE_FULL, &user_));
    for (int j = 0; j < 8; ++j) ask("many", *sessions.back(), 10);
  }
  attempts_ = 0;
  wanted_ = 0;
  int64_t before = os::now_ns();
  constexpr int kPasses = 100;
  for (int i = 0; i < kPasses; ++i) queue_.serve();
  int64_t took = (os::now_ns() - before) / kPasses;
  RecordProperty("pass_ns", std::to_string(took));
  EXPECT_LT(took, 20 * kMs);
  EXPECT_EQ(attempts_, 0);
  now_ += MemoryQueue::kTickNs;
  queue_.serve();
  EXPECT_EQ(wanted_, 1);
  give_back("x");
  queue_.serve();
  EXPECT_EQ(attempts_, 6);
  EXPECT_EQ(log(), "x many many many many many many ");
  charges_.clear();  // before the budgets
  alive_.reset();
}

// A pass that grants much gives way to others, and goes on where it was.
TEST_F(MemoryQueueTest, ALongPassIsCutAndGoesOn) {
  ask("x", session_, 60);
  int done = 0;
  for (int i = 0; i < 5; ++i)
    queue_.submit({alive_, &session_, 10, now_ + kPatience, os::kForever,
                   [&] {
                     now_ += 3 * kMs;
                     ++done;
                     return 0;
                   },
                   [](int) { FAIL(); }});
  give_back("x");
  queue_.serve();
  EXPECT_EQ(done, 1);
  ask("late", session2_, 10);
  EXPECT_EQ(log(), "x ") << "others came before and were not looked at yet";
  for (int i = 0; i < 4; ++i) queue_.serve();
  EXPECT_EQ(done, 5);
  queue_.serve();
  EXPECT_EQ(log(), "late ");
}

// Who is granted something asks for more at once. Expect: it goes behind those that wait.
TEST_F(MemoryQueueTest, ARequestInTheMidstOfAPassComesLast) {
  ask("x", session_, 60);
  queue_.submit({alive_, &session_, 10, now_ + kPatience, os::kForever,
                 [this] {
                   ask("next", session_, 60);
                   return 0;
                 },
                 [](int) { FAIL(); }});
  ask("a", session2_, 20);
  give_back("x");
  queue_.serve();
  EXPECT_EQ(log(), "x a ");
  queue_.serve();
  EXPECT_EQ(log(), "");
  give_back("a");
  queue_.serve();
  EXPECT_EQ(log(), "next ");
}

// With the clock of the system: what is given back is noticed, and time as well.
TEST(MemoryQueue, IsServedByTheLoop) {
  Loop loop;
  Budget host("the host", "bytes", 100, TARN_E_STORE_FULL, nullptr);
  MemoryQueue queue(loop, kWait, [](const Budget&, uint64_t, bool) {}, [](const Budget&) { return false; });
  host.on_given_back([&] { queue.serve_soon(); });
  auto alive = std::make_shared<int>();
  Charge all;
  Charge granted;
  ASSERT_EQ(Charge::take(host, 100, all), 0);
  int refused = 0;
  auto ask = [&] {
    queue.submit({alive, &host, 10, os::now_ns() + 30 * kMs, os::kForever, [&] { return Charge::take(host, 10, granted); },
                  [&](int code) { refused = code, loop.stop(); }});
  };
  ask();
  all.give_back(50);
  EXPECT_EQ(granted.amount(), 0u) << "not in the midst of something";
  while (granted.amount() == 0) loop.run_ready();
  EXPECT_EQ(refused, 0);
  granted.reset();
  Charge rest;
  ASSERT_EQ(Charge::take(host, 50, rest), 0);
  ask();
  loop.run();
  EXPECT_EQ(refused, TARN_E_STORE_FULL);
  host.on_given_back(nullptr);
}

}  // namespace
}  // namespace tarn::daemon
