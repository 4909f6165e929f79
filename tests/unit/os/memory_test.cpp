// What keeps the processes of a session from one another's data: a slab has one writer, and those who are handed
// its other descriptor cannot map it writable, write it, or change its size, not even through /proc.

#include "os/memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "support/huge_pages.hpp"
#include "support/memory_policy.hpp"
#include "tarn/tarn.h"

namespace tarn::os {
namespace {

constexpr uint64_t kSize = 4 * kPageSize;

class MemoryTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(memfd_create("memory_test", kSize, file_), 0); }

  Fd file_;
};

TEST_F(MemoryTest, has_its_size_and_is_for_its_owner_only) {
  uint64_t size = 0;
  ASSERT_EQ(file_size(file_, size), 0);
  EXPECT_EQ(size, kSize);
  struct stat status {};
  ASSERT_EQ(::fstat(file_.get(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
  EXPECT_EQ(::fcntl(file_.get(), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST_F(MemoryTest, costs_memory_only_where_it_is_reserved) {
  struct stat status {};
  ::fstat(file_.get(), &status);
  EXPECT_EQ(status.st_blocks, 0);
  ASSERT_EQ(memfd_reserve(file_, kPageSize, kPageSize), 0);
  ::fstat(file_.get(), &status);
  EXPECT_EQ(status.st_blocks * 512, static_cast<blkcnt_t>(kPageSize));
}

TEST_F(MemoryTest, two_mappings_show_one_memory) {
  Mapping writer, reader;
  ASSERT_EQ(Mapping::map(file_, kSize, Access::kReadWrite, writer), 0);
  ASSERT_EQ(Mapping::map(file_, kSize, Access::kRead, reader), 0);
  EXPECT_NE(writer.data(), reader.data());
  writer.data()[kSize - 1] = std::byte{42};
  EXPECT_EQ(reader.data()[kSize - 1], std::byte{42});
}

TEST_F(MemoryTest, refuses_to_map_beyond_the_end_or_nothing) {
  Mapping mapping;
  EXPECT_EQ(Mapping::map(file_, kSize + 1, Access::kRead, mapping), TARN_E_PROTOCOL);
  EXPECT_EQ(Mapping::map(file_, 0, Access::kRead, mapping), TARN_E_PROTOCOL);
  EXPECT_FALSE(mapping.valid());
}

TEST_F(MemoryTest, moving_a_mapping_unmaps_once) {
  Mapping first, second;
  ASSERT_EQ(Mapping::map(file_, kSize, Access::kReadWrite, first), 0);
  ASSERT_EQ(Mapping::map(file_, kSize, Access::kReadWrite, second), 0);
  std::byte* data = second.data();
  first = std::move(second);
  EXPECT_EQ(first.data(), data);
  EXPECT_FALSE(second.valid());  // NOLINT(bugprone-use-after-move)
  first.data()[0] = std::byte{1};
}

TEST_F(MemoryTest, a_reader_reads_and_nothing_else) {
  Mapping writer;
  Fd reader;
  ASSERT_EQ(memfd_open_reader(file_, reader), 0);
  ASSERT_EQ(Mapping::map(file_, kSize, Access::kReadWrite, writer), 0);
  writer.data()[0] = std::byte{7};

  // Try every way in that a reader has.
  Mapping other;
  EXPECT_EQ(Mapping::map(reader, kSize, Access::kReadWrite, other), TARN_E_DENIED);
  EXPECT_EQ(::pwrite(reader.get(), "x", 1, 0), -1);
  EXPECT_EQ(::ftruncate(reader.get(), 0), -1);
  EXPECT_EQ(::ftruncate(reader.get(), 2 * kSize), -1);
  EXPECT_EQ(::fallocate(reader.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPageSize), -1);
  EXPECT_EQ(::fcntl(reader.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
  ASSERT_EQ(Mapping::map(reader, kSize, Access::kRead, other), 0);
  EXPECT_EQ(::mprotect(other.data(), kSize, PROT_READ | PROT_WRITE), -1);
  EXPECT_EQ(other.data()[0], std::byte{7});

  // Nobody changes its size or adds a seal, not even the writer.
  EXPECT_EQ(::ftruncate(file_.get(), 0), -1);
  EXPECT_EQ(::ftruncate(file_.get(), 2 * kSize), -1);
  EXPECT_EQ(::fcntl(file_.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
}

// What another user, or this one without root's rights, can do through /proc with a descriptor that he was handed.
TEST_F(MemoryTest, a_reader_cannot_be_opened_again_for_writing) {
  Fd reader;
  ASSERT_EQ(memfd_open_reader(file_, reader), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::geteuid() == 0 && ::setresuid(65534, 65534, 65534) < 0) ::_exit(1);
    ::prctl(PR_SET_DUMPABLE, 1);  // setresuid hides /proc/self from its own process
    const std::string path = "/proc/self/fd/" + std::to_string(reader.get());
    if (::open(path.c_str(), O_RDWR | O_CLOEXEC) >= 0) ::_exit(2);
    if (errno != EACCES) ::_exit(3);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << "exit status " << WEXITSTATUS(status);
}

// Pages can be taken out of a slab and put back at the same place, under the mappings of readers: that is how objects
// leave memory for a disk.
TEST_F(MemoryTest, pages_leave_and_come_back_under_a_reader) {
  Mapping writer;
  Mapping other;
  Fd reader;
  ASSERT_EQ(memfd_open_reader(file_, reader), 0);
  ASSERT_EQ(Mapping::map(file_, kSize, Access::kReadWrite, writer), 0);
  ASSERT_EQ(Mapping::map(reader, kSize, Access::kRead, other), 0);
  prefault(writer.data(), kSize, Access::kReadWrite);
  prefault(other.data(), kSize, Access::kRead);
  ASSERT_EQ(::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kPageSize), 0);
  struct stat status {};
  ::fstat(file_.get(), &status);
  EXPECT_EQ(status.st_blocks * 512, static_cast<blkcnt_t>(kSize - kPageSize));
  ASSERT_EQ(::pwrite(file_.get(), "back", 4, 0), 4);
  EXPECT_EQ(memcmp(other.data(), "back", 4), 0);
}

TEST_F(MemoryTest, a_segment_of_sealed_size_stays_writable) {
  ASSERT_EQ(memfd_seal_size(file_), 0);
  EXPECT_EQ(::ftruncate(file_.get(), 0), -1);
  Mapping writer;
  EXPECT_EQ(Mapping::map(file_, kSize, Access::kReadWrite, writer), 0);
}

TEST_F(MemoryTest, prefault_keeps_what_is_there) {
  Mapping writer;
  ASSERT_EQ(Mapping::map(file_, kSize, Access::kReadWrite, writer), 0);
  writer.data()[kPageSize] = std::byte{9};
  prefault(writer.data(), kSize, Access::kReadWrite);
  prefault(writer.data(), kSize, Access::kRead);
  EXPECT_EQ(writer.data()[kPageSize], std::byte{9});
  struct stat status {};
  ::fstat(file_.get(), &status);
  EXPECT_EQ(status.st_blocks * 512, static_cast<blkcnt_t>(kSize));
}

TEST_F(MemoryTest, pages_come_from_the_node_or_from_all) {
  if (test::allowed_nodes().none()) GTEST_SKIP() << "this kernel knows no NUMA";
  int32_t node = 0;
  while (!test::allowed_nodes()[static_cast<size_t>(node)]) ++node;
  Mapping first;
  Mapping rest;
  ASSERT_EQ(Mapping::map_range(file_, 0, kPageSize, Access::kReadWrite, first), 0);
  ASSERT_EQ(Mapping::map_range(file_, kPageSize, kSize - kPageSize, Access::kReadWrite, rest), 0);
  prefer_node(first, node);
  interleave(rest);
  // It is the file's, whoever maps it.
  Mapping reader;
  ASSERT_EQ(Mapping::map(file_, kSize, Access::kRead, reader), 0);
  test::MemoryPolicy of_first = test::policy_of(reader.data());
  EXPECT_EQ(of_first.mode, test::MemoryPolicy::kPreferred);
  EXPECT_EQ(of_first.nodes, test::Nodes().set(static_cast<size_t>(node)));
  test::MemoryPolicy of_rest = test::policy_of(reader.data() + kSize - 1);
  EXPECT_EQ(of_rest.mode, test::MemoryPolicy::kInterleave);
  EXPECT_EQ(of_rest.nodes, test::allowed_nodes());
}

// Huge pages must not make memory cost more than was asked for: not at an end that fills no huge page, not where pages were
// taken away, and not where something is written back. Holds whether the host has huge pages or not.
TEST(HugePagesTest, cost_what_was_asked_for) {
  if (!test::kernel_keeps_accounts()) GTEST_SKIP() << "this host gives huge pages to who did not ask";
  constexpr uint64_t kBytes = (uint64_t{9} << 20) + kPageSize;
  constexpr uint64_t kObject = 160 * 1024;
  Fd file;
  ASSERT_EQ(memfd_create("huge_pages_test", kBytes, file), 0);
  auto bytes = [&] {
    struct stat status {};
    ::fstat(file.get(), &status);
    return static_cast<uint64_t>(status.st_blocks) * 512;
  };
  Mapping mapping;
  ASSERT_EQ(Mapping::map(file, kBytes, Access::kReadWrite, mapping), 0);
  if (huge_page_size() != 0) populate_huge(mapping, huge_page_size());
  ASSERT_EQ(memfd_reserve(file, 0, kBytes), 0);
  EXPECT_EQ(bytes(), kBytes);
  uint64_t huge = test::bytes_in_huge_pages(mapping.data());
  EXPECT_LE(huge, kBytes);
  EXPECT_TRUE(huge == 0 || huge_page_size() != 0);
  mapping.reset();
  // Who maps it later gets them as they are.
  ASSERT_EQ(Mapping::map(file, kBytes, Access::kReadWrite, mapping), 0);
  prefault(mapping.data(), kBytes, Access::kReadWrite);
  EXPECT_EQ(test::bytes_in_huge_pages(mapping.data()), huge);
  printf("%llu of %llu bytes in huge pages\n", static_cast<unsigned long long>(huge), static_cast<unsigned long long>(kBytes));
  // The middle of a huge page.
  constexpr off_t kAt = (4 << 20) + 10 * kPageSize;
  ASSERT_EQ(::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kAt, kObject), 0);
  EXPECT_EQ(bytes(), kBytes - kObject);
  mapping.data()[kAt] = std::byte{1};
  EXPECT_EQ(bytes(), kBytes - kObject + kPageSize);
}

TEST(ReserveTest, is_zero_and_larger_than_memory) {
  Mapping table;
  ASSERT_EQ(Mapping::reserve(uint64_t{1} << 36, table), 0);
  EXPECT_EQ(table.data()[table.size() - 1], std::byte{0});
}

TEST(RoundUpTest, goes_to_the_next_multiple) {
  EXPECT_EQ(round_up(0, kPageSize), 0u);
  EXPECT_EQ(round_up(1, kPageSize), kPageSize);
  EXPECT_EQ(round_up(kPageSize, kPageSize), kPageSize);
}

}  // namespace
}  // namespace tarn::os
