// Recipe: how the result of a repeatable task is made again, once it was dropped from memory.
//
// It lies at the end of the task's argument block, in a slab of whoever submitted the task, who keeps the block, and what is
// named in it, for as long as the object's record has kRepeatable. The record says where (recipe, and whose slab: link). Workers
// read it; tarnd does not.
#pragma once

#include "store/object_record.hpp"
#include "task/arguments.hpp"

namespace tarn::task {

struct Recipe {
  BlockRef arguments;   // the block that it lies in
  uint32_t task;        // tarn_task
  uint32_t record;      // of the task, in the segment of its owner,
  uint32_t generation;  // and which task of that record
  uint32_t reserved;
};
static_assert(sizeof(Recipe) == 48);

inline constexpr uint64_t kRecipeAlignment = store::kPlaceUnit;

// Whether it can be that of an object made for the task record `made_for`, and lie at `at`: a bug, or an object that was
// written over, must not become a wild read.
[[nodiscard]] constexpr bool makes_sense(const Recipe& recipe, const store::ObjectPlace& at,
                                         uint32_t made_for) {
  const BlockRef& block = recipe.arguments;
  return recipe.record == shm::id_index(made_for) && recipe.record < shm::kTaskRecordsMax &&
         block.slab == at.slab && !at.is_file && block.size >= sizeof recipe &&
         block.offset <= at.offset && at.offset - block.offset <= block.size - sizeof recipe &&
         block.count <= kArgumentsMax;
}

}  // namespace tarn::task
