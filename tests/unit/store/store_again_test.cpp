// A result is dropped and made again. What could go wrong: it is made of something that is gone; bytes are read that are not
// there; what cannot be made again keeps a pin, or a reference.
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "fake_session.hpp"

namespace tarn::store {
namespace {

constexpr uint64_t kLarge = 100'000;
constexpr uint64_t kRecipe = ObjectPlace{1, false, 640}.pack();

ObjectRef repeatable(Store& store, const std::string& text) {
  ObjectRef ref{};
  void* data = nullptr;
  EXPECT_EQ(store.make_result(text.size(), shm::make_id(shm::kClientMember, 5), ref, data, kRecipe),
            0)
      << last_error();
  memcpy(data, text.data(), text.size());
  EXPECT_EQ(store.publish_result(ref), 0);
  return ref;
}

// Makes an object of these bytes in its own memory, or fails with that code.
struct TestMaker final : Maker {
  TestMaker(Store& of, std::string text) : store(of), bytes(std::move(text)) {}
  int make_again(const ObjectRef& ref, const ObjectRecord& record, int64_t) override {
    ++asked;
    EXPECT_EQ(record.recipe, kRecipe);
    EXPECT_EQ(record.link.load(kRelaxed), shm::make_id(shm::kClientMember, 5));
    if (code < 0) {
      store.give_up(ref, record, code);
      return fail(code, "it cannot be made");
    }
    Block block;
    EXPECT_EQ(store.alloc_block(bytes.size(), block), 0);
    memcpy(block.data, bytes.data(), bytes.size());
    int r = store.bring(ref, record, block, bytes.size());
    store.free_block(block, bytes.size());
    return r;
  }
  int code_of_wait() const override {
    return wait_code == 0 ? 0 : fail(wait_code, "who waits is to end");
  }
  void before_wait() override { ++waits; }
  void after_wait() override { --waits, ++waited; }

  Store& store;
  std::string bytes;
  int code = 0;
  int asked = 0;
  int wait_code = 0;
  int waits = 0;
  int waited = 0;
};

TEST(StoreAgainTest, who_reads_it_has_it_made) {
  FakeSession session;
  std::string text(kLarge, 'r');
  ObjectRef ref = repeatable(session.store(kWorker), text);
  TestMaker maker(session.store(kSecond), text);
  session.store(kSecond).set_maker(maker);
  ASSERT_TRUE(session.take_away(ref, true));
  tarn_bytes bytes{};
  Store::Resolved how;
  ASSERT_EQ(session.store(kSecond).resolve(ref, bytes, how), 0) << last_error();
  EXPECT_EQ(text_of(bytes), text);
  EXPECT_EQ(maker.asked, 1);
  // It stays while it is read.
  EXPECT_FALSE(session.take_away(ref, true));
  session.store(kSecond).unpin_resolved(ref, how);
  EXPECT_TRUE(session.take_away(ref, true));
}

TEST(StoreAgainTest, what_cannot_be_made_leaves_no_pin) {
  FakeSession session;
  ObjectRef ref = repeatable(session.store(kWorker), std::string(kLarge, 'r'));
  TestMaker maker(session.store(kSecond), "");
  maker.code = TARN_E_LOST;
  session.store(kSecond).set_maker(maker);
  ASSERT_TRUE(session.take_away(ref, true));
  tarn_bytes bytes{};
  Store::Resolved how;
  EXPECT_EQ(session.store(kSecond).resolve(ref, bytes, how), TARN_E_LOST);
  EXPECT_EQ(session.given_up, TARN_E_LOST);
  EXPECT_FALSE(session.record(ref).pins.is_pinned());
  // Who has nobody to make it is told so.
  EXPECT_EQ(session.store(kWorker).resolve(ref, bytes, how), TARN_E_LOST);
  EXPECT_FALSE(session.record(ref).pins.is_pinned());
}

TEST(StoreAgainTest, what_it_was_made_of_goes_when_nobody_needs_it) {
  FakeSession session;
  std::string text(kLarge, 'r');
  Store& client = session.store(kClient);
  ObjectRef ref = repeatable(session.store(kWorker), text);
  ASSERT_EQ(client.adopt(ref), 0);
  TestMaker maker(client, text);
  client.set_maker(maker);
  // Not while it is away, nor while another process has it pinned, which may be making it.
  ASSERT_TRUE(session.take_away(ref, true));
  EXPECT_FALSE(client.end_repeats(ref));
  tarn_bytes bytes{};
  ASSERT_EQ(client.get_kept(ref, bytes), 0) << last_error();
  EXPECT_TRUE(session.record(ref).pins.pin(kSecond));
  EXPECT_FALSE(client.end_repeats(ref));
  session.record(ref).pins.unpin(kSecond);
  // Its own pin is none of those.
  EXPECT_TRUE(client.end_repeats(ref));
  EXPECT_TRUE(client.end_repeats(ref));
  EXPECT_FALSE(session.record(ref).pins.is_repeatable());
  client.unkeep(ref);
  EXPECT_TRUE(client.end_repeats(ref)) << "it is gone";
}

TEST(StoreAgainTest, who_waits_for_another_looks_whether_he_is_to_go_on) {
  FakeSession session;
  std::string text(kLarge, 'r');
  ObjectRef ref = repeatable(session.store(kWorker), text);
  TestMaker maker(session.store(kSecond), text);
  session.store(kSecond).set_maker(maker);
  ASSERT_TRUE(session.take_away(ref, true));
  session.others_at_it = 3;
  tarn_bytes bytes{};
  Store::Resolved how;
  ASSERT_EQ(session.store(kSecond).resolve(ref, bytes, how), 0) << last_error();
  EXPECT_EQ(text_of(bytes), text);
  EXPECT_EQ(maker.asked, 1);
  EXPECT_EQ(maker.waits, 0);
  EXPECT_EQ(maker.waited, 3);
  session.store(kSecond).unpin_resolved(ref, how);
  ASSERT_TRUE(session.take_away(ref, true));
  session.others_at_it = 3;
  maker.wait_code = TARN_E_CANCELLED;
  EXPECT_EQ(session.store(kSecond).resolve(ref, bytes, how), TARN_E_CANCELLED);
  EXPECT_EQ(maker.asked, 1);
  EXPECT_FALSE(session.record(ref).pins.is_pinned());
}

TEST(StoreAgainTest, small_results_have_no_recipe) {
  FakeSession session;
  ObjectRef ref = repeatable(session.store(kWorker), std::string(kStaysMax, 's'));
  EXPECT_TRUE(session.store(kClient).end_repeats(ref));
}

}  // namespace
}  // namespace tarn::store
