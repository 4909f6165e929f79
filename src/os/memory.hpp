// Memory that processes share: anonymous files and their mappings.
//
// memfd only: a name in /dev/shm outlives a killed process, a memfd cannot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/fd.hpp"

namespace tarn::os {

// Makes an anonymous file of `size` bytes that is backed by no memory yet; mode 0600, close-on-exec.
[[nodiscard]] int memfd_create(const char* name, uint64_t size, Fd& out);

// Backs [offset, offset + size) with memory, or fails with TARN_E_NO_MEMORY: without it, a later
// touch could raise SIGBUS when memory is short. Does not fault pages in.
[[nodiscard]] int memfd_reserve(const Fd& fd, uint64_t offset, uint64_t size);

// Another open file of the same memory, for writing: the flags of one (O_APPEND) are not those of the other.
[[nodiscard]] int memfd_open_again(const Fd& writer, Fd& again);

// From now on the file keeps its size, and who is handed `reader` can map and read it, but neither write it nor make his
// mapping writable: it was opened for reading, and the file's mode lets no other user open it and its own not for writing.
// `writer` stays what it is, for the one who may. Not by F_SEAL_FUTURE_WRITE: that would forbid for ever to take pages out
// and put them back (docs/internals/store.md).
[[nodiscard]] int memfd_open_reader(const Fd& writer, Fd& reader);

// Another such reader of a file that has had one.
[[nodiscard]] int memfd_open_reader_again(const Fd& writer, Fd& reader);

// From now on the file keeps its size.
[[nodiscard]] int memfd_seal_size(const Fd& fd);

enum class Access { kRead, kReadWrite };

// Mapping: owns one mapping of a file. Move-only; unmapped in the destructor.
class Mapping {
 public:
  Mapping() = default;
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      reset();
      data_ = std::exchange(other.data_, nullptr);
      size_ = std::exchange(other.size_, 0);
    }
    return *this;
  }
  ~Mapping() { reset(); }

  // Maps all of `fd` (at least `size` bytes, checked by fstat before) at an address of the kernel's
  // choice. size > 0.
  [[nodiscard]] static int map(const Fd& fd, uint64_t size, Access access, Mapping& out);

  // Maps [offset, offset + size) of `fd`; `offset` is a multiple of the page size.
  [[nodiscard]] static int map_range(const Fd& fd, uint64_t offset, uint64_t size, Access access, Mapping& out);

  // Address space only, all zero, that costs memory where it is touched: private tables.
  [[nodiscard]] static int reserve(uint64_t size, Mapping& out);

  [[nodiscard]] std::byte* data() const { return data_; }
  [[nodiscard]] uint64_t size() const { return size_; }
  [[nodiscard]] bool valid() const { return data_ != nullptr; }
  void reset();

 private:
  std::byte* data_ = nullptr;
  uint64_t size_ = 0;
};

// Faults the pages of [data, data + size) in for writing (or reading) now, rather than one by one.
// Best effort; a kernel without MADV_POPULATE touches them instead.
void prefault(std::byte* data, uint64_t size, Access access);

// The size of the huge pages that the kernel gives to memory files where a mapping asks for them; 0: it gives none, because it
// has none, or because `deny` in shmem_enabled (of that size, from Linux 6.11 on: `never`) forbids it. Reads /sys each time,
// some microseconds: the administrator may change it.
[[nodiscard]] uint64_t huge_page_size();

// Makes the pages of `part` of a memory file, which begins at a multiple of `page_size` (huge_page_size()) in the file: huge
// ones where the kernel has them, and none at the end that does not fill one. Returns whether it is so: some may be huge, small or
// missing afterwards if not. As much as possible in one call: each has all processors empty their lists of fresh pages first, which
// takes a millisecond when they are busy. The kernel gives huge pages to a mapping that asks, so
// memfd_reserve gets none; and once `part` is unmapped nobody asks any more: what is written into a hole later has no more
// pages than it needs. With MADV_COLLAPSE (Linux 6.1), which `never` in shmem_enabled does not forbid: 64 MiB in 3.3 ms, where
// small pages take 14 to make and 18 to zero and map.
bool populate_huge(const Mapping& part, uint64_t page_size);

struct FileStatus {
  uint32_t mode;  // as in stat
  uint64_t size;
  uint64_t device;
  uint64_t inode;
};

// What the kernel knows of somebody's file without asking its file system, which may never answer.
[[nodiscard]] int file_status(const Fd& fd, FileStatus& out);

// From now on fresh pages of this part of a shared file come from `node`, or the nearest to it that has some, whoever
// touches them first; the file keeps this when it is unmapped. Best effort: a kernel without NUMA has one node.
void prefer_node(const Mapping& part, int32_t node);

// The same, page by page from all nodes that this process may use, in turn: the work of reading it is spread over their
// memory, and no node is farther from it than the others.
void interleave(const Mapping& part);

// Size of the file behind `fd`.
[[nodiscard]] int file_size(const Fd& fd, uint64_t& out);

inline constexpr uint64_t kPageSize = 4096;

constexpr uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace tarn::os
