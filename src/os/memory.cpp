#include "os/memory.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "tarn/tarn.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25  // Linux 6.1
#endif

namespace tarn::os {

namespace {

// Shared memory is a file, too: a process with a limit for the size of its files has one for this.
int fail_to_size(const char* name, uint64_t size) {
  rlimit limit{};
  if (errno == EFBIG && getrlimit(RLIMIT_FSIZE, &limit) == 0 && size > limit.rlim_cur)
    return fail(TARN_E_LIMIT,
                "cannot size shared memory '%s' to %llu bytes: no file may be larger than %llu bytes here; raise the "
                "limit (ulimit -f, RLIMIT_FSIZE), or LimitFSIZE= of the service",
                name, static_cast<unsigned long long>(size), static_cast<unsigned long long>(limit.rlim_cur));
  return fail_errno(code_of_errno(errno), "cannot size shared memory '%s' to %llu bytes", name,
                    static_cast<unsigned long long>(size));
}

constexpr int32_t kNodes = 1024;
constexpr int kWordBits = 8 * sizeof(unsigned long);
// One more than there are bits: the kernel takes the number for the first that it shall not look at.
constexpr unsigned long kNodeCount = kNodes + 1;

constexpr uint64_t kHugeAlign = 2u << 20;  // the size of a huge page of x86-64, and of arm64 with pages of 4 KiB
constexpr char kHugePages[] = "/sys/kernel/mm/transparent_hugepage/";

// The first line of a file of the kernel; "" if there is none.
void read_line(const char* path, char (&line)[128]) {
  Fd file{open(path, O_RDONLY | O_CLOEXEC)};
  ssize_t size = file.valid() ? read(file.get(), line, sizeof line - 1) : 0;
  line[size > 0 ? size : 0] = '\0';
}

// Where nothing is mapped and pages of a file that begins at `offset` can be huge ones: at the same distance from a multiple of
// their size as in the file. The kernel sees to that by itself only where everybody gets huge pages. nullptr: no address space.
std::byte* reserve_aligned(uint64_t size, uint64_t offset) {
  void* room = mmap(nullptr, size + kHugeAlign, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return nullptr;
  auto begin = reinterpret_cast<uintptr_t>(room);
  uint64_t skip = (offset - begin) % kHugeAlign;
  auto* data = static_cast<std::byte*>(room) + skip;
  if (skip != 0) munmap(room, skip);
  munmap(data + size, kHugeAlign - skip);
  return data;
}

// Of no bytes, it says whether the kernel knows it.
bool has_collapse() { return madvise(nullptr, 0, MADV_COLLAPSE) == 0; }

bool is_chosen(const char* line, const char* choice) {
  const char* at = strchr(line, '[');
  size_t length = strlen(choice);
  return at != nullptr && strncmp(at + 1, choice, length) == 0 && at[1 + length] == ']';
}

}  // namespace

int memfd_create(const char* name, uint64_t size, Fd& out) {
  Fd fd{::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!fd.valid()) return fail_errno(code_of_errno(errno), "cannot make shared memory '%s'", name);
  // Another user who is handed a descriptor must not re-open it through /proc with other rights.
  if (fchmod(fd.get(), 0600) < 0 || ftruncate(fd.get(), static_cast<off_t>(size)) < 0)
    return fail_to_size(name, size);
  out = std::move(fd);
  return 0;
}

int memfd_reserve(const Fd& fd, uint64_t offset, uint64_t size) {
  int r;
  do {
    r = fallocate(fd.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(size));
  } while (r < 0 && errno == EINTR);
  if (r < 0)
    return fail_errno(code_of_errno(errno), "cannot back %llu bytes of shared memory",
                      static_cast<unsigned long long>(size));
  return 0;
}

int memfd_open_again(const Fd& writer, Fd& again) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", writer.get());
  again = Fd{open(path, O_RDWR | O_CLOEXEC)};
  return again.valid() ? 0 : fail_errno(code_of_errno(errno), "cannot open shared memory again (%s)", path);
}

int memfd_open_reader(const Fd& writer, Fd& reader) {
  if (int r = memfd_seal_size(writer); r < 0) return r;
  Fd opened;
  if (int r = memfd_open_reader_again(writer, opened); r < 0) return r;
  if (fchmod(writer.get(), 0400) < 0) return fail_errno(code_of_errno(errno), "cannot protect shared memory");
  reader = std::move(opened);
  return 0;
}

int memfd_open_reader_again(const Fd& writer, Fd& reader) {
  char path[32];
  snprintf(path, sizeof path, "/proc/self/fd/%d", writer.get());
  reader = Fd{open(path, O_RDONLY | O_CLOEXEC)};
  return reader.valid() ? 0 : fail_errno(code_of_errno(errno), "cannot open shared memory for reading (%s)", path);
}

int memfd_seal_size(const Fd& fd) {
  if (fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
    return fail_errno(TARN_E_SYSTEM, "cannot seal shared memory");
  return 0;
}

int Mapping::map(const Fd& fd, uint64_t size, Access access, Mapping& out) {
  return map_range(fd, 0, size, access, out);
}

int Mapping::map_range(const Fd& fd, uint64_t offset, uint64_t size, Access access, Mapping& out) {
  uint64_t real_size = 0;
  if (int r = file_size(fd, real_size); r < 0) return r;
  if (size == 0 || real_size < offset || real_size - offset < size)
    return fail(TARN_E_PROTOCOL, "cannot map %llu bytes of a file of %llu",
                static_cast<unsigned long long>(size), static_cast<unsigned long long>(real_size));
  int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  std::byte* place = size < kHugeAlign ? nullptr : reserve_aligned(os::round_up(size, kPageSize), offset);
  int flags = place == nullptr ? MAP_SHARED : MAP_SHARED | MAP_FIXED;
  void* data = mmap(place, size, protection, flags, fd.get(), static_cast<off_t>(offset));
  if (data == MAP_FAILED && place != nullptr) {
    int error = errno;
    munmap(place, size);
    errno = error;
  }
  if (data == MAP_FAILED)
    return fail_errno(code_of_errno(errno), "cannot map %llu bytes",
                      static_cast<unsigned long long>(size));
  out.reset();
  out.data_ = static_cast<std::byte*>(data);
  out.size_ = size;
  return 0;
}

int Mapping::reserve(uint64_t size, Mapping& out) {
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED)
    return fail_errno(code_of_errno(errno), "cannot reserve %llu bytes of address space",
                      static_cast<unsigned long long>(size));
  out.reset();
  out.data_ = static_cast<std::byte*>(data);
  out.size_ = size;
  return 0;
}

void Mapping::reset() {
  if (data_ != nullptr) munmap(data_, size_);
  data_ = nullptr;
  size_ = 0;
}

void prefault(std::byte* data, uint64_t size, Access access) {
  int advice = access == Access::kRead ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
  if (madvise(data, size, advice) == 0) return;
  for (uint64_t at = 0; at < size; at += kPageSize) {
    auto* page = reinterpret_cast<volatile unsigned char*>(data + at);
    unsigned char value = *page;
    if (access == Access::kReadWrite) *page = value;
  }
}

void prefer_node(const Mapping& part, int32_t node) {
  constexpr int kPreferred = 1;  // MPOL_PREFERRED
  if (node < 0 || node >= kNodes) return;
  unsigned long mask[kNodes / kWordBits] = {};
  mask[node / kWordBits] = 1ul << node % kWordBits;
  (void)syscall(SYS_mbind, part.data(), part.size(), kPreferred, mask, kNodeCount, 0);
}

void interleave(const Mapping& part) {
  constexpr int kInterleave = 3;         // MPOL_INTERLEAVE
  constexpr unsigned long kAllowed = 4;  // MPOL_F_MEMS_ALLOWED
  unsigned long mask[kNodes / kWordBits] = {};
  if (syscall(SYS_get_mempolicy, nullptr, mask, kNodeCount, nullptr, kAllowed) < 0) return;
  (void)syscall(SYS_mbind, part.data(), part.size(), kInterleave, mask, kNodeCount, 0);
}

uint64_t huge_page_size() {
  char path[128];
  char line[128];
  snprintf(path, sizeof path, "%shpage_pmd_size", kHugePages);
  read_line(path, line);
  uint64_t size = strtoull(line, nullptr, 10);
  if (size == 0) return 0;
  // From Linux 6.11 on each size has its own switch, which as a rule points to that for all.
  snprintf(path, sizeof path, "%shugepages-%llukB/shmem_enabled", kHugePages, static_cast<unsigned long long>(size / 1024));
  read_line(path, line);
  if (is_chosen(line, "never")) return 0;
  if (line[0] == '\0' || is_chosen(line, "inherit")) {
    snprintf(path, sizeof path, "%sshmem_enabled", kHugePages);
    read_line(path, line);
  }
  // `never` as the switch for all is where kernels begin: to who asks for them by name they give huge pages all the same.
  if (is_chosen(line, "never")) return has_collapse() ? size : 0;
  for (const char* yes : {"advise", "within_size", "always", "force"})
    if (is_chosen(line, yes)) return size;
  return 0;
}

bool populate_huge(const Mapping& part, uint64_t page_size) {
  // Linux 6.1 gives a whole huge page to the end of a file, too, where it reaches beyond it.
  uint64_t whole = part.size() / page_size * page_size;
  if (whole == 0) return true;
  (void)madvise(part.data(), whole, MADV_HUGEPAGE);
  if (!has_collapse()) return madvise(part.data(), whole, MADV_POPULATE_WRITE) == 0;  // at each touch, if it is `advise`
  // With `advise` the first touch makes a huge page, else one that is replaced: a range without any is not looked at.
  for (uint64_t at = 0; at < whole; at += page_size)
    if (madvise(part.data() + at, kPageSize, MADV_POPULATE_WRITE) < 0) return false;
  return madvise(part.data(), whole, MADV_COLLAPSE) == 0;
}

int file_status(const Fd& fd, FileStatus& out) {
  struct statx status;
  if (statx(fd.get(), "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE | STATX_INO, &status) < 0)
    return fail_errno(TARN_E_SYSTEM, "cannot look at a file");
  out = {status.stx_mode, status.stx_size, uint64_t{status.stx_dev_major} << 32 | status.stx_dev_minor, status.stx_ino};
  return 0;
}

int file_size(const Fd& fd, uint64_t& out) {
  struct stat status;
  if (fstat(fd.get(), &status) < 0) return fail_errno(TARN_E_SYSTEM, "cannot read the size of a file");
  out = static_cast<uint64_t>(status.st_size);
  return 0;
}

}  // namespace tarn::os
