// Outlet: a descriptor of the client's, stdout or stderr, that lines are written to by a thread of its own.
//
// Who reads it may be slow, or stopped, for ever: the thread then waits and nobody else does. What finds no room meanwhile is left
// out and counted, and one line says so where it is missing. Lines are written whole, several at a time, no more at once than a
// pipe takes in one piece.
//
// Thread safety: one thread puts. It owns neither the descriptor nor its flags: they are the client's.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace tarn::output {

class Outlet {
 public:
  explicit Outlet(int fd);
  Outlet(const Outlet&) = delete;
  Outlet& operator=(const Outlet&) = delete;

  // A line with its newline.
  void put(std::string_view line);
  // So many bytes were left out before they came here.
  void leave_out(uint64_t bytes, bool is_too_fast);
  // Waits until everything is written, or nobody has taken anything for so long.
  void finish(int64_t patience_ns);

 private:
  struct LeftOut {
    uint64_t too_fast = 0;  // than the rate allows
    uint64_t no_room = 0;
  };

  void serve();
  [[nodiscard]] bool write_all(std::string_view bytes);
  void tell_of_left_out();

  int fd_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string queue_;
  LeftOut left_out_;
  uint64_t written_ = 0;
  bool is_writing_ = false;
  bool is_broken_ = false;  // nobody reads it any more
  std::thread thread_;
};

}  // namespace tarn::output
