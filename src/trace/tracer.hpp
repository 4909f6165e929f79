// Tracer: a member's side of a trace. Writes what happens into its own lane while somebody wants to know.
//
// Whether anybody does is one word on the board, in a line that is read for each task anyhow (is_on). Everything else is paid
// for while a trace is on: a clock, a gate between the threads of the process, and 32 bytes.
//
// Thread safety: any thread.
#pragma once

#include <cstdint>

#include "base/fd.hpp"
#include "base/gate.hpp"
#include "os/memory.hpp"
#include "shm/board.hpp"
#include "trace/event.hpp"
#include "trace/trace_area.hpp"

namespace tarn::trace {

class Tracer {
 public:
  // Before the first event. `board` is mapped, `file` is what it was mapped from. Without it, or if this fails, nothing is written.
  [[nodiscard]] int open(shm::Board& board, const Fd& file, uint32_t member);

  [[nodiscard]] static bool is_on(const shm::Board& board) { return board.trace.load(kRelaxed) != 0; }

  // Writes the event, with the time and the thread set, unless the time of the trace is over.
  [[gnu::cold]] void write(Event event);
  [[gnu::cold]] void write(Kind kind, uint64_t run = 0, uint64_t argument = 0, uint32_t task = 0, uint32_t detail = 0) {
    write(Event{0, run, argument, task, 0, static_cast<uint8_t>(detail), kind});
  }

 private:
  Gate gate_;
  // Constant once it is open.
  os::Mapping mapping_;
  shm::Board* board_ = nullptr;
  Lane* lane_ = nullptr;
  uint32_t member_ = 0;
};

}  // namespace tarn::trace
