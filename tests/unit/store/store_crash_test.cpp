// Nothing is left of a process that dies at any time, but what others hold.

#include "store/store.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.hpp"
#include "fake_session.hpp"

namespace tarn::store {
namespace {

TEST(StoreCrashTest, what_a_dead_member_held_is_let_go_and_comes_back) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref = put(client, std::string(100'000, 'x'));
  ASSERT_EQ(session.store(kWorker).acquire(ref), 0);
  ASSERT_EQ(client.release(ref), 0);
  session.kill(kWorker);
  for (int again = 0; again < 2; ++again) session.store(kSecond).sweep_dead_member(kWorker, referenced, nullptr);
  EXPECT_EQ(put(client, "next").id, ref.id);
}

TEST(StoreCrashTest, what_a_dead_member_freed_without_telling_is_found) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref = put(client, "x");
  ASSERT_EQ(session.store(kWorker).acquire(ref), 0);
  ASSERT_EQ(client.release(ref), 0);
  // The worker lets go, and dies before it can push the record into the chain.
  auto* segment = reinterpret_cast<shm::MemberSegment*>(session.processes[kClient]->segments[0].data());
  EXPECT_TRUE(ObjectTable::records(*segment)[shm::id_index(ref.id)].life.drop(kWorker, kWorker));
  EXPECT_NE(put(client, "y").id, ref.id);
  session.kill(kWorker);
  EXPECT_EQ(put(client, "z").id, ref.id);
}

TEST(StoreCrashTest, a_dead_workers_results_stay_readable_and_its_slabs_go_with_the_last) {
  FakeSession session;
  Store& client = session.store(kClient);
  std::vector<ObjectRef> refs;
  for (int i = 0; i < 100; ++i) {
    refs.push_back(result(session.store(kWorker), std::string(500, static_cast<char>('a' + i % 26))));
    ASSERT_EQ(own_result(client, refs.back()), 0);
  }
  session.kill(kWorker);
  session.store(kSecond).sweep_dead_member(kWorker, referenced, nullptr);
  EXPECT_EQ(session.slabs_of(kWorker), 1u);
  for (size_t i = 0; i < refs.size(); ++i) {
    tarn_bytes bytes{};
    ASSERT_EQ(client.get(refs[i], bytes), 0);
    EXPECT_EQ(text_of(bytes), std::string(500, static_cast<char>('a' + i % 26)));
    EXPECT_EQ(session.slabs_of(kWorker), 1u);
    ASSERT_EQ(client.release(refs[i]), 0);
  }
  EXPECT_EQ(session.slabs_of(kWorker), 0u);
}

TEST(StoreCrashTest, results_that_nobody_will_find_are_freed_others_are_not) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  ObjectRef unsealed{};
  void* data = nullptr;
  ASSERT_EQ(worker.make_result(100, shm::make_id(shm::kClientMember, 1), unsealed, data), 0);
  ObjectRef lost = result(worker, "published, but its task's record does not say so", 2);
  ObjectRef kept = result(worker, "handed over", 3);
  session.kill(kWorker);
  auto only_third = [](void*, uint32_t made_for, uint32_t, uint32_t) { return made_for == shm::make_id(shm::kClientMember, 3); };
  session.store(kSecond).sweep_dead_member(kWorker, only_third, nullptr);
  EXPECT_EQ(client.adopt(lost), TARN_E_NO_OBJECT);
  EXPECT_EQ(client.adopt(unsealed), TARN_E_NO_OBJECT);
  ASSERT_EQ(own_result(client, kept), 0);
  EXPECT_EQ(session.slabs_of(kWorker), 1u);
  ASSERT_EQ(client.release(kept), 0);
  EXPECT_EQ(session.slabs_of(kWorker), 0u);
}

TEST(StoreCrashTest, a_dead_worker_without_live_objects_leaves_no_slab) {
  FakeSession session;
  ObjectRef ref = result(session.store(kWorker), "never found", 1);
  (void)ref;
  // Its replacement knows the slab from tarnd.
  ASSERT_EQ(session.processes[kSecond]->learn_slab(kWorker, 0), 0);
  session.kill(kWorker);
  session.store(kSecond).sweep_dead_member(kWorker, unreferenced, nullptr);
  EXPECT_EQ(session.slabs_of(kWorker), 0u);
}

TEST(StoreCrashTest, a_release_that_did_not_know_of_the_death_is_settled_by_the_news) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref = result(session.store(kWorker), "x");
  ASSERT_EQ(own_result(client, ref), 0);
  session.processes[kWorker].reset();
  session.store(kSecond).sweep_dead_member(kWorker, referenced, nullptr);
  ASSERT_EQ(client.release(ref), 0);  // to a member that is taken for alive
  EXPECT_EQ(session.slabs_of(kWorker), 1u);
  client.on_member_died(kWorker);
  client.settle();
  EXPECT_EQ(session.slabs_of(kWorker), 0u);
}

TEST(StoreCrashTest, so_is_one_of_a_result_that_was_never_looked_at) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref = result(session.store(kWorker), "x");
  ASSERT_EQ(session.processes[kClient]->learn_slab(kWorker, 0), 0);
  session.processes[kWorker].reset();
  session.store(kSecond).sweep_dead_member(kWorker, referenced, nullptr);
  ASSERT_EQ(client.decline(ref), 0) << last_error();
  EXPECT_EQ(session.slabs_of(kWorker), 1u);
  client.on_member_died(kWorker);
  client.settle();
  EXPECT_EQ(session.slabs_of(kWorker), 0u);
}

TEST(StoreCrashTest, the_next_member_with_the_same_number_starts_afresh) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef old = result(session.store(kWorker), "old");
  ASSERT_EQ(own_result(client, old), 0);
  ASSERT_EQ(client.release(old), 0);
  session.kill(kWorker);
  session.store(kSecond).sweep_dead_member(kWorker, referenced, nullptr);
  client.on_member_gone(kWorker);
  session.store(kSecond).on_member_gone(kWorker);
  ASSERT_EQ(os::memfd_create("segment", sizeof(shm::MemberSegment), session.segments[kWorker]), 0);
  session.start(kWorker);
  for (uint32_t m : {kClient, kSecond}) {
    os::Mapping map;
    ASSERT_EQ(os::Mapping::map(session.segments[kWorker], sizeof(shm::MemberSegment), os::Access::kReadWrite, map), 0);
    ASSERT_EQ(session.store(m).on_member_added(kWorker, reinterpret_cast<shm::MemberSegment*>(map.data())), 0);
    session.processes[m]->segments.push_back(std::move(map));
  }
  ObjectRef fresh = result(session.store(kWorker), "new");
  EXPECT_EQ(fresh.id, old.id);
  ASSERT_EQ(own_result(client, fresh), 0) << last_error();
  tarn_bytes bytes{};
  ASSERT_EQ(client.get(fresh, bytes), 0);
  EXPECT_EQ(text_of(bytes), "new");
  EXPECT_EQ(client.get(old, bytes), TARN_E_NO_OBJECT);
  EXPECT_EQ(client.release(fresh), 0);
}

}  // namespace
}  // namespace tarn::store
