#include "leaving_object.hpp"

#include <iterator>

#include "store/object_meta.hpp"

namespace tarn::daemon {
namespace {

// An honest owner does not put an object where another one is, in memory or away.
bool is_free_of_others(const Slab& slab, const Pages& pages) {
  auto after = slab.moved.lower_bound(pages.offset);
  if (after != slab.moved.end() && after->first < pages.offset + pages.size) return false;
  if (after == slab.moved.begin()) return true;
  const MovedObject& before = *std::prev(after)->second;
  return before.offset + before.size <= pages.offset;
}

}  // namespace

bool can_leave(const store::ObjectImage& record) {
  auto state = store::ObjectState::unpack(record.state);
  return state.readable() && (record.holders & store::kDead) == 0 && record.holders != 0 && record.pins == 0 &&
         record.size > store::kStaysMax && record.size <= store::kObjectSizeMax &&
         !store::ObjectPlace::unpack(record.place).is_file;
}

bool find_pages(const store::ObjectImage& record, const Slab& slab, Pages& out) {
  if (!can_leave(record) || slab.phase != Slab::Phase::kReady || slab.is_file) return false;
  uint64_t offset = store::ObjectPlace::unpack(record.place).offset;
  // The sum is below 2^41: the payload has a bound, and the block behind it 32 bits.
  uint64_t size = os::round_up(store::bytes_with_meta(record.size, record.meta_size), os::kPageSize);
  if (offset % os::kPageSize != 0 || offset >= slab.size || size > slab.size - offset) return false;
  if (!is_free_of_others(slab, {offset, size})) return false;
  out = {offset, size};
  return true;
}

}  // namespace tarn::daemon
