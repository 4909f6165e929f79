// What memory cannot hold goes to a disk and comes back as it was, or with an error; and nothing of it stays there.

#include "spill.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/memory.hpp"
#include "support/huge_pages.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uid_t kUser = 7;

// What this thread has computed.
int64_t cpu_ns() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// A disk that tests may write to, with a loop to wait in. Once for slabs of small pages, and once for huge ones, of which tests need
// to have none: what is not huge after all moves all the same.
class SpillTest : public testing::TestWithParam<bool> {
 protected:
  SpillTest() : disk("the disk", "bytes", 256 * kMiB, TARN_E_QUOTA, nullptr), spill(std::make_unique<Spill>(loop, "/var/tmp", keeper)) {}

  ~SpillTest() override {
    if (spill != nullptr) wait_until([this] { return spill->idle(); });
    spill.reset();
    EXPECT_EQ(disk.used(), 0u);
  }

  template <class Condition>
  void wait_until(Condition condition) {
    int64_t end = os::now_ns() + 20'000'000'000;
    while (!condition() && os::now_ns() < end)
      if (!loop.run_ready()) usleep(500);
    ASSERT_TRUE(condition()) << "nothing came of it in 20 s";
  }

  // A slab of `size` random bytes.
  SharedFd make_slab(uint64_t size, std::string& bytes) {
    Fd fd;
    EXPECT_EQ(os::memfd_create("slab", size, fd), 0);
    bytes.resize(size);
    std::independent_bits_engine<std::mt19937_64, 64, uint64_t> random(size);
    for (size_t i = 0; i + 8 <= size; i += 8) {
      uint64_t word = random();
      memcpy(&bytes[i], &word, 8);
    }
    EXPECT_EQ(pwrite(fd.get(), bytes.data(), size, 0), static_cast<ssize_t>(size));
    return share(std::move(fd));
  }

  static std::string content(const SharedFd& file, uint64_t begin, uint64_t size) {
    std::string bytes(size, '\0');
    EXPECT_EQ(pread(file->get(), bytes.data(), size, static_cast<off_t>(begin)), static_cast<ssize_t>(size));
    return bytes;
  }

  static uint64_t memory_of(const SharedFd& file) {
    struct stat status;
    EXPECT_EQ(fstat(file->get(), &status), 0);
    return static_cast<uint64_t>(status.st_blocks) * 512;
  }

  Spill::Done note(int& code) {
    code = 1;
    return [&code, this](int result, const std::string& text) {
      code = result;
      last_text = text;
    };
  }

  std::shared_ptr<Spill::Copy> save(const SharedFd& slab, uint64_t begin, uint64_t size) {
    std::shared_ptr<Spill::Copy> copy;
    int code;
    EXPECT_EQ(spill->save(kUser, wanted, {slab, begin, size, GetParam()}, disk, Spill::For::kReturn, note(code), copy), 0) << last_error();
    wait_until([&] { return code != 1; });
    EXPECT_EQ(code, 0) << last_text;
    return copy;
  }

  int load(std::shared_ptr<Spill::Copy> copy, const SharedFd& slab, uint64_t begin, uint64_t size) {
    int code;
    spill->load(kUser, wanted, std::move(copy), {slab, begin, size, GetParam()}, note(code));
    wait_until([&] { return code != 1; });
    return code;
  }

  int discard(const SharedFd& slab, uint64_t begin, uint64_t size) {
    int code;
    spill->discard(kUser, wanted, {slab, begin, size}, note(code));
    wait_until([&] { return code != 1; });
    return code;
  }

  // The files without a name that this process has in /var/tmp.
  static std::vector<int> files_on_disk() {
    std::vector<int> found;
    DIR* directory = opendir("/proc/self/fd");
    while (dirent* entry = readdir(directory)) {
      char target[PATH_MAX] = {};
      std::string path = std::string("/proc/self/fd/") + entry->d_name;
      if (readlink(path.c_str(), target, sizeof target - 1) > 0 && std::string_view(target).starts_with("/var/tmp/"))
        found.push_back(atoi(entry->d_name));
    }
    closedir(directory);
    return found;
  }

  Keeper keeper{0};
  Loop loop;
  Budget disk;
  std::unique_ptr<Spill> spill;
  std::shared_ptr<bool> wanted = std::make_shared<bool>(true);
  std::string last_text;
};

TEST_P(SpillTest, what_leaves_memory_comes_back_as_it_was_to_its_place) {
  for (uint64_t size : {uint64_t{4096}, Spill::kPiece, Spill::kPiece + 4096, 37 * kMiB + 8192}) {
    std::string bytes;
    SharedFd slab = make_slab(size + 2 * 4096, bytes);
    auto copy = save(slab, 4096, size);
    EXPECT_EQ(disk.used(), size);
    ASSERT_EQ(discard(slab, 4096, size), 0) << last_text;
    EXPECT_LE(memory_of(slab), 2 * 4096u);
    EXPECT_EQ(content(slab, 4096, 100), std::string(100, '\0'));
    ASSERT_EQ(load(copy, slab, 4096, size), 0) << last_text;
    EXPECT_TRUE(content(slab, 0, size + 2 * 4096) == bytes);
    copy.reset();
    wait_until([this] { return spill->idle(); });
    EXPECT_EQ(disk.used(), 0u);
  }
}

TEST_P(SpillTest, what_lay_in_huge_pages_does_again_and_takes_no_more_memory) {
  constexpr uint64_t kSize = 21 * kMiB + 4096;
  uint64_t page_size = os::huge_page_size();
  Fd fd;
  ASSERT_EQ(os::memfd_create("slab", kSize, fd), 0);
  SharedFd slab = share(std::move(fd));
  os::Mapping mapping;
  ASSERT_EQ(os::Mapping::map(*slab, kSize, os::Access::kReadWrite, mapping), 0);
  if (page_size != 0) (void)os::populate_huge(mapping, page_size);
  uint64_t huge = test::bytes_in_huge_pages(mapping.data());
  for (uint64_t at = 0; at < kSize; ++at) mapping.data()[at] = static_cast<std::byte>(at / 4096 * 7);
  auto copy = save(slab, 0, kSize);
  ASSERT_EQ(discard(slab, 0, kSize), 0) << last_text;
  EXPECT_EQ(memory_of(slab), 0u);
  ASSERT_EQ(load(copy, slab, 0, kSize), 0) << last_text;
  EXPECT_EQ(memory_of(slab), kSize);
  for (uint64_t at = 0; at < kSize; at += 511) ASSERT_EQ(mapping.data()[at], static_cast<std::byte>(at / 4096 * 7)) << at;
  if (GetParam()) {
    EXPECT_EQ(test::bytes_in_huge_pages(mapping.data()), huge);
  }
  printf("%llu of %llu bytes in huge pages\n", static_cast<unsigned long long>(huge), static_cast<unsigned long long>(kSize));
}

// The owner of the slab lies, and writes while it is copied. Expect: he has his bytes back, from one time or another, or is told that they
// are lost; nobody else notices.
TEST_P(SpillTest, bytes_that_change_while_they_are_saved_are_their_writers_loss) {
  constexpr uint64_t kSize = 16 * kMiB;
  std::string bytes;
  SharedFd slab = make_slab(kSize, bytes);
  std::string honest_bytes;
  SharedFd honest = make_slab(8 * kMiB, honest_bytes);
  os::Mapping mapping;
  ASSERT_EQ(os::Mapping::map(*slab, kSize, os::Access::kReadWrite, mapping), 0);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::mt19937_64 random(1);
    while (!stop) std::atomic_ref(reinterpret_cast<uint8_t&>(mapping.data()[random() % kSize])).fetch_add(1);
  });
  int lost = 0;
  for (int i = 0; i < 5; ++i) {
    auto copy = save(slab, 0, kSize);
    auto other = save(honest, 0, 8 * kMiB);
    int r = load(copy, slab, 0, kSize);
    EXPECT_TRUE(r == 0 || r == TARN_E_LOST) << r << " " << last_text;
    lost += r == TARN_E_LOST;
    EXPECT_EQ(load(other, honest, 0, 8 * kMiB), 0) << last_text;
  }
  stop = true;
  writer.join();
  EXPECT_TRUE(content(honest, 0, 8 * kMiB) == honest_bytes);
  printf("lost %d of 5\n", lost);
}

TEST_P(SpillTest, nothing_stays_on_the_disk_of_what_is_dropped) {
  std::string bytes;
  SharedFd slab = make_slab(64 * kMiB, bytes);
  std::vector<std::shared_ptr<Spill::Copy>> copies;
  for (uint64_t i = 0; i < 8; ++i) copies.push_back(save(slab, i * 8 * kMiB, 8 * kMiB));
  auto blocks = [] {
    uint64_t sum = 0;
    for (int fd : files_on_disk()) {
      struct stat status;
      if (fstat(fd, &status) == 0) sum += static_cast<uint64_t>(status.st_blocks) * 512;
    }
    return sum;
  };
  EXPECT_GE(blocks(), 64 * kMiB);
  for (size_t i = 0; i < 8; i += 2) copies[i].reset();
  wait_until([this] { return spill->idle(); });
  EXPECT_LE(blocks(), 34 * kMiB);
  EXPECT_EQ(disk.used(), 32 * kMiB);
  // The others are what they were.
  ASSERT_EQ(load(copies[3], slab, 0, 8 * kMiB), 0) << last_text;
  EXPECT_TRUE(content(slab, 0, 8 * kMiB) == bytes.substr(24 * kMiB, 8 * kMiB));
  copies.clear();
  wait_until([this] { return spill->idle(); });
  EXPECT_LE(blocks(), 1 * kMiB);
}

TEST_P(SpillTest, a_damaged_copy_is_an_error_and_no_object) {
  std::string bytes;
  SharedFd slab = make_slab(8 * kMiB, bytes);
  auto copy = save(slab, 0, 8 * kMiB);
  for (int fd : files_on_disk()) {
    alignas(4096) static char garbage[4096];
    memset(garbage, 'g', sizeof garbage);
    EXPECT_EQ(pwrite(fd, garbage, sizeof garbage, 5 * static_cast<off_t>(kMiB)), 4096);
  }
  ASSERT_EQ(discard(slab, 0, 8 * kMiB), 0);
  EXPECT_EQ(load(copy, slab, 0, 8 * kMiB), TARN_E_LOST);
  EXPECT_NE(last_text.find("checksum"), std::string::npos) << last_text;
}

TEST_P(SpillTest, a_quota_is_kept_and_named) {
  std::string bytes;
  SharedFd slab = make_slab(1 * kMiB, bytes);
  Budget little("user 7", "bytes", 512 * 1024, TARN_E_QUOTA, &disk);
  std::shared_ptr<Spill::Copy> copy;
  int code;
  EXPECT_EQ(spill->save(kUser, wanted, {slab, 0, kMiB}, little, Spill::For::kNew, note(code), copy), TARN_E_QUOTA);
  EXPECT_NE(std::string(last_error()).find("its limit allows 512.0 KiB in all"), std::string::npos) << last_error();
  EXPECT_EQ(copy, nullptr);
}

TEST_P(SpillTest, a_kept_copy_serves_again_and_goes_when_others_need_the_room) {
  std::string bytes;
  SharedFd slab = make_slab(64 * kMiB, bytes);
  std::vector<std::weak_ptr<Spill::Copy>> kept;
  for (int i = 0; i < 3; ++i) {
    auto copy = save(slab, 0, 64 * kMiB);
    kept.push_back(copy);
    spill->keep(std::move(copy));
  }
  EXPECT_EQ(spill->bytes_kept(), 192 * kMiB);
  EXPECT_EQ(disk.used(), 192 * kMiB);
  auto again = spill->take_back(kept[2]);
  ASSERT_NE(again, nullptr);
  EXPECT_EQ(spill->take_back(kept[2]), nullptr) << "it is the caller's";
  ASSERT_EQ(discard(slab, 0, 64 * kMiB), 0);
  ASSERT_EQ(load(again, slab, 0, 64 * kMiB), 0) << last_text;
  EXPECT_TRUE(content(slab, 0, 64 * kMiB) == bytes);
  spill->keep(std::move(again));

  // 64 MiB are free, a quarter of the disk: the oldest make room, twice what is asked for.
  auto other = save(slab, 0, 32 * kMiB);
  EXPECT_EQ(spill->take_back(kept[0]), nullptr);
  EXPECT_EQ(spill->bytes_kept(), 128 * kMiB);
  EXPECT_NE(spill->take_back(kept[1]), nullptr);
  wait_until([this] { return spill->idle(); });
  EXPECT_EQ(disk.used(), 96 * kMiB);
}

TEST_P(SpillTest, copies_that_are_kept_never_fill_the_disk) {
  std::string bytes;
  SharedFd slab = make_slab(32 * kMiB, bytes);
  for (int i = 0; i < 20; ++i) {
    spill->keep(save(slab, 0, 32 * kMiB));  // 640 MiB on a disk of 256
    EXPECT_LE(disk.used(), 256 * kMiB);
  }
  EXPECT_GE(spill->bytes_kept(), 64 * kMiB);
}

TEST_P(SpillTest, a_user_without_room_costs_no_other_a_copy) {
  std::string bytes;
  SharedFd slab = make_slab(4 * kMiB, bytes);
  Budget others("user 8", "bytes", 16 * kMiB, TARN_E_QUOTA, &disk);
  auto copy = save(slab, 0, 4 * kMiB);
  std::weak_ptr<Spill::Copy> kept = copy;
  spill->keep(std::move(copy));
  std::shared_ptr<Spill::Copy> theirs;
  int code;
  EXPECT_EQ(spill->save(kUser, wanted, {slab, 0, 4 * kMiB}, others, Spill::For::kReturn, note(code), theirs), 0);
  wait_until([&] { return code != 1; });
  std::shared_ptr<Spill::Copy> more;
  Budget small("user 9", "bytes", 1 * kMiB, TARN_E_QUOTA, &disk);
  EXPECT_EQ(spill->save(kUser, wanted, {slab, 0, 2 * kMiB}, small, Spill::For::kNew, note(code), more), TARN_E_QUOTA);
  EXPECT_NE(spill->take_back(kept), nullptr);
  theirs.reset();
  wait_until([this] { return spill->idle(); });
}

TEST_P(SpillTest, some_room_is_set_aside_for_the_exchange) {
  std::string bytes;
  SharedFd slab = make_slab(8 * kMiB, bytes);
  std::vector<std::shared_ptr<Spill::Copy>> copies;
  auto try_save = [&](Spill::For why) {
    int code;
    std::shared_ptr<Spill::Copy> copy;
    if (int r = spill->save(kUser, wanted, {slab, 0, 8 * kMiB}, disk, why, note(code), copy); r < 0) return r;
    wait_until([&] { return code != 1; });
    copies.push_back(std::move(copy));
    return code;
  };
  while (try_save(Spill::For::kNew) == 0) ASSERT_LE(copies.size(), 32u);
  EXPECT_EQ(disk.used(), 240 * kMiB) << "two of the largest are left";
  EXPECT_EQ(try_save(Spill::For::kReturn), 0) << last_error();
  EXPECT_EQ(try_save(Spill::For::kReturn), 0) << last_error();
  EXPECT_EQ(try_save(Spill::For::kReturn), TARN_E_QUOTA);
}

// Blocks are had in advance, but none that nobody may use.
TEST_P(SpillTest, no_more_of_the_disk_is_taken_than_the_limit) {
  std::string bytes;
  SharedFd slab = make_slab(1 * kMiB, bytes);
  Budget small("the host", "bytes on disk", 8 * kMiB, TARN_E_STORE_FULL, nullptr);
  std::shared_ptr<Spill::Copy> copy;
  int code;
  ASSERT_EQ(spill->save(kUser, wanted, {slab, 0, kMiB}, small, Spill::For::kNew, note(code), copy), 0);
  wait_until([&] { return code != 1; });
  uint64_t taken = 0;
  for (int fd : files_on_disk()) {
    struct stat status;
    if (fstat(fd, &status) == 0) taken += static_cast<uint64_t>(status.st_blocks) * 512;
  }
  EXPECT_LE(taken, 8 * kMiB + 64 * 1024);
  copy.reset();
  wait_until([this] { return spill->idle(); });
}

TEST_P(SpillTest, copies_that_are_freed_in_any_order_leave_the_others_whole) {
  constexpr uint64_t kSize = 64 * 1024;
  std::string bytes;
  SharedFd slab = make_slab(64 * kSize, bytes);
  std::vector<std::shared_ptr<Spill::Copy>> copies(64);
  int done = 0;
  for (uint64_t i = 0; i < 64; ++i)
    ASSERT_EQ(spill->save(kUser, wanted, {slab, i * kSize, kSize}, disk, Spill::For::kNew,
                          [&](int, const std::string&) { ++done; }, copies[i]),
              0);
  wait_until([&] { return done == 64; });
  for (size_t i = 1; i < 20; ++i) copies[i].reset();       // upwards
  for (size_t i = 60; i > 40; --i) copies[i].reset();      // downwards
  for (size_t i = 21; i < 40; i += 2) copies[i].reset();   // every other one
  wait_until([this] { return spill->idle(); });
  EXPECT_EQ(disk.used(), (64 - 19 - 20 - 10) * kSize);
  ASSERT_EQ(discard(slab, 0, 64 * kSize), 0);
  for (uint64_t i = 0; i < 64; ++i) {
    if (copies[i] == nullptr) continue;
    ASSERT_EQ(load(copies[i], slab, i * kSize, kSize), 0) << i << last_text;
    EXPECT_TRUE(content(slab, i * kSize, kSize) == bytes.substr(i * kSize, kSize)) << i;
  }
}

TEST_P(SpillTest, a_directory_that_comes_back_is_used) {
  std::string folder = "/var/tmp/tarn-spill-test-" + std::to_string(getpid());
  Spill late(loop, folder, keeper);
  EXPECT_NE(late.why_off(), nullptr);
  ASSERT_EQ(mkdir(folder.c_str(), 0700), 0);
  int64_t end = os::now_ns() + 10'000'000'000;
  while (late.why_off() != nullptr && os::now_ns() < end) usleep(50'000);
  EXPECT_EQ(late.why_off(), nullptr);
  ASSERT_EQ(rmdir(folder.c_str()), 0);
}

TEST_P(SpillTest, what_others_keep_costs_a_user_nothing) {
  // User 8 keeps 20 000 copies; user 9, who keeps none, has his part of the disk nearly full, and looks for room each time.
  constexpr int kKept = 20'000;
  constexpr int kSaves = 300;
  std::string bytes;
  SharedFd slab = make_slab(4096, bytes);
  Budget of_8("user 8", "bytes", 200 * kMiB, TARN_E_QUOTA, &disk);
  Budget of_9("user 9", "bytes", 5 * 4096 * kSaves / 4, TARN_E_QUOTA, &disk);
  auto save_for = [&](Budget& budget, int count) {
    std::vector<std::shared_ptr<Spill::Copy>> copies(static_cast<size_t>(count));
    int done = 0;
    int64_t begin = cpu_ns();
    for (auto& copy : copies)
      EXPECT_EQ(spill->save(kUser, wanted, {slab, 0, 4096}, budget, Spill::For::kNew, [&](int, const std::string&) { ++done; }, copy), 0);
    int64_t took = cpu_ns() - begin;
    wait_until([&] { return done == count; });
    return std::pair(std::move(copies), took);
  };
  auto filled = save_for(of_9, kSaves).first;
  filled.resize(kSaves * 9 / 10);  // less than a quarter is free from here on
  wait_until([this] { return spill->idle(); });
  auto alone = save_for(of_9, kSaves / 10).second;
  wait_until([this] { return spill->idle(); });
  for (auto& copy : save_for(of_8, kKept).first) spill->keep(std::move(copy));
  auto beside = save_for(of_9, kSaves / 10).second;
  EXPECT_EQ(spill->bytes_kept(), kKept * 4096u) << "none of them is his";
  EXPECT_LT(beside, 10 * alone + 30'000'000) << "of " << kSaves / 10 << " saves; alone it was " << alone << " ns";
  filled.clear();
  wait_until([this] { return spill->idle(); });
  spill.reset();
}

TEST_P(SpillTest, pages_go_before_the_many_copies_that_their_user_has_freed) {
  constexpr int kCopies = 20'000;
  std::string bytes;
  SharedFd slab = make_slab(8192, bytes);
  std::vector<std::shared_ptr<Spill::Copy>> copies(kCopies);
  int done = 0;
  for (auto& copy : copies)
    ASSERT_EQ(spill->save(kUser, wanted, {slab, 0, 4096}, disk, Spill::For::kNew, [&](int, const std::string&) { ++done; }, copy), 0);
  wait_until([&] { return done == kCopies; });
  for (size_t i = 0; i < copies.size(); i += 2) copies[i].reset();  // none beside another, which would be one piece
  ASSERT_EQ(discard(slab, 4096, 4096), 0) << last_text;
  EXPECT_GT(disk.used(), kCopies * 3 / 4 * 4096u) << "it waited until the room of most copies was given up";
}

TEST_P(SpillTest, nobody_is_told_of_what_nobody_wants_any_more) {
  std::string bytes;
  SharedFd slab = make_slab(32 * kMiB, bytes);
  std::shared_ptr<Spill::Copy> copy;
  int code;
  ASSERT_EQ(spill->save(kUser, wanted, {slab, 0, 32 * kMiB}, disk, Spill::For::kReturn, note(code), copy), 0);
  wanted.reset();
  copy.reset();
  wait_until([this] { return spill->idle(); });
  EXPECT_EQ(code, 1);
  EXPECT_EQ(disk.used(), 0u);
}

TEST_P(SpillTest, places_that_cannot_be_used_say_why) {
  EXPECT_EQ(spill->why_off(), nullptr) << spill->why_off();
  EXPECT_NE(std::string(Spill(loop, "", keeper).why_off()).find("configured"), std::string::npos);
  EXPECT_NE(std::string(Spill(loop, "/nowhere/at all", keeper).why_off()).find("No such file"), std::string::npos);
  EXPECT_NE(std::string(Spill(loop, "/dev/shm", keeper).why_off()).find("memory itself"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(OfPages, SpillTest, testing::Bool(), [](const auto& one) { return one.param ? "Huge" : "Small"; });

}  // namespace
}  // namespace tarn::daemon
