// What the kernel says of the pages behind a mapping of this process.
#pragma once

#include <sys/stat.h>

#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "base/fd.hpp"
#include "os/memory.hpp"

namespace tarn::test {

// How many bytes of a memory file are mapped by huge pages in the mapping that begins at `data`.
inline uint64_t bytes_in_huge_pages(const std::byte* data) {
  char begin[32];
  snprintf(begin, sizeof begin, "%" PRIxPTR "-", reinterpret_cast<uintptr_t>(data));
  const std::string field = "ShmemPmdMapped:";
  std::ifstream maps("/proc/self/smaps");
  bool is_here = false;
  for (std::string line; std::getline(maps, line);) {
    if (line.starts_with(begin)) is_here = true;
    if (is_here && line.starts_with(field)) return strtoull(line.c_str() + field.size(), nullptr, 10) * 1024;
  }
  return 0;
}

// Whether the kernel gives a memory file no more than it is asked for. With `always` in shmem_enabled it may give more to
// everybody, whatever tarnd does: `tarn doctor` warns of it.
inline bool kernel_keeps_accounts() {
  constexpr uint64_t kOdd = (uint64_t{5} << 20) + os::kPageSize;
  Fd file;
  struct stat status {};
  return os::memfd_create("accounts", kOdd, file) == 0 && os::memfd_reserve(file, 0, kOdd) == 0 &&
         fstat(file.get(), &status) == 0 && static_cast<uint64_t>(status.st_blocks) * 512 == kOdd;
}

}  // namespace tarn::test
