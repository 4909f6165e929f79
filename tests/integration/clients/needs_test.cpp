// Tasks that ask for a slot, a node, or resources of the host. What could go wrong: one runs elsewhere, or twice as many as may; one
// waits although its place is idle, or its resources are free, after a crash of who had them as well; one that wants much is
// starved; a tarnd that was killed forgets who has what; a request that can never be met is queued.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support/own_daemon.hpp"
#include "support/processes.hpp"
#include "support/self_worker.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int64_t kLong = 20'000'000'000;

uint32_t number_at(tarn_call* call, size_t index) {
  uint32_t value = 0;
  tarn_bytes bytes = tarn_call_arg(call, index);
  if (bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
  return value;
}

std::string text_at(tarn_call* call, size_t index) {
  tarn_bytes bytes = tarn_call_arg(call, index);
  return {static_cast<const char*>(bytes.data), bytes.size};
}

uint32_t slot_of(const tarn_call* call) {
  tarn_slot_info info{};
  info.size = sizeof info;
  (void)tarn_call_get_slot(call, &info);
  return info.slot;
}

int give(tarn_call* call, uint32_t value) { return tarn_call_return(call, &value, sizeof value); }

// Its slot, after so many ms.
int where(tarn_call* call) {
  usleep(number_at(call, 0) * 1000);
  return give(call, slot_of(call));
}

// While it runs there is a file of its own in the folder: how many there are, at its begin or its end.
int count_me(tarn_call* call) {
  std::filesystem::path folder = text_at(call, 1);
  auto own = folder / std::to_string(getpid());
  if (mkdir(own.c_str(), 0700) < 0) return -1000;
  auto count = [&] { return static_cast<uint32_t>(std::distance(std::filesystem::directory_iterator(folder), {})); };
  uint32_t most = count();
  usleep(number_at(call, 0) * 1000);
  most = std::max(most, count());
  rmdir(own.c_str());
  return give(call, most);
}

// Leaves its number behind those of the ones before.
int sign(tarn_call* call) {
  std::string path = text_at(call, 1);
  uint32_t number = number_at(call, 0);
  FILE* file = fopen(path.c_str(), "a");
  if (file == nullptr) return -1000;
  fprintf(file, "%u ", number);
  fclose(file);
  usleep(2000);
  return 0;
}

int die(tarn_call*) {
  (void)raise(SIGKILL);
  return 0;
}

tarn_needs on_slot(uint32_t slot, bool is_strict = true) {
  tarn_needs needs{};
  needs.size = sizeof needs;
  needs.where = TARN_ON_SLOT;
  needs.where_number = static_cast<int32_t>(slot);
  needs.is_strict = is_strict ? 1 : 0;
  return needs;
}

tarn_needs of_host(const char* resources) {
  tarn_needs needs{};
  needs.size = sizeof needs;
  needs.resources = resources;
  return needs;
}

// Where each of two children runs: on the slot of argument 0, and on that of argument 1.
int two_children(tarn_call* call) {
  tarn_client* client = tarn_call_client(call);
  uint32_t slots[2];
  tarn_future futures[2];
  for (size_t i = 0; i < 2; ++i) {
    tarn_needs needs = on_slot(number_at(call, i));
    tarn_submit_options options{};
    options.size = sizeof options;
    options.needs = &needs;
    if (int r = tarn_submit(client, tarn_task_id("where"), nullptr, 0, &options, &futures[i]); r < 0) return r;
  }
  for (size_t i = 0; i < 2; ++i) {
    tarn_bytes bytes{};
    if (int r = tarn_result(client, futures[i], kLong, &bytes); r < 0) return r;
    memcpy(&slots[i], bytes.data, sizeof slots[i]);
    tarn_future_release(client, futures[i]);
  }
  return tarn_call_return(call, slots, sizeof slots);
}

int two_children_later(tarn_call* call) {
  usleep(200'000);  // the other one has begun by then
  return two_children(call);
}

// Waits for a child that wants what its argument says.
int child_with(tarn_call* call) {
  tarn_client* client = tarn_call_client(call);
  std::string wanted = text_at(call, 0);
  tarn_needs needs = of_host(wanted.c_str());
  tarn_submit_options options{};
  options.size = sizeof options;
  options.needs = &needs;
  tarn_future future;
  if (int r = tarn_submit(client, tarn_task_id("where"), nullptr, 0, &options, &future); r < 0) return r;
  tarn_bytes bytes{};
  if (int r = tarn_result(client, future, kLong, &bytes); r < 0) return r;
  return tarn_call_return(call, bytes.data, bytes.size);
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("where", where);
  tarn_task_define("count_me", count_me);
  tarn_task_define("sign", sign);
  tarn_task_define("die", die);
  tarn_task_define("two_children", two_children);
  tarn_task_define("two_children_later", two_children_later);
  tarn_task_define("child_with", child_with);
}};

class Needs : public testing::Test {
 protected:
  ~Needs() override {
    for (tarn_client* client : clients_) tarn_close(client);
    if (!folder_.empty()) std::filesystem::remove_all(folder_);
  }

  tarn_client* open(uint32_t workers, const char* resources = nullptr, const char* address = "private") {
    tarn_options options{};
    options.size = sizeof options;
    options.address = address;
    options.workers = workers;
    options.resources = resources;
    options.timeout_ns = 20'000'000'000;
    tarn_client* client = nullptr;
    if (tarn_init(&client, nullptr, nullptr, &options) < 0) {
      ADD_FAILURE() << tarn_last_error();
      return nullptr;
    }
    clients_.push_back(client);
    if (client_ == nullptr) client_ = client;
    return client;
  }

  std::string folder() {
    if (folder_.empty()) {
      folder_ = testing::TempDir() + "tarn-needs-" + std::to_string(getpid());
      std::filesystem::remove_all(folder_);
      std::filesystem::create_directory(folder_);
    }
    return folder_;
  }

  // The slots of the workers, once all have started: until then their numbers in the session may change.
  std::vector<tarn_slot_info> slots(uint32_t count) {
    std::vector<tarn_slot_info> all(count);
    auto end = Clock::now() + std::chrono::seconds(20);
    for (bool is_complete = false; !is_complete && Clock::now() < end; std::this_thread::sleep_for(milliseconds(1))) {
      is_complete = true;
      for (uint32_t i = 0; i < count; ++i) {
        all[i].size = sizeof all[i];
        is_complete &= tarn_client_get_slot(client_, i, &all[i]) == 0 && (i == 0 || all[i].slot != all[i - 1].slot);
      }
    }
    return all;
  }

  int try_submit(const char* task, std::vector<tarn_arg> args, const tarn_needs& needs, tarn_future& future, int32_t priority = 0,
                 int32_t retries = 0, tarn_client* client = nullptr) {
    tarn_submit_options options{};
    options.size = sizeof options;
    options.needs = &needs;
    options.priority = priority;
    options.retries = retries;
    return tarn_submit(client == nullptr ? client_ : client, tarn_task_id(task), args.data(), args.size(), &options, &future);
  }
  tarn_future submit(const char* task, std::vector<tarn_arg> args, const tarn_needs& needs, int32_t priority = 0, int32_t retries = 0,
                     tarn_client* client = nullptr) {
    tarn_future future{};
    EXPECT_EQ(0, try_submit(task, std::move(args), needs, future, priority, retries, client)) << tarn_last_error();
    return future;
  }
  tarn_future submit_where(uint32_t ms, const tarn_needs& needs, int32_t priority = 0) {
    return submit("where", {tarn_arg_value(&ms, sizeof ms)}, needs, priority);
  }
  tarn_future submit_count(uint32_t ms, const char* resources, tarn_client* client = nullptr) {
    std::string name = folder();
    return submit("count_me", {tarn_arg_value(&ms, sizeof ms), tarn_arg_value(name.data(), name.size())}, of_host(resources), 0, 0, client);
  }

  // One that runs for so long, from before this returns on.
  tarn_future start(uint32_t ms, const tarn_needs& needs, tarn_client* client = nullptr) {
    std::string name = folder();
    tarn_future future =
        submit("count_me", {tarn_arg_value(&ms, sizeof ms), tarn_arg_value(name.data(), name.size())}, needs, 0, 0, client);
    auto end = Clock::now() + std::chrono::seconds(20);
    while (std::filesystem::is_empty(name) && Clock::now() < end) std::this_thread::sleep_for(milliseconds(1));
    EXPECT_FALSE(std::filesystem::is_empty(name)) << "it does not begin";
    return future;
  }

  uint32_t result(tarn_future future, tarn_client* client = nullptr) {
    if (client == nullptr) client = client_;
    tarn_bytes bytes{};
    EXPECT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
    uint32_t value = UINT32_MAX;
    if (bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
    EXPECT_EQ(0, tarn_future_release(client, future));
    return value;
  }

  void expect_unsatisfiable(const tarn_needs& needs, const char* text) {
    tarn_future future{};
    EXPECT_EQ(TARN_E_UNSATISFIABLE, try_submit("where", {}, needs, future)) << text;
    EXPECT_STREQ(text, tarn_last_error());
  }
  void expect_refused(const tarn_needs& needs, const char* part) {
    tarn_future future{};
    EXPECT_EQ(TARN_E_ARGUMENT, try_submit("where", {}, needs, future)) << part;
    EXPECT_NE(nullptr, strstr(tarn_last_error(), part)) << tarn_last_error();
  }

  tarn_client* client_ = nullptr;
  std::vector<tarn_client*> clients_;
  std::string folder_;
};

TEST_F(Needs, a_task_runs_in_its_slot_and_nowhere_else) {
  open(2);
  auto all = slots(2);
  std::vector<tarn_future> futures;
  for (uint32_t i = 0; i < 1000; ++i) futures.push_back(submit_where(0, on_slot(all[i % 2].slot), static_cast<int32_t>(i % 3) - 1));
  for (uint32_t i = 0; i < 1000; ++i) EXPECT_EQ(result(futures[i]), all[i % 2].slot);
}

TEST_F(Needs, it_waits_for_its_slot_though_another_is_idle) {
  open(2);
  auto all = slots(2);
  tarn_future first = start(1500, on_slot(all[0].slot));
  tarn_future second = submit_where(0, on_slot(all[0].slot));
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_wait(client_, &second, 1, 1, 150'000'000, nullptr, nullptr));
  EXPECT_EQ(result(submit_where(0, on_slot(all[1].slot))), all[1].slot);
  EXPECT_EQ(result(second), all[0].slot);
  EXPECT_EQ(result(first), 1u);
}

// As a rule: its worker may still be on its way from one task to the next (tests/unit/task/scheduling_test.cpp has it step by step).
TEST_F(Needs, one_that_prefers_a_slot_gets_it_while_that_is_idle) {
  open(2);
  int hits = 0;
  for (auto& info : slots(2))
    for (int i = 0; i < 100; ++i) {
      hits += result(submit_where(0, on_slot(info.slot, false))) == info.slot ? 1 : 0;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  EXPECT_GT(hits, 120) << "of 200; by chance 100";
}

TEST_F(Needs, and_another_one_while_it_is_not) {
  open(2);
  auto all = slots(2);
  tarn_future first = start(4000, on_slot(all[0].slot));
  for (int i = 0; i < 100; ++i) {
    tarn_future preferring = submit_where(0, on_slot(all[0].slot, false));
    ASSERT_EQ(0, tarn_wait(client_, &preferring, 1, 1, 3'500'000'000, nullptr, nullptr)) << i << ": " << tarn_last_error();
    ASSERT_EQ(result(preferring), all[1].slot);
  }
  tarn_future others[8];
  for (auto& each : others) each = submit_where(20, on_slot(all[0].slot, false));
  for (auto& each : others) EXPECT_EQ(result(each), all[1].slot);
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_wait(client_, &first, 1, 1, 0, nullptr, nullptr)) << "it was too slow to tell anything";
  EXPECT_EQ(result(first), 1u);
}

TEST_F(Needs, more_than_the_queue_holds) {
  open(2);
  auto all = slots(2);
  std::vector<tarn_future> futures;
  tarn_future first = submit_where(50, on_slot(all[1].slot));
  for (uint32_t i = 0; i < 20'000; ++i) futures.push_back(submit_where(0, on_slot(all[1].slot)));
  for (tarn_future future : futures) ASSERT_EQ(result(future), all[1].slot);
  EXPECT_EQ(result(first), all[1].slot);
}

TEST_F(Needs, what_is_more_urgent_comes_first_there_as_well) {
  open(1);
  uint32_t slot = slots(1)[0].slot;
  std::string path = folder() + "/order";
  tarn_future first = submit_where(700, on_slot(slot));
  std::vector<tarn_future> futures;
  for (uint32_t i = 0; i < 4; ++i)
    for (int32_t priority : {-2, 0, 3}) {
      uint32_t number = static_cast<uint32_t>(priority + 2);
      futures.push_back(submit("sign", {tarn_arg_value(&number, sizeof number), tarn_arg_value(path.data(), path.size())}, on_slot(slot), priority));
    }
  for (tarn_future future : futures) result(future);
  result(first);
  char line[64] = "";
  FILE* file = fopen(path.c_str(), "r");
  ASSERT_NE(nullptr, file);
  EXPECT_NE(nullptr, fgets(line, sizeof line, file));
  fclose(file);
  EXPECT_STREQ("5 5 5 5 2 2 2 2 0 0 0 0 ", line);
}

TEST_F(Needs, those_with_and_those_without_take_turns) {
  open(1);
  uint32_t slot = slots(1)[0].slot;
  tarn_future first = submit_where(700, on_slot(slot));
  std::vector<tarn_future> with, without;
  tarn_needs none{};
  none.size = sizeof none;
  for (int i = 0; i < 50; ++i) with.push_back(submit_where(1, on_slot(slot)));
  for (int i = 0; i < 50; ++i) without.push_back(submit_where(1, none));
  size_t done = 0;
  EXPECT_EQ(0, tarn_wait(client_, without.data(), 50, 25, kLong, nullptr, &done));
  EXPECT_EQ(0, tarn_wait(client_, with.data(), 50, 10, 0, nullptr, &done)) << done;
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_wait(client_, with.data(), 50, 45, 0, nullptr, &done)) << done;
  for (tarn_future future : with) EXPECT_EQ(result(future), slot);
  for (tarn_future future : without) EXPECT_EQ(result(future), slot);
  EXPECT_EQ(result(first), slot);
}

TEST_F(Needs, a_slot_whose_worker_dies_gets_another_and_goes_on) {
  open(2);
  auto all = slots(2);
  std::vector<tarn_future> futures;
  for (uint32_t i = 0; i < 600; ++i) {
    if (i % 100 == 50) futures.push_back(submit("die", {}, on_slot(all[0].slot), 0, -1));
    futures.push_back(submit_where(0, on_slot(all[0].slot)));
  }
  int dead = 0;
  for (tarn_future future : futures) {
    tarn_bytes bytes{};
    int r = tarn_result(client_, future, kLong, &bytes);
    dead += r == TARN_E_WORKER_CRASHED ? 1 : 0;
    ASSERT_TRUE(r == 0 || r == TARN_E_WORKER_CRASHED) << tarn_last_error();
    uint32_t slot = all[0].slot;
    if (r == 0) memcpy(&slot, bytes.data, sizeof slot);
    EXPECT_EQ(slot, all[0].slot);
    tarn_future_release(client_, future);
  }
  EXPECT_EQ(dead, 6);
}

TEST_F(Needs, children_have_needs_of_their_own) {
  open(2);
  auto all = slots(2);
  for (auto& own : all)
    for (auto& other : all) {
      uint32_t asked[] = {own.slot, other.slot};
      tarn_future future = submit("two_children", {tarn_arg_value(&asked[0], 4), tarn_arg_value(&asked[1], 4)}, on_slot(own.slot));
      tarn_bytes bytes{};
      ASSERT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
      ASSERT_EQ(bytes.size, sizeof asked);
      EXPECT_EQ(0, memcmp(bytes.data, asked, sizeof asked));
      tarn_future_release(client_, future);
    }
}

// Each waits for children that only the other's slot may run: both have stand-ins.
TEST_F(Needs, children_may_be_for_the_slot_of_another_that_waits) {
  open(2);
  auto all = slots(2);
  tarn_future futures[2];
  for (size_t i = 0; i < 2; ++i) {
    uint32_t other = all[1 - i].slot;
    tarn_arg arg = tarn_arg_value(&other, sizeof other);
    futures[i] = submit("two_children_later", {arg, arg}, on_slot(all[i].slot));
  }
  for (size_t i = 0; i < 2; ++i) {
    uint32_t other[2] = {all[1 - i].slot, all[1 - i].slot};
    tarn_bytes bytes{};
    ASSERT_EQ(0, tarn_result(client_, futures[i], kLong, &bytes)) << tarn_last_error();
    ASSERT_EQ(bytes.size, sizeof other);
    EXPECT_EQ(0, memcmp(bytes.data, other, sizeof other));
    tarn_future_release(client_, futures[i]);
  }
}

// Who waits for a child whose resource is taken has lent its slot meanwhile, and can be cancelled.
TEST_F(Needs, a_child_that_waits_for_a_resource_holds_up_no_slot) {
  open(2, "r=1");
  auto all = slots(2);
  tarn_future holder = start(3000, of_host("r=1"));
  tarn_future parent = submit("child_with", {tarn_arg_value("r=1", 3)}, of_host(nullptr));
  tarn_future cancelled = submit("child_with", {tarn_arg_value("r=1", 3)}, of_host(nullptr));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_EQ(0, tarn_cancel(client_, cancelled, 0));
  uint32_t ms = 0;
  EXPECT_LT(result(submit("where", {tarn_arg_value(&ms, sizeof ms)}, of_host(nullptr))), 1000u);
  EXPECT_EQ(TARN_E_CANCELLED, tarn_result(client_, cancelled, kLong, nullptr)) << tarn_last_error();
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_result(client_, holder, 0, nullptr)) << "it is still there";
  EXPECT_EQ(1u, result(holder));
  EXPECT_LT(result(parent), 1000u);
  tarn_future_release(client_, cancelled);
}

TEST_F(Needs, one_that_waits_can_be_cancelled) {
  open(2, "licence=1");
  auto all = slots(2);
  tarn_needs both = on_slot(all[0].slot);
  both.resources = "licence=1";
  tarn_future busy = start(1500, both);
  for (const tarn_needs& needs : {on_slot(all[0].slot), of_host("licence")}) {
    tarn_future future = submit_where(0, needs);
    EXPECT_EQ(0, tarn_cancel(client_, future, 0)) << tarn_last_error();
    EXPECT_EQ(TARN_E_CANCELLED, tarn_result(client_, future, 0, nullptr));
    tarn_future_release(client_, future);
  }
  for (const tarn_needs& needs : {on_slot(all[0].slot), of_host("licence")}) result(submit_where(0, needs));
  result(busy);
}

TEST_F(Needs, what_no_slot_can_give_is_refused_at_once) {
  open(1, "licence=2,db=1");
  tarn_slot_info info = slots(1)[0];
  std::string there = "the slots of this session are " + std::to_string(info.slot) + " on node " + std::to_string(info.node);
  expect_unsatisfiable(on_slot(999), ("slot 999 was asked for, and nothing else; " + there).c_str());
  tarn_needs needs = on_slot(9);
  needs.where = TARN_ON_NODE;
  expect_unsatisfiable(needs, ("node 9 was asked for, and nothing else; " + there).c_str());
  const char* tail = "were asked for; this host has licence=2, db=1 ([resources] in tarnd.toml)";
  expect_unsatisfiable(of_host("licence=3"), ("3 of the resource 'licence' " + std::string(tail)).c_str());
  expect_unsatisfiable(of_host("db,gpu"), ("1 of the resource 'gpu' " + std::string(tail)).c_str());
  for (const char* bad : {"=1", "a=", "a=0", "a=x", "db,,licence", "db,", ",", "a=1;b", "a b", "a=99999999999"}) expect_refused(of_host(bad), "is not NAME=COUNT");
  expect_refused(of_host("db,db"), "named twice");
  needs.where = 7;
  expect_refused(needs, "where is 7");
  needs = on_slot(info.slot);
  needs.is_strict = 2;
  expect_refused(needs, "is_strict is 2");
  needs.where = TARN_ANYWHERE;
  needs.is_strict = 1;
  expect_refused(needs, "TARN_ANYWHERE");
  needs = on_slot(info.slot);
  needs.reserved[1] = 1;
  expect_refused(needs, "reserved");
  needs.size = 4;
  expect_refused(needs, "size is 4");
  // A place that there is not may be preferred.
  EXPECT_EQ(result(submit_where(0, on_slot(999, false))), info.slot);
}

TEST_F(Needs, as_many_combinations_as_there_may_be) {
  open(1, "a=1000");
  slots(1);
  std::vector<tarn_future> futures;
  auto so_many = [](uint32_t i) { return "a=" + std::to_string(i + 1); };
  for (uint32_t i = 0; i < 127; ++i) futures.push_back(submit_where(0, of_host(so_many(i).c_str())));
  tarn_future future{};
  EXPECT_EQ(TARN_E_LIMIT, try_submit("where", {}, of_host("a=128"), future));
  for (uint32_t i = 0; i < 127; ++i) futures.push_back(submit_where(0, of_host(so_many(i).c_str())));
  for (tarn_future each : futures) result(each);
}

TEST_F(Needs, no_more_at_a_time_than_there_are) {
  open(2, "licence=1,db=3");
  std::vector<tarn_future> one_by_one, in_pairs;
  for (int i = 0; i < 200; ++i) one_by_one.push_back(submit_count(1, i % 2 == 0 ? "licence" : "licence=1,db=2"));
  for (tarn_future future : one_by_one) EXPECT_EQ(result(future), 1u);
  for (int i = 0; i < 100; ++i) one_by_one[static_cast<size_t>(i)] = submit_count(1, "db=2");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(result(one_by_one[static_cast<size_t>(i)]), 1u);
  for (int i = 0; i < 100; ++i) in_pairs.push_back(submit_count(2, "db"));
  uint32_t most = 0;
  for (tarn_future future : in_pairs) most = std::max(most, result(future));
  EXPECT_EQ(most, 2u) << "they may run two at a time";
}

TEST_F(Needs, who_dies_gives_them_back) {
  open(2, "licence=1");
  for (int i = 0; i < 10; ++i) {
    tarn_future dying = submit("die", {}, of_host("licence"), 0, -1);
    tarn_future next = submit_count(0, "licence");
    EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client_, dying, kLong, nullptr));
    tarn_future_release(client_, dying);
    EXPECT_EQ(result(next), 1u);
  }
}

TEST_F(Needs, who_wants_all_is_not_starved_by_who_wants_little) {
  open(2, "db=2");
  std::string path = folder() + "/order";
  std::vector<tarn_future> futures;
  auto sign_as = [&](uint32_t number, const char* resources) {
    futures.push_back(submit("sign", {tarn_arg_value(&number, sizeof number), tarn_arg_value(path.data(), path.size())}, of_host(resources)));
  };
  for (uint32_t i = 0; i < 20; ++i) sign_as(1, "db");
  sign_as(7, "db=2");
  for (uint32_t i = 0; i < 300; ++i) sign_as(1, "db");
  for (tarn_future future : futures) result(future);
  std::string line(1000, '\0');
  FILE* file = fopen(path.c_str(), "r");
  ASSERT_NE(nullptr, file);
  line.resize(fread(line.data(), 1, line.size(), file));
  fclose(file);
  size_t at = line.find('7') / 2;
  EXPECT_LT(at, 150u) << "of 321";
}

TEST_F(Needs, sessions_pass_on_what_they_do_not_use) {
  tarn::test::OwnDaemon host("[resources]\nlicence = 1\ndb = 2");
  tarn_client* clients[] = {open(1, nullptr, host.address().c_str()), open(1, nullptr, host.address().c_str())};
  ASSERT_TRUE(clients[0] != nullptr && clients[1] != nullptr);
  for (int round = 0; round < 20; ++round)
    for (tarn_client* client : clients) ASSERT_EQ(result(submit_count(0, round % 2 == 0 ? "licence" : "db=2", client), client), 1u);
  // Both at the same time.
  std::vector<tarn_future> futures[2];
  for (int i = 0; i < 100; ++i)
    for (int each = 0; each < 2; ++each) futures[each].push_back(submit_count(1, i % 2 == 0 ? "licence" : "licence,db=2", clients[each]));
  for (int i = 0; i < 100; ++i)
    for (int each = 0; each < 2; ++each) ASSERT_EQ(result(futures[each][static_cast<size_t>(i)], clients[each]), 1u);
  // One that goes leaves its share.
  tarn_future held = start(5000, of_host("licence"), clients[0]);
  tarn_future wanted = submit_count(0, "licence", clients[1]);
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_wait(clients[1], &wanted, 1, 1, 100'000'000, nullptr, nullptr));
  tarn_close(clients[0]);
  (void)held;
  clients_.erase(clients_.begin());
  EXPECT_LE(result(wanted, clients[1]), 2u);  // whose run was cut off has left its file
  for (tarn_client* client : std::exchange(clients_, {})) tarn_close(client);
}

TEST_F(Needs, another_tarnd_knows_who_has_what) {
  tarn::test::OwnDaemon host("[resources]\nlicence = 1");
  tarn_client* clients[] = {open(1, nullptr, host.address().c_str()), open(1, nullptr, host.address().c_str())};
  ASSERT_TRUE(clients[0] != nullptr && clients[1] != nullptr);
  for (int round = 0; round < 10; ++round) {
    tarn_client* first = clients[round % 2];
    tarn_client* second = clients[1 - round % 2];
    tarn_future holds = start(60, of_host("licence"), first);
    tarn_future waits = submit_count(0, "licence", second);
    std::this_thread::sleep_for(milliseconds(round));
    for (pid_t pid : tarn::test::children_of(host.pid()))
      if (tarn::test::name_of(pid) == "tarnd") kill(pid, SIGKILL);
    EXPECT_EQ(result(holds, first), 1u);
    EXPECT_EQ(result(waits, second), 1u);
  }
  for (tarn_client* client : std::exchange(clients_, {})) tarn_close(client);
}

TEST_F(Needs, a_host_has_its_own) {
  tarn::test::OwnDaemon host("[resources]\nlicence = 1");
  tarn_options options{};
  options.size = sizeof options;
  options.address = host.address().c_str();
  options.resources = "licence=5";
  options.timeout_ns = 20'000'000'000;
  tarn_client* client = nullptr;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_init(&client, nullptr, nullptr, &options));
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "private daemon")) << tarn_last_error();
  options.address = "private";
  options.resources = "licence=";
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_init(&client, nullptr, nullptr, &options));
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "NAME=COUNT")) << tarn_last_error();
}

}  // namespace
