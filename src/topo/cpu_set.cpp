#include "topo/cpu_set.hpp"

#include <sched.h>

#include <charconv>

namespace tarn::topo {
namespace {

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n";
  size_t from = text.find_first_not_of(kSpace);
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(kSpace) - from + 1);
}

bool parse_number(std::string_view text, uint32_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_list(std::string_view text, bool clip, CpuSet& out) {
  CpuSet set;
  text = trim(text);
  while (!text.empty()) {
    size_t comma = text.find(',');
    std::string_view range = trim(text.substr(0, comma));
    size_t dash = range.find('-');
    uint32_t first = 0;
    uint32_t last = 0;
    if (!parse_number(range.substr(0, dash), first)) return false;
    if (dash == std::string_view::npos) {
      last = first;
    } else if (!parse_number(range.substr(dash + 1), last) || last < first) {
      return false;
    }
    if (!clip && last >= kCpusMax) return false;
    for (uint32_t cpu = first; cpu <= last && cpu < kCpusMax; ++cpu) set.add(cpu);
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
    if (trim(text).empty()) return false;  // a comma with nothing behind it
  }
  out = set;
  return true;
}

}  // namespace

CpuSet CpuSet::of_this_process() {
  // The kernel refuses a mask shorter than its own, which may be longer than ours.
  constexpr size_t kKernelWords = 128;
  uint64_t mask[kKernelWords] = {};
  CpuSet set;
  if (sched_getaffinity(0, sizeof mask, reinterpret_cast<cpu_set_t*>(mask)) != 0) return set;
  for (uint32_t cpu = 0; cpu < kCpusMax; ++cpu)
    if ((mask[cpu / 64] >> cpu % 64 & 1) != 0) set.add(cpu);
  return set;
}

bool CpuSet::parse(std::string_view text, CpuSet& out) { return parse_list(text, false, out); }

bool CpuSet::parse_clipped(std::string_view text, CpuSet& out) { return parse_list(text, true, out); }

std::string CpuSet::text() const {
  std::string text;
  for (int32_t cpu = first(); cpu >= 0;) {
    int32_t last = cpu;
    while (has(static_cast<uint32_t>(last) + 1)) ++last;
    if (!text.empty()) text += ',';
    text += std::to_string(cpu);
    if (last > cpu) text += '-' + std::to_string(last);
    cpu = next(last);
  }
  return text;
}

uint32_t CpuSet::count() const {
  uint32_t count = 0;
  for (uint64_t word : words_) count += static_cast<uint32_t>(std::popcount(word));
  return count;
}

int32_t CpuSet::next(int32_t cpu) const {
  auto from = static_cast<uint32_t>(cpu + 1);
  while (from < kCpusMax) {
    uint64_t rest = words_[from / 64] >> from % 64;
    if (rest != 0) return static_cast<int32_t>(from + static_cast<uint32_t>(std::countr_zero(rest)));
    from = (from / 64 + 1) * 64;
  }
  return -1;
}

CpuSet& CpuSet::operator&=(const CpuSet& other) {
  for (size_t i = 0; i < kWords; ++i) words_[i] &= other.words_[i];
  return *this;
}

CpuSet& CpuSet::operator|=(const CpuSet& other) {
  for (size_t i = 0; i < kWords; ++i) words_[i] |= other.words_[i];
  return *this;
}

CpuSet& CpuSet::operator-=(const CpuSet& other) {
  for (size_t i = 0; i < kWords; ++i) words_[i] &= ~other.words_[i];
  return *this;
}

}  // namespace tarn::topo
