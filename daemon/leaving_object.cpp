#include "leaving_object.hpp"

#include <iterator>

#include "store/object_meta.hpp"

namespace tarn::daemon {
bool can_leave(const store::ObjectImage& record) {
  auto state = store::ObjectState::unpack(record.state);
  return state.readable() && (record.holders & store::kDead) == 0 && record.holders != 0 &&
         (record.pins & ~store::kRepeatable) == 0 && record.size > store::kStaysMax && record.size <= store::kObjectSizeMax &&
         !store::ObjectPlace::unpack(record.place).is_file;
}

bool can_be_made_again(const store::ObjectImage& record) {
  return (record.pins & store::kRepeatable) != 0 && record.meta_size == 0;
}

bool find_pages(const store::ObjectImage& record, const Slab& slab, Pages& out) {
  if (!can_leave(record) || slab.phase != Slab::Phase::kReady || slab.is_file) return false;
  uint64_t offset = store::ObjectPlace::unpack(record.place).offset;
  // The sum is below 2^41: the payload has a bound, and the block behind it 32 bits.
  uint64_t size = os::round_up(store::bytes_with_meta(record.size, record.meta_size), os::kPageSize);
  if (offset % os::kPageSize != 0 || offset >= slab.size || size > slab.size - offset) return false;
  out = {offset, size};
  return true;
}

std::map<uint64_t, std::unique_ptr<MovedObject>>::const_iterator find_moved(const Slab& slab, const Pages& pages) {
  auto found = slab.moved.lower_bound(pages.offset);
  if (found != slab.moved.begin()) {
    auto before = std::prev(found);
    if (before->second->offset + before->second->size > pages.offset) return before;
  }
  return found != slab.moved.end() && found->first < pages.offset + pages.size ? found : slab.moved.end();
}

}  // namespace tarn::daemon
