// Several sessions on the slots of one host's tarnd: who wants which is seen by the time that their workers use, spinning ends
// where cores are wanted by several, and tarnd looks no longer than that lasts. Workers may be killed or stopped meanwhile, and
// tarnd as well. As root also: that a session gets its share and no more, by the nice values of its workers.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "host.hpp"

namespace tarn::testing {
namespace {

using wire::Type;

class Sharing : public ::testing::Test {
 protected:
  void SetUp() override {
    host_.start_service();
    host_.start_daemon(manager_);
  }
  void TearDown() override { EXPECT_EQ(host_.stop_daemon(SIGTERM), 0); }

  // A client with a worker in each slot, which uses its core while it is `busy`.
  struct Program {
    Program(const Host& host, const std::string& name, std::vector<std::string> also = {})
        : client(host.socket_path()), told(host.file(name)), options(host.options({"busy"})) {
      options.worker_arguments.insert(options.worker_arguments.end(), also.begin(), also.end());
      options.environment = {"TARN_TEST_BUSY=" + told};
      client.open(options);
    }
    void set_busy(bool busy) {
      if (busy) {
        std::ofstream{told};
      } else {
        unlink(told.c_str());
      }
    }
    [[nodiscard]] bool spins() { return client.board().spin_budget_ns.load(shm::kAcquire) != 0; }
    [[nodiscard]] bool is_watched() { return client.board().unwatched.load(shm::kAcquire) == 0; }
    [[nodiscard]] pid_t worker() { return client.workers().front().pid; }

    FakeClient client;
    std::string told;
    FakeClient::Options options;
  };

  // Beyond that of the tests, which may be run with one.
  static int nice_of(pid_t pid) { return getpriority(PRIO_PROCESS, static_cast<id_t>(pid)) - getpriority(PRIO_PROCESS, 0); }

  // tarnd sleeps: it has not run for a while.
  static bool sleeps(pid_t pid) {
    auto switches = [pid] {
      std::ifstream file("/proc/" + std::to_string(pid) + "/status");
      std::string line;
      while (std::getline(file, line) && !line.starts_with("voluntary_ctxt_switches")) {
      }
      return line;
    };
    std::string before = switches();
    usleep(300'000);
    return switches() == before;
  }

  Manager manager_;
  Host host_;
};

TEST_F(Sharing, WhoIsAloneSpinsAndWhoSharesDoesNot) {
  Program a(host_, "a");
  Program b(host_, "b");
  if (a.client.workers().size() < 2) GTEST_SKIP() << "on one core nobody spins";
  a.set_busy(true);
  EXPECT_TRUE(eventually([&] { return a.spins() && a.is_watched(); }));
  b.set_busy(true);
  EXPECT_TRUE(eventually([&] { return !a.spins() && !b.spins(); }));
  // One that is idle may wake up beside another that is not.
  b.set_busy(false);
  EXPECT_TRUE(eventually([&] { return a.spins() && !b.spins() && !b.is_watched(); }));
  b.set_busy(true);
  EXPECT_TRUE(eventually([&] { return !a.spins() && b.is_watched(); })) << "it says that it has woken up";
  a.client.hang_up();
  EXPECT_TRUE(eventually([&] { return b.spins(); }));
}

TEST_F(Sharing, TarndSleepsWhenNothingIsShared) {
  Program a(host_, "a");
  a.set_busy(true);
  EXPECT_TRUE(eventually([&] { return sleeps(a.client.daemon_pid()); })) << "one session alone is not looked at";
  Program b(host_, "b");
  b.set_busy(true);
  EXPECT_TRUE(eventually([&] { return !a.spins() && !b.spins(); }));
  a.set_busy(false);
  b.set_busy(false);
  EXPECT_TRUE(eventually([&] { return !a.is_watched() && !b.is_watched() && sleeps(a.client.daemon_pid()); }));
}

// Receives nothing more of the core, and keeps nobody from anything.
TEST_F(Sharing, AStoppedWorkerWantsNothing) {
  Program a(host_, "a");
  Program b(host_, "b");
  if (a.client.workers().size() < 2) GTEST_SKIP() << "on one core nobody spins";
  a.set_busy(true);
  b.set_busy(true);
  EXPECT_TRUE(eventually([&] { return !a.spins() && !b.spins(); }));
  for (const wire::MemberInfo& worker : a.client.workers()) kill(worker.pid, SIGSTOP);
  EXPECT_TRUE(eventually([&] { return b.spins(); }));
  for (const wire::MemberInfo& worker : a.client.workers()) kill(worker.pid, SIGCONT);
  if (eventually([&] { return !b.spins(); })) return;
  ADD_FAILURE() << "it goes on, and nobody has noticed";
}

TEST_F(Sharing, TheNextTarndSeesItAsWell) {
  Program a(host_, "a");
  Program b(host_, "b");
  if (a.client.workers().size() < 2) GTEST_SKIP() << "on one core nobody spins";
  a.set_busy(true);
  b.set_busy(true);
  EXPECT_TRUE(eventually([&] { return !a.spins() && !b.spins(); }));
  EXPECT_EQ(host_.stop_daemon(SIGKILL), 128 + SIGKILL);
  EXPECT_FALSE(a.spins() || b.spins()) << "what was lent stays lent";
  host_.start_daemon(manager_);
  b.set_busy(false);
  EXPECT_TRUE(eventually([&] { return a.spins() && !b.is_watched(); }));
}

TEST_F(Sharing, ManyThreadsGetTheShareOfOneAndAKilledWorkersSuccessorToo) {
  if (geteuid() != 0) GTEST_SKIP() << "wants root: nobody else may take a nice value back";
  Program greedy(host_, "greedy", {"threads"});
  Program modest(host_, "modest");
  greedy.set_busy(true);
  modest.set_busy(true);
  EXPECT_TRUE(eventually([&] { return nice_of(greedy.worker()) >= 5 && nice_of(modest.worker()) == 0; }));
  kill(greedy.worker(), SIGKILL);
  auto added = greedy.client.expect(Type::kMemberAdded).as<wire::MemberInfo>();
  EXPECT_TRUE(eventually([&] { return nice_of(added.pid) >= 5; }));
  modest.set_busy(false);
  EXPECT_TRUE(eventually([&] { return nice_of(added.pid) == 0; })) << "nobody else wants the core";
}

// The nice value is of the process, which outlives the tarnd that gave it.
TEST_F(Sharing, TheNextTarndTakesBackWhatTheOneBeforeGave) {
  if (geteuid() != 0) GTEST_SKIP() << "wants root: nobody else may take a nice value back";
  Program greedy(host_, "greedy", {"threads"});
  Program modest(host_, "modest");
  greedy.set_busy(true);
  modest.set_busy(true);
  EXPECT_TRUE(eventually([&] { return nice_of(greedy.worker()) >= 5; }));
  EXPECT_EQ(host_.stop_daemon(SIGKILL), 128 + SIGKILL);
  EXPECT_GE(nice_of(greedy.worker()), 5);
  modest.client.hang_up();
  host_.start_daemon(manager_);
  EXPECT_TRUE(eventually([&] { return nice_of(greedy.worker()) == 0; }));
}

TEST_F(Sharing, AClientIsNoWorker) {
  Program a(host_, "a");
  wire::Buffer<sizeof(wire::Header)> buffer;
  wire::Builder message(buffer.bytes, Type::kAwake, 0);
  a.client.send(message);
  EXPECT_TRUE(a.client.wait_for_end());
}

}  // namespace
}  // namespace tarn::testing
