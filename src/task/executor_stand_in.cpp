// Executor: a slot whose worker waits in a task has another worker meanwhile.
//
// A worker that sleeps in a task leaves its core idle, though other tasks may be ready. It does not run those itself: they would
// hold up the task that waits, and end with it. So it lends its slot (shm/seat.hpp) to a process of its own, the stand-in: the same
// executable again, started by tarnd when a wait first lasts, and kept. From then on lending costs a wake-up on the own core, at a
// moment when that has nothing else to do.
#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/futex.hpp"
#include "task/executor.hpp"

namespace tarn::task {
namespace {

constexpr int64_t kLastingNs = 15'000'000;      // a sleep of this length makes a stand-in worth its start
constexpr int64_t kAskAgainNs = 1'000'000'000;  // tarnd may have been killed before it came to the last request

}  // namespace

void Executor::set_seat(uint32_t seat, uint32_t rank) {
  if (seat >= shm::kMembersMax || rank >= shm::Seat::kRanks) return;
  seat_ = &view_.board->seats[seat];
  seat_number_ = seat;
  rank_ = rank;
  is_perhaps_lent_ = true;  // by one that died
  if (rank != 0) line_.busy.store(1, shm::kRelaxed);  // until it is its turn
  send_off(seat_->occupy(rank, view_.self));
}

void Executor::lend_slot() {
  if (seat_ == nullptr) return;
  if (view_.board->nested.load(shm::kRelaxed) == 0) (void)view_.board->nested.fetch_or(1);  // who is awake may be waiting
  lent_ns_ = os::now_ns();
  if (uint32_t member = seat_->lend(rank_); member != 0) shm::wake_worker(*view_.board, member);
}

void Executor::take_slot_back() {
  if (seat_ == nullptr) return;
  send_off(seat_->take_back(rank_));
  if (seat_->loan().is_lent()) is_perhaps_lent_ = true;  // this run goes on; it is the last one
  int64_t now = os::now_ns();
  if (now - lent_ns_ < kLastingNs || view_.link == nullptr || (asked_ns_ != 0 && now - asked_ns_ < kAskAgainNs)) return;
  uint32_t vacancy = seat_->vacancy(rank_);
  if (vacancy == 0) return;
  asked_ns_ = now;
  ErrorGuard guard;  // without tarnd this process ends soon
  (void)view_.link->ask_for_stand_in(vacancy);
  (void)guard.end(0);
}

// Its duty is over. If it sleeps it goes on sleeping, but nobody wakes it for work.
void Executor::send_off(uint32_t member) {
  if (member != 0) view_.board->doorbell.withdraw(member);
}

// Off duty: until the slot is lent to this one again, or given back by a run elsewhere.
int Executor::rest() {
  if (int r; look_at_members(r)) return r;
  if (submitter_ != nullptr) submitter_->tidy();
  uint32_t ticket = line_.futex.load(shm::kAcquire);
  line_.busy.store(1, shm::kRelaxed);
  shm::full_fence();
  // Published by somebody who counted on this one.
  if (hints_left() || graph_nodes_left()) wake_another();
  if (is_perhaps_lent_) withdraw_stale_offer();
  bool is_asked = seat_->is_on_duty(rank_) || stopping_.load(shm::kAcquire) != 0 ||
                  view_.board->membership.load(shm::kAcquire) != membership_seen_;
  if (!is_asked) os::futex_wait(line_.futex.futex_address(), ticket, os::kForever);
  return 0;
}

}  // namespace tarn::task
