// Executor: slots of other workers for a run that wants several cores (shm/loan.hpp).
//
// The run waits with its task claimed, in its own worker, so that it can be cancelled and be late as any other. Who waits for its turn to
// collect offers its own slot meanwhile: two such runs never wait for each other. Slots are taken only when enough are there, so a run
// that is stopped while it collects has none: what is offered is withdrawn, and the next one collects in its place.
#include <algorithm>
#include <bit>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/futex.hpp"
#include "task/executor.hpp"
#include "task/cores.hpp"

namespace tarn::task {
namespace {

constexpr int64_t kLookNs = 10'000'000;  // at whether the task was cancelled, which wakes nobody; docs/limits.md

constexpr bool has(const uint64_t* seats, uint32_t seat) { return (seats[seat / 64] >> seat % 64 & 1) != 0; }
void set(uint64_t* seats, uint32_t seat) { seats[seat / 64] |= uint64_t{1} << seat % 64; }

// Calls f(seat, slot) for the slots on that node.
template <class F>
void for_each_on_node(const shm::Board& board, int32_t node, F f) {
  std::span<const shm::SeatPlace> slots = slots_of(board);
  for (uint32_t seat = 0; seat < slots.size(); ++seat)
    if (slots[seat].node == node) f(seat, slots[seat]);
}

template <class F>
void for_each_set(const uint64_t* seats, F f) {
  for (uint32_t word = 0; word < shm::kMembersMax / 64; ++word)
    for (uint64_t left = seats[word]; left != 0; left &= left - 1) f(word * 64 + static_cast<uint32_t>(std::countr_zero(left)));
}

}  // namespace

// ---- Lending ---------------------------------------------------------------------------------

bool Executor::is_serving(uint32_t member) const {
  return member < shm::kMembersMax && (view_.board->doorbell.serving(member / 64) >> member % 64 & 1) != 0;
}

bool Executor::is_away() {
  if (!seat_->is_on_duty(rank_)) return true;
  is_perhaps_lent_ = false;
  if (rank_ == 0) line_.busy.store(0, kRelaxed);  // as it said in rest()
  return false;
}

// Not by a run in this very slot, nor by one that was stopped.
bool Executor::is_own_slot_wanted() const {
  if (seat_ == nullptr) return false;
  uint64_t collection = view_.board->collector.now();
  uint32_t member = shm::Collector::member_of(collection);
  return is_serving(member) && shm::Collector::node_of(collection) == view_.board->places[seat_number_].node &&
         view_.board->workers[member].slot.load(kRelaxed) != line_.slot.load(kRelaxed);
}

void Executor::offer_slot() {
  uint64_t collection = view_.board->collector.now();
  is_perhaps_lent_ = true;
  if (seat_->loan().offer(collection)) wake_collector();
}

// This worker has no hint in hand. What follows is rest(), until the slot is given back.
void Executor::offer_between_runs() {
  if (!is_slot_wanted()) return;
  // Who publishes hints is not to count on this one, which is awake for all it knows: it has to look who is busy.
  if (view_.board->nested.load(kRelaxed) == 0) (void)view_.board->nested.fetch_or(1);
  if (!seat_->is_on_duty(rank_)) {
    is_perhaps_lent_ = true;
    return;
  }
  offer_slot();
  if (next_look() != os::kForever) wake_another();  // which is to mind the time
}

// Whose run has what it wants by now, or was stopped, or has died. Before each sleep.
void Executor::withdraw_stale_offer() {
  uint64_t collection = view_.board->collector.now();
  seat_->loan().withdraw_unless(is_serving(shm::Collector::member_of(collection)) ? collection : 0);
}

void Executor::wake_on_duty(uint32_t seat) {
  if (uint32_t member = view_.board->seats[seat].member_on_duty(); member != 0) shm::wake_worker(*view_.board, member);
}

// There is more for it to take.
void Executor::wake_collector() {
  if (!view_.board->collector.is_on()) [[likely]]
    return;
  uint32_t member = shm::Collector::member_of(view_.board->collector.now());
  if (is_serving(member)) shm::wake_worker(*view_.board, member);
}

// ---- Borrowing -------------------------------------------------------------------------------

// Whether this worker's run, or one that waits for it here, has it.
bool Executor::has_slot(uint32_t seat) const {
  if (seat == seat_number_) return true;
  for (const Borrowed* each = borrowed_; each != nullptr; each = each->outer)
    if (has(each->seats, seat)) return true;
  return false;
}

int Executor::borrow_slots(tarn_call& call, uint32_t cores, Borrowed& out) {
  if (seat_ == nullptr) return 0;  // a worker that shares with nobody
  shm::Board& board = *view_.board;
  int32_t node;
  if (!find_node(board, cores, board.places[seat_number_].node, node))
    return fail_call(call, TARN_E_UNSATISFIABLE, nullptr, "no NUMA node has %u cores for this session", cores);
  uint32_t there = 0;
  for_each_on_node(board, node, [&](uint32_t seat, const shm::SeatPlace& slot) { there += has_slot(seat) ? slot.cpu_count : 0; });
  if (there >= cores) return 0;
  // As before any sleep in a task.
  hand_back();
  hand_back_nodes();
  ring();
  out.since_ns = os::now_ns();
  int code = 0;
  while (code == 0) {
    uint32_t ticket = line_.futex.load(kAcquire);
    if (collect(out, node, cores - there)) break;
    code = task::code_of_end(call);
    // What it waits for may be held by one that has died, whose records this worker may be ordered to settle.
    if (int r = 0; look_at_members(r) && r < 0) code = r;
    if (code == 0) os::futex_wait(line_.futex.futex_address(), ticket, os::now_ns() + kLookNs);
  }
  line_.collects_since.store(0, kRelaxed);
  if (code == 0) return 0;
  if (out.collection != 0) end_collection(out.collection);
  return_slots(out);
  wake_next_to_collect();
  return fail_call(call, code, nullptr, "it had waited %.3g s for %u cores, and had not begun",
                   static_cast<double>(os::now_ns() - out.since_ns) / 1e9, cores);
}

void Executor::return_slots(Borrowed& out) {
  for_each_set(out.seats, [&](uint32_t seat) {
    if (view_.board->seats[seat].loan().give_back(out.collection)) wake_on_duty(seat);
  });
  std::ranges::fill(out.seats, 0);
}

// What a run waits for may want several cores itself.
void Executor::set_loans_idle(bool is_idle) {
  for (Borrowed* each = borrowed_; each != nullptr; each = each->outer)
    for_each_set(each->seats, [&](uint32_t seat) { view_.board->seats[seat].loan().set_idle(each->collection, is_idle); });
}

// One step; true once the run has what is missing.
bool Executor::collect(Borrowed& out, int32_t node, uint32_t missing) {
  shm::Board& board = *view_.board;
  if (out.collection != 0 && board.collector.now() != out.collection) {
    return_slots(out);  // this one was stopped, and another collects in its place
    out.collection = 0;
  }
  if (out.collection == 0 && !begin_collection(out, node)) {
    if (is_slot_wanted()) offer_slot();
    return false;
  }
  uint32_t there = 0;
  for_each_on_node(board, node, [&](uint32_t seat, const shm::SeatPlace& slot) {
    if (!has_slot(seat) && (has(out.seats, seat) || is_free(seat, out.collection))) there += slot.cpu_count;
  });
  if (there >= missing) {
    there = 0;
    for_each_on_node(board, node, [&](uint32_t seat, const shm::SeatPlace& slot) {
      if (there >= missing || has_slot(seat) || !(has(out.seats, seat) || take_slot(seat, out.collection))) return;
      set(out.seats, seat);
      there += slot.cpu_count;
    });
  }
  if (there >= missing) {
    end_collection(out.collection);
    return true;
  }
  // Again and again: whoever was woken may have died, or been replaced, or not have seen yet that this worker serves.
  int64_t now = os::now_ns();
  if (now - out.rang_ns < kLookNs) return false;
  out.rang_ns = now;
  for_each_on_node(board, node, [&](uint32_t seat, const shm::SeatPlace&) {
    if (!has_slot(seat) && !board.seats[seat].loan().is_lent()) wake_on_duty(seat);
  });
  return false;
}

bool Executor::begin_collection(Borrowed& out, int32_t node) {
  shm::Collector& collector = view_.board->collector;
  withdraw_stale_offer();
  if (seat_->loan().is_lent() && !seat_->loan().is_idle()) {
    // First its own slot has to come back: others go before it.
    if (line_.collects_since.load(kRelaxed) != 0) {
      line_.collects_since.store(0, shm::kSeqCst);
      wake_next_to_collect();
    }
    return false;
  }
  line_.collects_since.store(static_cast<uint64_t>(out.since_ns), shm::kSeqCst);
  uint64_t seen = collector.now();
  uint32_t member = shm::Collector::member_of(seen);
  if (is_serving(member) || first_to_collect() != view_.self) return false;
  uint64_t mine;
  if (!collector.begin(seen, view_.self, node, mine)) return false;
  out.collection = mine;
  out.rang_ns = 0;
  line_.collects_since.store(0, kRelaxed);
  if (member != 0) withdraw_offers(seen);
  return true;
}

void Executor::end_collection(uint64_t collection) {
  view_.board->collector.end(collection);
  withdraw_offers(collection);
  wake_next_to_collect();
}

void Executor::withdraw_offers(uint64_t collection) {
  for (uint32_t seat = 0; seat < slots_of(*view_.board).size(); ++seat)
    if (view_.board->seats[seat].loan().withdraw(collection)) wake_on_duty(seat);
}

bool Executor::is_free(uint32_t seat, uint64_t collection) const {
  const shm::Seat& it = view_.board->seats[seat];
  return it.loan().is_offered(collection) || it.loan().is_idle() || (it.all_wait() && !it.loan().is_lent());
}

bool Executor::take_slot(uint32_t seat, uint64_t collection) {
  shm::Seat& it = view_.board->seats[seat];
  if (it.loan().take(collection)) return true;
  bool was_idle = it.loan().is_idle();
  if ((!was_idle && !it.all_wait()) || !it.loan().take_idle(collection)) return false;
  if (was_idle || it.all_wait()) return true;
  if (it.loan().give_back(collection)) wake_on_duty(seat);
  return false;
}

// Who has waited for its turn for longest; this one if nobody waits.
uint32_t Executor::first_to_collect() const {
  uint32_t first = view_.self;
  uint64_t since = line_.collects_since.load(kRelaxed);
  for (uint32_t word = 0; word < shm::Doorbell::kWords; ++word)
    for (uint64_t left = view_.board->doorbell.serving(word); left != 0; left &= left - 1) {
      auto member = word * 64 + static_cast<uint32_t>(std::countr_zero(left));
      uint64_t other = view_.board->workers[member].collects_since.load(kAcquire);
      if (other == 0 || (since != 0 && other >= since)) continue;
      first = member;
      since = other;
    }
  return first;
}

void Executor::wake_next_to_collect() {
  if (uint32_t member = first_to_collect(); member != view_.self) shm::wake_worker(*view_.board, member);
}

// ---- Recovery --------------------------------------------------------------------------------

// In this order, as end_collection: who offers too late sees it.
void Executor::recover_loans(uint32_t dead) {
  shm::Board& board = *view_.board;
  board.workers[dead].collects_since.store(0, kRelaxed);
  if (uint64_t seen = board.collector.now(); shm::Collector::member_of(seen) == dead) board.collector.end(seen);
  for (uint32_t seat = 0; seat < slots_of(board).size(); ++seat)
    if (board.seats[seat].loan().forget(dead)) wake_on_duty(seat);
  wake_next_to_collect();
}

}  // namespace tarn::task
