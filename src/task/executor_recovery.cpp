// Executor: what a dead member leaves behind is settled by the worker that comes next.
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.hpp"
#include "task/back_off.hpp"
#include "task/executor.hpp"

namespace tarn::task {

int Executor::recover_member(uint32_t dead, int signal, int exit_status) {
  if (dead >= shm::kMembersMax) return fail(TARN_E_PROTOCOL, "there is no member %u", dead);
  if (int r = view_.know(dead); r < 0) return r;
  const shm::UndoLine* undo = view_.segments[dead] != nullptr ? &view_.segments[dead]->undo : nullptr;
  auto give_up = [&](TaskRecord& record, uint8_t flags, uint8_t& outcome) {
    bool is_cancelled = (flags & kCancelled) != 0;
    if (!is_cancelled && record.attempts < record.attempts_max) return false;
    TaskErrorPayload payload{};
    payload.code = is_cancelled ? code_of_cancelled(flags) : TARN_E_WORKER_CRASHED;
    payload.signal = static_cast<uint8_t>(signal);
    payload.exit_status = static_cast<uint8_t>(exit_status);
    payload.worker = static_cast<uint16_t>(dead);
    memcpy(record.payload, &payload, sizeof payload);
    outcome = kFailed;
    return true;
  };
  // First what its tasks had submitted: as long as any of that may begin or finish, it reads and makes objects that are the dead
  // one's, and it is to end before the parent begins again.
  if (view_.segments[dead] != nullptr) orphan_tasks_of(dead);
  // From here on nobody makes a result for the dead one. Who had begun to may have joined after this one: all are looked at.
  for (uint32_t member = 0; member < shm::kMembersMax; ++member) {
    ErrorGuard guard;
    if (view_.board->members.is_there(member) && member != view_.self) (void)view_.know(member);
    (void)guard.end(0);
  }
  // Results that were never handed over go before the records: once one is ready again, another worker may finish
  // it and its owner use it anew, and then nothing would tell such a result from one that was.
  store_.sweep_dead_member(dead, is_referenced, this);
  for (uint32_t member = 0; member < view_.members_end; ++member) {
    shm::MemberSegment* segment = view_.segments[member];
    if (segment == nullptr || member == dead) continue;
    SegmentSpace space(view_, member);
    uint32_t used = std::min(segment->records_used.load(shm::kAcquire), shm::kTaskRecordsMax);
    for (uint32_t i = 0; i < used; ++i)
      (void)recover(space, i, static_cast<uint16_t>(dead), static_cast<uint16_t>(view_.self), undo, give_up);
    // The dead worker may have taken hints that it never came to.
    for (uint32_t left = levels(); left != 0; left &= left - 1)
      shm::with_lane(*segment, static_cast<uint32_t>(std::countr_zero(left)), [](auto& lane) { lane.unhinted.fetch_add(1); });
    if (view_.board->retries.load(shm::kAcquire) != 0) look_at_once(space);
    // ... and it may have finished a record without counting it: whoever sleeps looks again.
    space.notify_all();
  }
  recover_graphs(dead, signal, exit_status);
  recover_classes(dead);
  for (auto& word : view_.board->workers[dead].batch) word.store(0, shm::kRelaxed);
  uint32_t spinner = dead;
  (void)view_.board->spinner.compare_exchange(spinner, 0);
  view_.board->doorbell.withdraw(dead);
  recover_loans(dead);
  wake_another();
  return 0;
}

// What the dead one's tasks had submitted has no parent any more, and its results no reader. Some of it may run in other workers:
// there is nothing else in those processes that is not part of it.
void Executor::orphan_tasks_of(uint32_t dead) {
  SegmentSpace space(view_, dead);
  uint32_t used = std::min(view_.segments[dead]->records_used.load(shm::kAcquire), shm::kTaskRecordsMax);
  for (uint32_t i = 0; i < used; ++i) {
    uint16_t claimant = orphan(space, i, static_cast<uint16_t>(dead), static_cast<uint16_t>(view_.self),
                               [](TaskRecord& record) { write_code(record, TARN_E_CANCELLED); });
    if (claimant == 0 || view_.link == nullptr) continue;
    ErrorGuard guard;  // without tarnd, this one ends as well
    (void)view_.link->end_run(claimant, space.id(i), State::unpack(space.record(i).state.load(kAcquire)).generation);
    (void)guard.end(0);
  }
}

// Whether an item of a stream is that object. If there is another stream by now, or something else, the reader of the one before
// has let go of all that was in it.
bool Executor::is_referenced_by_stream(uint32_t made_for, uint32_t object_id, uint32_t object_generation) const {
  uint32_t line = shm::id_index(made_for) - shm::kTaskRecordsMax;
  if (line >= shm::kGraphLinesMax) return false;
  const std::byte* at = view_.segments[shm::id_member(made_for)]->graph_arena + size_t{line} * shm::kRecordSize;
  return reinterpret_cast<const shm::StreamRing*>(at)->has_object(object_id, object_generation);
}

// Whether the record of a task, or its stream, leads to a result that a dead worker made for it and that nobody has found yet.
bool Executor::is_referenced(void* self, uint32_t made_for, uint32_t object_id, uint32_t object_generation) {
  auto& executor = *static_cast<Executor*>(self);
  uint32_t owner = shm::id_member(made_for);
  if (owner >= shm::kMembersMax || executor.view_.segments[owner] == nullptr) return false;
  if (shm::id_index(made_for) >= shm::kTaskRecordsMax)
    return executor.is_referenced_by_stream(made_for, object_id, object_generation) ||
           executor.is_referenced_by_node(made_for, object_id, object_generation);
  const TaskRecord& record = SegmentSpace(executor.view_, owner).record(shm::id_index(made_for));
  State before = State::unpack(record.state.load(shm::kAcquire));
  if (!before.finished()) return false;
  ObjectRef ref{};
  if ((before.flags & kFailed) != 0) {
    TaskErrorPayload error;
    memcpy(&error, record.payload, sizeof error);
    ref = error.text;
  } else if ((before.flags & kObject) != 0) {
    memcpy(&ref, record.payload, sizeof ref);
  }
  // If the record is being used again, its task was released, and the result found before.
  return ref.id == object_id && ref.generation == object_generation;
}

}  // namespace tarn::task
