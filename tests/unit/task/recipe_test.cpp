// What a record says of how its object is made is read by another process than wrote it: nothing of it may lead out of the block.
#include "task/recipe.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace tarn::task {
namespace {

constexpr uint32_t kMadeFor = shm::make_id(1, 7);
constexpr store::ObjectPlace kAt{3, false, 4096 + 256};

Recipe good() {
  return {BlockRef{3, 2, 4096, 256 + sizeof(Recipe), 128}, 99, 7, 1, 0};
}

TEST(Recipe, OneThatItsTaskHasWrittenMakesSense) {
  EXPECT_TRUE(makes_sense(good(), kAt, kMadeFor));
}

TEST(Recipe, OneThatLiesElsewhereDoesNot) {
  const std::function<void(Recipe&)> changes[] = {
      [](Recipe& r) { r.record = 8; },
      [](Recipe& r) { r.arguments.slab = 4; },
      [](Recipe& r) { r.arguments.offset = kAt.offset + 1; },
      [](Recipe& r) { r.arguments.offset = 0; },  // then it reaches beyond the end
      [](Recipe& r) { r.arguments.offset = ~uint64_t{0}; },
      [](Recipe& r) { r.arguments.size -= 1; },
      [](Recipe& r) { r.arguments.size = sizeof(Recipe) - 1; },
      [](Recipe& r) { r.arguments.size = 0; },
      [](Recipe& r) { r.arguments.count = kArgumentsMax + 1; },
  };
  for (const auto& change : changes) {
    Recipe recipe = good();
    change(recipe);
    EXPECT_FALSE(makes_sense(recipe, kAt, kMadeFor)) << &change - changes;
  }
  EXPECT_FALSE(makes_sense(good(), {3, true, kAt.offset}, kMadeFor));
  EXPECT_FALSE(makes_sense(good(), {2, false, kAt.offset}, kMadeFor));
  EXPECT_FALSE(makes_sense(good(), kAt, shm::make_id(1, 6)));
}

TEST(Recipe, ARecordThatThereIsNotDoesNot) {
  Recipe recipe = good();
  recipe.record = shm::kTaskRecordsMax;
  EXPECT_FALSE(makes_sense(recipe, kAt, shm::make_id(1, shm::kTaskRecordsMax)));
}

}  // namespace
}  // namespace tarn::task
