// CpuSet: a set of logical CPUs by the numbers that the kernel gives them. A value; allocates nothing.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tarn::topo {

inline constexpr uint32_t kCpusMax = 1024;  // CPUs beyond are not used; docs/limits.md

class CpuSet {
 public:
  static constexpr size_t kWords = kCpusMax / 64;

  CpuSet() = default;

  // The CPUs that this process may use: its affinity, which the kernel keeps inside the cpuset of its
  // cgroup. Empty if the kernel does not tell.
  [[nodiscard]] static CpuSet of_this_process();

  // Reads the kernel's form, "0-3,8,10-11"; spaces and a newline around it are allowed, "" is the
  // empty set. False, and `out` untouched, for anything else, a range that runs backwards or a number
  // of 1024 and more.
  [[nodiscard]] static bool parse(std::string_view text, CpuSet& out);
  // The same, but leaves out numbers of 1024 and more: for what the kernel says.
  [[nodiscard]] static bool parse_clipped(std::string_view text, CpuSet& out);

  // "0-3,8"; "" if empty.
  [[nodiscard]] std::string text() const;

  void add(uint32_t cpu) { words_[cpu / 64] |= uint64_t{1} << cpu % 64; }  // REQUIRES: cpu < kCpusMax
  [[nodiscard]] bool has(uint32_t cpu) const {
    return cpu < kCpusMax && (words_[cpu / 64] >> cpu % 64 & 1) != 0;
  }
  [[nodiscard]] bool empty() const { return *this == CpuSet(); }
  [[nodiscard]] uint32_t count() const;
  // The lowest CPU, or the lowest above `cpu`; -1 if there is none.
  [[nodiscard]] int32_t first() const { return next(-1); }
  [[nodiscard]] int32_t next(int32_t cpu) const;

  // Bit c % 64 of word c / 64 is CPU c, as the spawn service wants it.
  [[nodiscard]] const std::array<uint64_t, kWords>& words() const { return words_; }

  CpuSet& operator&=(const CpuSet& other);
  CpuSet& operator|=(const CpuSet& other);
  CpuSet& operator-=(const CpuSet& other);
  friend CpuSet operator&(CpuSet left, const CpuSet& right) { return left &= right; }
  friend CpuSet operator|(CpuSet left, const CpuSet& right) { return left |= right; }
  friend CpuSet operator-(CpuSet left, const CpuSet& right) { return left -= right; }
  friend bool operator==(const CpuSet&, const CpuSet&) = default;

 private:
  std::array<uint64_t, kWords> words_{};
};

}  // namespace tarn::topo
