// Object labels: read from the slabs of the members, for the tools.
//
// Where a label lies is what a tenant's record says, and what it is what his slab holds: both are copied once, checked, and
// shown. Read by pread, so that a slab is never mapped, and only so often for one answer. Loop thread only.
#pragma once

#include <cstdint>
#include <string>

#include "base/fd.hpp"

namespace tarn::daemon {

inline constexpr uint32_t kCensusLabelsMax = 4096;  // read for one answer; docs/limits.md

class LabelBudget {
 public:
  // Whether one more may be read.
  bool take() {
    if (left_ == 0) return false;
    --left_;
    return true;
  }

 private:
  uint32_t left_ = kCensusLabelsMax;
};

// Where a payload lies in its slab and what is behind it, as its record says.
struct LabelPlace {
  uint64_t offset;
  uint64_t size;
  uint32_t meta_size;
};

// The label there, printable; "" if it has none, or the numbers or the bytes make no sense. `slab_size` is tarnd's own word.
[[nodiscard]] std::string read_label(const Fd& slab, uint64_t slab_size, const LabelPlace& place);

}  // namespace tarn::daemon
