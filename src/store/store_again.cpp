// Store: objects that are not in memory come back, from the disk or made again.
#include "base/error.hpp"
#include "store/refusals.hpp"
#include "store/store.hpp"

namespace tarn::store {
namespace {

wire::Made made(const ObjectRef& ref, const ObjectRecord& record) {
  ObjectPlace place = ObjectPlace::unpack(record.place);
  return {{shm::id_member(ref.id), place.slab, place.offset}, 0, 0, 0, 0};
}

}  // namespace

// A pinned object that is not in memory. Waits for tarnd, and for what tarnd has this process do.
int Store::bring_back(const ObjectRef& ref, const ObjectRecord& record, std::byte* data,
                      int64_t timeout_ns) {
  ObjectPlace place = ObjectPlace::unpack(record.place);
  for (bool has_waited = false;;) {
    if (has_waited) maker_->before_wait();
    int r = source_.restore({ref.id, ref.generation, 0, record.size}, place.slab, place.offset);
    if (has_waited) maker_->after_wait();
    if (r == 0) break;
    if (r > 0 && maker_ == nullptr)
      r = fail(TARN_E_LOST, "the object was dropped, and this process cannot have it made again");
    has_waited = r == SlabSource::kAskAgain;
    if (r == SlabSource::kMakeAgain) r = maker_->make_again(ref, record, timeout_ns);
    if (has_waited) r = maker_->code_of_wait();
    if (r < 0) return r;
  }
  os::prefault(data, os::round_up(record.size, os::kPageSize), os::Access::kRead);
  return 0;
}

int Store::bring(const ObjectRef& ref, const ObjectRecord& record, const Block& block,
                 uint64_t size) {
  wire::Made what = made(ref, record);
  what.slab = block.slab;
  what.offset = block.offset;
  what.size = size;
  return source_.bring(what);
}

void Store::give_up(const ObjectRef& ref, const ObjectRecord& record, int code) {
  wire::Made what = made(ref, record);
  what.code = code;
  source_.give_up(what);
}

bool Store::end_repeats(const ObjectRef& ref) {
  ObjectRecord* record = table_.record(ref.id);
  if (record == nullptr) return true;
  ObjectState now = record->life.state_now();
  if (now.generation != ref.generation || !now.readable() ||
      (record->life.bits.load(kAcquire) & kDead) != 0)
    return true;
  // If the record is another object's by now, that one is written to the disk instead of being dropped.
  return record->pins.end_repeats(self_);
}

}  // namespace tarn::store
