// Executor: tasks that ask for a place or for resources (shm/scheduling_class.hpp).
#include <algorithm>
#include <bit>

#include "base/error.hpp"
#include "task/executor.hpp"
#include "task/run_watch.hpp"
#include "task/scheduling.hpp"

namespace tarn::task {

// Calls `f(number)` for each class that may have tasks until it returns true; whether one did. Begins behind the class that the last
// one was taken from.
template <class F>
bool Executor::any_class(F f) const {
  const shm::ClassTable& classes = view_.board->classes;
  uint64_t pending[2] = {classes.pending(0), classes.pending(1)};
  pending[1] &= ~uint64_t{0} >> 1;  // there is no 128th
  if ((pending[0] | pending[1]) == 0) [[likely]]
    return false;
  for (uint32_t i = 0; i < shm::kClassesMax; ++i) {
    uint32_t at = (last_class_ + i) % shm::kClassesMax;
    if ((pending[at / 64] >> at % 64 & 1) != 0 && classes[at + 1].is_made() && f(at + 1)) return true;
  }
  return false;
}

// Whether this worker is the place for them, or there is no better one.
bool Executor::is_place_for(uint32_t number, Whose whose) const {
  const shm::ClassNeeds& needs = view_.board->classes[number].needs;
  if (is_in_place(needs, line_)) return true;
  return whose == Whose::kAll && needs.is_strict == 0 && !is_anyone_in_place_free(*view_.board, needs);
}

uint32_t Executor::levels_of_classes() const {
  uint32_t levels = 0;
  (void)any_class([&](uint32_t number) {
    levels |= 1u << view_.board->classes[number].needs.level % shm::kLevels;
    return false;
  });
  return levels;
}

// Those with and those without take turns within their level.
size_t Executor::find_with_classes(Ids ids) {
  classes_first_ = !classes_first_;
  for (uint32_t left = levels() | levels_of_classes(); left != 0;) {
    auto level = static_cast<uint32_t>(std::bit_width(left) - 1);
    if (classes_first_ && take_of_classes(level, Whose::kOwn, ids) != 0) return 1;
    if (size_t count = find_in_level(level, ids); count != 0) return count;
    if (!classes_first_ && take_of_classes(level, Whose::kOwn, ids) != 0) return 1;
    left ^= 1u << level;
  }
  return 0;
}

// One at a time: others may be the place for the next as well, and what it asks for may then be gone.
size_t Executor::take_of_classes(uint32_t level, Whose whose, Ids ids) {
  bool found = any_class([&](uint32_t number) {
    shm::SchedulingClass& queue = view_.board->classes[number];
    if (queue.needs.level != level || !is_place_for(number, whose)) return false;
    if (!may_have_resources(*view_.board, number)) {
      if (queue.has_hints()) fall_in_line(number);
      return false;
    }
    if (queue.ring.take(ids, 1) == 0 && look_through_records(queue, number, ids) == 0) {
      view_.board->classes.clear_pending(number);
      leave_line(number);
      return false;
    }
    last_class_ = number % shm::kClassesMax;
    if (queue.has_hints()) view_.ring_class(number);  // one wakes the next
    return true;
  });
  return found ? 1 : 0;
}

// As those of a lane, of all members: one after the other, as long as there may be some.
size_t Executor::look_through_records(shm::SchedulingClass& queue, uint32_t number, Ids ids) {
  uint32_t unhinted = queue.unhinted.load(kAcquire);
  if (unhinted == 0) return 0;
  uint64_t cursor = queue.scan_cursor.load(kRelaxed);
  auto member = static_cast<uint32_t>(cursor >> 32) % shm::kMembersMax;
  auto at = static_cast<uint32_t>(cursor);
  for (uint32_t turn = 0; turn <= view_.members_end; ++turn, at = 0, member = (member + 1) % view_.members_end) {
    if (member >= view_.members_end || view_.segments[member] == nullptr) continue;
    SegmentSpace space(view_, member);
    uint32_t used = std::min(view_.segments[member]->records_used.load(kAcquire), shm::kTaskRecordsMax);
    for (; at < used; ++at) {
      TaskRecord& record = space.record(at);
      if (class_of(record.kind.load(kRelaxed)) != number || State::unpack(record.state.load(kAcquire)).phase != Phase::kReady) continue;
      queue.scan_cursor.store(uint64_t{member} << 32 | (at + 1), kRelaxed);
      ids[0] = space.id(at);
      return 1;
    }
  }
  queue.scan_cursor.store(0, kRelaxed);
  (void)queue.unhinted.compare_exchange(unhinted, 0);
  return 0;
}

// What prefers another place, where everybody is busy. Before this worker sleeps.
bool Executor::run_of_others() {
  for (uint32_t left = levels_of_classes(); left != 0;) {
    auto level = static_cast<uint32_t>(std::bit_width(left) - 1);
    Ids ids;
    if (size_t count = take_of_classes(level, Whose::kAll, ids); count != 0) return run_batch(ids, count), true;
    left ^= 1u << level;
  }
  return false;
}

bool Executor::class_tasks_left() const {
  return any_class([&](uint32_t number) {
    return view_.board->classes[number].has_hints() && is_place_for(number, Whose::kAll) && may_have_resources(*view_.board, number);
  });
}

// This worker is busy from now on: what prefers it is for others as well.
void Executor::offer_class_tasks() {
  shm::full_fence();
  bool any = any_class([&](uint32_t number) {
    const shm::SchedulingClass& queue = view_.board->classes[number];
    return queue.needs.is_strict == 0 && is_in_place(queue.needs, line_) && queue.has_hints();
  });
  if (any) wake_another();
}

// The claimed task is of that class. False if it is not to run here, or not now.
bool Executor::begin_class(uint32_t number) {
  const shm::ClassNeeds& needs = view_.board->classes[number].needs;
  if (needs.is_strict != 0 && !is_in_place(needs, line_)) return false;
  if (!needs.wants_resources()) return true;
  // A task that waits for this one may hold up who is first in line.
  if (current_ == nullptr && !may_have_resources(*view_.board, number)) return false;
  auto taken = view_.board->resources.take(view_.self, needs.counts, [&](uint32_t member) { return view_.board->members.is_there(member); });
  if (taken == shm::Resources::Taken::kBusy) return false;
  if (taken == shm::Resources::Taken::kYes) leave_line(number);
  shm::full_fence();
  ring_classes();
  return taken == shm::Resources::Taken::kYes;
}

// The claimed task has not begun, and is for others; or it was cancelled meanwhile, and never will.
void Executor::put_back(TaskRecord& record, State mine, uint32_t id) {
  SegmentSpace space(view_, shm::id_member(id));
  if (leave_run(record, mine, Phase::kReady)) return space.publish(id);
  write_code(record, code_of_cancelled(State::unpack(record.state.load(kAcquire)).flags));
  if (!finish(space, record, mine, kFailed)) run_watch::end_process();
}

// There is not enough for it now. The next that becomes free is kept for who is first in line; who is more urgent comes before who was
// there first.
void Executor::fall_in_line(uint32_t number) {
  shm::Board& board = *view_.board;
  const shm::ClassNeeds& needs = board.classes[number].needs;
  if (board.resources.are_free(needs.counts)) return;
  wish_for(needs.counts);
  uint32_t first = board.classes.first_in_line().load(kAcquire);
  if (first == number) return;
  bool may_pass = first == 0 || first > shm::kClassesMax || !board.classes[first].has_hints() || board.classes[first].needs.level < needs.level;
  if (may_pass) (void)board.classes.first_in_line().compare_exchange(first, number);
}

// Perhaps it is lent to another session.
void Executor::wish_for(const shm::ResourceCounts& counts) {
  shm::Resources& resources = view_.board->resources;
  if (view_.link == nullptr || !resources.begin_wish(resources.to_be_wished_for(counts))) return;
  ErrorGuard guard;  // without tarnd this process ends soon
  (void)view_.link->wish_for(counts);
  (void)guard.end(0);
}

// One of it has what it wants, or there is none.
void Executor::leave_line(uint32_t number) {
  shm::Word<uint32_t>& first_in_line = view_.board->classes.first_in_line();
  uint32_t first = number;
  if (first_in_line.load(kAcquire) == number && first_in_line.compare_exchange(first, 0)) ring_classes();
}

// The run is over: what it had is for others.
void Executor::end_class(uint32_t number) {
  const shm::ClassNeeds& needs = view_.board->classes[number].needs;
  if (!needs.wants_resources()) return;
  view_.board->resources.give_back(view_.self, needs.counts);
  shm::full_fence();
  ring_classes();
}

void Executor::ring_classes() {
  (void)any_class([&](uint32_t number) {
    if (view_.board->classes[number].has_hints()) view_.ring_class(number);
    return false;
  });
}

// Recovery: the dead one may have had hints in hand, and resources.
void Executor::recover_classes(uint32_t dead) {
  view_.board->resources.forget(dead);
  view_.board->resources.end_wish(UINT32_MAX);  // the dead one may not have come to saying it
  for (uint32_t number = 1; number <= shm::kClassesMax; ++number) {
    shm::SchedulingClass& queue = view_.board->classes[number];
    if (!queue.is_made()) continue;
    queue.unhinted.fetch_add(1);
    view_.board->classes.set_pending(number);
    view_.ring_class(number);
  }
}

}  // namespace tarn::task
