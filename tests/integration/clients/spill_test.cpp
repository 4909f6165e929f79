// What nobody reads leaves memory when that is short, and comes back when somebody does: to clients and workers, whoever
// made it, and with an error that says why when it cannot.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "support/own_daemon.hpp"
#include "support/processes.hpp"
#include "support/pattern.hpp"
#include "support/self_worker.hpp"

namespace {

using tarn::test::bytes_on_disk;
using tarn::test::fill;
using tarn::test::is_filled;

constexpr int64_t kLong = tarn::test::OwnDaemon::kLong;
constexpr uint64_t kMiB = 1 << 20;

int make(tarn_call* call) {
  uint64_t wish[2];  // size, seed
  memcpy(wish, tarn_call_arg(call, 0).data, sizeof wish);
  void* data;
  if (int r = tarn_call_return_buffer(call, wish[0], &data); r < 0) return r;
  fill(data, wish[0], wish[1]);
  return 0;
}

// Two parts of that size, of which the second has the next seed.
int make_parts(tarn_call* call) {
  uint64_t wish[2];  // size, seed
  memcpy(wish, tarn_call_arg(call, 0).data, sizeof wish);
  size_t sizes[] = {wish[0], wish[0]};
  void* data[2];
  if (int r = tarn_call_return_parts_buffer(call, sizes, 2, data); r < 0) return r;
  for (uint64_t i = 0; i < 2; ++i) fill(data[i], wish[0], wish[1] + i);
  return 0;
}

int check(tarn_call* call) {
  uint64_t seed;
  memcpy(&seed, tarn_call_arg(call, 0).data, sizeof seed);
  tarn_bytes bytes = tarn_call_arg(call, 1);
  uint8_t good = is_filled(bytes.data, bytes.size, seed) ? 1 : 0;
  return tarn_call_return(call, &good, sizeof good);
}

int add_up(tarn_call* call) {
  uint64_t sum = 0;
  for (size_t i = 0; i < tarn_call_arg_count(call); ++i) sum += *static_cast<const uint64_t*>(tarn_call_arg(call, i).data);
  return tarn_call_return(call, &sum, sizeof sum);
}

int crash(tarn_call*) {
  raise(SIGKILL);
  return 0;
}

const tarn::test::SelfWorker worker([] {
  (void)tarn_task_define("make", make);
  (void)tarn_task_define("make_parts", make_parts);
  (void)tarn_task_define("check", check);
  (void)tarn_task_define("add_up", add_up);
  (void)tarn_task_define("crash", crash);
});

tarn_object put(tarn_client* client, uint64_t size, uint64_t seed) {
  std::vector<uint64_t> bytes(size / 8);
  fill(bytes.data(), size, seed);
  tarn_object object{};
  EXPECT_EQ(0, tarn_put(client, bytes.data(), size, &object)) << tarn_last_error();
  return object;
}

void expect_bytes(tarn_client* client, tarn_object object, uint64_t seed) {
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_get(client, object, &bytes)) << tarn_last_error();
  EXPECT_TRUE(is_filled(bytes.data, bytes.size, seed)) << "object " << seed;
  EXPECT_EQ(0, tarn_object_unpin(client, object)) << tarn_last_error();
}

// Soon.
void expect_on_disk_at_most(pid_t daemon, uint64_t bytes) {
  for (int i = 0; i < 1000 && bytes_on_disk(daemon) > bytes; ++i) usleep(10'000);
  EXPECT_LE(bytes_on_disk(daemon), bytes);
}

// Bytes that the daemon has written to disks.
uint64_t written_by(pid_t daemon) {
  std::ifstream io("/proc/" + std::to_string(daemon) + "/io");
  std::string name;
  uint64_t value = 0;
  while (io >> name >> value)
    if (name == "write_bytes:") return value;
  ADD_FAILURE() << "the kernel does not count";
  return 0;
}

pid_t daemon_of(tarn_client* client) {
  tarn_client_info info{};
  info.size = sizeof info;
  EXPECT_EQ(0, tarn_client_get_info(client, &info));
  return info.daemon_pid;
}

// Sessions that may have 256 MiB, and a disk for more.
class SpillClient : public testing::Test {
 protected:
  void TearDown() override {
    for (tarn_client* client : clients_) tarn_close(client);
  }

  tarn_client* connect(uint32_t workers) {
    clients_.push_back(daemon_.connect(workers, workers == 0 ? uint32_t{TARN_INIT_NO_WORKERS} : 0));
    return clients_.back();
  }

  static tarn_future submit_check(tarn_client* client, uint64_t seed, tarn_arg what) {
    const tarn_arg args[] = {tarn_arg_value(&seed, sizeof seed), what};
    tarn_future future{};
    EXPECT_EQ(0, tarn_submit(client, tarn_task_id("check"), args, 2, nullptr, &future)) << tarn_last_error();
    return future;
  }

  static tarn_future submit_make(tarn_client* client, uint64_t size, uint64_t seed,
                                 const char* task = "make") {
    const uint64_t wish[] = {size, seed};
    const tarn_arg arg = tarn_arg_value(wish, sizeof wish);
    tarn_future future{};
    EXPECT_EQ(0, tarn_submit(client, tarn_task_id(task), &arg, 1, nullptr, &future))
        << tarn_last_error();
    return future;
  }

  static void expect_good(tarn_client* client, tarn_future future) {
    tarn_bytes bytes{};
    ASSERT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
    ASSERT_EQ(1u, bytes.size);
    EXPECT_EQ(1, *static_cast<const uint8_t*>(bytes.data));
    EXPECT_EQ(0, tarn_future_release(client, future));
  }

  tarn::test::OwnDaemon daemon_{"[memory]\nper_client = \"256MiB\""};
  std::vector<tarn_client*> clients_;
};

TEST_F(SpillClient, FourTimesTheMemoryIsPutAndReadBack) {
  tarn_client* client = connect(0);
  constexpr uint64_t kSizes[] = {32 * kMiB, 5 * kMiB + 4096 * 3, 100'000, 40'000};
  std::vector<tarn_object> objects;
  uint64_t bytes = 0;
  for (uint64_t seed = 0; bytes < 1024 * kMiB; ++seed) {
    uint64_t size = kSizes[seed % 4] / 8 * 8;
    objects.push_back(put(client, size, seed));
    bytes += size;
  }
  for (uint64_t seed = 0; seed < objects.size(); ++seed) expect_bytes(client, objects[seed], seed);
  for (uint64_t seed = objects.size(); seed-- > 0;) expect_bytes(client, objects[seed], seed);
  for (tarn_object object : objects) EXPECT_EQ(0, tarn_release(client, object));
  // All of it is free again.
  tarn_object large{};
  void* data;
  ASSERT_EQ(0, tarn_object_create(client, 200 * kMiB, &large, &data)) << tarn_last_error();
  EXPECT_EQ(0, tarn_release(client, large));
}

// Each keeps its place and its record: neither slabs nor records may run out while memory is full.
TEST_F(SpillClient, ManySmallObjectsLeaveToo) {
  tarn_client* client = connect(0);
  constexpr uint64_t kCount = 20'000;
  constexpr uint64_t kSize = 40 * 1024;
  std::vector<tarn_object> objects;
  for (uint64_t seed = 0; seed < kCount; ++seed) {
    objects.push_back(put(client, kSize, seed));
    ASSERT_FALSE(HasFailure()) << seed;
  }
  for (uint64_t seed = 0; seed < kCount; seed += 5) {
    expect_bytes(client, objects[seed], seed);
    ASSERT_FALSE(HasFailure()) << seed;
  }
  for (tarn_object object : objects) EXPECT_EQ(0, tarn_release(client, object));
  expect_on_disk_at_most(daemon_of(client), kMiB);
}

TEST_F(SpillClient, WhatCameBackLeavesAgainWithoutAWrite) {
  tarn_client* client = connect(0);
  std::vector<tarn_object> objects;
  for (uint64_t seed = 0; seed < 32; ++seed) objects.push_back(put(client, 32 * kMiB, seed));
  auto read_all = [&] {
    for (uint64_t seed = 0; seed < objects.size(); ++seed) expect_bytes(client, objects[seed], seed);
  };
  read_all();
  const pid_t daemon = daemon_of(client);
  const uint64_t written = written_by(daemon);
  EXPECT_GE(written, 1000 * kMiB);
  EXPECT_LE(written, 1100 * kMiB) << "each once";
  read_all();
  EXPECT_LE(written_by(daemon) - written, kMiB);

  // Copies of what is gone go without being asked for; and the place of an object is good for the next, with other bytes.
  for (uint64_t seed = 0; seed < 16; ++seed) EXPECT_EQ(0, tarn_release(client, objects[seed]));
  for (uint64_t seed = 0; seed < 16; ++seed) objects[seed] = put(client, 32 * kMiB, 100 + seed);
  for (uint64_t seed = 0; seed < 16; ++seed) expect_bytes(client, objects[seed], 100 + seed);
  for (uint64_t seed = 16; seed < 32; ++seed) expect_bytes(client, objects[seed], seed);
  for (tarn_object object : objects) EXPECT_EQ(0, tarn_release(client, object));
  expect_on_disk_at_most(daemon, kMiB);
}

TEST(SpillKeep, CopiesOfWhatIsInMemoryGoWhenNothingHasMovedForLong) {
  tarn::test::OwnDaemon daemon("[memory]\nper_client = \"128MiB\"\nkeep = 1");
  tarn_client* client = daemon.connect(0, TARN_INIT_NO_WORKERS);
  ASSERT_NE(nullptr, client);
  std::vector<tarn_object> objects;
  for (uint64_t seed = 0; seed < 6; ++seed) objects.push_back(put(client, 32 * kMiB, seed));
  for (uint64_t seed = 0; seed < 6; ++seed) expect_bytes(client, objects[seed], seed);
  for (uint64_t seed = 0; seed < 3; ++seed) EXPECT_EQ(0, tarn_release(client, objects[seed]));
  expect_bytes(client, objects[5], 5);
  expect_on_disk_at_most(daemon_of(client), kMiB);
  for (uint64_t seed = 3; seed < 6; ++seed) expect_bytes(client, objects[seed], seed);
  tarn_close(client);
}

TEST_F(SpillClient, NothingStaysOnTheDiskOfWhatADeadWorkerMade) {
  tarn_client* client = connect(2);
  std::vector<tarn_future> results;
  for (uint64_t seed = 0; seed < 600; ++seed) results.push_back(submit_make(client, kMiB, seed));
  for (tarn_future future : results) ASSERT_EQ(0, tarn_wait(client, &future, 1, 1, kLong, nullptr, nullptr)) << tarn_last_error();
  // All workers die. Every fortieth result is held: somewhere in most slabs.
  for (int i = 0; i < 2; ++i) {
    tarn_future crashed{};
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("crash"), nullptr, 0, nullptr, &crashed));
    tarn_bytes bytes{};
    EXPECT_GT(0, tarn_result(client, crashed, kLong, &bytes));
    EXPECT_EQ(0, tarn_future_release(client, crashed));
  }
  for (size_t i = 0; i < results.size(); ++i) {
    if (i % 40 == 0) continue;
    EXPECT_EQ(0, tarn_future_release(client, results[i]));
  }
  expect_on_disk_at_most(daemon_of(client), (15 + 64 + 4) * kMiB);  // and what was reserved ahead
  for (size_t i = 0; i < results.size(); i += 40) {
    tarn_bytes bytes{};
    ASSERT_EQ(0, tarn_result(client, results[i], kLong, &bytes)) << tarn_last_error();
    EXPECT_TRUE(is_filled(bytes.data, bytes.size, i));
    EXPECT_EQ(0, tarn_future_release(client, results[i]));
  }
}

TEST_F(SpillClient, ADamagedCopyIsSaidToBeLost) {
  tarn_client* client = connect(0);
  std::vector<tarn_object> objects;
  for (uint64_t seed = 0; seed < 12; ++seed) objects.push_back(put(client, 32 * kMiB, seed));
  std::vector<char> garbage(kMiB, 'g');
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(daemon_of(client)) + "/fd")) {
    std::error_code error;
    if (!std::filesystem::read_symlink(entry.path(), error).string().starts_with("/var/tmp/")) continue;
    int file = open(entry.path().c_str(), O_WRONLY | O_CLOEXEC);
    ASSERT_GE(file, 0);
    struct stat status;
    ASSERT_EQ(0, fstat(file, &status));
    for (off_t at = 0; at < status.st_size; at += static_cast<off_t>(garbage.size()))
      ASSERT_GT(pwrite(file, garbage.data(), garbage.size(), at), 0);
    close(file);
  }
  int lost = 0;
  for (uint64_t seed = 0; seed < 12; ++seed) {
    tarn_bytes bytes{};
    int r = tarn_get(client, objects[seed], &bytes);
    if (r == 0) {
      EXPECT_TRUE(is_filled(bytes.data, bytes.size, seed)) << "it did not leave";
    } else {
      ++lost;
      EXPECT_EQ(TARN_E_LOST, r) << tarn_last_error();
      EXPECT_NE(nullptr, strstr(tarn_last_error(), "checksum")) << tarn_last_error();
    }
    EXPECT_EQ(0, tarn_release(client, objects[seed]));
  }
  EXPECT_GE(lost, 4);
}

TEST_F(SpillClient, WhatIsPinnedStaysAndAFullStoreSaysSo) {
  tarn_client* client = connect(0);
  std::vector<tarn_object> objects;
  std::vector<tarn_bytes> bytes;
  for (uint64_t seed = 0; seed < 7; ++seed) {
    objects.push_back(put(client, 32 * kMiB, seed));
    bytes.push_back({});
    ASSERT_EQ(0, tarn_get(client, objects.back(), &bytes.back()));
  }
  tarn_object more{};
  std::vector<char> text(64 * kMiB, 'm');
  EXPECT_EQ(TARN_E_QUOTA, tarn_put(client, text.data(), text.size(), &more));
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "most is held by")) << tarn_last_error();
  for (uint64_t seed = 0; seed < 7; ++seed) EXPECT_TRUE(is_filled(bytes[seed].data, bytes[seed].size, seed));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(0, tarn_object_unpin(client, objects[static_cast<size_t>(i)]));
  ASSERT_EQ(0, tarn_put(client, text.data(), text.size(), &more)) << tarn_last_error();
  // Those that were not unpinned did not move.
  for (uint64_t seed = 3; seed < 7; ++seed) EXPECT_TRUE(is_filled(bytes[seed].data, bytes[seed].size, seed));
  for (uint64_t seed = 0; seed < 3; ++seed) EXPECT_EQ(0, tarn_release(client, objects[seed]));
}

TEST_F(SpillClient, TasksGetTheirArgumentsBackAndResultsLeaveToo) {
  tarn_client* client = connect(2);
  std::vector<tarn_future> results;
  for (uint64_t seed = 0; seed < 40; ++seed) results.push_back(submit_make(client, 24 * kMiB, seed));
  // By now most are on the disk. Some are read by tasks, some here.
  for (uint64_t seed = 0; seed < 40; ++seed) {
    if (seed % 2 == 0) {
      expect_good(client, submit_check(client, seed, tarn_arg_future(results[seed])));
    } else {
      tarn_bytes bytes{};
      ASSERT_EQ(0, tarn_result(client, results[seed], kLong, &bytes)) << tarn_last_error();
      EXPECT_TRUE(is_filled(bytes.data, bytes.size, seed));
    }
    EXPECT_EQ(0, tarn_future_release(client, results[seed]));
  }
}

TEST_F(SpillClient, ResultsWithPartsLeaveAndComeBackWhole) {
  tarn_client* client = connect(2);
  std::vector<tarn_future> results;
  for (uint64_t seed = 0; seed < 40; seed += 2)
    results.push_back(submit_make(client, 12 * kMiB, seed, "make_parts"));
  uint64_t seed = 0;
  for (tarn_future result : results) {
    if (seed % 4 == 0) {
      for (uint32_t part = 0; part < 2; ++part)
        expect_good(client, submit_check(client, seed + part, tarn_arg_part(result, part)));
    } else {
      tarn_bytes bytes{};
      ASSERT_EQ(0, tarn_result_part(client, result, 1, kLong, &bytes)) << tarn_last_error();
      EXPECT_TRUE(bytes.size == 12 * kMiB && is_filled(bytes.data, bytes.size, seed + 1));
    }
    EXPECT_EQ(0, tarn_future_release(client, result));
    seed += 2;
  }
}

TEST_F(SpillClient, TasksWhoseArgumentsDoNotFitAtOnceRunOneAfterTheOther) {
  tarn_client* client = connect(2);
  std::vector<tarn_object> objects;
  for (uint64_t seed = 0; seed < 8; ++seed) objects.push_back(put(client, 96 * kMiB, seed));
  std::vector<tarn_future> futures(4);
  for (size_t i = 0; i < 4; ++i) {
    const tarn_arg args[] = {tarn_arg_object(objects[2 * i]), tarn_arg_object(objects[2 * i + 1])};
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("add_up"), args, 2, nullptr, &futures[i])) << tarn_last_error();
  }
  for (size_t i = 0; i < 4; ++i) {
    tarn_bytes sum{};
    ASSERT_EQ(0, tarn_result(client, futures[i], kLong, &sum)) << tarn_last_error();
    EXPECT_EQ((4 * i + 1) * tarn::test::kPatternStep, *static_cast<const uint64_t*>(sum.data));
    EXPECT_EQ(0, tarn_future_release(client, futures[i]));
  }
}

// What is in the way here stays: the client has it pinned. The task says for how long it tried, not how long its last request did.
TEST_F(SpillClient, ATaskWhoseArgumentsNeverFitSaysHowLongItTried) {
  tarn_client* client = connect(1);
  tarn_object away = put(client, 96 * kMiB, 0);
  tarn_object pinned[2];
  tarn_bytes bytes{};
  for (tarn_object& object : pinned) {
    object = put(client, 96 * kMiB, 1);
    ASSERT_EQ(0, tarn_get(client, object, &bytes)) << tarn_last_error();
  }
  tarn_future future = submit_check(client, 0, tarn_arg_object(away));
  EXPECT_EQ(TARN_E_TASK_FAILED, tarn_result(client, future, 3 * kLong, &bytes));
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(0, tarn_future_error(client, future, &error)) << tarn_last_error();
  EXPECT_EQ(TARN_E_QUOTA, error.code);
  EXPECT_NE(nullptr, strstr(error.message, "no room for")) << error.message;
  unsigned attempts = 0;
  unsigned seconds = 0;
  const char* tried = strstr(error.message, "in all the task tried");
  ASSERT_NE(nullptr, tried) << error.message;
  EXPECT_EQ(2, sscanf(tried, "in all the task tried %u times in %u s", &attempts, &seconds)) << error.message;
  EXPECT_GT(attempts, 5u);
  EXPECT_GE(seconds, 30u);
  EXPECT_EQ(0, tarn_future_release(client, future));
}

// It has not begun, so nothing but Tarn could look whether it was cancelled.
TEST_F(SpillClient, ATaskThatWaitsForItsArgumentsCanBeCancelled) {
  tarn_client* client = connect(1);
  tarn_object away = put(client, 96 * kMiB, 0);
  tarn_bytes bytes{};
  for (int i = 0; i < 2; ++i) {
    tarn_object pinned = put(client, 96 * kMiB, 1);
    ASSERT_EQ(0, tarn_get(client, pinned, &bytes)) << tarn_last_error();
  }
  tarn_future future = submit_check(client, 0, tarn_arg_object(away));
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_result(client, future, kLong / 40, &bytes));
  EXPECT_EQ(0, tarn_cancel(client, future, 0)) << tarn_last_error();
  EXPECT_EQ(TARN_E_CANCELLED, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(0, tarn_future_error(client, future, &error)) << tarn_last_error();
  EXPECT_EQ(1u, error.attempts);
  EXPECT_EQ(0, tarn_future_release(client, future));
}

// As the interface says of each: a result is pinned by tarn_result alone, and until its future goes.
TEST_F(SpillClient, AResultIsPinnedFromTheFirstReadToTheReleaseOfItsFuture) {
  tarn_client* client = connect(1);
  auto pins = [&](tarn_object object) {
    tarn_object_details details{};
    details.size = sizeof details;
    EXPECT_EQ(0, tarn_object_info(client, object, &details)) << tarn_last_error();
    return details.pins;
  };
  tarn_future future = submit_make(client, kMiB, 3);
  tarn_object object{};
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_future_object(client, future, kLong, &object)) << tarn_last_error();
  EXPECT_EQ(0u, pins(object));
  ASSERT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
  EXPECT_EQ(1u, pins(object));
  EXPECT_EQ(0, tarn_future_release(client, future));
  EXPECT_EQ(0, tarn_release(client, object));
}

// An object that is not sealed stays in memory, pinned or not, and what was written after the unpin is there.
TEST_F(SpillClient, AnUnsealedObjectMayBeUnpinnedAndStillWritten) {
  tarn_client* client = connect(0);
  tarn_object object{};
  void* data;
  ASSERT_EQ(0, tarn_object_create(client, 32 * kMiB, &object, &data)) << tarn_last_error();
  ASSERT_EQ(0, tarn_object_unpin(client, object)) << tarn_last_error();
  EXPECT_EQ(TARN_E_STATE, tarn_object_unpin(client, object));
  for (uint64_t seed = 1; seed < 16; ++seed) (void)put(client, 32 * kMiB, seed);  // presses everything else out
  fill(data, 32 * kMiB, 100);
  ASSERT_EQ(0, tarn_object_seal(client, object)) << tarn_last_error();
  for (uint64_t seed = 1; seed < 16; ++seed) (void)put(client, 32 * kMiB, seed);
  expect_bytes(client, object, 100);
}

TEST_F(SpillClient, WhatADeadWorkerMadeComesBack) {
  tarn_client* client = connect(1);
  std::vector<tarn_object> objects(20);
  for (uint64_t seed = 0; seed < objects.size(); ++seed) {
    tarn_future future = submit_make(client, 24 * kMiB, seed);
    ASSERT_EQ(0, tarn_future_object(client, future, kLong, &objects[seed])) << tarn_last_error();
    EXPECT_EQ(0, tarn_future_release(client, future));
  }
  tarn_submit_options once{};
  once.size = sizeof once;
  once.retries = -1;
  tarn_future end{};
  ASSERT_EQ(0, tarn_submit(client, tarn_task_id("crash"), nullptr, 0, &once, &end));
  tarn_bytes nothing{};
  EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client, end, kLong, &nothing)) << tarn_last_error();
  EXPECT_EQ(0, tarn_future_release(client, end));
  for (uint64_t seed = 0; seed < objects.size(); ++seed) {
    expect_bytes(client, objects[seed], seed);
    expect_good(client, submit_check(client, seed, tarn_arg_object(objects[seed])));
  }
  for (tarn_object object : objects) EXPECT_EQ(0, tarn_release(client, object));
  tarn_object large{};
  void* data;
  ASSERT_EQ(0, tarn_object_create(client, 200 * kMiB, &large, &data)) << tarn_last_error();
  EXPECT_EQ(0, tarn_release(client, large));
}

TEST_F(SpillClient, ThreadsThatReadAndReleaseDoNotWaitForOneAnother) {
  tarn_client* client = connect(0);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([client, t] {
      for (uint64_t round = 0; round < 6; ++round) {
        std::vector<tarn_object> objects;
        for (uint64_t i = 0; i < 6; ++i) objects.push_back(put(client, 16 * kMiB, t * 1000 + round * 10 + i));
        for (uint64_t i = 0; i < 6; ++i) expect_bytes(client, objects[i], t * 1000 + round * 10 + i);
        for (tarn_object object : objects) EXPECT_EQ(0, tarn_release(client, object));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(SpillClient, WhoWritesWherePagesHaveGoneHarmsNobody) {
  tarn_client* client = connect(0);
  std::vector<tarn_object> objects(24);
  std::vector<void*> places(24);
  for (uint64_t seed = 0; seed < objects.size(); ++seed) {
    ASSERT_EQ(0, tarn_object_create(client, 16 * kMiB, &objects[seed], &places[seed])) << tarn_last_error();
    fill(places[seed], 16 * kMiB, seed);
    EXPECT_EQ(0, tarn_object_seal(client, objects[seed]));
    EXPECT_EQ(0, tarn_object_unpin(client, objects[seed]));
  }
  auto is_on_disk = [&](tarn_object object) {
    tarn_object_details details{};
    details.size = sizeof details;
    EXPECT_EQ(0, tarn_object_info(client, object, &details));
    return details.is_on_disk != 0;
  };
  int away = 0;
  for (uint64_t seed = 0; seed < objects.size(); ++seed) {
    if (!is_on_disk(objects[seed])) continue;
    ++away;
    memset(places[seed], 'w', 16 * kMiB);
  }
  EXPECT_GE(away, 8);
  // Somebody needs memory, and tarnd sees that there is more than is paid for.
  tarn_object more = put(client, 64 * kMiB, 99);
  expect_bytes(client, more, 99);
  for (uint64_t seed = 0; seed < objects.size(); ++seed) {
    expect_bytes(client, objects[seed], seed);
    EXPECT_EQ(0, tarn_release(client, objects[seed]));
  }
}

// What the daemon's slabs have of the host's memory, by the kernel's count.
uint64_t memory_of_slabs(pid_t daemon) {
  std::map<ino_t, uint64_t> blocks;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(daemon) + "/fd")) {
    std::error_code error;
    auto target = std::filesystem::read_symlink(entry.path(), error).string();
    struct stat status;
    if (target.starts_with("/memfd:tarn-slab") && stat(entry.path().c_str(), &status) == 0)
      blocks[status.st_ino] = static_cast<uint64_t>(status.st_blocks) * 512;
  }
  uint64_t sum = 0;
  for (auto& [inode, bytes] : blocks) sum += bytes;
  return sum;
}

TEST_F(SpillClient, WhatIsWrittenWherePagesHaveGoneGoesThoughNobodyWantsMemory) {
  tarn_client* client = connect(0);
  std::vector<tarn_object> objects(40);
  std::vector<void*> places(objects.size());
  for (uint64_t seed = 0; seed < objects.size(); ++seed) {
    ASSERT_EQ(0, tarn_object_create(client, 16 * kMiB, &objects[seed], &places[seed])) << tarn_last_error();
    EXPECT_EQ(0, tarn_object_seal(client, objects[seed]));
    EXPECT_EQ(0, tarn_object_unpin(client, objects[seed]));
  }
  usleep(300'000);
  uint64_t most = 0;
  for (uint64_t i = 0; i < objects.size(); ++i) {
    tarn_object_details details{};
    details.size = sizeof details;
    EXPECT_EQ(0, tarn_object_info(client, objects[i], &details));
    if (details.is_on_disk != 0) memset(places[i], 'w', 16 * kMiB);
    most = std::max(most, memory_of_slabs(daemon_of(client)));  // tarnd may take the first away before the last is written
  }
  EXPECT_GT(most, 290 * kMiB);
  for (int i = 0; i < 500 && memory_of_slabs(daemon_of(client)) > 260 * kMiB; ++i) usleep(10'000);
  EXPECT_LE(memory_of_slabs(daemon_of(client)), 260 * kMiB) << "more than it may have, and pays for";
}

// Who reads one after the other finds the next ones there already; who reads here and there has nothing brought back that he did
// not ask for.
TEST_F(SpillClient, WhatIsReadInOrderComesBackAheadOfTheReader) {
  tarn_client* client = connect(0);
  std::vector<tarn_object> objects(60);
  std::vector<char> bytes(8 * kMiB);
  for (size_t i = 0; i < objects.size(); ++i) {
    memset(bytes.data(), static_cast<int>(i), bytes.size());
    ASSERT_EQ(0, tarn_put(client, bytes.data(), bytes.size(), &objects[i])) << tarn_last_error();
  }
  auto is_on_disk = [&](size_t i) {
    tarn_object_details details{};
    details.size = sizeof details;
    EXPECT_EQ(0, tarn_object_info(client, objects[i], &details));
    return details.is_on_disk != 0;
  };
  for (size_t i = 25; i < objects.size(); ++i) EXPECT_EQ(0, tarn_release(client, objects[i]));
  usleep(200'000);
  auto read = [&](size_t i) {
    tarn_bytes got{};
    ASSERT_EQ(0, tarn_get(client, objects[i], &got)) << tarn_last_error();
    EXPECT_EQ(static_cast<char>(i), static_cast<const char*>(got.data)[got.size - 1]);
    EXPECT_EQ(0, tarn_object_unpin(client, objects[i]));
  };
  ASSERT_TRUE(is_on_disk(0) && is_on_disk(10));
  read(10);
  usleep(200'000);
  EXPECT_TRUE(is_on_disk(11)) << "one read is no order";
  read(2);
  read(3);
  for (int i = 0; i < 500 && (is_on_disk(4) || is_on_disk(5)); ++i) usleep(10'000);
  EXPECT_FALSE(is_on_disk(4) || is_on_disk(5));
  usleep(100'000);
  EXPECT_TRUE(is_on_disk(6)) << "two at first";
  for (size_t i = 4; i < 25; ++i) read(i);
}

// A host that is full of what nobody reads has room for the next session.
TEST(SpillHost, TakesANewSessionThoughItIsFull) {
  tarn::test::OwnDaemon daemon("[memory]\nlimit = \"64MiB\"");
  tarn_client* first = daemon.connect(0, TARN_INIT_NO_WORKERS);
  ASSERT_NE(nullptr, first);
  std::vector<tarn_object> objects;
  for (int r = 0; r == 0;) {
    objects.emplace_back();
    void* data;
    r = tarn_object_create(first, 200'000, &objects.back(), &data);  // pinned: nothing can leave
    if (r == 0) r = tarn_object_seal(first, objects.back());
  }
  objects.pop_back();
  ASSERT_GT(objects.size(), 200u);
  for (tarn_object object : objects) EXPECT_EQ(0, tarn_object_unpin(first, object));
  tarn_client* second = daemon.connect(1);
  ASSERT_NE(nullptr, second);
  tarn_object object{};
  std::vector<char> bytes(100'000, 's');
  EXPECT_EQ(0, tarn_put(second, bytes.data(), bytes.size(), &object)) << tarn_last_error();
  tarn_close(second);
  tarn_close(first);
}

TEST_F(SpillClient, NothingStaysOnTheDiskOfWhatWasReleased) {
  tarn_client* client = connect(0);
  std::vector<tarn_object> objects;
  for (uint64_t seed = 0; seed < 32; ++seed) objects.push_back(put(client, 16 * kMiB, seed));
  EXPECT_GT(bytes_on_disk(daemon_of(client)), 200 * kMiB);
  for (tarn_object object : objects) EXPECT_EQ(0, tarn_release(client, object));
  expect_on_disk_at_most(daemon_of(client), kMiB);
}

TEST(SpillLimits, ADiskThatIsFullOrNotThereIsAFullStore) {
  constexpr const char* kConfigs[] = {"spill_limit = \"64MiB\"", "spill_directory = \"\"", "spill_directory = \"/dev/shm\"",
                                      "spill_per_tenant = \"64MiB\""};
  for (const char* config : kConfigs) {
    tarn::test::OwnDaemon daemon(std::string("[memory]\nper_client = \"128MiB\"\n") + config);
    tarn_client* client = daemon.connect(0, TARN_INIT_NO_WORKERS);
    ASSERT_NE(nullptr, client);
    std::vector<char> bytes(16 * kMiB, 'b');
    std::vector<tarn_object> objects;
    int r = 0;
    for (int i = 0; i < 32 && r == 0; ++i) {
      objects.emplace_back();
      r = tarn_put(client, bytes.data(), bytes.size(), &objects.back());
    }
    EXPECT_EQ(TARN_E_QUOTA, r) << config;
    EXPECT_NE(nullptr, strstr(tarn_last_error(), "memory.per_client allows")) << tarn_last_error();
    EXPECT_NE(nullptr, strstr(tarn_last_error(), "disk")) << tarn_last_error();
    objects.pop_back();
    size_t most = strstr(config, "64MiB") != nullptr ? 10 : 7;
    EXPECT_LE(objects.size(), most) << config;
    EXPECT_GE(objects.size(), most - 1) << config;
    EXPECT_LE(bytes_on_disk(daemon_of(client)), 65 * kMiB) << config;
    // Those that were taken are there, and can all be read: memory and disk are full, and one goes as another comes.
    for (size_t i = 0; i < objects.size(); ++i) {
      tarn_bytes got{};
      ASSERT_EQ(0, tarn_get(client, objects[i], &got)) << config << ": " << tarn_last_error();
      EXPECT_EQ(0, memcmp(got.data, bytes.data(), bytes.size())) << config;
      EXPECT_EQ(0, tarn_object_unpin(client, objects[i]));
    }
    tarn_close(client);
  }
}

}  // namespace
