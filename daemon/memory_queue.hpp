// MemoryQueue: requests for memory that wait until somebody gives some back, of all sessions of the host.
//
// First come, first served, within each budget: what finds a budget full holds up whatever is paid from the same one and
// came later, so that many small requests cannot take for ever what a large one waits for. Who is paid from other budgets,
// and has room there, does not wait; nor at the host's budget for who is at a limit of his own. Urgent ones go before all
// others. What the memory is for is the business of who asks.
//
// Nothing here takes longer because one session asks often: a pass looks at the first request of each session that waits,
// and at those whose time has passed. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "ledger.hpp"
#include "loop.hpp"
#include "os/clock.hpp"

namespace tarn::daemon {

class MemoryQueue {
 public:
  static constexpr size_t kOfSessionMax = 1024;          // docs/limits.md
  static constexpr int64_t kWaitMaxNs = 30'000'000'000;  // docs/limits.md; a client gives up after 60 s
  static constexpr int64_t kTickNs = 10'000'000;         // looks by itself so often, and asks for memory no oftener

  struct Request {
    std::weak_ptr<const void> alive;       // expired: the request is forgotten
    const Budget* budget;                  // the session's, from which it will be paid; valid while `alive`
    uint64_t bytes;
    int64_t deadline_ns;                   // until then it waits, and beyond while memory is coming
    int64_t latest_ns = os::kForever;      // the end of that, if it is before the queue's own
    std::function<int()> attempt;          // pays and begins the work: there is room; 0 or a code, with last_error()
    std::function<void(int code)> refuse;  // with last_error(): its time has passed, it can never be met, or that failed
    bool is_urgent = false;                // little, and who waits may need it to give something back: goes before others
    bool is_return = false;                // for an object that is on the disk
  };

  // What waits, of one session or of all.
  struct Waits {
    uint64_t requests = 0;
    uint64_t bytes = 0;
    int64_t since_ns = 0;  // when the oldest came
  };

  // When a request begins to wait and regularly while it does: `full` lacks so much for it. Not for requests whose deadline
  // had passed when they came.
  using OnWanted = std::function<void(const Budget& full, uint64_t missing_bytes, bool is_return)>;
  // Whether memory is on its way back to `full` already.
  using IsComing = std::function<bool(const Budget& full)>;
  using Clock = std::function<int64_t()>;  // tests have their own

  // While memory is coming a request waits for `wait_ns`, or until its deadline if that is later; never beyond kWaitMaxNs.
  MemoryQueue(Loop& loop, int64_t wait_ns, OnWanted on_wanted, IsComing is_coming, Clock now_ns = os::now_ns);
  MemoryQueue(const MemoryQueue&) = delete;
  MemoryQueue& operator=(const MemoryQueue&) = delete;
  ~MemoryQueue();

  // Attempts at once if there is room and nobody waits for it; else waits.
  void submit(Request request);

  // Tries those that wait, in order.
  void serve();
  // The same a moment later: memory came back, maybe in a destructor.
  void serve_soon();

  [[nodiscard]] Waits waits() const;
  [[nodiscard]] Waits waits_of(const Budget& session) const;
  // The budget that a request for memory from `budget` would wait for, whatever its size; nullptr: none.
  [[nodiscard]] const Budget* blocked_by(const Budget& budget) const;

 private:
  struct Lane;
  struct Waiting {
    Request request;
    Lane* lane;
    uint64_t number;  // in the order in which they are served
    int64_t since_ns;
    int64_t due_ns;  // its key in due_
    std::list<Waiting>::iterator self{};
  };
  struct Lane {  // what waits of one session
    const Budget* session;  // only compared
    std::list<Waiting> line;
    uint64_t bytes = 0;
  };

  [[nodiscard]] const Budget* find_full(const Request& request) const;
  void hold_up_others(const Request& request);
  [[nodiscard]] bool is_over(const Request& request, const Budget& full, int64_t now);
  [[nodiscard]] bool is_slice_over(int64_t begin) const;
  [[nodiscard]] static int explain(const Request& request, const Budget& full);
  Waiting& enqueue(Request request, int64_t now);
  [[nodiscard]] Request take_out(Waiting& waiting);
  void ask_for(const Budget& full, const Waiting& waiting, int64_t now);
  [[nodiscard]] bool look_at_first(Lane& lane, int64_t now);
  void end_overdue(int64_t now);
  void refuse(Waiting& waiting, const Budget& full, int64_t now);

  Loop& loop_;
  const int64_t wait_ns_;
  const OnWanted on_wanted_;
  const IsComing is_coming_;
  const Clock now_ns_;

  std::unordered_map<const Budget*, std::unique_ptr<Lane>> lanes_;  // by the session's budget
  std::map<uint64_t, Lane*> order_;                                 // by the number of each one's first request
  std::set<std::pair<int64_t, Waiting*>> due_;                      // by the moment to look whether its time has passed
  static constexpr uint64_t kFirstNumber = uint64_t{1} << 63;  // of those that are not urgent
  uint64_t last_number_ = kFirstNumber;
  uint64_t last_urgent_ = 0;
  uint64_t count_ = 0;
  uint64_t bytes_ = 0;

  // As the last pass found them; only compared, because who has them may have gone since.
  std::unordered_set<const Budget*> full_;
  std::unordered_map<const Budget*, bool> coming_;
  std::set<std::pair<const Budget*, bool>> asked_;  // since asked_ns_: for memory; and whether for a return
  int64_t asked_ns_ = 0;

  bool is_serving_ = false;
  bool is_cut_ = false;  // the last pass took long and was not finished
  bool again_ = false;   // something changed in the midst of a pass
  Loop::Timer tick_;
  Loop::Timer soon_;
};

}  // namespace tarn::daemon
