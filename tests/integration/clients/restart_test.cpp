// tarnd is killed and started again while its clients and workers go on. What could go wrong: a socket ends and the session with
// it; what the old one was asked and had not answered is never answered, or twice; a worker's death is forgotten, and its task
// waits for ever; a slab is lost, or stays for ever; a process is left behind.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "support/own_daemon.hpp"
#include "support/pattern.hpp"
#include "support/processes.hpp"
#include "support/self_worker.hpp"

namespace {

using tarn::test::bytes_on_disk;
using tarn::test::children_of;
using tarn::test::name_of;
using tarn::test::parent_of;
using tarn::test::PrivateClient;
using Clock = std::chrono::steady_clock;

constexpr int64_t kLong = 30'000'000'000;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint32_t kSlow = 10;  // a worker takes so many times as long to start
#else
constexpr uint32_t kSlow = 1;
#endif

uint64_t argument(tarn_call* call, size_t index = 0) {
  uint64_t value = 0;
  memcpy(&value, tarn_call_arg(call, index).data, sizeof value);
  return value;
}

int give(tarn_call* call, uint64_t value) { return tarn_call_return(call, &value, sizeof value); }

int add_one(tarn_call* call) { return give(call, argument(call) + 1); }

int sleep_ms(tarn_call* call) {
  std::this_thread::sleep_for(std::chrono::milliseconds(argument(call)));
  return give(call, static_cast<uint64_t>(getpid()));
}

// Dies the first time, by a file that says so.
int die_once(tarn_call* call) {
  tarn_bytes path = tarn_call_arg(call, 0);
  if (unlink(std::string(static_cast<const char*>(path.data), path.size).c_str()) == 0) (void)raise(SIGKILL);
  return give(call, static_cast<uint64_t>(getpid()));
}

int sum_bytes(tarn_call* call) {
  tarn_bytes bytes = tarn_call_arg(call, 0);
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size; i += 4096) sum += static_cast<const uint8_t*>(bytes.data)[i];
  return give(call, sum);
}

// An object of its own, of so many bytes.
int make_bytes(tarn_call* call) {
  std::vector<uint8_t> bytes(argument(call), 7);
  return tarn_call_return(call, bytes.data(), bytes.size());
}

tarn_future submit_in_slot(tarn_client* client, uint32_t slot, const char* task, const std::vector<tarn_arg>& args) {
  tarn_needs needs{};
  needs.size = sizeof needs;
  needs.where = TARN_ON_SLOT;
  needs.where_number = static_cast<int32_t>(slot);
  needs.is_strict = 1;
  tarn_submit_options options{};
  options.size = sizeof options;
  options.needs = &needs;
  tarn_future future{};
  EXPECT_EQ(tarn_submit(client, tarn_task_id(task), args.data(), args.size(), &options, &future), 0) << tarn_last_error();
  return future;
}

bool await_file(const std::string& path) {
  for (auto end = Clock::now() + std::chrono::seconds(20); Clock::now() < end;) {
    if (access(path.c_str(), F_OK) == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ADD_FAILURE() << "nobody made " << path;
  return false;
}

// Reads an object made in the slot of argument 1, and much later another one, and looks at nothing else meanwhile. Returns how
// many of them were as they should be. The files met, again and made are in the folder of argument 0.
int meet_twice(tarn_call* call) {
  tarn_bytes path = tarn_call_arg(call, 0);
  std::string folder(static_cast<const char*>(path.data), path.size);
  auto slot = static_cast<uint32_t>(argument(call, 1));
  const uint64_t size = 5000;
  uint64_t good = 0;
  auto meet = [&](bool late) {
    tarn_future made = submit_in_slot(tarn_call_client(call), slot, "make_bytes", {tarn_arg_value(&size, sizeof size)});
    if (late) std::this_thread::sleep_for(std::chrono::milliseconds(300));  // it is done when this one asks
    tarn_bytes bytes{};
    if (tarn_result(tarn_call_client(call), made, kLong, &bytes) == 0 && bytes.size == size &&
        static_cast<const uint8_t*>(bytes.data)[size - 1] == 7)
      ++good;
    (void)tarn_future_release(tarn_call_client(call), made);
  };
  meet(false);
  std::ofstream(folder + "/met") << "x";
  if (await_file(folder + "/again")) meet(true);
  return give(call, good);
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("meet_twice", meet_twice);
  tarn_task_define("add_one", add_one);
  tarn_task_define("sleep_ms", sleep_ms);
  tarn_task_define("die_once", die_once);
  tarn_task_define("sum_bytes", sum_bytes);
  tarn_task_define("make_bytes", make_bytes);
}};

tarn_future submit(tarn_client* client, const char* task, std::vector<tarn_arg> args) {
  tarn_future future{};
  EXPECT_EQ(tarn_submit(client, tarn_task_id(task), args.data(), args.size(), nullptr, &future), 0) << tarn_last_error();
  return future;
}

tarn_future submit(tarn_client* client, const char* task, uint64_t value) {
  return submit(client, task, {tarn_arg_value(&value, sizeof value)});
}

uint64_t result(tarn_client* client, tarn_future future) {
  tarn_bytes bytes{};
  EXPECT_EQ(tarn_result(client, future, kLong, &bytes), 0) << tarn_last_error();
  uint64_t value = UINT64_MAX;
  if (bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
  EXPECT_EQ(tarn_future_release(client, future), 0);
  return value;
}

class RestartTest : public testing::Test {
 protected:
  void open(uint32_t workers) {
    client_ = std::make_unique<PrivateClient>(workers);
    tarn_client_info info{};
    info.size = sizeof info;
    ASSERT_EQ(tarn_client_get_info(*client_, &info), 0);
    spawn_ = parent_of(info.daemon_pid);
    ASSERT_EQ(name_of(info.daemon_pid), "tarnd");
  }

  // The tarnd that runs now.
  pid_t daemon() const {
    for (auto end = Clock::now() + std::chrono::seconds(10); Clock::now() < end;) {
      for (pid_t pid : children_of(spawn_))
        if (name_of(pid) == "tarnd" && parent_of(pid) == spawn_) return pid;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ADD_FAILURE() << "no tarnd came up";
    return 0;
  }

  void kill_daemon(int signal = SIGKILL) {
    if (pid_t pid = daemon(); pid != 0) ::kill(pid, signal);
  }

  // Until another one than `before` has taken over: it answers.
  void await_another(pid_t before) {
    for (auto end = Clock::now() + std::chrono::seconds(10); Clock::now() < end;) {
      (void)tarn_client_dispatch(*client_);
      tarn_client_info info{};
      info.size = sizeof info;
      EXPECT_EQ(tarn_client_get_info(*client_, &info), 0);
      if (info.daemon_pid != before) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ADD_FAILURE() << "the client hears of no other tarnd";
  }

  std::unique_ptr<PrivateClient> client_;
  pid_t spawn_ = 0;
};

TEST_F(RestartTest, tasks_go_on_without_it_and_after_it) {
  open(2);
  for (int round = 0; round < 10; ++round) {
    kill_daemon();
    for (uint64_t i = 0; i < 1000; ++i) ASSERT_EQ(result(*client_, submit(*client_, "add_one", i)), i + 1);
  }
}

TEST_F(RestartTest, a_running_task_does_not_notice) {
  open(1);
  tarn_future future = submit(*client_, "sleep_ms", 400);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  auto workers = children_of(spawn_);
  pid_t before = daemon();
  kill_daemon();
  await_another(before);
  auto pid = static_cast<pid_t>(result(*client_, future));
  EXPECT_EQ(std::ranges::count(workers, pid), 1) << "another worker than before ran it";
}

TEST_F(RestartTest, a_worker_that_dies_while_it_is_away_is_replaced_and_its_task_redone) {
  open(1);
  std::string path = testing::TempDir() + "tarn-restart-" + std::to_string(getpid());
  for (int round = 0; round < 10; ++round) {
    std::ofstream(path) << "x";
    EXPECT_EQ(result(*client_, submit(*client_, "add_one", 1)), 2u);  // a worker is there
    pid_t before = daemon();
    ASSERT_EQ(::kill(before, SIGSTOP), 0);
    tarn_future future = submit(*client_, "die_once", {tarn_arg_value(path.data(), path.size())});
    while (access(path.c_str(), F_OK) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(round));
    ASSERT_EQ(::kill(before, SIGKILL), 0);
    EXPECT_NE(result(*client_, future), UINT64_MAX);
  }
}

// Each tarnd gives the lowest index that is free. A worker that is in a long task has not heard that one it had met is gone, and
// meets what another of that index has made.
TEST_F(RestartTest, a_worker_in_a_task_meets_another_of_an_index_that_it_knew) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "two slots are needed";
  open(2);
  tarn_slot_info slots[2]{};
  for (uint32_t i = 0; i < 2; ++i) {
    slots[i].size = sizeof slots[i];
    auto end = Clock::now() + std::chrono::seconds(10);  // its worker has to start
    while (tarn_client_get_slot(*client_, i, &slots[i]) < 0) {
      ASSERT_LT(Clock::now(), end) << tarn_last_error();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  std::string folder = testing::TempDir() + "tarn-restart-" + std::to_string(getpid());
  ASSERT_TRUE(std::filesystem::create_directory(folder));
  auto worker_of = [&](uint32_t slot) {
    const uint64_t none = 0;
    return static_cast<pid_t>(result(*client_, submit_in_slot(*client_, slot, "sleep_ms", {tarn_arg_value(&none, sizeof none)})));
  };
  (void)worker_of(slots[0].slot);
  pid_t first = worker_of(slots[1].slot);
  uint64_t other = slots[1].slot;
  tarn_future meeting = submit_in_slot(*client_, slots[0].slot, "meet_twice",
                                       {tarn_arg_value(folder.data(), folder.size()), tarn_arg_value(&other, sizeof other)});
  ASSERT_TRUE(await_file(folder + "/met"));
  ASSERT_EQ(::kill(first, SIGKILL), 0);
  pid_t second = worker_of(slots[1].slot);  // of another index: that of the first is not free yet
  ASSERT_NE(second, first);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  pid_t before = daemon();
  kill_daemon();
  await_another(before);
  ASSERT_EQ(::kill(second, SIGKILL), 0);
  ASSERT_NE(worker_of(slots[1].slot), second);
  std::ofstream(folder + "/again") << "x";
  EXPECT_EQ(result(*client_, meeting), 2u) << "so many of two objects were read";
  std::filesystem::remove_all(folder);
}

TEST_F(RestartTest, objects_stay_and_new_ones_can_be_made) {
  open(2);
  constexpr size_t kSize = 48u << 20;
  std::vector<tarn_object> objects;
  for (uint8_t round = 1; round <= 6; ++round) {
    pid_t before = daemon();
    if (round % 2 == 0) {
      ASSERT_EQ(::kill(before, SIGKILL), 0);  // what follows asks a tarnd that is not there
    }
    void* data = nullptr;
    tarn_object object{};
    ASSERT_EQ(tarn_object_create(*client_, kSize, &object, &data), 0) << tarn_last_error();
    memset(data, round, kSize);
    ASSERT_EQ(tarn_object_seal(*client_, object), 0) << tarn_last_error();
    objects.push_back(object);
    if (round % 2 == 1) {
      ASSERT_EQ(::kill(before, SIGKILL), 0);
    }
    for (size_t i = 0; i < objects.size(); ++i)
      ASSERT_EQ(result(*client_, submit(*client_, "sum_bytes", {tarn_arg_object(objects[i])})), kSize / 4096 * (i + 1));
  }
  for (tarn_object object : objects) EXPECT_EQ(tarn_release(*client_, object), 0);
}

TEST_F(RestartTest, what_was_asked_and_not_answered_is_asked_again) {
  open(1);
  for (int round = 0; round < 5; ++round) {
    pid_t before = daemon();
    ASSERT_EQ(::kill(before, SIGSTOP), 0);
    std::thread killer([before, round] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50 + 5 * round));
      ::kill(before, SIGKILL);
    });
    void* data = nullptr;
    tarn_object object{};
    int r = tarn_object_create(*client_, 32u << 20, &object, &data);
    killer.join();
    ASSERT_EQ(r, 0) << tarn_last_error();
    memset(data, 1, 32u << 20);
    ASSERT_EQ(tarn_object_seal(*client_, object), 0);
    EXPECT_EQ(tarn_release(*client_, object), 0);
  }
}

TEST_F(RestartTest, a_crash_is_like_a_kill) {
  open(1);
  for (int signal : {SIGSEGV, SIGABRT, SIGBUS}) {
    pid_t before = daemon();
    kill_daemon(signal);
    await_another(before);
    EXPECT_EQ(result(*client_, submit(*client_, "add_one", 1)), 2u);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

TEST_F(RestartTest, a_run_that_is_to_be_ended_is_ended_by_the_next_one) {
  open(1);
  for (int round = 0; round < 5; ++round) {
    tarn_future future = submit(*client_, "sleep_ms", 100'000);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    pid_t before = daemon();
    ASSERT_EQ(::kill(before, SIGSTOP), 0);
    EXPECT_EQ(tarn_cancel(*client_, future, TARN_CANCEL_KILL), 0) << tarn_last_error();
    ASSERT_EQ(::kill(before, SIGKILL), 0);
    tarn_bytes bytes{};
    EXPECT_EQ(tarn_result(*client_, future, kLong, &bytes), TARN_E_CANCELLED);
    EXPECT_EQ(tarn_future_release(*client_, future), 0);
  }
}

TEST_F(RestartTest, it_may_be_killed_all_the_time) {
  open(2);
  std::atomic<uint32_t> kills{0};
  std::jthread killer([&](const std::stop_token& stop) {
    std::mt19937 random(20261130);
    while (!stop.stop_requested()) {
      for (pid_t pid : children_of(spawn_)) {
        bool is_daemon = name_of(pid) == "tarnd";
        if (!is_daemon && random() % (8 * kSlow) != 0) continue;
        if (::kill(pid, SIGKILL) == 0) ++kills;
      }
      std::this_thread::sleep_for(std::chrono::microseconds(random() % (30'000 * kSlow)));
    }
  });
  auto end = Clock::now() + std::chrono::seconds(8);
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = 200;
  uint64_t rounds = 0;
  for (; Clock::now() < end && !HasFailure(); ++rounds) {
    std::vector<tarn_future> futures;
    for (uint64_t i = 0; i < 50; ++i) {
      uint64_t size = 1 + (i % 5) * 100'000;
      tarn_arg arg = tarn_arg_value(&size, sizeof size);
      tarn_future future{};
      ASSERT_EQ(tarn_submit(*client_, tarn_task_id("make_bytes"), &arg, 1, &options, &future), 0) << tarn_last_error();
      futures.push_back(future);
    }
    void* data = nullptr;
    tarn_object object{};
    size_t size = (rounds % 7 + 1) * 3'000'000;
    ASSERT_EQ(tarn_object_create(*client_, size, &object, &data), 0) << tarn_last_error();
    memset(data, 1, size);
    ASSERT_EQ(tarn_object_seal(*client_, object), 0);
    tarn_arg arg = tarn_arg_object(object);
    tarn_future sum{};
    ASSERT_EQ(tarn_submit(*client_, tarn_task_id("sum_bytes"), &arg, 1, &options, &sum), 0) << tarn_last_error();
    for (uint64_t i = 0; i < 50; ++i) {
      tarn_bytes bytes{};
      ASSERT_EQ(tarn_result(*client_, futures[i], kLong, &bytes), 0) << tarn_last_error();
      EXPECT_EQ(bytes.size, 1 + (i % 5) * 100'000);
      EXPECT_EQ(static_cast<const uint8_t*>(bytes.data)[bytes.size - 1], 7);
      EXPECT_EQ(tarn_future_release(*client_, futures[i]), 0);
    }
    EXPECT_EQ(result(*client_, sum), (size + 4095) / 4096);
    EXPECT_EQ(tarn_release(*client_, object), 0);
  }
  killer.request_stop();
  killer.join();
  printf("%llu rounds, %u kills\n", static_cast<unsigned long long>(rounds), kills.load());
  EXPECT_GT(rounds, 5u);
  EXPECT_GT(kills.load(), 50u / kSlow);
}

TEST_F(RestartTest, nothing_is_left_of_a_client_that_closes_while_it_is_away) {
  for (int round = 0; round < 5; ++round) {
    open(2);
    std::vector<pid_t> processes = children_of(spawn_);
    processes.push_back(spawn_);
    kill_daemon();
    std::this_thread::sleep_for(std::chrono::milliseconds(3 * round));
    client_.reset();
    for (pid_t pid : processes) EXPECT_EQ(parent_of(pid), 0) << name_of(pid) << " " << pid;
  }
}

TEST_F(RestartTest, nothing_is_left_of_a_client_that_is_killed_while_it_is_away) {
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
      PrivateClient client(2);
      tarn_client_info info{};
      info.size = sizeof info;
      if (tarn_client_get_info(client, &info) < 0 || result(client, submit(client, "add_one", 1)) != 2) _exit(1);
      (void)!write(ends[1], &info.daemon_pid, sizeof info.daemon_pid);
      (void)submit(client, "sleep_ms", 100'000);
      for (;;) pause();
    }
    close(ends[1]);
    int32_t before = 0;
    ASSERT_EQ(read(ends[0], &before, sizeof before), static_cast<ssize_t>(sizeof before));
    close(ends[0]);
    spawn_ = parent_of(before);
    std::vector<pid_t> processes = children_of(spawn_);
    processes.push_back(spawn_);
    ASSERT_EQ(::kill(before, SIGKILL), 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(2 * round));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(waitpid(child, nullptr, 0), child);
    for (pid_t pid : processes) {
      for (auto end = Clock::now() + std::chrono::seconds(10); parent_of(pid) != 0 && Clock::now() < end;)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      EXPECT_EQ(parent_of(pid), 0) << name_of(pid) << " " << pid;
    }
  }
}

// Kills the tarnd of `spawn` now and then, `most` times, until it is destroyed.
class Killer {
 public:
  Killer(pid_t spawn, uint32_t pause_ms, uint32_t most = UINT32_MAX)
      : thread_([this, spawn, pause_ms, most] {
          std::mt19937 random(pause_ms);
          while (!stop_ && kills_ < most) {
            for (pid_t pid : children_of(spawn))
              if (name_of(pid) == "tarnd" && ::kill(pid, SIGKILL) == 0) ++kills_;
            std::this_thread::sleep_for(std::chrono::milliseconds(random() % (2 * pause_ms)));
          }
        }) {}
  ~Killer() {
    stop_ = true;
    thread_.join();
  }
  uint32_t kills() const { return kills_; }

 private:
  std::atomic<bool> stop_{false};
  std::atomic<uint32_t> kills_{0};
  std::thread thread_;
};

constexpr uint64_t kMiB = 1 << 20;
// A disk may take longer to write one object than tarnd lives from one kill to the next: then nothing gets on before the last.
constexpr uint32_t kKillsOnTheDisk = 40;

tarn_object put(tarn_client* client, uint64_t size, uint64_t seed) {
  std::vector<uint64_t> words(size / 8);
  tarn::test::fill(words.data(), size, seed);
  tarn_object object{};
  EXPECT_EQ(tarn_put(client, words.data(), size, &object), 0) << tarn_last_error();
  return object;
}

void expect_bytes(tarn_client* client, tarn_object object, uint64_t seed) {
  tarn_bytes bytes{};
  ASSERT_EQ(tarn_get(client, object, &bytes), 0) << seed << ": " << tarn_last_error();
  EXPECT_TRUE(tarn::test::is_filled(bytes.data, bytes.size, seed)) << "object " << seed;
  EXPECT_EQ(tarn_object_unpin(client, object), 0) << tarn_last_error();
}

TEST_F(RestartTest, what_is_on_the_disk_comes_back) {
  tarn::test::OwnDaemon host("[memory]\nper_client = \"128MiB\"");
  spawn_ = host.pid();
  tarn_client* client = host.connect(0, TARN_INIT_NO_WORKERS);
  ASSERT_NE(client, nullptr);
  constexpr uint64_t kSizes[] = {16 * kMiB, 5 * kMiB + 4096 * 3, 104'000, 40'000};
  uint32_t kills = 0;
  for (bool during : {false, true}) {
    std::vector<tarn_object> objects;
    uint64_t bytes = 0;
    {
      std::unique_ptr<Killer> killer;
      if (during) killer = std::make_unique<Killer>(spawn_, 150, kKillsOnTheDisk);
      for (uint64_t seed = 0; bytes < 384 * kMiB && !HasFailure(); ++seed) {
        objects.push_back(put(client, kSizes[seed % 4], seed));
        bytes += kSizes[seed % 4];
      }
      if (!during) {
        // Two in one go: what the first took over the second does.
        for (int i = 0; i < 2; ++i) kill_daemon();
      }
      for (uint64_t seed = 0; seed < objects.size() && !HasFailure(); ++seed) expect_bytes(client, objects[seed], seed);
      for (uint64_t seed = objects.size(); seed-- > 0 && !HasFailure();) expect_bytes(client, objects[seed], seed);
      if (killer != nullptr) kills = killer->kills();
    }
    for (tarn_object object : objects) EXPECT_EQ(tarn_release(client, object), 0);
    // All of it is free again, also of the disk.
    tarn_object large{};
    void* data;
    ASSERT_EQ(tarn_object_create(client, 100 * kMiB, &large, &data), 0) << tarn_last_error();
    EXPECT_EQ(tarn_release(client, large), 0);
  }
  EXPECT_GT(kills, 10u);
  pid_t last = daemon();
  for (auto end = Clock::now() + std::chrono::seconds(20); bytes_on_disk(last) > 4 * kMiB && Clock::now() < end;)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LE(bytes_on_disk(last), 4 * kMiB);
  tarn_close(client);
}

// The manager has not heard of the death when it is told to end: the next tarnd has to end for it.
TEST_F(RestartTest, a_manager_that_is_to_end_does_so_although_tarnd_was_killed) {
  for (int signal : {SIGTERM, SIGINT}) {
    auto host = std::make_unique<tarn::test::OwnDaemon>("");
    spawn_ = host->pid();
    tarn_client* client = host->connect(1);
    ASSERT_NE(client, nullptr);
    EXPECT_EQ(result(client, submit(client, "add_one", 1)), 2u);
    pid_t tarnd = daemon();
    ASSERT_EQ(::kill(spawn_, SIGSTOP), 0);
    ASSERT_EQ(::kill(tarnd, SIGKILL), 0);
    ASSERT_EQ(::kill(spawn_, signal), 0);
    ASSERT_EQ(::kill(spawn_, SIGCONT), 0);
    // Not waitpid: that is for its own end.
    for (auto end = Clock::now() + std::chrono::seconds(10); Clock::now() < end && parent_of(spawn_) != 0;)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_EQ(parent_of(spawn_), 0) << "it goes on";
    if (HasFailure()) ::kill(spawn_, SIGKILL);
    host.reset();
    tarn_close(client);
  }
}

// And no other tarnd comes. Who only looks is told as well as who waits, and so is who submits then.
TEST_F(RestartTest, who_looks_hears_that_it_is_gone) {
  for (int way = 0; way < 3; ++way) {
    open(1);
    EXPECT_EQ(result(*client_, submit(*client_, "add_one", 1)), 2u);
    tarn_future futures[] = {submit(*client_, "sleep_ms", 5000), submit(*client_, "add_one", 1)};
    pid_t tarnd = daemon();
    ASSERT_EQ(::kill(spawn_, SIGKILL), 0);
    (void)::kill(tarnd, SIGKILL);
    int r = TARN_E_TIMED_OUT;
    for (auto end = Clock::now() + std::chrono::seconds(20); r == TARN_E_TIMED_OUT && Clock::now() < end;) {
      r = way == 0   ? tarn_wait(*client_, futures, 2, 2, 0, nullptr, nullptr)
          : way == 1 ? tarn_wait(*client_, futures, 2, 1, 0, nullptr, nullptr)
                     : tarn_result(*client_, futures[1], 0, nullptr);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(r, TARN_E_DAEMON_GONE) << way << ": " << tarn_last_error();
    tarn_future future{};
    EXPECT_EQ(tarn_submit(*client_, tarn_task_id("add_one"), nullptr, 0, nullptr, &future), TARN_E_DAEMON_GONE) << tarn_last_error();
    client_.reset();
  }
}

TEST_F(RestartTest, all_clients_of_a_host_go_on_and_new_ones_are_let_in) {
  tarn::test::OwnDaemon host("");
  spawn_ = host.pid();
  std::vector<tarn_client*> clients;
  Killer killer(spawn_, 100);
  while (clients.size() < 6) {
    tarn_options options{};
    options.size = sizeof options;
    options.address = host.address().c_str();
    options.workers = 1;
    options.timeout_ns = kLong;
    tarn_client* client = nullptr;
    // Who has not been answered yet has no session.
    int r = tarn_init(&client, nullptr, nullptr, &options);
    if (r == 0) {
      clients.push_back(client);
    } else {
      ASSERT_EQ(r, TARN_E_NO_DAEMON) << tarn_last_error();
    }
    for (size_t i = 0; i < clients.size(); ++i) {
      ASSERT_EQ(result(clients[i], submit(clients[i], "add_one", i)), i + 1);
      tarn_object object = put(clients[i], 4 * kMiB, i);
      expect_bytes(clients[i], object, i);
      EXPECT_EQ(tarn_release(clients[i], object), 0);
    }
  }
  while (killer.kills() < 20) {
    for (size_t i = 0; i < clients.size(); ++i) ASSERT_EQ(result(clients[i], submit(clients[i], "add_one", i)), i + 1);
  }
  for (tarn_client* client : clients) tarn_close(client);
}

}  // namespace
