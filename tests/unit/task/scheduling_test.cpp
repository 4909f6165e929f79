// Tasks that ask for a slot or for resources, step by step: which worker begins them, and when.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "support/in_process_host.hpp"
#include "task/registry.hpp"

namespace tarn::test {
namespace {

std::vector<uint32_t> ran_in;  // slots

int note_slot(tarn_call* call) {
  ran_in.push_back(call->view->board->workers[call->view->self].slot.load(shm::kRelaxed));
  return 0;
}

class Scheduling : public testing::Test {
 protected:
  static void SetUpTestSuite() { EXPECT_EQ(task::define_task("test.note_slot", note_slot, 0, nullptr), 0); }

  Scheduling() {
    ran_in.clear();
    for (uint32_t i = 0; i < 2; ++i) {
      board_.doorbell.set_serving(host_.member_of(i), true);
      board_.places[i].slot = i;
      board_.places[i].cpu_count = 1;
    }
    auto& kind = board_.resources.kind(0);
    strcpy(kind.name, "db");
    kind.total.store(2, shm::kRelaxed);
    kind.lent.store(2, shm::kRelaxed);
  }
  ~Scheduling() override {
    for (tarn_future future : futures_) (void)host_.client().release(future);
    run(0);
    run(1);
    for (uint32_t i = 0; i < 2; ++i) board_.doorbell.set_serving(host_.member_of(i), false);
  }

  void submit(const tarn_needs& needs, int32_t priority = 0) {
    tarn_submit_options options{};
    options.size = sizeof options;
    options.needs = &needs;
    options.priority = priority;
    tarn_future future{};
    ASSERT_EQ(host_.client().submit(task::task_number("test.note_slot"), nullptr, 0, &options, future), 0);
    futures_.push_back(future);
  }
  static tarn_needs on_slot(int32_t slot, uint32_t is_strict) {
    tarn_needs needs{};
    needs.size = sizeof needs;
    needs.where = TARN_ON_SLOT;
    needs.where_number = slot;
    needs.is_strict = is_strict;
    return needs;
  }
  static tarn_needs of_host(const char* resources) {
    tarn_needs needs{};
    needs.size = sizeof needs;
    needs.resources = resources;
    return needs;
  }
  // How many tasks that worker runs, until it finds none.
  size_t run(uint32_t worker) {
    size_t before = ran_in.size();
    while (host_.executor(worker).run_available() != 0) {
    }
    return ran_in.size() - before;
  }
  // As if the other worker had so many.
  void hold(uint32_t count) {
    shm::ResourceCounts counts{};
    counts[0] = count;
    EXPECT_EQ(board_.resources.take(host_.member_of(1), counts, [](uint32_t) { return true; }), shm::Resources::Taken::kYes);
    held_ = counts;
  }
  void let_go() { board_.resources.give_back(host_.member_of(1), held_); }

  InProcessHost host_{2};
  shm::Board& board_{*host_.client_view().board};
  std::vector<tarn_future> futures_;
  shm::ResourceCounts held_{};
};

TEST_F(Scheduling, AnotherWorkerLeavesItAlone) {
  for (uint32_t is_strict : {0u, 1u}) {
    submit(on_slot(1, is_strict));
    EXPECT_EQ(run(0), 0u);
    EXPECT_EQ(run(1), 1u);
  }
  EXPECT_EQ(ran_in, (std::vector<uint32_t>{1, 1}));
}

TEST_F(Scheduling, MoreThanTheQueueHolds) {
  for (int i = 0; i < 1000; ++i) submit(on_slot(i % 2, 1), i % 3 - 1);
  EXPECT_EQ(run(0), 500u);
  EXPECT_EQ(run(1), 500u);
  for (size_t i = 0; i < 1000; ++i) ASSERT_EQ(ran_in[i], i < 500 ? 0u : 1u);
}

TEST_F(Scheduling, WhoIsRecoveredLeavesNothingBehind) {
  for (int i = 0; i < 10; ++i) submit(on_slot(1, 1));
  submit(of_host("db=2"));
  hold(2);
  // The hints go with who had taken them.
  uint32_t ids[shm::kClassRingSlots];
  EXPECT_EQ(board_.classes[1].ring.take(ids, shm::kClassRingSlots), 10u);
  EXPECT_EQ(board_.classes[2].ring.take(ids, shm::kClassRingSlots), 1u);
  EXPECT_EQ(run(1), 0u);
  EXPECT_EQ(host_.executor(0).recover_member(host_.member_of(1), 9, 0), 0);
  EXPECT_EQ(board_.resources.used(0), 0u);
  EXPECT_EQ(run(1), 11u);
}

TEST_F(Scheduling, WhatIsNotFreeIsNotBegun) {
  submit(of_host("db=2"));
  submit(of_host("db"));
  hold(1);
  EXPECT_EQ(run(0), 0u) << "the one that wants both is first in line";
  let_go();
  EXPECT_EQ(run(0), 2u);
  EXPECT_EQ(board_.resources.used(0), 0u);
}

TEST_F(Scheduling, WhoIsMoreUrgentPassesTheLine) {
  submit(of_host("db=2"));
  hold(1);
  EXPECT_EQ(run(0), 0u);
  submit(of_host("db"), 1);
  submit(of_host("db"), -1);
  EXPECT_EQ(run(0), 1u);
  let_go();
  EXPECT_EQ(run(1), 2u);
}

TEST_F(Scheduling, WhoWasFirstInLineAndIsGoneHoldsUpNobody) {
  submit(of_host("db=2"));
  hold(1);
  EXPECT_EQ(run(0), 0u);
  EXPECT_EQ(host_.client().cancel(futures_[0], false), 0);
  let_go();
  submit(of_host("db"));
  EXPECT_EQ(run(0), 1u);
}

}  // namespace
}  // namespace tarn::test
