// Arena: which lines of the own segment's arena are in use: graphs and streams lie there.
//
// The bookkeeping is in private memory, as that of all of a segment is. tarnd backs the arena with memory, more of it on request.
//
// Thread safety: all functions.
#pragma once

#include <cstdint>

#include "base/array.hpp"
#include "base/gate.hpp"
#include "task/session_view.hpp"

namespace tarn::task {

class Arena {
 public:
  explicit Arena(SessionView& view) : view_(view) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // So many lines of 64 bytes, with whatever was in them. May wait for memory. TARN_E_LIMIT, TARN_E_NO_MEMORY, and those of
  // SessionLink::grow_graphs; `what` is for their words.
  [[nodiscard]] int allocate(const char* what, uint32_t lines, uint32_t& first);
  void free(uint32_t first, uint32_t lines);

  [[nodiscard]] std::byte* at(uint32_t line) const { return view_.own().graph_arena + size_t{line} * shm::kRecordSize; }

 private:
  struct Room {
    uint32_t first;
    uint32_t lines;
  };

  SessionView& view_;

  Gate gate_;
  // Guarded by gate_.
  Array<Room> free_;  // by place
  uint32_t used_lines_ = 0;
  uint32_t backed_pages_ = 0;
};

}  // namespace tarn::task
