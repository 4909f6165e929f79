// Tasks that ask for a place or for resources: where their hints go, and who is woken for them.
//
// A worker takes from the queues of the classes that it is the place for. What only prefers another place is taken by who has
// nothing else to do, once all workers that are there have something in hand: until then it is theirs. Resources are looked at
// before a hint is taken, and taken after the claim (Executor::begin_class); who finds that somebody was quicker puts the task back.
#include "task/scheduling.hpp"

#include <bit>

#include "task/session_view.hpp"

namespace tarn::task {

bool is_in_place(const shm::ClassNeeds& needs, const shm::WorkerLine& worker) {
  auto number = static_cast<uint32_t>(needs.number);
  switch (needs.place) {
    case shm::Place::kSlot: return worker.slot.load(kRelaxed) == number;
    case shm::Place::kNode: return worker.node.load(kRelaxed) == number;
    case shm::Place::kAnywhere: break;
  }
  return true;
}

namespace {

bool share_any(const shm::ResourceCounts& a, const shm::ResourceCounts& b) {
  for (uint32_t i = 0; i < shm::kResourcesMax; ++i)
    if (a[i] != 0 && b[i] != 0) return true;
  return false;
}

// Calls `f(member)` for each set bit until it returns true; whether one did.
template <class Words, class F>
bool any_member(Words words, F f) {
  for (uint32_t word = 0; word < shm::Doorbell::kWords; ++word)
    for (uint64_t left = words(word); left != 0; left &= left - 1)
      if (f(word * 64 + static_cast<uint32_t>(std::countr_zero(left)))) return true;
  return false;
}

}  // namespace

bool may_have_resources(const shm::Board& board, uint32_t number) {
  const shm::ClassNeeds& needs = board.classes[number].needs;
  if (!needs.wants_resources()) return true;
  if (!board.resources.may_take(needs.counts)) return false;
  uint32_t first = board.classes.first_in_line().load(kAcquire);
  if (first == 0 || first > shm::kClassesMax || first == number) return true;
  const shm::SchedulingClass& other = board.classes[first];
  return other.needs.level < needs.level || !share_any(other.needs.counts, needs.counts) || !other.has_hints();
}

bool is_anyone_in_place_free(const shm::Board& board, const shm::ClassNeeds& needs) {
  return any_member([&](uint32_t word) { return board.doorbell.serving(word); },
                    [&](uint32_t member) {
                      const shm::WorkerLine& worker = board.workers[member];
                      return is_in_place(needs, worker) && worker.busy.load(kRelaxed) == 0;
                    });
}

void SessionView::publish_in_class(uint32_t id, uint32_t number) {
  shm::SchedulingClass& queue = board->classes[number];
  if (!queue.ring.push(id)) queue.unhinted.fetch_add(1);
  board->classes.set_pending(number);
  ring_class(number);
}

// The hint is in its queue: whoever goes to sleep from now on sees it, and who sleeps already is seen here.
void SessionView::ring_class(uint32_t number) {
  shm::full_fence();
  const shm::ClassNeeds& needs = board->classes[number].needs;
  if (!board->doorbell.anyone_to_wake()) return;
  // Also who cannot begin it, if he is to say that this session wants more.
  if (!may_have_resources(*board, number) && board->resources.to_be_wished_for(needs.counts) == 0) return;
  auto wake_if_in_place = [&](uint32_t member) {
    if (!is_in_place(needs, board->workers[member]) || !board->doorbell.pick_one(member)) return false;
    shm::wake_worker(*board, member);
    return true;
  };
  if (any_member([&](uint32_t word) { return board->doorbell.parked(word); }, wake_if_in_place)) return;
  if (needs.is_strict != 0 || is_anyone_in_place_free(*board, needs)) return;
  if (uint32_t worker = board->doorbell.pick(); worker != 0) shm::wake_worker(*board, worker);
}

}  // namespace tarn::task
