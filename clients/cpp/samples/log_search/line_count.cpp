#include "line_count.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace log_search {
namespace {

// ---- Everywhere ---------------------------------------------------------------------------------

std::int64_t count_lines(std::string_view text) {
  const std::int64_t newlines = std::count(text.begin(), text.end(), '\n');
  return newlines + (!text.empty() && text.back() != '\n' ? 1 : 0);
}

std::int64_t count_with_memmem(std::string_view text, std::string_view pattern) {
  if (pattern.empty()) return count_lines(text);
  const char* at = text.data();
  const char* const end = at + text.size();
  std::int64_t count = 0;
  while (at != end) {
    const auto left = static_cast<std::size_t>(end - at);
    const auto* match = static_cast<const char*>(memmem(at, left, pattern.data(), pattern.size()));
    if (match == nullptr) break;
    ++count;
    const auto* newline =
        static_cast<const char*>(std::memchr(match, '\n', static_cast<std::size_t>(end - match)));
    if (newline == nullptr) break;
    at = newline + 1;
  }
  return count;
}

#if defined(__x86_64__)

// ---- 64 bytes at a time -------------------------------------------------------------------------

constexpr std::size_t kBlock = 64;

// A pattern is looked for by comparing some of its bytes at once: all of them if they are few.
constexpr std::size_t kExactMax = 8;
constexpr std::size_t kProbesOfLong = 4;

// Bit i is for the i-th byte of a block.
struct Masks {
  std::uint64_t matches;  // the pattern starts here, as far as it was compared
  std::uint64_t newlines;
};

// The lines counted so far, and what is known of the line that reaches into the next block.
class Count {
 public:
  explicit Count(std::string_view pattern) : pattern_(pattern) {}

  // Counts the lines whose first match lies in the block at `block`, without a branch: lines are
  // short, and a branch on whether one matches would be guessed wrong too often. A line counts if
  // its first event, match or newline, is a match. Adding the bit of the line's start to the ones
  // between events carries up to just that event.
  template <bool kExact>
  [[gnu::always_inline]] void take(const char* block, Masks masks) {
    if constexpr (!kExact) masks.matches = verified(block, masks.matches);
    const std::uint64_t between = ~(masks.matches | masks.newlines);
    const std::uint64_t starts = masks.newlines << 1 | (is_open_ ? 1 : 0);
    std::uint64_t carried;
    const bool no_event = __builtin_add_overflow(between, starts, &carried);
    lines_ += std::popcount(carried & masks.matches);
    is_open_ = no_event || masks.newlines >> 63 != 0;
  }

  // Counts the lines whose first match lies behind the last block.
  std::int64_t finish(std::string_view rest) {
    if (!is_open_) {
      const std::size_t newline = rest.find('\n');
      if (newline == std::string_view::npos) return lines_;
      rest.remove_prefix(newline + 1);
    }
    return lines_ + count_with_memmem(rest, pattern_);
  }

 private:
  std::uint64_t verified(const char* block, std::uint64_t candidates) const {
    for (std::uint64_t left = candidates; left != 0; left &= left - 1) {
      const char* at = block + std::countr_zero(left);
      if (std::memcmp(at, pattern_.data(), pattern_.size()) != 0) candidates ^= left & -left;
    }
    return candidates;
  }

  std::string_view pattern_;
  std::int64_t lines_ = 0;
  bool is_open_ = true;  // the line has no match so far
};

// Which byte of a pattern is number `probe` of kProbes: all in order, or spread over a long one.
template <std::size_t kProbes>
std::size_t probe_offset(std::string_view pattern, std::size_t probe) {
  return kProbes == 1 ? 0 : probe * (pattern.size() - 1) / (kProbes - 1);
}

// The two kernels differ in the width of a compare only. They are written out twice, because a
// function for a newer processor is inlined into nothing but functions for the same one.

[[gnu::always_inline]] inline std::uint64_t equal_sse2(const char* block, __m128i wanted) {
  std::uint64_t mask = 0;
  for (int i = 0; i < 4; ++i) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block + 16 * i));
    const int equal = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, wanted));
    mask |= static_cast<std::uint64_t>(static_cast<unsigned>(equal)) << (16 * i);
  }
  return mask;
}

template <std::size_t kProbes, bool kExact>
std::int64_t scan_sse2(std::string_view text, std::string_view pattern) {
  std::size_t offsets[kProbes];
  __m128i probes[kProbes];
  for (std::size_t i = 0; i < kProbes; ++i) {
    offsets[i] = probe_offset<kProbes>(pattern, i);
    probes[i] = _mm_set1_epi8(pattern[offsets[i]]);
  }
  const __m128i newline = _mm_set1_epi8('\n');
  Count count(pattern);
  std::size_t at = 0;
  for (; text.size() - at >= kBlock + pattern.size(); at += kBlock) {
    const char* block = text.data() + at;
    std::uint64_t matches = equal_sse2(block, probes[0]);
    for (std::size_t i = 1; i < kProbes; ++i) matches &= equal_sse2(block + offsets[i], probes[i]);
    count.take<kExact>(block, {matches, equal_sse2(block, newline)});
  }
  return count.finish(text.substr(at));
}

#define FOR_AVX2 gnu::target("avx2,bmi,popcnt")

[[gnu::always_inline, FOR_AVX2]] inline std::uint64_t equal_avx2(const char* block,
                                                                 __m256i wanted) {
  const auto* halves = reinterpret_cast<const __m256i*>(block);
  const __m256i low = _mm256_cmpeq_epi8(_mm256_loadu_si256(halves), wanted);
  const __m256i high = _mm256_cmpeq_epi8(_mm256_loadu_si256(halves + 1), wanted);
  return static_cast<unsigned>(_mm256_movemask_epi8(low)) |
         static_cast<std::uint64_t>(static_cast<unsigned>(_mm256_movemask_epi8(high))) << 32;
}

template <std::size_t kProbes, bool kExact>
[[FOR_AVX2]] std::int64_t scan_avx2(std::string_view text, std::string_view pattern) {
  std::size_t offsets[kProbes];
  __m256i probes[kProbes];
  for (std::size_t i = 0; i < kProbes; ++i) {
    offsets[i] = probe_offset<kProbes>(pattern, i);
    probes[i] = _mm256_set1_epi8(pattern[offsets[i]]);
  }
  const __m256i newline = _mm256_set1_epi8('\n');
  Count count(pattern);
  std::size_t at = 0;
  for (; text.size() - at >= kBlock + pattern.size(); at += kBlock) {
    const char* block = text.data() + at;
    std::uint64_t matches = equal_avx2(block, probes[0]);
    for (std::size_t i = 1; i < kProbes; ++i) matches &= equal_avx2(block + offsets[i], probes[i]);
    count.take<kExact>(block, {matches, equal_avx2(block, newline)});
  }
  return count.finish(text.substr(at));
}

using Scan = std::int64_t (*)(std::string_view text, std::string_view pattern);

// For patterns of 1 to kExactMax bytes, then for longer ones.
using Scans = std::array<Scan, kExactMax + 1>;

std::int64_t count_with(const Scans& scans, std::string_view text, std::string_view pattern) {
  if (pattern.empty()) return count_lines(text);
  return scans[std::min(pattern.size() - 1, kExactMax)](text, pattern);
}

template <std::size_t... I>
constexpr Scans sse2_scans(std::index_sequence<I...>) {
  return {scan_sse2<I + 1, true>..., scan_sse2<kProbesOfLong, false>};
}

std::int64_t count_with_sse2(std::string_view text, std::string_view pattern) {
  static constexpr Scans kScans = sse2_scans(std::make_index_sequence<kExactMax>());
  return count_with(kScans, text, pattern);
}

template <std::size_t... I>
constexpr Scans avx2_scans(std::index_sequence<I...>) {
  return {scan_avx2<I + 1, true>..., scan_avx2<kProbesOfLong, false>};
}

std::int64_t count_with_avx2(std::string_view text, std::string_view pattern) {
  static constexpr Scans kScans = avx2_scans(std::make_index_sequence<kExactMax>());
  return count_with(kScans, text, pattern);
}

constexpr std::array kLineCounters = {
    LineCounter{"memmem", count_with_memmem},
    LineCounter{"sse2", count_with_sse2},
    LineCounter{"avx2", count_with_avx2},
};

std::size_t counters_that_run() {
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
                        __builtin_cpu_supports("popcnt");
  return kLineCounters.size() - (has_avx2 ? 0 : 1);
}

#else

constexpr std::array kLineCounters = {LineCounter{"memmem", count_with_memmem}};

std::size_t counters_that_run() {
  return kLineCounters.size();
}

#endif

}  // namespace

std::span<const LineCounter> line_counters() {
  return std::span(kLineCounters).first(counters_that_run());
}

std::int64_t count_matching_lines(std::string_view text, std::string_view pattern) {
  static const LineCounter fastest = line_counters().back();
  return fastest.count(text, pattern);
}

}  // namespace log_search
