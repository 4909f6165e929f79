// LineSplitter: makes lines of what comes out of one pipe of a worker, each with the run of the task that printed it.
//
// A mark (shm::OutputMark) behind some bytes says whose they are. Until it is clear that none follows they are held back: the
// pipe was found empty after the board had been asked what the worker runs (`settle`). So what is printed by stdio goes to its
// task however short that is, and what has no mark to the run that was under way. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace tarn::output {

struct TaskRun {
  uint64_t id = 0;  // generation 32 | record id 32; 0: none
  uint32_t task = 0;
  bool operator==(const TaskRun&) const = default;
};

class LineSplitter {
 public:
  // A line without its newline; `is_cut`: it had none.
  using Sink = std::function<void(std::string_view line, TaskRun run, bool is_cut)>;

  explicit LineSplitter(Sink sink) : sink_(std::move(sink)) {}

  // More bytes. `current` is what the worker runs, for what cannot be held back any longer.
  void add(std::string_view bytes, TaskRun current);
  // The pipe is empty, and was so after the worker ran `current`.
  void settle(TaskRun current);
  // What has no newline does not wait for one any more.
  void finish_line();
  [[nodiscard]] bool has_part() const { return !part_.empty(); }

 private:
  void claim(std::string_view bytes, TaskRun run);

  Sink sink_;
  std::string held_;  // that nobody has claimed
  std::string part_;  // of a line
  TaskRun part_run_;
};

}  // namespace tarn::output
