// What a trace is told of submissions (src/trace).

#include "task/submitter.hpp"

namespace tarn::task {

// Before anybody can begin it.
void Submitter::trace_submission(uint32_t index, const Submission& submission, const tarn_arg* args, size_t count) {
  uint64_t run = undo_stamp(private_[index].generation, shm::make_id(view_.self, index));
  view_.tracer.write(trace::Kind::kSubmit, run, level_of(submission.kind), submission.task);
  for (size_t i = 0; i < count; ++i) {
    if (args[i].kind != TARN_ARG_FUTURE) continue;
    uint32_t other = shm::id_index(static_cast<uint32_t>(args[i].u.future.id));
    view_.tracer.write(trace::Kind::kDepends, run, undo_stamp(private_[other].generation, shm::make_id(view_.self, other)));
  }
}

}  // namespace tarn::task
