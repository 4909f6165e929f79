#include "trace_collect.hpp"

#include <algorithm>
#include <bit>

namespace tarn::cli {
namespace {

constexpr uint32_t kAtATime = 8192;

}  // namespace

bool TraceCollector::open(const Fd& board, uint64_t board_size) {
  using os::Access;
  using os::Mapping;
  if (board_size != trace::kBoardFileSize || Mapping::map(board, sizeof(shm::Board), Access::kRead, board_) < 0) return false;
  if (reinterpret_cast<const shm::Board*>(board_.data())->magic != shm::Board::kMagic) return false;
  buffer_.resize(kAtATime);
  return Mapping::map_range(board, trace::kLanesAt, board_size - trace::kLanesAt, Access::kRead, lanes_) == 0;
}

void TraceCollector::read(uint32_t events_log2) {
  uint32_t capacity = trace::trace_events(events_log2);
  auto* board = reinterpret_cast<const shm::Board*>(board_.data());
  for (uint32_t word = 0; word < std::size(board->trace_lanes); ++word)
    for (uint64_t left = board->trace_lanes[word].load(shm::kAcquire); left != 0; left &= left - 1)
      read_lane(word * 64 + static_cast<uint32_t>(std::countr_zero(left)), capacity);
}

void TraceCollector::read_lane(uint32_t member, uint32_t capacity) {
  auto* lane = reinterpret_cast<const trace::Lane*>(lanes_.data()) + member;
  Seen& seen = seen_[member];
  seen.lane.member = member;
  // As much as a lane holds, and not what comes meanwhile: others have their turn.
  for (uint32_t taken = 0; taken < capacity && !is_full(); taken += kAtATime) {
    trace::Copied copied = trace::copy_events(lane->end, lane->slots, capacity, seen.position, buffer_.data(), std::min(kAtATime, capacity));
    if (copied.lost != 0 && !seen.is_new) {
      lost_ += copied.lost;
      uint64_t last = seen.lane.events.empty() ? begin_ns_ : seen.lane.events.back().time_ns;
      seen.lane.events.push_back({last, 0, copied.lost, 0, 0, 0, trace::Kind::kNone});
    }
    seen.is_new = false;
    for (uint32_t i = copied.first; i < copied.first + copied.count; ++i) {
      trace::Event event;
      if (!trace::Event::unpack(buffer_[i], event) || event.time_ns < begin_ns_) continue;
      seen.lane.events.push_back(event);
      ++count_;
    }
    if (copied.count == 0 && copied.lost == 0) break;
  }
}

void TraceCollector::finish(uint64_t end_ns, SessionEvents& out) {
  out.begin_ns = begin_ns_;
  out.end_ns = std::max(begin_ns_, end_ns);
  out.lost = lost_;
  for (auto& [member, seen] : seen_) out.lanes.push_back(std::move(seen.lane));
  seen_.clear();
}

}  // namespace tarn::cli
