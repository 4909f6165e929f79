// Prefaulter: backs slabs and records with memory, before anybody has to wait for it.
//
// Small slabs are done at once; larger ones on a thread of their own, in pieces, of which each user has one in his turn.
// The jobs of one user are done in order. Called from the loop thread, which also runs `done`.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "connection.hpp"
#include "loop.hpp"

namespace tarn::daemon {

class Prefaulter {
 public:
  // `code` is 0, or negative with a text: TARN_E_NO_MEMORY most likely.
  using Done = std::function<void(int code, const std::string& text)>;

  static constexpr uint64_t kAtOnceMax = 4u << 20;  // about a millisecond

  explicit Prefaulter(Loop& loop);  // throws std::runtime_error
  Prefaulter(const Prefaulter&) = delete;
  Prefaulter& operator=(const Prefaulter&) = delete;
  ~Prefaulter();

  struct Range {
    SharedFd file;  // dropped by the loop thread only
    uint64_t begin;  // a multiple of the page size
    uint64_t size;
    int32_t node;  // NUMA: where its pages shall be; wire::kAllNodes: on all; -1: as it comes
    // Whether its pages are zeroed as well. Not of a slab: whoever gets it maps every page, and zeroing them on the way
    // there costs half as much as two times through the page tables (32 MiB: 16 ms instead of 25 in all).
    bool zero;
  };

  // Makes `range` warm, in huge pages if it is a slab beyond kAtOnceMax and the host has them, then calls `done`: before this returns if it is little, else from the loop. A job ends early, and
  // its `done` is not called, once `wanted` has expired.
  void prepare(uid_t user, std::weak_ptr<const void> wanted, Range range, Done done);

  // Whether it has memory of `user` that nobody wants any more. It is dropped once the piece in hand is done.
  [[nodiscard]] bool is_dropping(uid_t user);
  [[nodiscard]] bool idle();

 private:
  struct Job {
    uid_t user;
    std::weak_ptr<const void> wanted;
    Range range;
    Done done;
    uint64_t warm = 0;
    int code = 0;
    std::string text;

    [[nodiscard]] bool is_over() const { return code < 0 || warm >= range.size || wanted.expired(); }
  };

  void work();
  void deliver();
  static void make_piece_warm(Job& job);

  Fd event_;
  Loop::Watch watch_;

  std::mutex mutex_;  // guards the rest
  std::condition_variable wake_;
  std::map<uid_t, std::deque<Job>> waiting_;
  std::deque<uid_t> turns_;  // of whom there are jobs, but for the one in turn
  std::optional<uid_t> at_;  // whose turn it is
  std::vector<Job> finished_;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace tarn::daemon
