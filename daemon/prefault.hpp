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
#include "os/memory.hpp"

namespace tarn::daemon {

class Prefaulter {
 public:
  struct Result {
    int code = 0;          // or negative with a text: TARN_E_NO_MEMORY most likely
    std::string text;
    bool is_huge = false;  // it lies in huge pages, but for an end that fills none
  };
  using Done = std::function<void(const Result&)>;
  // So many bytes from the beginning of the range are warm. Not called for the last of them: that is `Done`.
  using Progress = std::function<void(uint64_t bytes)>;

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

  // Makes `range` warm, in huge pages if it is a slab beyond kAtOnceMax and the host has them, then calls `done`: before this
  // returns if it is little, else from the loop, as `progress` is before. A job ends early, and neither is called any more,
  // once `wanted` has expired.
  void prepare(uid_t user, std::weak_ptr<const void> wanted, Range range, Done done, Progress progress = {});

  // Whether it has memory of `user` that nobody wants any more. It is dropped once the piece in hand is done.
  [[nodiscard]] bool is_dropping(uid_t user);
  [[nodiscard]] bool idle();

 private:
  struct Job {
    uid_t user;
    std::weak_ptr<const void> wanted;
    Range range;
    Done done;
    std::shared_ptr<const Progress> progress;  // nullptr: nobody asks
    uint64_t warm = 0;
    Result result;

    [[nodiscard]] bool is_over() const { return result.code < 0 || warm >= range.size || wanted.expired(); }
  };

  struct Step {
    std::weak_ptr<const void> wanted;
    std::shared_ptr<const Progress> progress;
    uint64_t warm;
  };

  void work();
  void tell(const Job& job);
  void ring();
  void deliver();
  void make_piece_warm(Job& job);
  bool make_huge(const os::Mapping& piece, uint64_t page_size);

  Fd event_;
  Loop::Watch watch_;

  std::mutex mutex_;  // guards the rest
  std::condition_variable wake_;
  std::map<uid_t, std::deque<Job>> waiting_;
  std::deque<uid_t> turns_;  // of whom there are jobs, but for the one in turn
  std::optional<uid_t> at_;  // whose turn it is
  std::vector<Job> finished_;
  std::vector<Step> steps_;  // one of a job: what is not delivered yet is overtaken
  bool stopping_ = false;

  // Of the thread alone: how long huge pages are not tried, and how long they were not the last time.
  uint32_t rest_ = 0;
  uint32_t next_rest_ = 0;

  std::thread thread_;
};

}  // namespace tarn::daemon
