#include "outlet.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

namespace tarn::output {
namespace {

constexpr size_t kQueueMax = size_t{1} << 20;  // of bytes that wait to be written; docs/limits.md

// As many whole lines as a pipe takes in one piece; a longer line alone.
std::string_view next_piece(std::string_view bytes) {
  if (bytes.size() <= PIPE_BUF) return bytes;
  size_t end = bytes.rfind('\n', PIPE_BUF - 1);
  if (end == std::string_view::npos) end = bytes.find('\n');
  return bytes.substr(0, end == std::string_view::npos ? bytes.size() : end + 1);
}

std::string words_of(uint64_t bytes, const char* why) {
  return "tarn: " + std::to_string(bytes) + " bytes of output left out: " + why + "; `tarn logs` has the last of each worker\n";
}

}  // namespace

Outlet::Outlet(int fd) : fd_(fd), thread_([this] { serve(); }) { thread_.detach(); }

void Outlet::put(std::string_view line) {
  std::lock_guard lock(mutex_);
  if (is_broken_) return;
  if (queue_.size() + line.size() > kQueueMax) {
    left_out_.no_room += line.size();
    return;
  }
  if (left_out_.too_fast + left_out_.no_room != 0) tell_of_left_out();
  queue_.append(line);
  changed_.notify_all();
}

void Outlet::leave_out(uint64_t bytes, bool is_too_fast) {
  std::lock_guard lock(mutex_);
  (is_too_fast ? left_out_.too_fast : left_out_.no_room) += bytes;
}

// Holds mutex_.
void Outlet::tell_of_left_out() {
  if (left_out_.too_fast != 0) queue_ += words_of(left_out_.too_fast, "they came too fast");
  if (left_out_.no_room != 0) queue_ += words_of(left_out_.no_room, "nobody read them in time");
  left_out_ = {};
}

void Outlet::finish(int64_t patience_ns) {
  std::unique_lock lock(mutex_);
  if (!is_broken_ && left_out_.too_fast + left_out_.no_room != 0) {
    tell_of_left_out();
    changed_.notify_all();
  }
  for (;;) {
    uint64_t before = written_;
    bool is_over = changed_.wait_for(lock, std::chrono::nanoseconds(patience_ns),
                                     [&] { return is_broken_ || (queue_.empty() && !is_writing_); });
    if (is_over || written_ == before) return;
  }
}

void Outlet::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return !queue_.empty(); });
    std::string bytes = std::exchange(queue_, {});
    is_writing_ = true;
    lock.unlock();
    bool is_written = write_all(bytes);
    lock.lock();
    is_writing_ = false;
    if (!is_written) {
      is_broken_ = true;
      queue_.clear();
    }
    changed_.notify_all();
  }
}

bool Outlet::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    std::string_view piece = next_piece(bytes);
    ssize_t size = write(fd_, piece.data(), piece.size());
    if (size < 0 && errno == EAGAIN) {
      pollfd entry{fd_, POLLOUT, 0};
      poll(&entry, 1, -1);
      continue;
    }
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(size));
    std::lock_guard lock(mutex_);
    written_ += static_cast<uint64_t>(size);
  }
  return true;
}

}  // namespace tarn::output
