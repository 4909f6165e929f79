// Objects that tarnd has dropped are brought back by whoever says MADE. What it says is hostile: a place that is not its own, bytes that
// are too many or too few, an object that there is not. Expect: nothing is copied but what is right, and each question is
// answered.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "fake_client.hpp"
#include "host.hpp"
#include "shm/member_segment.hpp"
#include "store/object_record.hpp"
#include "tarn/tarn.h"

namespace tarn::testing {
namespace {

using wire::Type;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kSize = 8 * kMiB - 100;

class Make : public ::testing::Test {
 protected:
  void SetUp() override {
    host_.start_daemon();
    client_ = std::make_unique<FakeClient>(host_.socket_path());
    FakeClient::Options options = host_.options();
    options.workers = 0;
    options.flags = TARN_INIT_NO_WORKERS;
    client_->open(options);
    client_->send(Type::kGrow, 2, wire::Grow{0, 1000, 0, 0});
    ASSERT_GE(client_->expect(Type::kGrown).as<wire::Grow>().objects, 1u);
    granted_ = client_->request_slab(16 * kMiB, 3);
    ASSERT_EQ(granted_.type, Type::kSlabGranted);
    slab_ = granted_.as<wire::SlabInfo>();
    record_[0] = store::ObjectState{1, store::Phase::kSealed, 0}.pack();
    record_[1] = store::holder_bit(client_->welcome().member);
    record_[2] = store::kRepeatable;
    record_[5] = store::ObjectPlace{slab_.slab, false, 0}.pack();
    record_[6] = kSize;
    write_record();
    uint32_t count = 1;
    ASSERT_EQ(pwrite(segment(), &count, sizeof count, offsetof(shm::MemberSegment, objects_used)),
              static_cast<ssize_t>(sizeof count));
    place_ = {client_->welcome().member, slab_.slab, 0};
    // More than there is room for, so that the object is dropped; and given back.
    client_->send(Type::kSlabRequest, 4, wire::SlabRequest{50 * kMiB, -1, wire::kSlabMayWait});
    auto other = client_->expect(Type::kSlabGranted).as<wire::SlabInfo>();
    ASSERT_EQ(pins(), store::kRepeatable | store::kAway);
    client_->send(Type::kSlabDrop, 0, wire::SlabId{other.member, other.slab});
  }
  void TearDown() override {
    client_->hang_up();
    EXPECT_EQ(host_.stop_daemon(SIGTERM), 0);
  }

  [[nodiscard]] int segment() const { return client_->segment_file().get(); }
  void write_record() {
    ASSERT_EQ(
        pwrite(segment(), record_, sizeof record_, offsetof(shm::MemberSegment, object_records)),
        static_cast<ssize_t>(sizeof record_));
  }
  [[nodiscard]] uint64_t pins() const {
    uint64_t word = 0;
    EXPECT_EQ(
        pread(segment(), &word, sizeof word, offsetof(shm::MemberSegment, object_records) + 16), 8);
    return word;
  }
  // The type of the answer.
  Type say_made(const wire::Made& made) {
    uint32_t serial = ++serial_;
    client_->send(Type::kMade, serial, made);
    while (auto message = client_->next())
      if (message->serial == serial) return message->type;
    return Type::kRefused;
  }

  Host host_{"[memory]\nlimit = \"64MiB\"\nspill_directory = \"\"\n"};
  std::unique_ptr<FakeClient> client_;
  Message granted_;
  wire::SlabInfo slab_{};
  wire::Extent place_{};
  uint64_t record_[shm::kRecordSize / 8] = {};
  uint32_t serial_ = 100;
};

TEST_F(Make, what_is_right_is_copied_to_the_objects_place) {
  client_->send(Type::kRestore, 50, place_);
  EXPECT_EQ(client_->expect(Type::kMake).as<wire::Make>().how,
            static_cast<uint32_t>(wire::MakeHow::kYou));
  std::vector<uint8_t> bytes(kSize);
  std::iota(bytes.begin(), bytes.end(), uint8_t{3});
  int slab = granted_.descriptors[0].get();
  ASSERT_EQ(pwrite(slab, bytes.data(), kSize, 8 * kMiB), static_cast<ssize_t>(kSize));
  EXPECT_EQ(say_made({place_, slab_.slab, 0, 8 * kMiB, kSize}), Type::kRestored);
  EXPECT_EQ(pins(), store::kRepeatable);
  std::vector<uint8_t> found(kSize);
  ASSERT_EQ(pread(slab, found.data(), kSize, 0), static_cast<ssize_t>(kSize));
  EXPECT_TRUE(found == bytes);
  // It is there: nothing is copied any more.
  ASSERT_EQ(pwrite(slab, "wrong", 5, 8 * kMiB), 5);
  EXPECT_EQ(say_made({place_, slab_.slab, 0, 8 * kMiB, kSize}), Type::kRestored);
  ASSERT_EQ(pread(slab, found.data(), kSize, 0), static_cast<ssize_t>(kSize));
  EXPECT_TRUE(found == bytes);
}

TEST_F(Make, what_is_wrong_is_not) {
  EXPECT_EQ(say_made({place_, slab_.slab, 0, 8 * kMiB, kSize - 1}), Type::kMake) << "too few bytes";
  EXPECT_EQ(say_made({place_, slab_.slab, 0, 8 * kMiB, kSize + 1}), Type::kMake) << "too many";
  EXPECT_EQ(say_made({place_, slab_.slab, 0, 8 * kMiB + 101, kSize}), Type::kMake)
      << "beyond the end";
  EXPECT_EQ(say_made({place_, slab_.slab, 0, (uint64_t{1} << 46) - 1, kSize}), Type::kMake)
      << "far beyond";
  EXPECT_EQ(say_made({place_, slab_.slab + 7, 0, 0, kSize}), Type::kMake) << "no slab";
  EXPECT_EQ(pins(), store::kRepeatable | store::kAway);
  // What is nowhere is not away either.
  EXPECT_EQ(say_made({{place_.member, place_.slab, 4096}, slab_.slab, 0, 8 * kMiB, kSize}),
            Type::kRestored);
  EXPECT_EQ(say_made({{place_.member + 1, place_.slab, 0}, slab_.slab, 0, 8 * kMiB, kSize}),
            Type::kRestored);
  // Who has made nothing is not answered, and the session goes on.
  client_->send(Type::kMade, 200, wire::Made{place_, 0, TARN_E_LOST, 0, 0});
  EXPECT_EQ(say_made({place_, slab_.slab, 0, 8 * kMiB, kSize}), Type::kRestored);
}

TEST_F(Make, what_was_freed_is_gone) {
  record_[1] = store::dead_by(client_->welcome().member);
  record_[2] = store::kRepeatable | store::kAway;
  write_record();
  EXPECT_EQ(say_made({place_, slab_.slab, 0, 8 * kMiB, kSize}), Type::kSlabRefused);
  client_->send(Type::kCopyDrop, 0, place_);
  EXPECT_EQ(say_made({place_, slab_.slab, 0, 8 * kMiB, kSize}), Type::kSlabRefused);
}

}  // namespace
}  // namespace tarn::testing
