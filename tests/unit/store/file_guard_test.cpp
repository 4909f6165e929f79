// Reading a mapped file that somebody truncated kills a process, unless the guard steps in. It must
// step in for its own mappings only: any other SIGBUS still belongs to the program.

#include "store/file_guard.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>

#include "base/fd.hpp"
#include "os/memory.hpp"

namespace tarn::store {
namespace {

constexpr uint64_t kSize = 3 * os::kPageSize;

// A mapped file that can be truncated.
struct MappedFile {
  MappedFile() {
    EXPECT_EQ(os::memfd_create("shrinking", kSize, fd), 0);
    EXPECT_EQ(os::memfd_reserve(fd, 0, kSize), 0);
    EXPECT_EQ(pwrite(fd.get(), "abc", 3, os::kPageSize), 3);
    EXPECT_EQ(os::Mapping::map(fd, kSize, os::Access::kRead, map), 0);
  }
  [[nodiscard]] int read(uint64_t at) const {
    return static_cast<int>(*reinterpret_cast<volatile unsigned char*>(map.data() + at));
  }
  Fd fd;
  os::Mapping map;
};

TEST(FileGuardTest, lets_a_reader_of_a_shrunken_file_go_on_with_zeros_and_tells) {
  MappedFile file;
  std::atomic<bool> any{false};
  FileGuard* guard = nullptr;
  ASSERT_EQ(guard_file(file.map.data(), kSize, 77, &any, guard), 0);
  EXPECT_EQ(file.read(os::kPageSize), 'a');
  EXPECT_FALSE(any);
  ASSERT_EQ(ftruncate(file.fd.get(), os::kPageSize), 0);
  EXPECT_EQ(file.read(0), 0);
  EXPECT_FALSE(guard->shrank);
  EXPECT_EQ(file.read(os::kPageSize), 0);
  EXPECT_TRUE(guard->shrank);
  EXPECT_TRUE(any);
  EXPECT_EQ(file.read(2 * os::kPageSize), 0);
  uint32_t found = 0;
  for_each_shrunk(&any, [](void* to, uint32_t object) { *static_cast<uint32_t*>(to) = object; }, &found);
  EXPECT_EQ(found, 77u);
  unguard_file(guard);
}

TEST(FileGuardTest, leaves_the_handler_as_it_was) {
  struct sigaction before {};
  sigaction(SIGBUS, nullptr, &before);
  MappedFile file;
  std::atomic<bool> any{false};
  FileGuard* guard = nullptr;
  ASSERT_EQ(guard_file(file.map.data(), kSize, 1, &any, guard), 0);
  unguard_file(guard);
  struct sigaction after {};
  sigaction(SIGBUS, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
}

volatile sig_atomic_t others = 0;
void* others_page = nullptr;

void on_others(int) {
  others = others + 1;
  mmap(others_page, os::kPageSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

TEST(FileGuardTest, leaves_faults_elsewhere_to_the_handler_that_was_there) {
  struct sigaction theirs {};
  struct sigaction before {};
  theirs.sa_handler = on_others;
  sigaction(SIGBUS, &theirs, &before);
  MappedFile guarded;
  MappedFile other;
  std::atomic<bool> any{false};
  FileGuard* guard = nullptr;
  ASSERT_EQ(guard_file(guarded.map.data(), kSize, 1, &any, guard), 0);
  ASSERT_EQ(ftruncate(other.fd.get(), 0), 0);
  others_page = other.map.data();
  EXPECT_EQ(other.read(0), 0);
  EXPECT_EQ(others, 1);
  EXPECT_FALSE(any);
  unguard_file(guard);
  sigaction(SIGBUS, &before, nullptr);
}

TEST(FileGuardDeathTest, a_fault_elsewhere_still_ends_the_process) {
  MappedFile guarded;
  MappedFile other;
  std::atomic<bool> any{false};
  FileGuard* guard = nullptr;
  ASSERT_EQ(guard_file(guarded.map.data(), kSize, 1, &any, guard), 0);
  ASSERT_EQ(ftruncate(other.fd.get(), 0), 0);
  EXPECT_DEATH((void)other.read(0), "");
  unguard_file(guard);
}

}  // namespace
}  // namespace tarn::store
