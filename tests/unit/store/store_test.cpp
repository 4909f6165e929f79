// Objects are shared between processes: what one puts the others read, and what the last one releases comes back.
// store_crash_test.cpp has what happens when a process dies, store_leave_test.cpp when memory is short.

#include "store/store.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "fake_session.hpp"
#include "os/clock.hpp"

namespace tarn::store {
namespace {

TEST(StoreTest, what_one_puts_all_read_in_place) {
  FakeSession session;
  ObjectRef ref = put(session.store(kClient), "hello");
  tarn_bytes here{};
  tarn_bytes there{};
  ASSERT_EQ(session.store(kClient).get(ref, here), 0);
  ASSERT_EQ(resolve(session.store(kWorker), ref, there), 0) << last_error();
  EXPECT_EQ(text_of(there), "hello");
  EXPECT_NE(here.data, there.data);  // other mappings: no address is shared
  EXPECT_EQ(reinterpret_cast<uintptr_t>(there.data) % 64, 0u);
}

TEST(StoreTest, objects_of_every_size_keep_their_bytes) {
  FakeSession session;
  Store& client = session.store(kClient);
  std::vector<std::pair<ObjectRef, std::string>> objects;
  for (size_t size : {0u, 1u, 64u, 65u, 4096u, 32768u, 32769u, 100'000u, 5'000'000u, 40'000'000u}) {
    std::string text(size, static_cast<char>('a' + objects.size()));
    objects.emplace_back(put(client, text), text);
  }
  for (auto& [ref, text] : objects) {
    tarn_bytes bytes{};
    ASSERT_EQ(resolve(session.store(kWorker), ref, bytes), 0) << last_error();
    EXPECT_EQ(text_of(bytes), text);
    EXPECT_NE(bytes.data, nullptr);
    EXPECT_EQ(client.release(ref), 0);
  }
}

TEST(StoreTest, an_object_lies_where_it_was_told_to_unless_it_is_small) {
  FakeSession session;
  Store& client = session.store(kClient);
  auto node_of = [&](uint64_t size, Placement placement, const ObjectMeta* meta = nullptr) {
    ObjectRef ref{};
    void* data = nullptr;
    EXPECT_EQ(client.create(size, ref, data, meta, placement), 0) << last_error();
    tarn_object_details details{};
    EXPECT_EQ(client.info(ref, details), 0);
    EXPECT_EQ(client.release(ref), 0);
    return details.node;
  };
  ObjectMeta meta;
  meta.label = "that makes it larger than a small one";
  EXPECT_EQ(node_of(SlabHeap::kSmallMax, Placement::kInterleaved), 0);
  EXPECT_EQ(node_of(SlabHeap::kSmallMax, Placement::kInterleaved, &meta), 0);
  EXPECT_EQ(node_of(SlabHeap::kSmallMax + 1, Placement::kInterleaved), TARN_NODE_ALL);
  EXPECT_EQ(node_of(SlabHeap::kSmallMax + 1, Placement::kNear), 0);
  EXPECT_EQ(node_of(5'000'000, Placement::kInterleaved, &meta), TARN_NODE_ALL);
  EXPECT_EQ(node_of(5'000'000, Placement::kNear), 0);
}

// What is kept of one placement is given back before the other is refused memory.
TEST(StoreTest, an_empty_slab_of_another_placement_makes_room) {
  FakeSession session;
  session.slabs_max = 1;
  Store& client = session.store(kClient);
  for (Placement placement : {Placement::kInterleaved, Placement::kNear, Placement::kInterleaved}) {
    ObjectRef ref{};
    void* data = nullptr;
    ASSERT_EQ(client.create(100'000, ref, data, nullptr, placement), 0) << last_error();
    EXPECT_EQ(client.release(ref), 0);
  }
}

TEST(StoreTest, an_unsealed_object_is_its_makers_alone) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref{};
  void* data = nullptr;
  ASSERT_EQ(client.create(100, ref, data), 0);
  memset(data, 'x', 100);
  tarn_bytes bytes{};
  EXPECT_EQ(client.get(ref, bytes), TARN_E_STATE);
  EXPECT_EQ(resolve(session.store(kWorker), ref, bytes), TARN_E_STATE);
  EXPECT_EQ(session.store(kWorker).acquire(ref), TARN_E_GONE);
  ASSERT_EQ(client.seal(ref), 0);
  EXPECT_EQ(client.seal(ref), TARN_E_STATE);
  ASSERT_EQ(client.get(ref, bytes), 0);
  EXPECT_EQ(text_of(bytes), std::string(100, 'x'));
  // And one that is released unsealed is gone.
  ASSERT_EQ(client.create(100, ref, data), 0);
  EXPECT_EQ(client.release(ref), 0);
  EXPECT_EQ(client.get(ref, bytes), TARN_E_NO_OBJECT);
}

// Label and metadata lie behind the payload. Expect: everybody reads them where the payload is, they go with it, and an object
// of 0 bytes has a place if it has them.
TEST(StoreTest, label_and_metadata_go_with_the_object) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  const std::string metadata(4096, 'm');
  ObjectMeta meta{TARN_TYPE_USER + 7, "a label", {metadata.data(), metadata.size()}};
  const void* first_place = nullptr;
  for (int round = 0; round < 3; ++round) {
    std::vector<ObjectRef> refs;
    for (size_t size : {0u, 1u, 100u, 20'000u, 1'000'000u}) {
      std::string text(size, 'p');
      ObjectRef ref{};
      ASSERT_EQ(client.put(text.data(), text.size(), ref, &meta), 0) << last_error();
      ASSERT_EQ(worker.acquire(ref), 0) << last_error();
      for (Store* store : {&client, &worker}) {
        ObjectMeta out;
        tarn_bytes bytes{};
        ASSERT_EQ(store->meta(ref, out), 0) << last_error();
        EXPECT_EQ(out.type, meta.type);
        EXPECT_EQ(out.label, "a label");
        EXPECT_EQ(text_of(out.metadata), metadata);
        ASSERT_EQ(store->get(ref, bytes), 0);
        EXPECT_EQ(text_of(bytes), text);
        EXPECT_EQ(store->get_typed(ref, meta.type, bytes), 0);
        EXPECT_EQ(store->get_typed(ref, TARN_TYPE_STRING, bytes), TARN_E_TYPE);
        EXPECT_STREQ(last_error(), "the object's type is 0x10007, not string");
        if (store == &client && size == 1'000'000u) {
          if (first_place == nullptr) first_place = bytes.data;
          EXPECT_EQ(bytes.data, first_place);  // all of the allocation came back
        }
      }
      tarn_object_details details{};
      ASSERT_EQ(client.info(ref, details), 0);
      EXPECT_EQ(details.type, meta.type);
      EXPECT_EQ(details.meta_bytes, 8u + 8u + 4096u);
      ASSERT_EQ(worker.release(ref), 0);
      refs.push_back(ref);
    }
    for (const ObjectRef& ref : refs) ASSERT_EQ(client.release(ref), 0);
  }
  // One that says nothing has nothing, and a tag alone takes no memory.
  ObjectRef plain = put(client, "plain");
  ObjectMeta out;
  ASSERT_EQ(client.meta(plain, out), 0);
  EXPECT_TRUE(out.type == 0 && out.label.empty() && out.metadata.data == nullptr && out.metadata.size == 0);
  ObjectMeta tag{TARN_TYPE_STRING, {}, {}};
  ObjectRef tagged{};
  tarn_object_details details{};
  ASSERT_EQ(client.put("x", 1, tagged, &tag), 0);
  ASSERT_EQ(client.info(tagged, details), 0);
  EXPECT_EQ(details.meta_bytes, 0u);
}

// A record that says more of its block than its slab has, or lies about an object that is nowhere. Expect: refused.
TEST(StoreTest, metadata_outside_its_slab_is_refused) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  auto& records = *ObjectTable::records(*reinterpret_cast<shm::MemberSegment*>(
      session.processes[kClient]->segments[0].data()));
  std::string text(1000, 'x');
  ObjectMeta meta{0, "label", {}};
  ObjectRef ref{};
  ASSERT_EQ(client.put(text.data(), text.size(), ref, &meta), 0);
  ObjectRecord& record = (&records)[shm::id_index(ref.id)];
  const uint32_t size = record.meta_size;
  tarn_bytes bytes{};
  ObjectMeta out;
  for (uint32_t bad : {UINT32_MAX, 512u << 10, size + 8, 7u}) {
    record.meta_size = bad;
    EXPECT_EQ(client.meta(ref, out), TARN_E_PROTOCOL) << bad;
    EXPECT_EQ(resolve(worker, ref, bytes), bad >= 512u << 10 ? TARN_E_PROTOCOL : 0) << bad;
  }
  record.meta_size = size;
  ASSERT_EQ(client.meta(ref, out), 0);
  ObjectRef empty = put(client, "");
  (&records)[shm::id_index(empty.id)].meta_size = 16;
  EXPECT_EQ(resolve(worker, empty, bytes), TARN_E_PROTOCOL);
  EXPECT_EQ(client.meta(empty, out), TARN_E_PROTOCOL);
}

TEST(StoreTest, what_a_process_holds_can_be_listed) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  EXPECT_EQ(client.list(nullptr, nullptr, 0, 0), 0u);
  ObjectRef first = put(client, "first");
  ObjectRef second = put(client, "second!");
  ObjectRef third = result(worker, "third");
  ASSERT_EQ(own_result(client, third), 0);
  void* data = nullptr;
  ObjectRef unsealed{};
  ASSERT_EQ(client.create(4, unsealed, data), 0);
  ASSERT_EQ(client.release(first), 0);
  ASSERT_EQ(client.keep(second), 0);
  ObjectRef refs[8];
  tarn_object_details details[8];
  ASSERT_EQ(client.list(refs, reinterpret_cast<std::byte*>(details), sizeof details[0], 8), 3u);
  EXPECT_TRUE(refs[0].id == second.id && refs[0].generation == second.generation && refs[0].size == 7);
  EXPECT_TRUE(details[0].bytes == 7 && details[0].is_sealed == 1 && details[0].references == 1);
  EXPECT_TRUE(refs[1].id == unsealed.id && details[1].is_sealed == 0);
  EXPECT_TRUE(refs[2].id == third.id && details[2].owner == kWorker);
  // A list that is too short is filled, and nothing behind it.
  refs[1] = {};
  EXPECT_EQ(client.list(refs, nullptr, 0, 1), 3u);
  EXPECT_EQ(refs[1].generation, 0u);
  // What only a task keeps is not the program's to release.
  ASSERT_EQ(client.release(second), 0);
  EXPECT_EQ(client.list(nullptr, nullptr, 0, 0), 2u);
  EXPECT_FALSE(client.exists(second));
  EXPECT_TRUE(client.exists(third));
  third.offset = 3;
  EXPECT_FALSE(client.exists(third));
  client.unkeep(second);
  EXPECT_EQ(worker.list(nullptr, nullptr, 0, 0), 0u);
}

// A thread lists what the process holds while another puts large objects. Expect: nothing that is still being copied is listed,
// since whoever released it would take the memory from under the copy.
TEST(StoreTest, what_a_put_is_still_copying_is_not_listed) {
  FakeSession session;
  Store& client = session.store(kClient);
  std::atomic<bool> is_done{false};
  std::thread putter([&] {
    std::string text(4'000'000, 'x');
    for (int i = 0; i < 50; ++i) EXPECT_EQ(client.release(put(client, text)), 0);
    is_done = true;
  });
  while (!is_done) {
    ObjectRef refs[2];
    tarn_object_details details[2];
    size_t count = client.list(refs, reinterpret_cast<std::byte*>(details), sizeof details[0], 2);
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(details[i].is_sealed, 1u);
  }
  putter.join();
}

TEST(StoreTest, who_waits_for_a_seal_is_woken_by_it_and_by_the_end_of_the_object) {
  FakeSession session;
  Store& client = session.store(kClient);
  void* data = nullptr;
  for (int end = 0; end < 3; ++end) {
    ObjectRef ref{};
    ASSERT_EQ(client.create(8, ref, data), 0);
    EXPECT_EQ(client.wait_sealed(ref, 0), TARN_E_TIMED_OUT);
    EXPECT_EQ(client.wait_sealed(ref, os::now_ns() + 1'000'000), TARN_E_TIMED_OUT);
    std::vector<int> outcomes(3, 1);
    std::vector<std::thread> waiters;
    for (int& outcome : outcomes) waiters.emplace_back([&] { outcome = client.wait_sealed(ref, os::kForever); });
    usleep(20'000);
    ObjectRef other{};  // that another one is sealed means nothing
    ASSERT_EQ(client.create(8, other, data), 0);
    ASSERT_EQ(client.seal(other), 0);
    usleep(5'000);
    EXPECT_EQ(end == 0 ? client.seal(ref) : end == 1 ? client.abort(ref) : client.release(ref), 0);
    for (std::thread& waiter : waiters) waiter.join();
    for (int outcome : outcomes) EXPECT_EQ(outcome, end == 0 ? 0 : TARN_E_NO_OBJECT);
    EXPECT_EQ(client.wait_sealed(ref, os::kForever), end == 0 ? 0 : TARN_E_NO_OBJECT);
    ASSERT_EQ(client.release(other), 0);
  }
}

TEST(StoreTest, an_unsealed_object_can_be_dropped_with_all_its_references) {
  FakeSession session;
  Store& client = session.store(kClient);
  void* data = nullptr;
  ObjectRef ref{};
  ASSERT_EQ(client.create(100, ref, data), 0);
  ASSERT_EQ(client.ref(ref), 0);
  ASSERT_EQ(client.keep(ref), 0);
  EXPECT_EQ(client.abort(ref), TARN_E_STATE);  // a task's argument
  client.unkeep(ref);
  EXPECT_EQ(client.abort(ref), 0);
  EXPECT_EQ(client.abort(ref), TARN_E_NO_OBJECT);
  EXPECT_EQ(client.release(ref), TARN_E_NO_OBJECT);
  EXPECT_EQ(client.seal(ref), TARN_E_NO_OBJECT);
  ObjectRef sealed = put(client, "sealed");
  EXPECT_EQ(client.abort(sealed), TARN_E_STATE);
  EXPECT_EQ(client.release(sealed), 0);
}

TEST(StoreTest, ranges_count_on_the_whole_object_and_stay_inside_it) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref = put(client, "0123456789");
  ObjectRef slice = ref;
  slice.offset = 3;
  slice.size = 4;
  ASSERT_EQ(client.ref(slice), 0);
  ASSERT_EQ(client.release(ref), 0);
  tarn_bytes bytes{};
  ASSERT_EQ(client.get(slice, bytes), 0);
  EXPECT_EQ(text_of(bytes), "3456");
  for (ObjectRef bad : {ObjectRef{ref.id, ref.generation, 11, 0}, ObjectRef{ref.id, ref.generation, 5, 6},
                        ObjectRef{ref.id, ref.generation, UINT64_MAX, 2}}) {
    EXPECT_EQ(client.get(bad, bytes), TARN_E_ARGUMENT);
    EXPECT_EQ(client.ref(bad), TARN_E_ARGUMENT);
    EXPECT_EQ(resolve(session.store(kWorker), bad, bytes), TARN_E_ARGUMENT);
  }
  EXPECT_EQ(client.release(slice), 0);
  EXPECT_EQ(client.release(slice), TARN_E_NO_OBJECT);
}

TEST(StoreTest, handles_that_mean_nothing_are_refused) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref = put(client, "x");
  tarn_bytes bytes{};
  ObjectRef old = ref;
  old.generation -= 1;
  ObjectRef high{shm::make_id(kClient, shm::kIndexMask), ref.generation, 0, 1};
  ObjectRef nobody{shm::make_id(200, 0), ref.generation, 0, 1};
  ObjectRef nowhere{shm::make_id(1023, 0), ref.generation, 0, 1};
  for (const ObjectRef& bad : {old, high, nobody, nowhere}) {
    EXPECT_EQ(client.get(bad, bytes), TARN_E_NO_OBJECT);
    EXPECT_EQ(resolve(client, bad, bytes), TARN_E_NO_OBJECT);
    EXPECT_EQ(client.ref(bad), TARN_E_NO_OBJECT);
    EXPECT_EQ(client.release(bad), TARN_E_NO_OBJECT);
    EXPECT_EQ(client.adopt(bad), TARN_E_NO_OBJECT);
    EXPECT_LT(client.acquire(bad), 0);
    EXPECT_EQ(client.seal(bad), TARN_E_NO_OBJECT);
  }
  // After release and reuse of the record, the old handle still means nothing.
  ASSERT_EQ(client.release(ref), 0);
  ObjectRef next = put(client, "y");
  EXPECT_EQ(next.id, ref.id);
  EXPECT_EQ(client.get(ref, bytes), TARN_E_NO_OBJECT);
  EXPECT_EQ(resolve(session.store(kWorker), ref, bytes), TARN_E_NO_OBJECT);
}

// There is room for a slab of a size of which only some can hold the object. Expect: it is made, or the store is full.
TEST(StoreTest, the_last_small_slab_holds_what_it_was_asked_for) {
  for (uint64_t size = 64; size <= 300'000; size += size / 8) {
    for (uint64_t largest : {128u << 10, 192u << 10, 256u << 10, 400u << 10}) {
      FakeSession session;
      session.largest = largest;
      ObjectRef ref{};
      void* data = nullptr;
      int r = session.store(kClient).create(size, ref, data);
      EXPECT_TRUE(r == 0 || (r == TARN_E_STORE_FULL && SlabHeap::least(size) > largest)) << size << " of " << largest << ": " << last_error();
    }
  }
}

// A task may need an object for longer than the program does. Expect: the program's releases are counted by themselves.
TEST(StoreTest, who_releases_more_than_he_has_is_told_also_while_a_task_keeps_the_object) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref{};
  tarn_bytes bytes{};
  ASSERT_EQ(client.put("abc", 3, ref), 0);
  ASSERT_EQ(client.keep(ref), 0);
  EXPECT_EQ(client.release(ref), 0);
  EXPECT_EQ(client.release(ref), TARN_E_NO_OBJECT);
  EXPECT_EQ(client.get(ref, bytes), TARN_E_NO_OBJECT);
  EXPECT_EQ(client.keep(ref), TARN_E_NO_OBJECT);
  EXPECT_EQ(resolve(client, ref, bytes), 0);  // the task still reads it
  client.unkeep(ref);
  EXPECT_EQ(resolve(client, ref, bytes), TARN_E_NO_OBJECT);
}

TEST(StoreTest, a_result_passes_to_the_client_and_its_memory_comes_back_to_the_worker) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  std::string text(1'000'000, 'r');
  const void* first_place = nullptr;
  for (int i = 0; i < 20; ++i) {
    ObjectRef ref = result(worker, text);
    tarn_bytes bytes{};
    ASSERT_EQ(own_result(client, ref), 0) << last_error();
    ASSERT_EQ(client.get(ref, bytes), 0);
    EXPECT_EQ(bytes.size, text.size());
    if (first_place == nullptr) first_place = bytes.data;
    EXPECT_EQ(bytes.data, first_place);  // the same memory again and again
    EXPECT_EQ(client.adopt(ref), TARN_E_NO_OBJECT);
    ASSERT_EQ(client.release(ref), 0);
    EXPECT_EQ(client.get(ref, bytes), TARN_E_NO_OBJECT);
  }
  EXPECT_EQ(session.slabs_of(kWorker), 1u);
}

TEST(StoreTest, a_result_that_nobody_asks_for_goes_though_it_cannot_be_mapped) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  ObjectRef ref = result(worker, "for nobody");
  auto slabs = std::move(session.slabs);  // nobody knows where it is
  EXPECT_LT(client.adopt(ref), 0);
  EXPECT_EQ(client.decline(ref), 0) << last_error();
  EXPECT_EQ(client.decline(ref), TARN_E_NO_OBJECT);
  session.slabs = std::move(slabs);
  EXPECT_EQ(result(worker, "the next").id, ref.id) << "its record is not free";
}

TEST(StoreTest, a_discarded_result_leaves_nothing) {
  FakeSession session;
  Store& worker = session.store(kWorker);
  ObjectRef first{};
  void* data = nullptr;
  ASSERT_EQ(worker.make_result(1000, shm::make_id(shm::kClientMember, 0), first, data), 0);
  worker.discard_result(first);
  ObjectRef second{};
  ASSERT_EQ(worker.make_result(1000, shm::make_id(shm::kClientMember, 0), second, data), 0);
  EXPECT_EQ(second.id, first.id);
  EXPECT_NE(second.generation, first.generation);
}

TEST(StoreTest, an_object_lives_while_anybody_holds_it) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  ObjectRef ref = put(client, "shared");
  ASSERT_EQ(worker.acquire(ref), 0) << last_error();
  tarn_object_details details{};
  ASSERT_EQ(client.info(ref, details), 0);
  EXPECT_EQ(details.holders, 2u);
  EXPECT_EQ(details.bytes, 6u);
  EXPECT_EQ(details.owner, kClient);
  ASSERT_EQ(client.release(ref), 0);
  tarn_bytes bytes{};
  ASSERT_EQ(worker.get(ref, bytes), 0);
  EXPECT_EQ(text_of(bytes), "shared");
  ASSERT_EQ(worker.release(ref), 0);
  EXPECT_EQ(worker.acquire(ref), TARN_E_GONE);
  // The record and its memory are the client's again.
  EXPECT_EQ(put(client, "next").id, ref.id);
}

TEST(StoreTest, blocks_are_read_by_others_and_checked_against_their_slab) {
  FakeSession session;
  Block block{};
  ASSERT_EQ(session.store(kClient).alloc_block(300, block), 0);
  memset(block.data, 'b', 300);
  const std::byte* data = nullptr;
  ASSERT_EQ(session.store(kWorker).resolve_block(kClient, block.slab, block.offset, 300, data), 0);
  EXPECT_EQ(memcmp(data, block.data, 300), 0);
  EXPECT_LT(session.store(kWorker).resolve_block(kClient, block.slab, UINT64_MAX - 10, 300, data), 0);
  EXPECT_LT(session.store(kWorker).resolve_block(kClient, 99, 0, 300, data), 0);
  EXPECT_LT(session.store(kWorker).resolve_block(9999, 0, 0, 300, data), 0);
  session.store(kClient).free_block(block, 300);
}

TEST(StoreTest, memory_that_nobody_needs_goes_back_but_some_stays_warm) {
  FakeSession session;
  Store& client = session.store(kClient);
  for (int i = 0; i < 10; ++i) {
    ObjectRef ref{};
    void* data = nullptr;
    ASSERT_EQ(client.create(100u << 20, ref, data), 0);
    ASSERT_EQ(client.release(ref), 0);
  }
  EXPECT_EQ(session.processes[kClient]->requests, 1u);
  std::vector<ObjectRef> refs(20);
  for (ObjectRef& ref : refs) {
    void* data = nullptr;
    ASSERT_EQ(client.create(100u << 20, ref, data), 0);
  }
  EXPECT_EQ(session.slabs_of(kClient), 20u);
  for (const ObjectRef& ref : refs) ASSERT_EQ(client.release(ref), 0);
  EXPECT_LE(session.slabs_of(kClient), 12u);
  EXPECT_GE(session.slabs_of(kClient), 1u);
}

TEST(StoreTest, a_full_store_says_so_and_uses_what_it_kept_before) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef first{};
  void* data = nullptr;
  ASSERT_EQ(client.create(80u << 20, first, data), 0);
  ASSERT_EQ(client.release(first), 0);
  session.slabs_max = 1;
  // The slab that is kept is too small for this one; it makes room.
  ObjectRef second{};
  ASSERT_EQ(client.create(90u << 20, second, data), 0) << last_error();
  ObjectRef third{};
  EXPECT_EQ(client.create(90u << 20, third, data), TARN_E_STORE_FULL);
  ASSERT_EQ(client.release(second), 0);
  ASSERT_EQ(client.create(90u << 20, third, data), 0);
  ASSERT_EQ(client.release(third), 0);
  // Small ones break into it when there is nothing else.
  ObjectRef small = put(client, "small");
  EXPECT_EQ(client.release(small), 0);
}

TEST(StoreTest, asks_for_less_when_a_generous_slab_is_refused) {
  FakeSession session;
  session.largest = 1u << 20;
  ObjectRef ref = put(session.store(kClient), "fits");
  EXPECT_EQ(session.store(kClient).release(ref), 0);
}

TEST(StoreTest, more_objects_than_are_backed_make_it_grow) {
  FakeSession session;
  Store& client = session.store(kClient);
  std::vector<ObjectRef> refs;
  for (uint32_t i = 0; i < shm::kObjectsAtStart * 2 + 1; ++i) refs.push_back(put(client, "x"));
  EXPECT_EQ(session.processes[kClient]->grown_to, shm::kObjectsAtStart * 4);
  for (const ObjectRef& ref : refs) ASSERT_EQ(client.release(ref), 0);
}

// ---- Files

Fd file_of(const std::string& text) {
  Fd fd;
  EXPECT_EQ(os::memfd_create("file", text.size(), fd), 0);
  EXPECT_EQ(pwrite(fd.get(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  return fd;
}

TEST(StoreFileTest, a_mapped_file_is_an_object_like_any_other) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef ref{};
  ASSERT_EQ(client.map_file(file_of("the file's bytes"), 16, ref), 0) << last_error();
  tarn_bytes bytes{};
  ASSERT_EQ(client.get(ref, bytes), 0);
  EXPECT_EQ(text_of(bytes), "the file's bytes");
  ObjectRef slice = ref;
  slice.offset = 4;
  slice.size = 4;
  ASSERT_EQ(resolve(session.store(kWorker), slice, bytes), 0);
  EXPECT_EQ(text_of(bytes), "file");
  tarn_object_details details{};
  ASSERT_EQ(client.info(ref, details), 0);
  EXPECT_EQ(details.is_file, 1u);
  EXPECT_EQ(details.node, -1);
  ASSERT_EQ(client.release(ref), 0);
  EXPECT_TRUE(session.slabs.empty());
}

TEST(StoreFileTest, a_file_that_shrinks_under_a_reader_is_changed_for_everybody) {
  FakeSession session;
  Store& client = session.store(kClient);
  Store& worker = session.store(kWorker);
  Fd file = file_of(std::string(3 * os::kPageSize, 'f'));
  Fd truncator{fcntl(file.get(), F_DUPFD_CLOEXEC, 3)};
  ObjectRef ref{};
  ASSERT_EQ(client.map_file(std::move(file), 3 * os::kPageSize, ref), 0);
  tarn_bytes bytes{};
  ASSERT_EQ(resolve(worker, ref, bytes), 0);
  ASSERT_EQ(ftruncate(truncator.get(), os::kPageSize), 0);
  EXPECT_FALSE(worker.take_file_fault());
  EXPECT_EQ(static_cast<const volatile char*>(bytes.data)[2 * os::kPageSize], 0);
  EXPECT_TRUE(worker.take_file_fault());
  EXPECT_FALSE(worker.take_file_fault());
  EXPECT_EQ(resolve(worker, ref, bytes), TARN_E_FILE_CHANGED);
  EXPECT_EQ(client.get(ref, bytes), TARN_E_FILE_CHANGED);
  EXPECT_EQ(resolve(session.store(kSecond), ref, bytes), TARN_E_FILE_CHANGED);
  EXPECT_EQ(client.release(ref), 0);
}

TEST(StoreFileTest, a_file_that_shrank_before_it_was_mapped_is_refused) {
  FakeSession session;
  ObjectRef ref{};
  EXPECT_EQ(session.store(kClient).map_file(file_of("short"), 4096, ref), TARN_E_FILE_CHANGED);
  EXPECT_TRUE(session.slabs.empty());
}

// ---- Threads

TEST(StoreTest, threads_of_one_process_share_it) {
  FakeSession session;
  Store& client = session.store(kClient);
  ObjectRef shared = put(client, "shared");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        std::string text(1 + static_cast<size_t>(i * 37 + t) % 30'000, static_cast<char>('a' + t));
        ObjectRef ref = put(client, text);
        tarn_bytes bytes{};
        if (client.ref(shared) != 0 || client.get(ref, bytes) != 0 || text_of(bytes) != text ||
            client.release(ref) != 0 || client.release(shared) != 0)
          ADD_FAILURE() << last_error();
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(client.release(shared), 0);
}

}  // namespace
}  // namespace tarn::store
