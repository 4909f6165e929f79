// tarn_call: one run of a task in its worker; what the tarn_call_* functions work on.
//
// Lives on the worker's stack for the time of the run. The arguments were read from a copy, not from the record, so the
// result may be written over them.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>

#include "store/store.hpp"
#include "tarn/tarn.h"
#include "task/arguments.hpp"
#include "task/graph_view.hpp"
#include "task/registry.hpp"
#include "task/run_watch.hpp"
#include "task/session_view.hpp"
#include "task/stream_writer.hpp"

inline constexpr size_t kCallArgsInline = 8;
inline constexpr size_t kCallMessageSizeMax = 4096;

namespace tarn::task {

// A run that makes an object again (executor_make.cpp): what it reads, and its result, which nobody but tarnd is to find.
struct MadeAgain {
  BlockRef arguments;
  uint32_t owner;  // of the block
  store::Block block;
  uint64_t size = 0;  // of the result in `block`; 0: there is none
};

}  // namespace tarn::task

struct tarn_call {
  tarn::task::SessionView* view;
  tarn::store::Store* store;
  const tarn::task::Definition* definition;

  size_t arg_count;
  tarn_bytes* args;  // inline_args, or allocated for the run
  tarn_bytes inline_args[kCallArgsInline];

  // Objects among them that stay in memory for the run: in inline_pinned, or allocated.
  size_t pinned_count;
  struct Pinned {
    tarn::task::ObjectRef ref;
    tarn::store::Store::Resolved how;
  };
  Pinned* pinned;
  Pinned inline_pinned[kCallArgsInline];

  const tarn::task::TaskRecord* record;
  const tarn::task::GraphView* graph;          // nullptr: a task of its own; otherwise it is a node of that graph,
  const tarn::task::GraphNode* node;           // this one, and `record` says nothing
  const tarn::task::TaskRecord* first_record;  // of the run that this worker began with, which waits if it is not this one
  tarn_client* client;                         // nullptr: the task cannot submit
  tarn_call* outer;                            // the run that waits for this one, in this worker
  const tarn::shm::Word<uint32_t>* graph_cancelled;  // of the run of a graph that this is part of, or part of whose node; nullptr: none
  uint32_t graph_epoch;                        // which it says when the run is not to go on
  uint32_t children;                           // Submitter::end_children
  bool file_fault;                             // a mapped file shrank under it
  bool has_begun;                              // its own function was called
  tarn::task::run_watch::Watched watched;
  uint32_t attempt;
  uint32_t made_for;  // the record, as results name it
  uint64_t recipe;    // of a result, if the task is repeatable
  tarn::task::MadeAgain* again;  // nullptr: the run is what it was submitted for; else it is part of the run that waits for it
  unsigned
      forks;  // os::fork_count when it began: a child that the task forked has counted one more

  // The result so far: in `result`, or in an object being created.
  alignas(8) std::byte result[tarn::task::kPayloadSize];
  size_t result_size;
  tarn::task::ObjectRef result_object;  // generation 0: none

  tarn::task::StreamWriter stream;

  // What tarn_call_fail was told.
  int error_code;
  char* error_type;     // allocated; nullptr: none
  char* error_message;  // allocated; nullptr: none
  int error_cause;      // 0, or the code of the task that it depends on
  char* error_task;     // allocated; nullptr: this one failed, otherwise the one it depends on
};

namespace tarn::task {

// Keeps what went wrong for the error of the task; returns `code`, or TARN_E_TASK_FAILED if that is not
// negative.
[[gnu::format(printf, 4, 5)]] int fail_call(tarn_call& call, int code, const char* type, const char* format, ...);
int vfail_call(tarn_call& call, int code, const char* type, const char* format, va_list arguments);

// The code of a task that did not finish because it was cancelled, by the record's flags.
constexpr int code_of_cancelled(uint8_t flags) { return (flags & kLate) != 0 ? TARN_E_DEADLINE : TARN_E_CANCELLED; }

// Shortens a text to less than `size` bytes: its beginning and its end stay.
void cut_middle(char* text, size_t size);

// The payload of a record whose task failed with `code` without having run to its end.
void write_code(TaskRecord& record, int code);

// Takes the words of the error away.
void forget_error(tarn_call& call);

// Makes room for a result of `size` bytes, in the call or in an object.
[[nodiscard]] int result_buffer(tarn_call& call, size_t size, void*& data);

// TARN_E_CANCELLED or TARN_E_DEADLINE if the run is to end, or one that waits for it in this worker; 0. In any thread.
[[nodiscard]] int code_of_end(const tarn_call& call);

// The object that argument `index` is a range of; generation 0 if it is a value or the result of another task.
[[nodiscard]] int argument_object(const tarn_call& call, size_t index, ObjectRef& out);

}  // namespace tarn::task
