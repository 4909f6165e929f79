// Arguments: how those of a task lie in its record, or in a block beside it.
//
// A few small values or one object go into the record itself. Anything else goes into a block: memory
// of the submitter's slabs that only it can write, which is freed when the task is done.
//
//   block: BlockEntry[count], then the values, each aligned to 8, then perhaps a TaskLimits, then perhaps a Recipe
//
// The reader is of the same tenant, but checks sizes all the same: a bug must not become a wild read.
#pragma once

#include <cstdint>

#include "shm/ids.hpp"
#include "task/task_record.hpp"
#include "tarn/tarn.h"

namespace tarn::task {

inline constexpr size_t kArgumentsMax = 65535;
inline constexpr size_t kValuesSizeMax = 1u << 20;  // of all values of one task together; docs/limits.md

struct BlockRef {  // payload of kBlock
  uint32_t slab;   // of the submitter
  uint32_t count;  // arguments
  uint64_t offset;
  uint64_t size;
  uint64_t limits;  // where in it a TaskLimits is; 0: there are none
};
static_assert(sizeof(BlockRef) == kPayloadSize);

// What a task may take, when it is run again, what it is called, and whether it is a stream. 0: no limit. Behind it lie the codes, then the labels.
struct TaskLimits {
  int64_t timeout_ns;       // for a run
  int64_t deadline_ns;      // os::now_ns time
  int64_t back_off_ns;      // before it runs again for the first time after an error,
  int64_t back_off_max_ns;  // and at most,
  double back_off_factor;   // so many times as long each time
  uint8_t error_runs_max;   // how often it may run again after an error
  uint8_t attempts_max;     // of its record at first: each run after an error adds one there
  uint16_t code_count;      // int32_t each: the errors after which it runs again; 0: all
  uint32_t labels_size;     // KEY=VALUE, separated by commas
  uint32_t stream;          // where in the submitter's arena its ring is, + 1; 0: it is no stream
  uint32_t cores;           // that it runs on at the same time; 0: those of its slot
  uint64_t memory;          // private memory that a run may take, in bytes
  uint32_t recipe;          // where in the block its Recipe is; 0: it is not repeatable
  uint32_t reserved;

  [[nodiscard]] bool is_set() const {
    return timeout_ns != 0 || deadline_ns != 0 || error_runs_max != 0 || labels_size != 0 || stream != 0 || cores != 0 || memory != 0 ||
           recipe != 0;
  }
  [[nodiscard]] uint64_t size() const { return sizeof *this + code_count * sizeof(int32_t) + labels_size; }
};
static_assert(sizeof(TaskLimits) == 72);

inline constexpr size_t kRetryCodesMax = 16;   // docs/limits.md
inline constexpr size_t kTaskLabelsMax = 255;  // bytes of all labels of a task

struct BlockEntry {
  uint32_t kind;  // tarn_arg_kind
  uint32_t generation;  // object, future
  uint32_t id;          // object; future: index of its record in the submitter's segment
  uint32_t part;        // future: as tarn_arg.part
  uint64_t offset;  // value: in the block; object: of the range
  uint64_t size;
};
static_assert(sizeof(BlockEntry) == 32);

// Puts `args` into `payload` if they fit there; returns the format, or kBlock if they need a block.
// The caller has checked kinds. `refs` are the internal references of object arguments.
[[nodiscard]] uint8_t encode_inline(const tarn_arg* args, size_t count, const ObjectRef* first_object,
                                    std::byte* payload);

// One value of an inline format; {nullptr, 0} if there is none of that index. `payload` stays the
// caller's.
[[nodiscard]] size_t inline_count(uint8_t format, const std::byte* payload);
[[nodiscard]] tarn_bytes inline_value(uint8_t format, const std::byte* payload, size_t index);

// Size of the block for `args`.
[[nodiscard]] uint64_t block_size(const tarn_arg* args, size_t count);

// The limits in a block; false if they do not lie inside.
[[nodiscard]] bool block_limits(const std::byte* block, const BlockRef& ref, TaskLimits& limits);

// Whether a task with these limits, from that block, is to be run again after the error `code`, as far as the code goes.
[[nodiscard]] bool counts_for_retry(const std::byte* block, const BlockRef& ref, const TaskLimits& limits, int code);

// Looks at entry `index` of a block of `size` bytes; false if it does not lie inside.
[[nodiscard]] bool block_entry(const std::byte* block, uint64_t size, size_t index, BlockEntry& entry);

}  // namespace tarn::task
