// Leaving objects: which objects can leave memory, and the pages that go with one.
//
// All are checks of a record that a tenant wrote and tarnd has copied, against what tarnd itself knows of the slab. They
// touch nothing else, so that tests/fuzz/record can show them anything.
#pragma once

#include <cstdint>

#include "session.hpp"
#include "store/object_record.hpp"

namespace tarn::daemon {

// Whether it is an object that lives, that is large enough, and whose bytes nobody needs, by its own words.
[[nodiscard]] bool can_leave(const store::ObjectImage& record);

// Whether it need not be written to a disk for that: a task can make it again. What it says about itself could not be.
[[nodiscard]] bool can_be_made_again(const store::ObjectImage& record);

// Pages of a slab, all of them whole.
struct Pages {
  uint64_t offset;
  uint64_t size;  // bytes
};

// The pages that hold nothing but that object and what it says about itself. False if it cannot leave, or its record makes
// no sense: they would not lie in `slab`, the one that the record names.
[[nodiscard]] bool find_pages(const store::ObjectImage& record, const Slab& slab, Pages& out);

// The first object of `slab` with a copy that has some of the pages, or slab.moved.end().
[[nodiscard]] std::map<uint64_t, std::unique_ptr<MovedObject>>::const_iterator find_moved(const Slab& slab, const Pages& pages);

}  // namespace tarn::daemon
