// What one process keeps for later comes back when another needs it: a session that may have 256 MiB.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "support/own_daemon.hpp"
#include "support/self_worker.hpp"

namespace {

constexpr int64_t kLong = 20'000'000'000;
constexpr uint64_t kMiB = 1 << 20;

int make_bytes(tarn_call* call) {
  uint64_t size = 0;
  memcpy(&size, tarn_call_arg(call, 0).data, sizeof size);
  std::vector<char> bytes(size, 'x');
  return tarn_call_return(call, bytes.data(), bytes.size());
}

int make_bytes_late(tarn_call* call) {
  usleep(500'000);
  return make_bytes(call);
}

int size_of_argument(tarn_call* call) {
  uint64_t size = tarn_call_arg(call, 0).size;
  return tarn_call_return(call, &size, sizeof size);
}

int die(tarn_call*) { abort(); }

int return_the_code_of_a_failure(tarn_call* call) {
  void* data;
  return tarn_call_return_buffer(call, uint64_t{1} << 40, &data);
}

int nap(tarn_call*) {
  usleep(400'000);
  return 0;
}

const tarn::test::SelfWorker worker([] {
  (void)tarn_task_define("make_bytes", make_bytes);
  (void)tarn_task_define("make_bytes_late", make_bytes_late);
  (void)tarn_task_define("size_of_argument", size_of_argument);
  (void)tarn_task_define("nap", nap);
  (void)tarn_task_define("die", die);
  (void)tarn_task_define("return_the_code_of_a_failure", return_the_code_of_a_failure);
});

constexpr const char* kConfig = "[memory]\nper_client = \"256MiB\"\nspill_directory = \"\"";

// Puts objects until there is no room for the smallest.
std::vector<tarn_object> fill(tarn_client* client) {
  const std::vector<char> bytes(8 * kMiB, 'f');
  std::vector<tarn_object> objects;
  for (size_t size : {size_t{8 * kMiB}, size_t{kMiB}, size_t{4096}}) {
    tarn_object object;
    while (tarn_put(client, bytes.data(), size, &object) == 0) objects.push_back(object);
  }
  EXPECT_LT(200u / 8, objects.size());
  return objects;
}

tarn_future submit_no_retry(tarn_client* client, const char* task) {
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = -1;
  tarn_future future{};
  EXPECT_EQ(0, tarn_submit(client, tarn_task_id(task), nullptr, 0, &options, &future)) << tarn_last_error();
  return future;
}

// A daemon of its own, and a client of it.
class Memory : public testing::Test {
 protected:
  void SetUp() override {
    client_ = daemon_.connect(2);
    ASSERT_NE(nullptr, client_);
  }
  void TearDown() override { tarn_close(client_); }

  tarn_future submit(const char* task, uint64_t argument) {
    const tarn_arg arg = tarn_arg_value(&argument, sizeof argument);
    tarn_future future{};
    EXPECT_EQ(0, tarn_submit(client_, tarn_task_id(task), &arg, 1, nullptr, &future)) << tarn_last_error();
    return future;
  }

  void expect_result(tarn_future future, uint64_t size) {
    tarn_bytes bytes;
    EXPECT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
    EXPECT_EQ(size, bytes.size);
    EXPECT_EQ(0, tarn_future_release(client_, future));
  }

  // Whether so many workers are alive, after a wait.
  bool eventually_alive(uint32_t count) {
    for (int i = 0; i < 200; ++i, usleep(100'000)) {
      uint32_t alive = 0;
      for (uint32_t index = 0; index < count; ++index) {
        tarn_slot_info info{};
        info.size = sizeof info;
        alive += tarn_client_get_slot(client_, index, &info) == 0 && info.pid > 0 && kill(info.pid, 0) == 0;
      }
      if (alive == count) return true;
    }
    return false;
  }

  // Whether the workers have done so many tasks, as they count them, after a wait.
  bool eventually_done(uint64_t count) {
    for (int i = 0; i < 2000; ++i) {
      uint64_t done = 0;
      for (uint32_t worker_index = 0; worker_index < 2; ++worker_index) {
        tarn_slot_info info{};
        info.size = sizeof info;
        if (tarn_client_get_slot(client_, worker_index, &info) == 0) done += info.tasks_done;
      }
      if (done >= count) return true;
      usleep(5000);
    }
    return false;
  }

  // Puts `count` objects of `size` bytes and holds them together.
  void put_and_release(size_t count, uint64_t size) {
    const std::vector<char> bytes(size, 'y');
    std::vector<tarn_object> objects(count);
    for (tarn_object& object : objects)
      ASSERT_EQ(0, tarn_put(client_, bytes.data(), bytes.size(), &object)) << tarn_last_error();
    for (tarn_object& object : objects) EXPECT_EQ(0, tarn_release(client_, object));
  }

  // Nothing goes to a disk: what is full stays full.
  tarn::test::OwnDaemon daemon_{kConfig};
  tarn_client* client_ = nullptr;
};

TEST_F(Memory, OfWorkersServesTheClient) {
  std::vector<tarn_future> results;
  for (int i = 0; i < 16; ++i) results.push_back(submit("make_bytes", 10 * kMiB));
  for (tarn_future result : results) expect_result(result, 10 * kMiB);
  put_and_release(20, 10 * kMiB);
}

// The futures are kept, their tasks are done: what they read goes, at the latest when there is no room for more.
TEST_F(Memory, OfArgumentsComesBackThoughFuturesAreKept) {
  const std::vector<char> bytes(40 * kMiB, 'z');
  std::vector<tarn_future> futures(12);
  for (size_t i = 0; i < futures.size(); ++i) {
    tarn_object object;
    ASSERT_EQ(0, tarn_put(client_, bytes.data(), bytes.size(), &object)) << i << ": " << tarn_last_error();
    const tarn_arg arg = tarn_arg_object(object);
    ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("size_of_argument"), &arg, 1, nullptr, &futures[i]));
    ASSERT_EQ(0, tarn_release(client_, object));
    EXPECT_EQ(TARN_E_NO_OBJECT, tarn_release(client_, object));
    // Half of them are looked at, the others found when memory is short.
    tarn_bytes result;
    if (i % 2 == 0) {
      ASSERT_EQ(0, tarn_result(client_, futures[i], kLong, &result)) << tarn_last_error();
    } else {
      ASSERT_TRUE(eventually_done(i + 1));
    }
  }
  for (tarn_future future : futures) expect_result(future, sizeof(uint64_t));
}

// A process with too little address space is granted slabs that it cannot map. Expect: they are not lost.
TEST_F(Memory, ThatCannotBeMappedGoesBack) {
  const std::vector<char> bytes(100 * kMiB, 'm');
  // Both workers are known, so that nothing else has to be mapped.
  std::vector<tarn_future> naps{submit("nap", 0), submit("nap", 0)};
  for (tarn_future future : naps) expect_result(future, 0);
  std::ifstream statm("/proc/self/statm");
  uint64_t pages = 0;
  statm >> pages;
  rlimit before{};
  ASSERT_EQ(0, getrlimit(RLIMIT_AS, &before));
  rlimit tight = before;
  tight.rlim_cur = pages * 4096 + 32 * kMiB;
  ASSERT_EQ(0, setrlimit(RLIMIT_AS, &tight));
  tarn_object object;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(TARN_E_NO_MEMORY, tarn_put(client_, bytes.data(), bytes.size(), &object)) << i << ": " << tarn_last_error();
  ASSERT_EQ(0, setrlimit(RLIMIT_AS, &before));
  put_and_release(2, 100 * kMiB);
}

TEST_F(Memory, OfTheClientServesWorkers) {
  put_and_release(200, kMiB);
  expect_result(submit("make_bytes", 150 * kMiB), 150 * kMiB);
}

TEST_F(Memory, GoesToAndFro) {
  for (int i = 0; i < 5; ++i) {
    put_and_release(20, 10 * kMiB);
    expect_result(submit("make_bytes", 150 * kMiB), 150 * kMiB);
  }
}

// What it made comes too late for anybody, and must not stay for that.
TEST_F(Memory, OfAResultThatWasReleasedBeforeItWasThereComesBack) {
  const tarn_future future = submit("make_bytes_late", 150 * kMiB);
  ASSERT_EQ(0, tarn_future_release(client_, future));
  expect_result(submit("nap", 0), 0);
  usleep(600'000);
  put_and_release(20, 10 * kMiB);
}

// Nobody can be made to give what is alive: a clear refusal, soon, and the session goes on.
TEST_F(Memory, ThatIsAliveIsRefusedInTime) {
  const std::vector<char> bytes(100 * kMiB, 'z');
  tarn_object first;
  tarn_object second;
  tarn_object third;
  ASSERT_EQ(0, tarn_put(client_, bytes.data(), bytes.size(), &first)) << tarn_last_error();
  ASSERT_EQ(0, tarn_put(client_, bytes.data(), bytes.size(), &second)) << tarn_last_error();
  const auto begin = time(nullptr);
  EXPECT_EQ(TARN_E_QUOTA, tarn_put(client_, bytes.data(), bytes.size(), &third));
  EXPECT_LE(time(nullptr) - begin, 5);
  EXPECT_EQ(0, tarn_release(client_, first));
  EXPECT_EQ(0, tarn_put(client_, bytes.data(), bytes.size(), &third)) << tarn_last_error();
  EXPECT_EQ(0, tarn_release(client_, second));
  EXPECT_EQ(0, tarn_release(client_, third));
}

// A worker that runs a user's code does not look; it has no more than its share, so others get along.
// A worker dies while memory is full of what its client holds. While another serves, that settles what the dead one had begun and goes
// on; and when there is room again, so do both.
TEST_F(Memory, IsFullWhenAWorkerDies) {
  std::vector<tarn_object> objects = fill(client_);
  tarn_future dies = submit_no_retry(client_, "die");
  EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client_, dies, kLong, nullptr)) << tarn_last_error();
  EXPECT_EQ(0, tarn_future_release(client_, dies));
  usleep(2'000'000);  // it is tried in vain for a while
  for (int i = 0; i < 3; ++i) expect_result(submit("nap", 0), 0);
  for (const tarn_object& object : objects) EXPECT_EQ(0, tarn_release(client_, object));
  EXPECT_TRUE(eventually_alive(2));
}

// The only one: who waits is told, and the session goes on when there is room.
TEST(MemoryOfOne, IsFullWhenItsOnlyWorkerDies) {
  tarn::test::OwnDaemon daemon{kConfig};
  tarn_client* client = daemon.connect(1);
  ASSERT_NE(nullptr, client);
  std::vector<tarn_object> objects = fill(client);
  tarn_future dies = submit_no_retry(client, "die");
  int r = tarn_result(client, dies, kLong, nullptr);
  EXPECT_TRUE(r == TARN_E_STORE_FULL || r == TARN_E_QUOTA) << r << tarn_last_error();
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "no worker can start")) << tarn_last_error();
  for (const tarn_object& object : objects) EXPECT_EQ(0, tarn_release(client, object));
  for (int i = 0; i < 200 && r != TARN_E_WORKER_CRASHED; ++i, usleep(100'000)) r = tarn_result(client, dies, kLong, nullptr);
  EXPECT_EQ(TARN_E_WORKER_CRASHED, r) << tarn_last_error();
  tarn_future naps = submit_no_retry(client, "nap");
  EXPECT_EQ(0, tarn_result(client, naps, kLong, nullptr)) << tarn_last_error();
  tarn_close(client);
}

// What a task's call of Tarn said is what is said of the task.
TEST_F(Memory, ThatATaskDoesNotGetIsSaidInItsError) {
  tarn_future future = submit("return_the_code_of_a_failure", 0);
  EXPECT_LT(tarn_result(client_, future, kLong, nullptr), 0);
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "room for")) << tarn_last_error();
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(Memory, OfABusyWorkerIsBounded) {
  std::vector<tarn_future> results;
  for (int i = 0; i < 16; ++i) results.push_back(submit("make_bytes", 10 * kMiB));
  for (tarn_future result : results) expect_result(result, 10 * kMiB);
  const tarn_future naps[] = {submit("nap", 0), submit("nap", 0)};
  put_and_release(9, 10 * kMiB);
  for (tarn_future each : naps) expect_result(each, 0);
}

// Slabs go back to the kernel as a whole when nothing is in them and nobody has asked for memory for long: also those of
// workers, which sleep, and without a call of the client for its workers.
TEST(MemoryKeep, EmptySlabsGoAfterAWhile) {
  tarn::test::OwnDaemon daemon("[memory]\nper_client = \"256MiB\"\nspill_directory = \"\"\nkeep = 1");
  tarn_client* client = daemon.connect(2);
  ASSERT_NE(nullptr, client);
  uint64_t size = 40 * kMiB;
  const tarn_arg arg = tarn_arg_value(&size, sizeof size);
  std::vector<tarn_future> futures(4);
  for (tarn_future& future : futures)
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("make_bytes"), &arg, 1, nullptr, &future)) << tarn_last_error();
  for (tarn_future future : futures) {
    tarn_bytes bytes;
    ASSERT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
    EXPECT_EQ(0, tarn_future_release(client, future));
  }
  // Another client of the same user sees what is charged, by what it could have: nothing else says it from outside.
  tarn_client_info info{};
  info.size = sizeof info;
  ASSERT_EQ(0, tarn_client_get_info(client, &info));
  auto slabs_mapped = [&] {
    uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(info.daemon_pid) + "/fd")) {
      std::error_code error;
      struct stat status;
      if (std::filesystem::read_symlink(entry.path(), error).string().starts_with("/memfd:tarn-slab") &&
          stat(entry.path().c_str(), &status) == 0)
        bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
  };
  EXPECT_GT(slabs_mapped(), 40 * kMiB);
  for (int i = 0; i < 1000 && slabs_mapped() > 8 * kMiB; ++i) usleep(10'000);
  EXPECT_LE(slabs_mapped(), 8 * kMiB);
  tarn_close(client);
}

// Memory that is short and has no disk to leave for.
const std::string kSmallHost = "[memory]\nlimit = \"128MiB\"\nspill_directory = \"\"";

int put_until_full(tarn_client* client, uint64_t size, const tarn_object_options* options) {
  std::vector<char> bytes(size, 'f');
  for (int count = 0;; ++count) {
    tarn_object object{};
    if (int r = tarn_put_with(client, bytes.data(), size, options, &object); r < 0) {
      EXPECT_EQ(TARN_E_STORE_FULL, r) << tarn_last_error();
      EXPECT_NE(nullptr, strstr(tarn_last_error(), "memory.limit allows")) << tarn_last_error();
      return count;
    }
  }
}

// One has put some and does nothing more, so that it hears nothing. Expect: another can have most of the rest.
TEST(MemoryOfAHost, IsNotWhatTheOtherMightNeedLater) {
  tarn::test::OwnDaemon daemon(kSmallHost);
  tarn_client* one = daemon.connect(0, TARN_INIT_NO_WORKERS);
  tarn_client* two = daemon.connect(0, TARN_INIT_NO_WORKERS);
  std::vector<char> bytes(2 * kMiB, 'o');
  for (int i = 0; i < 18; ++i) {
    tarn_object object{};
    ASSERT_EQ(0, tarn_put(one, bytes.data(), bytes.size(), &object)) << tarn_last_error();
  }
  EXPECT_GE(put_until_full(two, 2 * kMiB, nullptr), 38);  // of 46; 30 when a slab was always twice the last
  tarn_close(one);
  tarn_close(two);
}

TEST(MemoryOfAHost, TakesLabelledObjectsAsWellAsOthers) {
  tarn_object_options options{};
  options.size = sizeof options;
  options.label = "part";
  for (uint64_t size : {1 * kMiB, 2 * kMiB, 4 * kMiB, 8 * kMiB}) {
    tarn::test::OwnDaemon daemon(kSmallHost);
    tarn_client* client = daemon.connect(0, TARN_INIT_NO_WORKERS);
    EXPECT_GE(static_cast<uint64_t>(put_until_full(client, size, &options)) * size, 112 * kMiB) << size;
    tarn_close(client);
  }
}

}  // namespace
