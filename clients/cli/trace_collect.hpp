// TraceCollector: reads the lanes of one session while its members write them (trace/trace_area.hpp), and keeps what it has read.
//
// What it maps is written by processes of the session's user: everything is copied first and checked then.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/fd.hpp"
#include "os/memory.hpp"
#include "shm/ids.hpp"
#include "trace/trace_area.hpp"
#include "trace_story.hpp"

namespace tarn::cli {

class TraceCollector {
 public:
  // Events from `begin_ns` on are taken, no more than `events_max` of all members together.
  TraceCollector(uint64_t begin_ns, uint64_t events_max) : begin_ns_(begin_ns), events_max_(events_max) {}

  // False: that is not a board of this release.
  [[nodiscard]] bool open(const Fd& board, uint64_t board_size);
  [[nodiscard]] bool is_open() const { return lanes_.valid(); }

  // Takes what there is by now. `events_log2`: how many a lane keeps.
  void read(uint32_t events_log2);
  [[nodiscard]] bool is_full() const { return count_ >= events_max_; }

  // Hands over what it has read up to `end_ns`.
  void finish(uint64_t end_ns, SessionEvents& out);

 private:
  struct Seen {
    uint64_t position = 0;
    bool is_new = true;
    TraceLane lane;
  };
  void read_lane(uint32_t member, uint32_t capacity);

  uint64_t begin_ns_;
  uint64_t events_max_;
  uint64_t count_ = 0;
  uint64_t lost_ = 0;
  os::Mapping board_;
  os::Mapping lanes_;
  std::map<uint32_t, Seen> seen_;  // by member
  std::vector<trace::RawEvent> buffer_;
};

}  // namespace tarn::cli
