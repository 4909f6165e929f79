#include "task/arena.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "os/memory.hpp"
#include "tarn/tarn.h"

namespace tarn::task {
namespace {

constexpr uint32_t kLinesOfPage = os::kPageSize / shm::kRecordSize;
constexpr uint32_t kPagesAtATime = 64;  // that the arena grows by at least

}  // namespace

// The first room that is large enough; otherwise at the end, where more memory is asked for when there is none.
int Arena::allocate(const char* what, uint32_t lines, uint32_t& first) {
  Gate::Pass pass(gate_);
  for (size_t i = 0; i < free_.size(); ++i) {
    if (free_[i].lines < lines) continue;
    first = free_[i].first;
    free_[i].first += lines;
    free_[i].lines -= lines;
    if (free_[i].lines == 0) {
      std::copy(free_.begin() + i + 1, free_.end(), free_.begin() + i);
      free_.shorten(free_.size() - 1);
    }
    return 0;
  }
  if (lines > shm::kGraphLinesMax - used_lines_)
    return fail(TARN_E_LIMIT,
                "the graphs and streams of a process may take %u MiB together; this %s needs %.1f, and %.1f are left; free others",
                shm::kGraphLinesMax >> 14, what, lines / 16384.0, (shm::kGraphLinesMax - used_lines_) / 16384.0);
  uint32_t pages = (used_lines_ + lines + kLinesOfPage - 1) / kLinesOfPage;
  if (pages > backed_pages_) {
    pages = std::min(std::max(pages, backed_pages_ + kPagesAtATime), shm::kGraphPagesMax);
    if (view_.link != nullptr) {
      if (int r = view_.link->grow_graphs(pages); r < 0) return r;
    }
    backed_pages_ = pages;
  }
  first = used_lines_;
  used_lines_ += lines;
  return 0;
}

void Arena::free(uint32_t first, uint32_t lines) {
  if (lines == 0) return;
  Gate::Pass pass(gate_);
  if (!free_.reserve(free_.size() + 1)) return;  // lost for this session, which has no memory anyway
  size_t at = 0;
  while (at < free_.size() && free_[at].first < first) ++at;
  (void)free_.push({});
  std::copy_backward(free_.begin() + at, free_.end() - 1, free_.end());
  free_[at] = {first, lines};
  if (at + 1 < free_.size() && free_[at].first + free_[at].lines == free_[at + 1].first) {
    free_[at].lines += free_[at + 1].lines;
    std::copy(free_.begin() + at + 2, free_.end(), free_.begin() + at + 1);
    free_.shorten(free_.size() - 1);
  }
  if (at > 0 && free_[at - 1].first + free_[at - 1].lines == free_[at].first) {
    free_[at - 1].lines += free_[at].lines;
    std::copy(free_.begin() + at + 1, free_.end(), free_.begin() + at);
    free_.shorten(free_.size() - 1);
  }
}

}  // namespace tarn::task
