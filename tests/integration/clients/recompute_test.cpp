// Results of repeatable tasks are dropped when memory is short, and made again by who reads them. What could go wrong: bytes
// of another run, or none; a wait without an end, because those who make wait for one another or for room; something that is
// needed to make it again is gone; what cannot be made again is lost without a word.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "support/own_daemon.hpp"
#include "support/pattern.hpp"
#include "support/processes.hpp"
#include "support/self_worker.hpp"
#include "tarn/stream.h"

namespace {

using Clock = std::chrono::steady_clock;
using tarn::test::bytes_on_disk;
using tarn::test::children_of;
using tarn::test::fill;
using tarn::test::is_filled;
using tarn::test::name_of;
using tarn::test::parent_of;

constexpr int64_t kLong = tarn::test::OwnDaemon::kLong;
constexpr uint64_t kMiB = 1 << 20;

// What a task is to make, as the first argument of each.
struct Wish {
  uint64_t size;
  uint64_t seed;
  char file[64];  // "": none; see below
};

Wish wish_of(tarn_call* call) {
  Wish wish{};
  memcpy(&wish, tarn_call_arg(call, 0).data, sizeof wish);
  return wish;
}

// Counts a run in the file: one byte each. Returns how many there were before.
long count_run(const char* file) {
  FILE* out = fopen(file, "a");
  if (out == nullptr) return 0;
  (void)fseek(out, 0, SEEK_END);
  long before = ftell(out);
  (void)fputc('x', out);
  (void)fclose(out);
  return before;
}

int give(tarn_call* call, uint64_t size, uint64_t seed) {
  void* data;
  if (int r = tarn_call_return_buffer(call, size, &data); r < 0) return r;
  fill(data, size, seed);
  return 0;
}

int make(tarn_call* call) {
  Wish wish = wish_of(call);
  if (*wish.file != '\0') (void)count_run(wish.file);
  return give(call, wish.size, wish.seed);
}

// The seeds of all that it reads, and its own, together; and all of them are as they should be.
int combine(tarn_call* call) {
  Wish wish = wish_of(call);
  uint64_t seed = wish.seed;
  for (size_t i = 1; i < tarn_call_arg_count(call); ++i) {
    tarn_bytes bytes = tarn_call_arg(call, i);
    uint64_t first;
    memcpy(&first, bytes.data, sizeof first);
    uint64_t of = first * tarn::test::kPatternInverse;
    if (!is_filled(bytes.data, bytes.size, of))
      return tarn_call_fail(call, TARN_E_TASK_FAILED, "Wrong", "argument %zu", i);
    seed += of;
  }
  return give(call, wish.size, seed);
}

// What it makes is twice as large each time.
int grow(tarn_call* call) {
  Wish wish = wish_of(call);
  return give(call, wish.size << count_run(wish.file), wish.seed);
}

int fail_later(tarn_call* call) {
  Wish wish = wish_of(call);
  if (count_run(wish.file) != 0)
    return tarn_call_fail(call, -2000, "Later", "the sources are gone");
  return give(call, wish.size, wish.seed);
}

// Its worker dies in the second run.
int die_once(tarn_call* call) {
  Wish wish = wish_of(call);
  if (count_run(wish.file) == 1) (void)raise(SIGKILL);
  return give(call, wish.size, wish.seed);
}

int die_later(tarn_call* call) {
  Wish wish = wish_of(call);
  if (count_run(wish.file) != 0) (void)raise(SIGKILL);
  return give(call, wish.size, wish.seed);
}

// Half a second for each of the seed.
int make_slowly(tarn_call* call) {
  Wish wish = wish_of(call);
  if (count_run(wish.file) != 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(500 * wish.seed));
  return give(call, wish.size, wish.seed);
}

// By two tasks of its own.
int make_by_children(tarn_call* call) {
  Wish wish = wish_of(call);
  void* data;
  if (int r = tarn_call_return_buffer(call, wish.size, &data); r < 0) return r;
  for (uint64_t half = 0; half < 2; ++half) {
    Wish own{wish.size / 2, wish.seed + half, ""};
    tarn_arg arg = tarn_arg_value(&own, sizeof own);
    tarn_future future{};
    if (int r =
            tarn_submit(tarn_call_client(call), tarn_task_id("make"), &arg, 1, nullptr, &future);
        r < 0)
      return r;
    tarn_bytes bytes{};
    if (int r = tarn_result(tarn_call_client(call), future, -1, &bytes); r < 0) return r;
    memcpy(static_cast<std::byte*>(data) + half * wish.size / 2, bytes.data, bytes.size);
    (void)tarn_future_release(tarn_call_client(call), future);
  }
  return 0;
}

// Whether argument 1 is what argument 0 says.
int check(tarn_call* call) {
  tarn_bytes bytes = tarn_call_arg(call, 1);
  Wish wish = wish_of(call);
  uint8_t good = bytes.size == wish.size && is_filled(bytes.data, bytes.size, wish.seed) ? 1 : 0;
  return tarn_call_return(call, &good, sizeof good);
}

const tarn::test::SelfWorker worker([] {
  (void)tarn_task_define("make", make);
  (void)tarn_task_define("combine", combine);
  (void)tarn_task_define("grow", grow);
  (void)tarn_task_define("fail_later", fail_later);
  (void)tarn_task_define("die_once", die_once);
  (void)tarn_task_define("die_later", die_later);
  (void)tarn_task_define("make_slowly", make_slowly);
  (void)tarn_task_define("make_by_children", make_by_children);
  (void)tarn_task_define("check", check);
});

pid_t tarnd_of(const tarn::test::OwnDaemon& host) {
  for (int i = 0; i < 10'000; ++i) {
    for (pid_t pid : children_of(host.pid()))
      if (name_of(pid) == "tarnd" && parent_of(pid) == host.pid()) return pid;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ADD_FAILURE() << "no tarnd came up";
  return 0;
}

// Where a start takes longer than from one kill to the next nothing gets on before the last of them.
constexpr int kKills = 15;

// Kills tarnd every so many milliseconds.
class Killer {
 public:
  Killer(const tarn::test::OwnDaemon& host, int64_t every_ms)
      : thread_([this, &host, every_ms] {
          for (int kills = 0; kills < kKills && !over_; ++kills) {
            std::this_thread::sleep_for(std::chrono::milliseconds(every_ms));
            if (pid_t pid = tarnd_of(host); pid != 0) ::kill(pid, SIGKILL);
          }
        }) {}
  ~Killer() {
    over_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> over_{false};
  std::thread thread_;
};

// Sessions that may have 64 MiB, and no disk.
class RecomputeClient : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 4 * kMiB;

  void TearDown() override {
    for (tarn_client* client : clients_) tarn_close(client);
  }

  tarn_client* connect(uint32_t workers) {
    clients_.push_back(daemon_.connect(std::min(workers, std::thread::hardware_concurrency())));
    return clients_.back();
  }

  Wish wish(uint64_t seed, uint64_t size = kSize) const {
    Wish made{size, seed, ""};
    snprintf(made.file, sizeof made.file, "%s/%llu", daemon_.folder().c_str(),
             static_cast<unsigned long long>(seed));
    return made;
  }
  static uint64_t runs(const Wish& of) {
    struct stat status;
    return stat(of.file, &status) < 0 ? 0 : static_cast<uint64_t>(status.st_size);
  }

  static tarn_future submit(tarn_client* client, const char* task, const Wish& wish,
                            std::vector<tarn_arg> more = {},
                            uint32_t flags = TARN_TASK_REPEATABLE,
                            const tarn_needs* needs = nullptr) {
    std::vector<tarn_arg> args{tarn_arg_value(&wish, sizeof wish)};
    args.insert(args.end(), more.begin(), more.end());
    tarn_submit_options options{};
    options.size = sizeof options;
    options.flags = flags;
    options.needs = needs;
    tarn_future future{};
    EXPECT_EQ(0,
              tarn_submit(client, tarn_task_id(task), args.data(), args.size(), &options, &future))
        << tarn_last_error();
    return future;
  }

  static tarn_future submit_in_slot(tarn_client* client, int32_t slot, const char* task,
                                    const Wish& wish, std::vector<tarn_arg> more) {
    tarn_needs needs{};
    needs.size = sizeof needs;
    needs.where = TARN_ON_SLOT;
    needs.where_number = slot;
    needs.is_strict = 1;
    return submit(client, task, wish, std::move(more), 0, &needs);
  }

  static void wait(tarn_client* client, tarn_future future) {
    ASSERT_EQ(0, tarn_wait(client, &future, 1, 1, kLong, nullptr, nullptr)) << tarn_last_error();
  }

  // Without leaving it pinned.
  static int read(tarn_client* client, tarn_future future, uint64_t size, uint64_t seed) {
    tarn_object object{};
    if (int r = tarn_future_object(client, future, kLong, &object); r < 0) return r;
    tarn_bytes bytes{};
    int r = tarn_get(client, object, &bytes);
    if (r == 0) {
      EXPECT_EQ(size, bytes.size);
      EXPECT_TRUE(is_filled(bytes.data, bytes.size, seed)) << "object " << seed;
      EXPECT_EQ(0, tarn_object_unpin(client, object)) << tarn_last_error();
    }
    (void)tarn_release(client, object);
    return r;
  }
  static void expect_read(tarn_client* client, tarn_future future, uint64_t size, uint64_t seed) {
    EXPECT_EQ(0, read(client, future, size, seed)) << tarn_last_error();
  }
  static void expect_checked(tarn_client* client, tarn_future future, uint64_t size,
                             uint64_t seed) {
    Wish as{size, seed, ""};
    tarn_future checked = submit(client, "check", as, {tarn_arg_future(future)}, 0);
    tarn_bytes bytes{};
    ASSERT_EQ(0, tarn_result(client, checked, kLong, &bytes)) << tarn_last_error();
    EXPECT_EQ(1, *static_cast<const uint8_t*>(bytes.data)) << "object " << seed;
    EXPECT_EQ(0, tarn_future_release(client, checked));
  }

  // What "check" has found.
  static void expect_good(tarn_client* client, const std::vector<tarn_future>& checked) {
    for (tarn_future each : checked) {
      tarn_bytes bytes{};
      ASSERT_EQ(0, tarn_result(client, each, kLong, &bytes)) << tarn_last_error();
      EXPECT_EQ(1, *static_cast<const uint8_t*>(bytes.data));
    }
  }

  static bool is_away(tarn_client* client, tarn_future future) {
    tarn_object object{};
    EXPECT_EQ(0, tarn_future_object(client, future, kLong, &object)) << tarn_last_error();
    tarn_object_details details{};
    details.size = sizeof details;
    EXPECT_EQ(0, tarn_object_info(client, object, &details)) << tarn_last_error();
    (void)tarn_release(client, object);
    return details.is_on_disk != 0 || details.is_dropped != 0;
  }

  // Until `future`'s result has left memory: others take it.
  static void push_out(tarn_client* client, tarn_future future) {
    std::vector<tarn_future> others;
    for (uint64_t i = 0; i < 64 && !is_away(client, future); ++i) {
      others.push_back(submit(client, "make", {kSize, 1'000'000 + i, ""}));
      wait(client, others.back());
    }
    EXPECT_TRUE(is_away(client, future));
    for (tarn_future other : others) EXPECT_EQ(0, tarn_future_release(client, other));
  }

  static tarn_future make_and_push_out(tarn_client* client, const char* task, const Wish& wish) {
    tarn_future made = submit(client, task, wish);
    wait(client, made);
    push_out(client, made);
    return made;
  }

  tarn::test::OwnDaemon daemon_{"[memory]\nper_client = \"64MiB\"\nspill_directory = \"\""};
  std::vector<tarn_client*> clients_;
};

TEST_F(RecomputeClient, more_than_fits_is_dropped_and_read_again) {
  tarn_client* client = connect(2);
  constexpr uint64_t kCount = 64;  // four times what there is room for
  std::vector<tarn_future> futures;
  for (uint64_t i = 0; i < kCount; ++i) futures.push_back(submit(client, "make", wish(i)));
  for (uint64_t i = 0; i < kCount; ++i) expect_read(client, futures[i], kSize, i);
  for (uint64_t i = kCount; i-- > 0;) expect_checked(client, futures[i], kSize, i);
  uint64_t all = 0;
  for (uint64_t i = 0; i < kCount; ++i) all += runs(wish(i));
  EXPECT_GT(all, kCount);
  for (tarn_future future : futures) EXPECT_EQ(0, tarn_future_release(client, future));
  // All of it is free again.
  tarn_object large{};
  void* data;
  ASSERT_EQ(0, tarn_object_create(client, 40 * kMiB, &large, &data)) << tarn_last_error();
  EXPECT_EQ(0, tarn_release(client, large));
}

// Each of the results is made of the one before, and none but the last few is in memory.
TEST_F(RecomputeClient, a_chain_is_made_again_from_its_beginning) {
  tarn_client* client = connect(2);
  constexpr uint64_t kDepth = 100;
  std::vector<tarn_future> chain{submit(client, "make", wish(1))};
  while (chain.size() < kDepth)
    chain.push_back(submit(client, "combine", wish(1), {tarn_arg_future(chain.back())}));
  expect_checked(client, chain.back(), kSize, kDepth);
  for (size_t i = chain.size(); i-- > 0;) push_out(client, chain[i]);
  expect_read(client, chain.back(), kSize, kDepth);
  for (size_t i = 0; i < kDepth; i += 7) expect_read(client, chain[i], kSize, i + 1);
  for (tarn_future future : chain) EXPECT_EQ(0, tarn_future_release(client, future));
}

// As many makings lie one below the other on a worker's stack.
TEST_F(RecomputeClient, a_long_chain_finds_room_on_the_stack) {
  tarn_client* client = connect(2);
  constexpr uint64_t kDepth = 4000;
  constexpr uint64_t kSmall = 40 * 1024;
  std::vector<tarn_future> chain{submit(client, "make", wish(1, kSmall))};
  while (chain.size() < kDepth)
    chain.push_back(submit(client, "combine", {kSmall, 1, ""}, {tarn_arg_future(chain.back())}));
  wait(client, chain.back());
  tarn_future middle = chain[kDepth / 2];
  push_out(client, middle);
  expect_read(client, middle, kSmall, kDepth / 2 + 1);
  expect_checked(client, chain.back(), kSmall, kDepth);
}

TEST_F(RecomputeClient, what_two_are_made_of_is_there_for_both) {
  tarn_client* client = connect(3);
  tarn_future root = submit(client, "make", wish(1));
  tarn_future left = submit(client, "combine", wish(10), {tarn_arg_future(root)});
  tarn_future right = submit(client, "combine", wish(20), {tarn_arg_future(root)});
  tarn_future both =
      submit(client, "combine", wish(100), {tarn_arg_future(left), tarn_arg_future(right)});
  for (int round = 0; round < 3; ++round) {
    expect_checked(client, both, kSize, 132);
    for (tarn_future future : {both, left, right, root}) push_out(client, future);
    expect_read(client, both, kSize, 132);
    expect_read(client, left, kSize, 11);
  }
}

TEST_F(RecomputeClient, many_read_one_at_once_and_it_is_made_once) {
  tarn_client* client = connect(4);
  Wish what = wish(1);
  tarn_future made = make_and_push_out(client, "make_slowly", what);
  ASSERT_EQ(1u, runs(what));
  std::vector<tarn_future> readers;
  Wish as{kSize, 1, ""};
  for (int i = 0; i < 8; ++i)
    readers.push_back(submit(client, "check", as, {tarn_arg_future(made)}, 0));
  std::thread other([&] { expect_read(client, made, kSize, 1); });
  expect_read(client, made, kSize, 1);
  other.join();
  expect_good(client, readers);
  EXPECT_EQ(2u, runs(what));
}

// So long that those who wait are told to ask again, and lend their slots.
TEST_F(RecomputeClient, a_long_making_is_waited_for) {
  tarn_client* client = connect(2);
  Wish what = wish(5);
  tarn_future made = make_and_push_out(client, "make_slowly", what);
  std::vector<tarn_future> readers;
  for (int i = 0; i < 2; ++i)
    readers.push_back(submit(client, "check", {kSize, 5, ""}, {tarn_arg_future(made)}, 0));
  expect_good(client, readers);
  EXPECT_EQ(2u, runs(what));
}

// What the client has freed meanwhile lies in slabs of a worker that waits, and so looks nowhere.
TEST_F(RecomputeClient, who_waits_gives_back_what_he_does_not_need) {
  tarn_client* client = connect(2);
  Wish what = wish(1);
  tarn_future made = make_and_push_out(client, "make_slowly", what);
  // All that there is, and it stays.
  std::vector<tarn_future> filling;
  tarn_bytes bytes{};
  do filling.push_back(submit_in_slot(client, 1, "make", {kSize, 1000, ""}, {}));
  while (tarn_result(client, filling.back(), kLong, &bytes) == 0);
  ASSERT_GT(filling.size(), 8u);
  std::vector<tarn_future> readers;
  for (int32_t slot : {0, 1}) {
    readers.push_back(submit_in_slot(client, slot, "check", {kSize, 1, ""}, {tarn_arg_future(made)}));
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  for (size_t i = filling.size() - 4; i < filling.size(); ++i)
    EXPECT_EQ(0, tarn_future_release(client, filling[i]));
  expect_good(client, readers);
  EXPECT_EQ(2u, runs(what));
}

TEST_F(RecomputeClient, tasks_of_its_own_run_again_with_it) {
  tarn_client* client = connect(2);
  tarn_future made = make_and_push_out(client, "make_by_children", wish(7));
  tarn_object object{};
  ASSERT_EQ(0, tarn_future_object(client, made, kLong, &object));
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_get(client, object, &bytes)) << tarn_last_error();
  ASSERT_EQ(kSize, bytes.size);
  EXPECT_TRUE(is_filled(bytes.data, kSize / 2, 7));
  EXPECT_TRUE(is_filled(static_cast<const std::byte*>(bytes.data) + kSize / 2, kSize / 2, 8));
}

TEST_F(RecomputeClient, what_is_not_repeatable_stays) {
  tarn_client* client = connect(1);
  tarn_future stays = submit(client, "make", wish(1), {}, 0);
  wait(client, stays);
  std::vector<tarn_future> others;
  for (uint64_t i = 0; i < 40; ++i) {
    others.push_back(submit(client, "make", wish(100 + i)));
    wait(client, others.back());
  }
  EXPECT_FALSE(is_away(client, stays));
  expect_read(client, stays, kSize, 1);
  EXPECT_EQ(1u, runs(wish(1)));
}

// Arguments that the program has let go of are kept for as long as they may be needed.
TEST_F(RecomputeClient, objects_that_it_was_made_of_stay_until_the_future_goes) {
  tarn_client* client = connect(1);
  std::vector<uint64_t> bytes(kSize / 8);
  fill(bytes.data(), kSize, 5);
  tarn_object object{};
  ASSERT_EQ(0, tarn_put(client, bytes.data(), kSize, &object)) << tarn_last_error();
  tarn_future made = submit(client, "combine", wish(6), {tarn_arg_object(object)});
  wait(client, made);
  EXPECT_EQ(0, tarn_release(client, object));
  push_out(client, made);
  expect_read(client, made, kSize, 11);
}

// The object lives on: as one that is written to a disk, or, having been dropped already, as one that can still be made.
TEST_F(RecomputeClient, a_future_is_released_and_its_object_lives_on) {
  tarn_client* client = connect(1);
  tarn_future here = submit(client, "make", wish(1));
  tarn_future dropped = submit(client, "make", wish(2));
  tarn_object objects[2]{};
  ASSERT_EQ(0, tarn_future_object(client, here, kLong, &objects[0]));
  ASSERT_EQ(0, tarn_future_object(client, dropped, kLong, &objects[1]));
  push_out(client, dropped);
  expect_read(client, here, kSize, 1);
  ASSERT_TRUE(is_away(client, dropped));
  EXPECT_EQ(0, tarn_future_release(client, here));
  EXPECT_EQ(0, tarn_future_release(client, dropped));
  std::vector<tarn_future> others;
  for (uint64_t i = 0; i < 40; ++i) {
    others.push_back(submit(client, "make", wish(100 + i)));
    wait(client, others.back());
  }
  for (uint64_t i = 0; i < 2; ++i) {
    tarn_bytes bytes{};
    ASSERT_EQ(0, tarn_get(client, objects[i], &bytes)) << tarn_last_error();
    EXPECT_TRUE(is_filled(bytes.data, bytes.size, i + 1));
    EXPECT_EQ(0, tarn_object_unpin(client, objects[i]));
  }
  EXPECT_EQ(1u, runs(wish(1)));
  EXPECT_EQ(2u, runs(wish(2)));
  // Once it is back it is as the other one.
  for (uint64_t i = 0; i < 40; ++i) {
    others.push_back(submit(client, "make", wish(200 + i)));
    wait(client, others.back());
  }
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_get(client, objects[1], &bytes)) << tarn_last_error();
  EXPECT_EQ(2u, runs(wish(2)));
}

TEST_F(RecomputeClient, a_task_that_makes_another_size_is_told_of) {
  tarn_client* client = connect(2);
  tarn_future made = make_and_push_out(client, "grow", wish(1));
  EXPECT_EQ(TARN_E_LOST, read(client, made, kSize, 1));
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "grow")) << tarn_last_error();
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "TARN_TASK_REPEATABLE")) << tarn_last_error();
  // A task that reads it.
  Wish as{kSize, 1, ""};
  tarn_future reader = submit(client, "check", as, {tarn_arg_future(made)}, 0);
  tarn_bytes bytes{};
  EXPECT_EQ(TARN_E_TASK_FAILED, tarn_result(client, reader, kLong, &bytes));
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(0, tarn_future_error(client, reader, &error));
  EXPECT_EQ(TARN_E_LOST, error.code) << error.message;
}

TEST_F(RecomputeClient, a_task_that_fails_the_second_time_is_told_of) {
  tarn_client* client = connect(1);
  tarn_future made = make_and_push_out(client, "fail_later", wish(1));
  EXPECT_EQ(TARN_E_LOST, read(client, made, kSize, 1));
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "the sources are gone")) << tarn_last_error();
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "-2000")) << tarn_last_error();
}

TEST_F(RecomputeClient, a_worker_dies_in_making_it_and_another_makes_it) {
  tarn_client* client = connect(2);
  tarn_future made = make_and_push_out(client, "die_once", wish(1));
  expect_read(client, made, kSize, 1);
  EXPECT_EQ(3u, runs(wish(1)));
}

TEST_F(RecomputeClient, a_task_in_which_workers_die_is_given_up) {
  tarn_client* client = connect(2);
  tarn_future made = make_and_push_out(client, "die_later", wish(1));
  EXPECT_EQ(TARN_E_LOST, read(client, made, kSize, 1));
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "has died")) << tarn_last_error();
  // The session goes on.
  tarn_future other = submit(client, "make", wish(2));
  expect_read(client, other, kSize, 2);
}

TEST_F(RecomputeClient, the_memory_of_many_that_want_much_at_once_is_enough) {
  tarn_client* client = connect(4);
  std::vector<tarn_future> parts;
  for (uint64_t i = 0; i < 12; ++i) parts.push_back(submit(client, "make", wish(i)));
  std::vector<tarn_future> sums;
  for (uint64_t i = 0; i < 12; ++i)
    sums.push_back(submit(client, "combine", wish(1000),
                          {tarn_arg_future(parts[i]), tarn_arg_future(parts[(i + 5) % 12])}));
  for (int round = 0; round < 2; ++round)
    for (uint64_t i = 0; i < 12; ++i)
      expect_checked(client, sums[i], kSize, 1000 + i + (i + 5) % 12);
}

TEST_F(RecomputeClient, tarnd_is_killed_while_they_are_dropped) {
  tarn_client* client = connect(2);
  constexpr uint64_t kCount = 40;
  std::vector<tarn_future> futures;
  for (uint64_t i = 0; i < kCount; ++i) futures.push_back(submit(client, "make", wish(i)));
  for (tarn_future future : futures) wait(client, future);
  for (int round = 0; round < 3; ++round) {
    ::kill(tarnd_of(daemon_), SIGKILL);
    for (uint64_t i = 0; i < kCount; ++i) expect_read(client, futures[i], kSize, i);
    ::kill(tarnd_of(daemon_), SIGKILL);
    for (uint64_t i = kCount; i-- > 0;) expect_checked(client, futures[i], kSize, i);
  }
  for (tarn_future future : futures) EXPECT_EQ(0, tarn_future_release(client, future));
  tarn_object large{};
  void* data;
  ASSERT_EQ(0, tarn_object_create(client, 40 * kMiB, &large, &data)) << tarn_last_error();
  EXPECT_EQ(0, tarn_release(client, large));
}

TEST_F(RecomputeClient, tarnd_is_killed_while_they_are_made_again) {
  tarn_client* client = connect(2);
  constexpr uint64_t kCount = 40;
  std::vector<tarn_future> futures{submit(client, "make", wish(0))};
  for (uint64_t i = 1; i < kCount; ++i)
    futures.push_back(i % 8 == 0
                          ? submit(client, "make", wish(i))
                          : submit(client, "combine", wish(1), {tarn_arg_future(futures.back())}));
  auto seed = [](uint64_t i) { return i / 8 * 8 + i % 8; };
  {
    Killer killer(daemon_, 150);
    for (int round = 0; round < 4; ++round) {
      for (uint64_t i = 0; i < kCount; ++i) expect_read(client, futures[i], kSize, seed(i));
      for (uint64_t i = kCount; i-- > 0;) expect_checked(client, futures[i], kSize, seed(i));
    }
  }
  for (tarn_future future : futures) EXPECT_EQ(0, tarn_future_release(client, future));
  tarn_object large{};
  void* data;
  ASSERT_EQ(0, tarn_object_create(client, 40 * kMiB, &large, &data)) << tarn_last_error();
  EXPECT_EQ(0, tarn_release(client, large));
}

// Workers die at any moment, those that make and those that read.
TEST_F(RecomputeClient, workers_are_killed_while_they_make_them_again) {
  tarn_client* client = connect(2);
  constexpr uint64_t kCount = 40;
  std::vector<tarn_future> futures{submit(client, "make", wish(0))};
  for (uint64_t i = 1; i < kCount; ++i)
    futures.push_back(i % 8 == 0
                          ? submit(client, "make", wish(i))
                          : submit(client, "combine", wish(1), {tarn_arg_future(futures.back())}));
  for (tarn_future future : futures) wait(client, future);
  std::atomic<bool> over{false};
  std::thread killer([&] {
    for (int kills = 0; kills < kKills && !over; ++kills) {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      std::vector<pid_t> workers;
      for (pid_t pid : children_of(daemon_.pid()))
        if (name_of(pid) == name_of(getpid())) workers.push_back(pid);
      if (!workers.empty())
        ::kill(
            workers[static_cast<size_t>(Clock::now().time_since_epoch().count()) % workers.size()],
            SIGKILL);
    }
  });
  for (int round = 0; round < 4; ++round)
    for (uint64_t i = 0; i < kCount; ++i) expect_read(client, futures[i], kSize, i);
  over = true;
  killer.join();
  for (uint64_t i = 0; i < kCount; ++i) expect_read(client, futures[i], kSize, i);
}

// Where there is a disk, it is for what cannot be made again.
TEST_F(RecomputeClient, only_what_is_not_repeatable_is_written) {
  tarn::test::OwnDaemon host("[memory]\nper_client = \"64MiB\"");
  tarn_client* client = host.connect(1);
  clients_.push_back(client);
  std::vector<tarn_future> futures;
  for (uint64_t i = 0; i < 40; ++i) futures.push_back(submit(client, "make", wish(i)));
  for (tarn_future future : futures) wait(client, future);
  EXPECT_EQ(0u, bytes_on_disk(tarnd_of(host)));
  for (uint64_t i = 0; i < 40; ++i) expect_read(client, futures[i], kSize, i);
  EXPECT_EQ(0u, bytes_on_disk(tarnd_of(host)));
  std::vector<tarn_future> others;
  for (uint64_t i = 0; i < 20; ++i) others.push_back(submit(client, "make", wish(100 + i), {}, 0));
  for (uint64_t i = 0; i < 20; ++i) expect_read(client, others[i], kSize, 100 + i);
  for (uint64_t i = 0; i < 40; ++i) expect_read(client, futures[i], kSize, i);
  EXPECT_GE(bytes_on_disk(tarnd_of(host)), kSize);
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(1u, runs(wish(100 + i)));
  for (tarn_future future : futures) EXPECT_EQ(0, tarn_future_release(client, future));
  for (tarn_future future : others) EXPECT_EQ(0, tarn_future_release(client, future));
  clients_.pop_back();
  tarn_close(client);
}

// Who waits only so long does not wait longer because it has to be made again.
TEST_F(RecomputeClient, a_time_out_holds_for_the_making_as_well) {
  tarn_client* client = connect(1);
  tarn_future made = make_and_push_out(client, "make_slowly", wish(6));  // three seconds
  auto begin = Clock::now();
  tarn_bytes bytes{};
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_result(client, made, 50'000'000, &bytes)) << tarn_last_error();
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(2500));
  EXPECT_EQ(0, tarn_result(client, made, kLong, &bytes)) << tarn_last_error();
  EXPECT_TRUE(is_filled(bytes.data, kSize, 6));
  EXPECT_EQ(2u, runs(wish(6)));  // the one that had been begun
}

TEST_F(RecomputeClient, streams_and_tasks_with_needs_are_refused) {
  tarn_client* client = connect(1);
  Wish what = wish(1);
  tarn_arg arg = tarn_arg_value(&what, sizeof what);
  tarn_needs needs{};
  needs.size = sizeof needs;
  tarn_submit_options options{};
  options.size = sizeof options;
  options.flags = TARN_TASK_REPEATABLE;
  options.needs = &needs;
  tarn_future future{};
  EXPECT_EQ(TARN_E_ARGUMENT,
            tarn_submit_stream(client, tarn_task_id("make"), &arg, 1, &options, nullptr, &future));
  EXPECT_EQ(0, tarn_submit(client, tarn_task_id("make"), &arg, 1, &options, &future))
      << tarn_last_error();
  EXPECT_EQ(0, tarn_future_release(client, future));
  needs.memory = kSize;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client, tarn_task_id("make"), &arg, 1, &options, &future));
  needs.memory = 0;
  needs.where = TARN_ON_NODE;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client, tarn_task_id("make"), &arg, 1, &options, &future));
}

TEST_F(RecomputeClient, flags_that_are_unknown_are_refused) {
  tarn_client* client = connect(1);
  Wish what = wish(1);
  tarn_arg arg = tarn_arg_value(&what, sizeof what);
  tarn_submit_options options{};
  options.size = sizeof options;
  options.flags = 2;
  tarn_future future{};
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client, tarn_task_id("make"), &arg, 1, &options, &future));
}

}  // namespace
