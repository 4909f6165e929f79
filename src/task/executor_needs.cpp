// Executor: runs of tasks that say what they need of the host: several cores, or a bound on their memory.
#include <cstring>

#include "os/affinity.hpp"
#include "task/executor.hpp"
#include "task/memory_limit.hpp"
#include "task/cores.hpp"
#include "task/thread_counts.hpp"

namespace tarn::task {

// Where a run may be that has these slots beside what it had. Its own slot is not among them if it is on another node.
void Executor::add_cpus(const Borrowed& borrowed, os::Cpus& cpus) const {
  std::span<const shm::SeatPlace> slots = slots_of(*view_.board);
  const shm::SeatPlace& own = slots[seat_number_];
  for (uint32_t seat = 0; seat < slots.size(); ++seat) {
    if ((borrowed.seats[seat / 64] >> seat % 64 & 1) == 0) continue;
    for (uint32_t i = 0; i < os::Cpus::kWords; ++i) {
      if (slots[seat].node != own.node) cpus.words[i] &= ~own.cpus[i];
      cpus.words[i] |= slots[seat].cpus[i];
    }
  }
}

// First the slots: whoever lends one holds no memory, and so cannot be what the arguments have to wait for.
int Executor::run_with_needs(tarn_call& call, TaskRecord& record, const std::byte* payload, uint32_t owner, const TaskLimits& limits) {
  Borrowed borrowed{borrowed_, 0, 0, 0, {}};
  if (limits.cores != 0) {
    if (int r = borrow_slots(call, limits.cores, borrowed); r < 0) return r;
  }
  borrowed_ = &borrowed;
  int code = get_arguments(call, record, payload, owner);
  if (code == 0) code = run_on_cores(call, limits, borrowed);
  borrowed_ = borrowed.outer;
  return_slots(borrowed);
  return code;
}

int Executor::run_on_cores(tarn_call& call, const TaskLimits& limits, const Borrowed& borrowed) {
  if (limits.cores == 0) return run_in_memory(call, limits);
  os::Cpus before;
  bool is_moved = borrowed.collection != 0 && os::get_affinity(before);
  if (is_moved) {
    os::Cpus all = before;
    add_cpus(borrowed, all);
    is_moved = os::move_threads(all);
  }
  ThreadCounts threads;
  threads.set(limits.cores);
  int code = run_in_memory(call, limits);
  threads.put_back();
  if (is_moved) (void)os::move_threads(before);
  return code;
}

int Executor::run_in_memory(tarn_call& call, const TaskLimits& limits) {
  int code;
  {
    MemoryLimit limit(limits.memory);
    code = run_definition(call);
  }
  bool is_out = code == TARN_E_NO_MEMORY || (call.error_type != nullptr && strcmp(call.error_type, "std::bad_alloc") == 0);
  if (code >= 0 || limits.memory == 0 || !is_out) return code;
  return fail_call(call, code, call.error_type, "%s; a run of it may take %.6g MiB (needs.memory)",
                   call.error_message == nullptr ? "no memory" : call.error_message, static_cast<double>(limits.memory) / (1 << 20));
}

}  // namespace tarn::task
