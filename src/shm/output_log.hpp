// OutputLog: the last of what the workers of a session printed, line by line. One memfd, made by tarnd.
//
// tarn-output writes it, whoever may see the session reads it: `tarn logs`, and the client for the error of a task whose worker
// died. A lane for each of the session's slots, so that a worker that floods its own leaves the others theirs. docs/formats/output.md
//
// Invariants:
// (1) Positions only grow; an entry at position p lies at p % ring_size, in one piece (a filler ends the ring before one
//     that would not fit), and begins at a multiple of 8.
// (2) What lies in [begin, end) is whole. The writer moves `begin` on before it overwrites anything, and `end` when it has written.
// (3) A reader copies first, then looks at `begin` again and drops what may have been overwritten meanwhile; then it checks the copy:
//     the writer is a process of the session's user.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "shm/word.hpp"

namespace tarn::shm {

inline constexpr uint64_t kOutputRingSize = uint64_t{256} << 10;  // of one lane; docs/limits.md
inline constexpr size_t kOutputTextMax = 8192;                    // of one entry: longer lines are cut into several
inline constexpr size_t kOutputNameMax = 63;

struct OutputLane {
  alignas(4096) Word<uint64_t> begin;
  Word<uint64_t> end;
  // The last worker of this lane that is dead and all of whose output is here; 0: none. Before it was told so, some may be on its way.
  Word<uint32_t> ended;
  alignas(4096) std::byte ring[kOutputRingSize];
};

struct OutputLog {
  static constexpr uint64_t kMagic = 0x31474f4c'4e524154;  // "TARNLOG1"

  uint64_t magic;
  uint32_t lanes;
  uint32_t reserved;
  uint64_t ring_size;

  static constexpr uint64_t size_of(uint32_t lanes) { return 4096 + lanes * sizeof(OutputLane); }
  [[nodiscard]] OutputLane* lane(uint32_t number) {
    return reinterpret_cast<OutputLane*>(reinterpret_cast<std::byte*>(this) + 4096) + number;
  }
};
static_assert(sizeof(OutputLane) == 4096 + kOutputRingSize);

enum class OutputStream : uint8_t { kOut = 1, kErr = 2 };

struct OutputEntry {
  static constexpr uint8_t kFiller = 1;   // of `kind`: only `size` says anything
  static constexpr uint8_t kLine = 2;
  static constexpr uint8_t kIsCut = 1;    // of `flags`: the line goes on in the next one, or its worker ended in it

  uint32_t size;  // with this header, the name and the text, rounded up to 8
  uint8_t kind;
  uint8_t stream;  // OutputStream
  uint8_t flags;
  uint8_t name_size;
  int64_t time_ns;     // since 1970, when it was read
  uint32_t member;     // the worker
  int32_t pid;
  uint32_t slot;
  uint32_t text_size;  // without a newline
  uint64_t run;        // of the task: generation 32 | record id 32; 0: none, such as what main() prints before tarn_init
  uint32_t task;       // its number
  uint32_t reserved;
  // the task's name, then the text

  [[nodiscard]] std::string_view name() const { return {reinterpret_cast<const char*>(this + 1), name_size}; }
  [[nodiscard]] std::string_view text() const { return {reinterpret_cast<const char*>(this + 1) + name_size, text_size}; }
};
static_assert(sizeof(OutputEntry) == 48 && offsetof(OutputEntry, run) == 32);

// The writer's side of a lane: one thread of one process at a time. A former writer may have been killed anywhere.
class OutputWriter {
 public:
  OutputWriter() = default;
  explicit OutputWriter(OutputLane& lane);
  // Appends a line; the oldest ones make room. REQUIRES: the name and the text are not longer than they may be.
  void append(OutputEntry head, std::string_view name, std::string_view text);

 private:
  void make_room(uint64_t end);

  OutputLane* lane_ = nullptr;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
};

// A copy of what a reader has not seen of a lane.
class OutputCopy {
 public:
  // Copies what is there from `position` on, and moves it behind that.
  void read(OutputLane& lane, uint64_t& position);
  // The entries of the copy, checked; nullptr: no more.
  [[nodiscard]] const OutputEntry* next();

 private:
  std::vector<uint64_t> bytes_;
  size_t size_ = 0;
  size_t at_ = 0;
};

// What a worker writes into its own stdout's pipe when a task that printed is over: what came before is that task's.
struct OutputMark {
  static constexpr uint64_t kMagic = 0x01'4e5241'541b1b00;  // \0 ESC ESC T A R N \1
  uint64_t magic;
  uint64_t run;
  uint32_t task;
  uint32_t reserved;
  uint64_t check;  // ~run
};
static_assert(sizeof(OutputMark) == 32);

}  // namespace tarn::shm
