// Executor: an object was dropped from memory, and the task that made it runs once more.
//
// Whoever reads the object has its task run right there, on its own stack, as a waiting task runs what it has submitted. What that
// task reads may have been dropped as well, and is made in the same way, one below the other; the run that wanted the
// object goes on when it is there. If another worker is at it already, this one waits for that; if it takes long, it lends its slot
// meanwhile, which what is made there may need.
//
// No wait goes in a circle. A run waits for its children and for makings of what it reads. A task that made an object X read
// only what was finished before X was, and so do its children; run again with the same arguments, it reads the same, or what it has
// itself made in this run, of which nobody else knows. So along a chain of makings, each of which waits for the next one, the
// objects get older. (A task that says it is repeatable, and finds what it reads in other ways than by its arguments, can
// bring about a circle: then waits end as those do in which nothing comes, by the time that its user has set.)
//
// A run of this kind claims no record and writes none. It is part of the run that waits for it: it is cancelled with that, and if the
// process dies in it, that one is run again. What it makes is no object but a block of this worker's memory, which tarnd copies
// to the object's place.
#include <cstring>

#include "base/error.hpp"
#include "task/executor.hpp"
#include "task/recipe.hpp"

namespace tarn::task {
namespace {

// Codes that say nothing about the task: it did not come to its end.
bool is_passing(int code) {
  switch (code) {
    case TARN_E_STORE_FULL:
    case TARN_E_QUOTA:
    case TARN_E_NO_MEMORY:
    case TARN_E_LIMIT:
    case TARN_E_CANCELLED:
    case TARN_E_DEADLINE:
    case TARN_E_DAEMON_GONE:
    case TARN_E_LOST:
      return true;  // something that it reads: what is to be said was said there
    default:
      return false;
  }
}

int fail_again(const tarn_call& call, int code) {
  const char* task = call.definition == nullptr ? "?" : call.definition->name;
  const char* message = call.error_message;
  if (is_passing(code))
    return fail(code, "task '%s', which makes an object again that was dropped: %s", task,
                message != nullptr ? message : last_error());
  return fail(
      TARN_E_LOST,
      "task '%s' made an object that was dropped, and fails when it is to make it again (code "
      "%d%s%s); submit it without TARN_TASK_REPEATABLE",
      task, code, message != nullptr ? ": " : "", message != nullptr ? message : "");
}

}  // namespace

int Executor::code_of_wait() const {
  int code = is_in_task() ? task::code_of_end(*current_) : 0;
  return code == 0 ? 0 : fail(code, "the task that waits for an object to be made again is to end");
}

// What is in the object's record was put there by the worker that made it; what that names, by the task's owner.
int Executor::find_recipe(const store::ObjectRecord& object, MadeAgain& again,
                          const TaskRecord*& record) {
  uint32_t made_for = object.link.load(kRelaxed);
  auto at = store::ObjectPlace::unpack(object.recipe);
  again.owner = shm::id_member(made_for);
  if (int r = view_.know(again.owner); r < 0) return r;
  const std::byte* data;
  if (int r = store_.resolve_block(again.owner, at.slab, at.offset, sizeof(Recipe), data); r < 0)
    return r;
  Recipe recipe;
  memcpy(&recipe, data, sizeof recipe);
  if (makes_sense(recipe, at, made_for)) {
    again.arguments = recipe.arguments;
    record = &SegmentSpace(view_, again.owner).record(recipe.record);
    State state = State::unpack(record->state.load(kAcquire));
    if (state.generation == recipe.generation && state.finished() && record->task == recipe.task)
      return 0;
  }
  return fail(TARN_E_LOST, "the object was dropped, and how it was made is not known any more");
}

int Executor::run_again(MadeAgain& again, const TaskRecord& record, uint64_t size) {
  current_->file_fault |= store_.take_file_fault();
  tarn_call call;
  begin_call(call, *current_->record, record.task, current_->made_for, 1);
  call.again = &again;
  uint32_t* outer_children = enter(call);
  std::byte payload[kPayloadSize];
  memcpy(payload, &again.arguments, sizeof payload);
  int code = call.definition == nullptr
                 ? fail_call(call, TARN_E_NO_TASK, nullptr, "it is not defined in the worker")
                 : get_arguments(call, record, payload, again.owner);
  ErrorGuard guard;  // whatever the task fails in and gets round
  if (code == 0) code = run_definition(call);
  if (call.children != 0) submitter_->end_children(call.children, code < 0);
  drop_arguments(call);
  if (code == 0 && again.size != size)
    code = fail_call(
        call, TARN_E_TASK_FAILED, nullptr, "it has made %llu bytes, and %llu the first time",
        static_cast<unsigned long long>(again.size), static_cast<unsigned long long>(size));
  if (code < 0) code = fail_again(call, code);
  forget_error(call);
  leave(call, outer_children);
  return guard.end(code);
}

int Executor::make_again(const ObjectRef& ref, const store::ObjectRecord& object, int64_t) {
  MadeAgain again{};
  const TaskRecord* record = nullptr;
  int r = current_ == nullptr
              ? fail(TARN_E_STATE,
                     "an object that was dropped is made again by tasks, and none runs here")
              : check_room();
  if (r == 0) r = find_recipe(object, again, record);
  if (r == 0) r = run_again(again, *record, object.size);
  if (r == 0) r = store_.bring(ref, object, again.block, again.size);
  // If nothing was heard, tarnd may still be about to copy it.
  if (again.size != 0 && r != TARN_E_TIMED_OUT) store_.free_block(again.block, again.size);
  if (r < 0) store_.give_up(ref, object, r);
  return r;
}

}  // namespace tarn::task
