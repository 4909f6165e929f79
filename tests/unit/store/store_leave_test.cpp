// What nobody has a pointer to can leave memory, and comes back to its place; what somebody has one to stays.

#include "store/store.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/error.hpp"
#include "fake_session.hpp"

namespace tarn::store {
namespace {

constexpr uint64_t kLarge = 300'000;

TEST(StoreLeaveTest, what_is_got_stays_until_it_is_unpinned_as_often) {
  FakeSession session;
  Store& client = session.store(kClient);
  std::string text(kLarge, 'x');
  ObjectRef ref = put(client, text);
  tarn_bytes bytes{};
  ASSERT_EQ(client.get(ref, bytes), 0);
  ASSERT_EQ(client.get(ref, bytes), 0);
  EXPECT_FALSE(session.take_away(ref));
  EXPECT_EQ(client.unpin(ref), 0);
  EXPECT_FALSE(session.take_away(ref));
  EXPECT_EQ(client.unpin(ref), 0);
  EXPECT_TRUE(session.take_away(ref));
  EXPECT_EQ(client.unpin(ref), TARN_E_STATE);
  // It comes back to where it was, and stays.
  const void* before = bytes.data;
  ASSERT_EQ(client.get(ref, bytes), 0) << last_error();
  EXPECT_EQ(bytes.data, before);
  EXPECT_EQ(text_of(bytes), text);
  EXPECT_EQ(session.restores, 1u);
  EXPECT_FALSE(session.take_away(ref));
  EXPECT_EQ(client.release(ref), 0);
}

TEST(StoreLeaveTest, a_pointer_that_create_gave_pins_and_put_does_not) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref{};
  void* data = nullptr;
  ASSERT_EQ(client.create(kLarge, ref, data), 0);
  memset(data, 7, kLarge);
  ASSERT_EQ(client.seal(ref), 0);
  EXPECT_FALSE(session.take_away(ref));
  EXPECT_EQ(client.unpin(ref), 0);
  EXPECT_TRUE(session.take_away(ref));
  ObjectRef other = put(client, std::string(kLarge, 'y'));
  EXPECT_TRUE(session.take_away(other));
}

TEST(StoreLeaveTest, small_objects_never_leave_and_need_no_pins) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref = put(client, std::string(kStaysMax, 's'));
  tarn_bytes bytes{};
  EXPECT_EQ(client.unpin(ref), 0);
  ASSERT_EQ(client.get(ref, bytes), 0);
  EXPECT_FALSE(session.record(ref).pins.is_pinned());
  EXPECT_EQ(client.unpin(ref), 0);
  EXPECT_EQ(client.unpin(ref), 0);
}

TEST(StoreLeaveTest, the_last_release_of_a_process_unpins_and_others_keep_theirs) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  ObjectRef ref = put(client, std::string(kLarge, 'z'));
  ASSERT_EQ(worker.acquire(ref), 0);
  tarn_bytes bytes{};
  ASSERT_EQ(client.get(ref, bytes), 0);
  ASSERT_EQ(worker.get(ref, bytes), 0);
  EXPECT_EQ(client.release(ref), 0);
  EXPECT_TRUE(session.record(ref).pins.is_pinned_by(kWorker));
  EXPECT_FALSE(session.record(ref).pins.is_pinned_by(kClient));
  EXPECT_FALSE(session.take_away(ref));
  EXPECT_EQ(worker.release(ref), 0);
  EXPECT_FALSE(session.record(ref).pins.is_pinned());
}

TEST(StoreLeaveTest, a_task_pins_its_arguments_as_often_as_it_has_them) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  ObjectRef ref = put(client, std::string(kLarge, 'a'));
  ASSERT_TRUE(session.take_away(ref));
  tarn_bytes bytes{};
  Store::Resolved how{};
  ASSERT_EQ(worker.resolve(ref, bytes, how), 0) << last_error();
  EXPECT_EQ(how, Store::Resolved::kHeld);
  EXPECT_EQ(text_of(bytes), std::string(kLarge, 'a'));
  ASSERT_EQ(worker.resolve(ref, bytes, how), 0);
  EXPECT_EQ(session.restores, 1u);
  worker.unpin_resolved(ref, how);
  EXPECT_FALSE(session.take_away(ref));
  worker.unpin_resolved(ref, how);
  EXPECT_TRUE(session.take_away(ref));
}

// A task that holds its argument for a while, to give it to others, reads it before and after.
TEST(StoreLeaveTest, an_argument_stays_pinned_whatever_else_its_task_does_with_the_object) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  ObjectRef ref = put(client, std::string(kLarge, 'a'));
  tarn_bytes bytes{};
  Store::Resolved first{};
  Store::Resolved second{};
  ASSERT_EQ(worker.resolve(ref, bytes, first), 0) << last_error();
  ASSERT_EQ(worker.acquire(ref), 0);
  tarn_bytes got{};
  ASSERT_EQ(worker.get(ref, got), 0);
  ASSERT_EQ(worker.unpin(ref), 0);
  ASSERT_EQ(worker.resolve(ref, bytes, second), 0);  // of a run within this one
  worker.unpin_resolved(ref, second);
  EXPECT_FALSE(session.take_away(ref));
  ASSERT_EQ(worker.release(ref), 0);
  EXPECT_FALSE(session.take_away(ref));
  EXPECT_EQ(text_of(bytes), std::string(kLarge, 'a'));
  worker.unpin_resolved(ref, first);
  EXPECT_TRUE(session.take_away(ref));
}

TEST(StoreLeaveTest, pins_of_the_dead_are_swept) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref = put(client, std::string(kLarge, 'b'));
  tarn_bytes bytes{};
  Store::Resolved how{};
  ASSERT_EQ(session.store(kWorker).resolve(ref, bytes, how), 0);
  session.kill(kWorker);
  EXPECT_FALSE(session.take_away(ref));
  session.store(kSecond).sweep_dead_member(kWorker, referenced, nullptr);
  EXPECT_TRUE(session.take_away(ref));
}

TEST(StoreLeaveTest, an_object_that_cannot_come_back_is_an_error_and_stays_findable) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref = put(client, std::string(kLarge, 'c'));
  ASSERT_TRUE(session.take_away(ref));
  session.restore_error = TARN_E_STORE_FULL;
  tarn_bytes bytes{};
  EXPECT_EQ(client.get(ref, bytes), TARN_E_STORE_FULL);
  EXPECT_FALSE(session.record(ref).pins.is_pinned());
  session.restore_error = 0;
  ASSERT_EQ(client.get(ref, bytes), 0);
  EXPECT_EQ(text_of(bytes), std::string(kLarge, 'c'));
}

TEST(StoreLeaveTest, what_is_freed_while_away_leaves_neither_its_copy_nor_its_slab) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef small = put(client, "holds the first slab");
  ObjectRef away = put(client, std::string(kLarge, 'd'));
  uint32_t slab = ObjectPlace::unpack(session.record(away).place).slab;
  uint64_t offset = ObjectPlace::unpack(session.record(away).place).offset;
  ASSERT_TRUE(session.take_away(away));
  EXPECT_EQ(client.release(away), 0);
  EXPECT_TRUE(session.copies.empty());
  // Its place has no memory, and is given to nobody.
  for (int i = 0; i < 4; ++i) {
    ObjectRef next = put(client, std::string(kLarge, 'e'));
    ObjectPlace place = ObjectPlace::unpack(session.record(next).place);
    EXPECT_FALSE(place.slab == slab && place.offset < offset + kLarge && offset < place.offset + kLarge);
    EXPECT_EQ(client.release(next), 0);
  }
  EXPECT_TRUE(session.slabs.contains({kClient, slab}));
  EXPECT_EQ(client.release(small), 0);
  client.on_reclaim();
  client.settle();
  EXPECT_EQ(session.slabs_of(kClient), 0u);
}

}  // namespace
}  // namespace tarn::store
