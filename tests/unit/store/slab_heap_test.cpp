// A heap that hands the same bytes to two objects corrupts both, and one that does not join what was
// freed ends full of holes. Random sequences against a model of what is allocated find either.

#include "store/slab_heap.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <vector>

namespace tarn::store {
namespace {

uint64_t seed_of_run() {
  const char* text = getenv("TARN_SEED");
  uint64_t seed = text != nullptr ? strtoull(text, nullptr, 10) : std::random_device{}();
  printf("seed %llu (TARN_SEED repeats it)\n", static_cast<unsigned long long>(seed));
  return seed;
}

// Slabs of plain memory, and what is allocated in them.
class HeapModel {
 public:
  HeapModel() { EXPECT_EQ(heap.init(), 0); }

  struct Object {
    SlabHeap::Place place;
    uint64_t size;
  };

  // Allocates, with a new slab if need be, and checks the place against all that are in use.
  Object alloc(uint64_t size, Placement placement = Placement::kNear) {
    SlabHeap::Place place{};
    int r = heap.alloc(size, place, false, placement);
    if (r == SlabHeap::kNeedSlab) {
      add_slab(heap.wanted(size, placement));
      r = heap.alloc(size, place, true, placement);
    }
    EXPECT_EQ(r, 0);
    EXPECT_EQ(placements.at(place.slab), placement);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(place.data) % 64, 0u);
    EXPECT_EQ(place.data, slabs.at(place.slab).data() + place.offset);
    EXPECT_LE(place.offset + size, slabs.at(place.slab).size());
    auto begin = reinterpret_cast<uintptr_t>(place.data);
    auto after = used.lower_bound(begin);
    if (after != used.end()) {
      EXPECT_LE(begin + size, after->first) << "overlaps the next object";
    }
    if (after != used.begin()) {
      EXPECT_LE(std::prev(after)->second, begin) << "overlaps the object before";
    }
    used[begin] = begin + size;
    return {place, size};
  }

  void free(const Object& object) {
    EXPECT_EQ(used.erase(reinterpret_cast<uintptr_t>(object.place.data)), 1u);
    heap.free(object.place.slab, object.place.data);
  }

  void abandon(const Object& object) {
    EXPECT_EQ(used.erase(reinterpret_cast<uintptr_t>(object.place.data)), 1u);
    heap.abandon(object.place.slab, object.place.data);
    // Nobody may get it again.
    auto begin = reinterpret_cast<uintptr_t>(object.place.data);
    used[begin] = begin + object.size;
    ++abandoned;
  }

  void drop_spent() {
    for (uint32_t slab; heap.find_spent_slab(slab);) {
      auto begin = reinterpret_cast<uintptr_t>(slabs.at(slab).data());
      used.erase(used.lower_bound(begin), used.lower_bound(begin + slabs.at(slab).size()));
      heap.drop_slab(slab);
      slabs.erase(slab);
    }
  }

  void add_slab(SlabHeap::Wanted wanted) {
    os::Mapping memory;
    ASSERT_EQ(os::Mapping::reserve(wanted.size, memory), 0);
    uint32_t number = next++;
    ASSERT_EQ(heap.add_slab(number, memory.data(), memory.size(), wanted.is_giant, wanted.placement), 0);
    slabs.emplace(number, std::move(memory));
    placements[number] = wanted.placement;
  }

  uint32_t drop_free(uint64_t keep) {
    uint32_t count = 0;
    for (uint32_t slab; heap.find_free_slab(keep, slab); ++count) {
      heap.drop_slab(slab);
      slabs.erase(slab);
    }
    return count;
  }

  SlabHeap heap;
  std::map<uint32_t, os::Mapping> slabs;
  std::map<uint32_t, Placement> placements;
  std::map<uintptr_t, uintptr_t> used;
  uint32_t abandoned = 0;
  uint32_t next = 7;  // numbers are tarnd's to choose
};

// 4000 steps of objects that `make` makes, of which some go, in part abandoned; then all go, and nothing stays.
void come_and_go(HeapModel& model, std::mt19937_64& random, uint64_t abandon_one_of,
                 const std::function<HeapModel::Object()>& make) {
  std::vector<HeapModel::Object> objects;
  for (int step = 0; step < 4000; ++step) {
    if (objects.empty() || random() % 100 < (step / 500 % 2 == 0 ? 65u : 40u)) {
      objects.push_back(make());
    } else {
      size_t i = random() % objects.size();
      if (objects[i].size > SlabHeap::kSmallMax && random() % abandon_one_of == 0) {
        model.abandon(objects[i]);
      } else {
        model.free(objects[i]);
      }
      model.drop_spent();
      objects[i] = objects.back();
      objects.pop_back();
    }
    if (step % 500 == 0) {
      ASSERT_EQ(model.heap.check(), nullptr) << model.heap.check();
    }
  }
  for (const auto& object : objects) model.free(object);
  model.heap.trim();
  model.drop_spent();
  ASSERT_EQ(model.heap.check(), nullptr) << model.heap.check();
  model.drop_free(0);
  EXPECT_EQ(model.heap.bytes(), 0u);
  EXPECT_TRUE(model.slabs.empty());
}

TEST(SlabHeapTest, random_sequences_never_overlap_and_end_in_whole_slabs) {
  std::mt19937_64 random(seed_of_run());
  for (int round = 0; round < 20; ++round) {
    HeapModel model;
    std::vector<HeapModel::Object> objects;
    // Some rounds mostly small, some mostly large, all with a few of everything.
    uint64_t typical = uint64_t{64} << random() % 16;
    for (int step = 0; step < 4000; ++step) {
      bool grow = objects.empty() || random() % 100 < (step / 500 % 2 == 0 ? 70u : 40u);
      if (grow) {
        uint64_t limit = random() % 20 == 0 ? 3u << 20 : typical * 2;
        objects.push_back(model.alloc(1 + random() % limit));
      } else {
        size_t i = random() % objects.size();
        model.free(objects[i]);
        objects[i] = objects.back();
        objects.pop_back();
      }
      if (step % 1000 == 0) {
        ASSERT_EQ(model.heap.check(), nullptr) << model.heap.check();
      }
    }
    std::shuffle(objects.begin(), objects.end(), random);
    for (const auto& object : objects) model.free(object);
    model.heap.trim();
    ASSERT_EQ(model.heap.check(), nullptr) << model.heap.check();
    // Everything is one free run a slab again, so every slab can go.
    EXPECT_EQ(model.heap.bytes_in_free_slabs(), model.heap.bytes());
    EXPECT_EQ(model.drop_free(0), model.next - 7);
    EXPECT_EQ(model.heap.bytes(), 0u);
  }
}

// Also when it is hard pressed, and whatever has become free in slabs of the other placement.
TEST(SlabHeapTest, never_mixes_placements) {
  std::mt19937_64 random(seed_of_run());
  HeapModel model;
  come_and_go(model, random, 10, [&] {
    bool is_small = random() % 3 == 0;
    uint64_t size = is_small ? 1 + random() % SlabHeap::kSmallMax : SlabHeap::kSmallMax + 1 + random() % 3'000'000;
    return model.alloc(size, !is_small && random() % 2 == 0 ? Placement::kInterleaved : Placement::kNear);
  });
}

TEST(SlabHeapTest, an_interleaved_slab_is_used_again_for_its_like_only) {
  HeapModel model;
  HeapModel::Object spread = model.alloc(3u << 20, Placement::kInterleaved);
  model.free(spread);
  // It has room enough, and nothing else has.
  SlabHeap::Place place{};
  EXPECT_EQ(model.heap.alloc(100'000, place, true), SlabHeap::kNeedSlab);
  EXPECT_EQ(model.heap.alloc(64, place, true), SlabHeap::kNeedSlab);
  HeapModel::Object again = model.alloc(100'000, Placement::kInterleaved);
  EXPECT_EQ(again.place.slab, spread.place.slab);
  model.free(again);
  // Those of each placement grow by themselves: this one had 4 MiB.
  EXPECT_EQ(model.heap.wanted(64).size, SlabHeap::kFirstSlab);
  EXPECT_EQ(model.heap.wanted(40'000, Placement::kInterleaved).size, (8u << 20) / 40'960 * 40'960);
  EXPECT_EQ(model.drop_free(0), 1u);
}

TEST(SlabHeapTest, abandoned_pages_are_given_to_nobody_and_go_with_their_slab) {
  std::mt19937_64 random(seed_of_run());
  HeapModel model;
  come_and_go(model, random, 3, [&] {
    return model.alloc(random() % 3 == 0 ? 1 + random() % 1000 : SlabHeap::kSmallMax + 1 + random() % 400'000);
  });
  EXPECT_GT(model.abandoned, 100u);
}

TEST(SlabHeapTest, serves_every_size_at_its_edges) {
  HeapModel model;
  std::vector<HeapModel::Object> objects;
  for (uint64_t size = 1; size <= 2 * SlabHeap::kSmallMax; size = size < 64 ? size + 1 : size + size / 16) {
    for (uint64_t near : {size - 1, size, size + 1})
      if (near > 0) objects.push_back(model.alloc(near));
  }
  EXPECT_EQ(model.heap.check(), nullptr);
  for (const auto& object : objects) model.free(object);
  model.heap.trim();
  EXPECT_EQ(model.heap.bytes_in_free_slabs(), model.heap.bytes());
}

TEST(SlabHeapTest, holds_a_million_objects_of_64_bytes) {
  SlabHeap heap;
  ASSERT_EQ(heap.init(), 0);
  std::vector<os::Mapping> slabs;
  std::vector<SlabHeap::Place> places;
  places.reserve(1'000'000);
  uint32_t number = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    SlabHeap::Place place{};
    int r = heap.alloc(64, place);
    if (r == SlabHeap::kNeedSlab) {
      SlabHeap::Wanted wanted = heap.wanted(64);
      os::Mapping memory;
      ASSERT_EQ(os::Mapping::reserve(wanted.size, memory), 0);
      ASSERT_EQ(heap.add_slab(number++, memory.data(), memory.size(), wanted.is_giant), 0);
      slabs.push_back(std::move(memory));
      r = heap.alloc(64, place);
    }
    ASSERT_EQ(r, 0);
    places.push_back(place);
  }
  // 64 MB of objects in slabs of 4 + 8 + 16 + 32 + 64 MB.
  EXPECT_LE(heap.bytes(), 124u << 20);
  EXPECT_GE(heap.bytes() - heap.bytes_free(), 64'000'000u);
  EXPECT_LE(heap.bytes() - heap.bytes_free(), 64'100'000u);
  for (const auto& place : places) heap.free(place.slab, place.data);
  heap.trim();
  EXPECT_EQ(heap.check(), nullptr);
  EXPECT_EQ(heap.bytes_in_free_slabs(), heap.bytes());
}

TEST(SlabHeapTest, asks_for_larger_slabs_as_it_grows_and_exactly_for_giants) {
  HeapModel model;
  EXPECT_EQ(model.heap.wanted(64).size, SlabHeap::kFirstSlab);
  EXPECT_EQ(model.heap.wanted(100u << 20).size, 100u << 20);
  EXPECT_TRUE(model.heap.wanted(100u << 20).is_giant);
  for (uint64_t size = SlabHeap::kFirstSlab; size < SlabHeap::kSlabMax; size *= 2) {
    EXPECT_EQ(model.heap.wanted(64).size, size);
    model.add_slab(model.heap.wanted(64));
  }
  model.add_slab(model.heap.wanted(64));
  EXPECT_EQ(model.heap.wanted(64).size, SlabHeap::kSlabMax);
}

TEST(SlabHeapTest, keeps_small_objects_out_of_a_giant_that_waits_for_its_like) {
  HeapModel model;
  HeapModel::Object giant = model.alloc(100u << 20);
  model.free(giant);
  // A small object gets a slab of its own...
  HeapModel::Object small = model.alloc(64);
  EXPECT_NE(small.place.slab, giant.place.slab);
  // ... so that the next giant finds the old place.
  HeapModel::Object again = model.alloc(100u << 20);
  EXPECT_EQ(again.place.data, giant.place.data);
  model.free(again);
  // With no other memory to be had, it is broken into.
  SlabHeap::Place place{};
  EXPECT_EQ(model.heap.alloc(8u << 20, place), SlabHeap::kNeedSlab);
  EXPECT_EQ(model.heap.alloc(8u << 20, place, true), 0);
  EXPECT_EQ(place.slab, giant.place.slab);
}

TEST(SlabHeapTest, drops_the_largest_free_slab_first_and_never_one_in_use) {
  HeapModel model;
  HeapModel::Object a = model.alloc(40u << 20);
  HeapModel::Object b = model.alloc(80u << 20);
  HeapModel::Object c = model.alloc(60u << 20);
  uint32_t slab = 0;
  EXPECT_FALSE(model.heap.find_free_slab(0, slab));
  model.free(a);
  model.free(b);
  EXPECT_FALSE(model.heap.find_free_slab(120u << 20, slab));
  ASSERT_TRUE(model.heap.find_free_slab(100u << 20, slab));
  EXPECT_EQ(slab, b.place.slab);
  EXPECT_EQ(model.drop_free(0), 2u);
  EXPECT_EQ(model.heap.check(), nullptr);
  model.free(c);
}

TEST(SlabHeapDeathTest, ends_the_process_when_something_is_freed_twice) {
  HeapModel model;
  HeapModel::Object object = model.alloc(64);
  model.alloc(64);
  model.free(object);
  EXPECT_DEATH(model.heap.free(object.place.slab, object.place.data), "");
}

}  // namespace
}  // namespace tarn::store
