#include "trace/tracer.hpp"

#include <sys/mman.h>

#include <atomic>

#include "os/clock.hpp"

namespace tarn::trace {
namespace {

// Threads are numbered as they come here. With more than a lane can tell apart, some share a number.
uint16_t this_thread() {
  static std::atomic<uint32_t> last{0};
  static thread_local const auto number = static_cast<uint16_t>(last.fetch_add(1, std::memory_order_relaxed));
  return number;
}

}  // namespace

int Tracer::open(shm::Board& board, const Fd& file, uint32_t member) {
  if (int r = os::Mapping::map_range(file, lane_at(member), sizeof(Lane), os::Access::kReadWrite, mapping_); r < 0) return r;
  (void)madvise(mapping_.data(), mapping_.size(), MADV_DONTDUMP);  // a core dump would back it with memory
  board_ = &board;
  member_ = member;
  lane_ = reinterpret_cast<Lane*>(mapping_.data());
  return 0;
}

void Tracer::write(Event event) {
  if (lane_ == nullptr) return;
  Gate::Pass pass(gate_);
  uint64_t word = board_->trace.load(kAcquire);
  int64_t now = os::now_ns();
  if (now >= trace_until(word)) {
    // Whoever traced has gone. A word that was set meanwhile stays.
    if (word != 0) (void)board_->trace.compare_exchange(word, 0);
    return;
  }
  // Not backed by memory: a touch could raise SIGBUS.
  if ((board_->trace_lanes[member_ / 64].load(kAcquire) >> member_ % 64 & 1) == 0) return;
  event.time_ns = static_cast<uint64_t>(now);
  event.thread = this_thread();
  append(lane_->end, lane_->slots, trace_events(word), event.pack());
}

}  // namespace tarn::trace
