// Registry: the tasks that this process has defined, by number.
//
// The number of a task is a hash of its name, so that every process of a program computes the same one
// without asking anybody. Filled before the first session, read-only from then on: lookups take no
// lock.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "tarn/tarn.h"

namespace tarn::task {

inline constexpr size_t kTaskNameSizeMax = 255;
inline constexpr size_t kTasksMax = 65536;  // docs/limits.md

struct Definition {
  tarn_task_fn fn;
  void* context;
  const char* name;
  uint32_t number;
  uint32_t signature;
};

[[nodiscard]] tarn_task task_number(std::string_view name);

[[nodiscard]] int define_task(const char* name, tarn_task_fn fn, uint32_t signature, void* context);

// Writes the names of all that are defined, each with its final NUL, in no order, as far as they fit; how many bytes.
[[nodiscard]] size_t copy_task_names(std::span<char> out);

// nullptr if no such task is defined here.
[[nodiscard]] const Definition* find_task(tarn_task number);
// "?" if it is not defined here.
[[nodiscard]] const char* task_name(tarn_task number);

}  // namespace tarn::task
