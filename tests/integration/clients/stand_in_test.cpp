// A worker that waits in a task gives its slot up. What could go wrong: its core stays idle while tasks are ready; a wake-up is
// spent on a worker that is off duty; somebody dies in between and the slot serves no more, or twice as many serve for ever; there
// are more and more processes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "support/processes.hpp"
#include "support/self_worker.hpp"

namespace {

using tarn::test::children_of;
using tarn::test::name_of;
using tarn::test::parent_of;
using tarn::test::PrivateClient;
using Clock = std::chrono::steady_clock;

constexpr int64_t kLong = 60'000'000'000;
constexpr uint32_t kRanks = 4;  // docs/limits.md

std::string text_of(tarn_call* call, size_t index) {
  tarn_bytes bytes = tarn_call_arg(call, index);
  return {static_cast<const char*>(bytes.data), bytes.size};
}

int64_t number_of(tarn_call* call, size_t index) {
  int64_t value = 0;
  memcpy(&value, tarn_call_arg(call, index).data, sizeof value);
  return value;
}

int give(tarn_call* call, int64_t value) { return tarn_call_return(call, &value, sizeof value); }

void pause_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

bool is_there(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// What is submitted last, of a task: `future` is its child's.
int result_of(tarn_call* call, tarn_future future, int64_t* out) {
  tarn_bytes bytes;
  if (int r = tarn_result(tarn_call_client(call), future, kLong, &bytes); r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  memcpy(out, bytes.data, sizeof *out);
  return tarn_future_release(tarn_call_client(call), future);
}

int own_pid(tarn_call* call) { return give(call, getpid()); }

// Has begun, as the file `argument`.begun says, and goes on until there is a file `argument`.end.
int hold(tarn_call* call) {
  std::string path = text_of(call, 0);
  std::ofstream(path + ".begun") << getpid() << std::flush;
  while (!is_there(path + ".end")) pause_ms(1);
  return give(call, getpid());
}

// Waits for a `hold` that another worker has begun.
int wait_for_hold(tarn_call* call) {
  std::string path = text_of(call, 0);
  unlink((path + ".begun").c_str());  // by the child of an attempt before
  tarn_future future;
  tarn_arg arg = tarn_arg_value(path.data(), path.size());
  if (int r = tarn_submit(tarn_call_client(call), tarn_task_id("hold"), &arg, 1, nullptr, &future); r < 0) return r;
  while (!is_there(path + ".begun")) pause_ms(1);
  int64_t pid = 0;
  if (int r = result_of(call, future, &pid); r < 0) return r;
  return pid == getpid() ? tarn_call_fail(call, -1, nullptr, "the child ran here") : give(call, getpid());
}

// Goes `depth` tasks down, each of which gives others the chance to begin the next one, and puts down where it runs.
int go_down(tarn_call* call) {
  std::string path = text_of(call, 0);
  int64_t depth = number_of(call, 1);
  std::ofstream(path + "." + std::to_string(depth)) << getpid() << std::flush;
  if (depth == 0) return give(call, 0);
  int64_t less = depth - 1;
  tarn_arg args[2] = {tarn_arg_value(path.data(), path.size()), tarn_arg_value(&less, sizeof less)};
  tarn_future future;
  if (int r = tarn_submit(tarn_call_client(call), tarn_task_id("go_down"), args, 2, nullptr, &future); r < 0) return r;
  for (int i = 0; i < 400 && !is_there(path + "." + std::to_string(less)); ++i) pause_ms(1);
  int64_t below = 0;
  if (int r = result_of(call, future, &below); r < 0) return r;
  return give(call, below + 1);
}

// A tree of tasks whose leaves take a while: its parents wait for long.
int slow_tree(tarn_call* call) {
  int64_t depth = number_of(call, 0);
  if (depth == 0) {
    pause_ms(5);
    return give(call, 1);
  }
  int64_t less = depth - 1;
  tarn_arg arg = tarn_arg_value(&less, sizeof less);
  tarn_future futures[3];
  int64_t sum = 0;
  for (tarn_future& future : futures)
    if (int r = tarn_submit(tarn_call_client(call), tarn_task_id("slow_tree"), &arg, 1, nullptr, &future); r < 0)
      return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  pause_ms(2);
  for (tarn_future future : futures) {
    int64_t below = 0;
    if (int r = result_of(call, future, &below); r < 0) return r;
    sum += below;
  }
  return give(call, sum);
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("own_pid", own_pid);
  tarn_task_define("hold", hold);
  tarn_task_define("wait_for_hold", wait_for_hold);
  tarn_task_define("go_down", go_down);
  tarn_task_define("slow_tree", slow_tree);
}};

class StandIn : public testing::Test {
 protected:
  ~StandIn() override {
    for (const char* end : {".begun", ".end"}) unlink((path_ + end).c_str());
    for (int i = 0; i < 100; ++i) unlink((path_ + "." + std::to_string(i)).c_str());
  }

  tarn_future submit(const char* task, std::vector<tarn_arg> args, int32_t retries = 3) {
    tarn_submit_options options{};
    options.size = sizeof options;
    options.retries = retries;
    tarn_future future{};
    EXPECT_EQ(0, tarn_submit(client_, tarn_task_id(task), args.data(), args.size(), &options, &future)) << tarn_last_error();
    return future;
  }
  tarn_future submit_with_path(const char* task) { return submit(task, {tarn_arg_value(path_.data(), path_.size())}); }

  int64_t result(tarn_future future) {
    tarn_bytes bytes{};
    EXPECT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
    int64_t value = -1;
    if (bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
    EXPECT_EQ(0, tarn_future_release(client_, future));
    return value;
  }

  void say(const char* what) { std::ofstream(path_ + what) << "now" << std::flush; }
  void await(const char* what) const {
    while (!is_there(path_ + what)) pause_ms(1);
  }

  // The tarn-spawn that started tarnd, and the workers with it.
  static pid_t spawn_of(tarn_client* client) {
    tarn_client_info info{};
    info.size = sizeof info;
    EXPECT_EQ(0, tarn_client_get_info(client, &info));
    return parent_of(info.daemon_pid);
  }
  std::vector<pid_t> workers() const {
    std::vector<pid_t> all = children_of(spawn_);
    std::string own = name_of(getpid());
    std::erase_if(all, [&](pid_t pid) { return name_of(pid) != own; });
    return all;
  }

  PrivateClient client_{2};
  pid_t spawn_ = spawn_of(client_);
  std::string path_ = testing::TempDir() + "tarn-stand-in-" + std::to_string(getpid());
};

TEST_F(StandIn, ServesWhileItsWorkerWaits) {
  tarn_future parent = submit_with_path("wait_for_hold");
  await(".begun");
  // Of two workers one waits, and the other one goes on until all of these are done.
  std::set<int64_t> pids;
  for (int i = 0; i < 30; ++i) pids.insert(result(submit("own_pid", {})));
  say(".end");
  int64_t waiting = result(parent);
  EXPECT_FALSE(pids.contains(waiting));
  EXPECT_EQ(1u, pids.size());
  // From then on the slots are for those that had them.
  pids.clear();
  for (int i = 0; i < 200; ++i) pids.insert(result(submit("own_pid", {})));
  EXPECT_LE(pids.size(), 2u);
  EXPECT_EQ(3u, workers().size());
}

TEST_F(StandIn, AreWokenForWhatComesLater) {
  tarn_future parent = submit_with_path("wait_for_hold");
  await(".begun");
  for (int i = 0; i < 20; ++i) {
    pause_ms(i * 3);  // so that it sleeps
    EXPECT_GT(result(submit("own_pid", {})), 0);
  }
  say(".end");
  EXPECT_GT(result(parent), 0);
}

TEST_F(StandIn, ProcessesAreBounded) {
  int64_t depth = 14;
  EXPECT_EQ(depth, result(submit("go_down", {tarn_arg_value(path_.data(), path_.size()), tarn_arg_value(&depth, sizeof depth)})));
  std::set<std::string> pids;
  for (int64_t i = 0; i <= depth; ++i) {
    std::string pid;
    std::ifstream(path_ + "." + std::to_string(i)) >> pid;
    pids.insert(pid);
  }
  EXPECT_GT(pids.size(), 2u);
  EXPECT_LE(pids.size(), 2u * kRanks);
  EXPECT_LE(workers().size(), 2u * kRanks);
}

// While one waits, the one that stands in for it dies in a task.
TEST_F(StandIn, IsReplaced) {
  tarn_future parent = submit_with_path("wait_for_hold");
  await(".begun");
  for (int i = 0; i < 5; ++i) {
    int64_t pid = result(submit("own_pid", {}));
    kill(static_cast<pid_t>(pid), SIGKILL);
    EXPECT_NE(pid, result(submit("own_pid", {})));
  }
  say(".end");
  EXPECT_GT(result(parent), 0);
}

TEST_F(StandIn, OfAWorkerThatDiesGoesOffDuty) {
  tarn_future parent = submit_with_path("wait_for_hold");
  await(".begun");
  int64_t stand_in = result(submit("own_pid", {}));
  std::string holds;
  std::ifstream(path_ + ".begun") >> holds;
  // The one that waits: neither of the two.
  for (pid_t pid : workers())
    if (pid != stand_in && std::to_string(pid) != holds) kill(pid, SIGKILL);
  // The parent is run again, and with it its child, which a worker is holding still.
  say(".end");
  EXPECT_GT(result(parent), 0);
  std::set<int64_t> pids;
  for (int i = 0; i < 200; ++i) pids.insert(result(submit("own_pid", {})));
  EXPECT_LE(pids.size(), 2u);
}

TEST_F(StandIn, EverybodyMayDie) {
  std::mt19937 random(20261130);
  auto trees = [this] {
    std::vector<tarn_future> futures;
    int64_t depth = 3;
    for (int i = 0; i < 4; ++i) futures.push_back(submit("slow_tree", {tarn_arg_value(&depth, sizeof depth)}, 200));
    return futures;
  };
  for (tarn_future tree : trees()) EXPECT_EQ(27, result(tree));  // and everybody has his stand-in
  EXPECT_GT(workers().size(), 2u);
  EXPECT_LE(workers().size(), 2u * kRanks);
  std::vector<tarn_future> futures = trees();
  uint32_t kills = 0;
  for (auto end = Clock::now() + std::chrono::seconds(4); Clock::now() < end;) {
    pause_ms(static_cast<int>(random() % 60));
    std::vector<pid_t> candidates = random() % 8 == 0 ? children_of(spawn_) : workers();
    std::erase_if(candidates, [](pid_t pid) { return name_of(pid) == "tarn-output"; });
    if (candidates.empty()) continue;
    kills += kill(candidates[random() % candidates.size()], SIGKILL) == 0;
    for (tarn_future& future : futures) {
      if (tarn_wait(client_, &future, 1, 1, 0, nullptr, nullptr) < 0) continue;
      EXPECT_EQ(27, result(future));
      int64_t depth = 3;
      future = submit("slow_tree", {tarn_arg_value(&depth, sizeof depth)}, 200);
    }
  }
  for (tarn_future future : futures) EXPECT_EQ(27, result(future));
  EXPECT_GT(kills, 20u);
}

}  // namespace
