// Mover: what it notes for the next tarnd, and takes over from the one before.
//
// The line of an object is written when there is a whole copy, or it is to be dropped, before its record says that it is away, and erased when the
// record says that it is back. So an object that is away has a line; one with a line that is not away was about to leave, or has
// just come back.
#include "base/error.hpp"
#include "kept_session.hpp"
#include "mover.hpp"
#include "session.hpp"
#include "store/object_record.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {

using Phase = MovedObject::Phase;
using store::ObjectRecord;

void Mover::note(MovedObject& object) {
  Spill::Place place = object.is_dropped ? Spill::Place{} : Spill::place_of(*object.copy);
  object.line = session_.kept().put_moved({object.owner.index(), object.slab, object.offset, object.size, object.index,
                                           object.generation, object.payload, place.file, place.offset, place.digest, 0, object.is_dropped});
}

void Mover::strike_out(MovedObject& object) { session_.kept().erase_moved(std::exchange(object.line, KeptSession::kNoLine)); }

int Mover::take_over() {
  int failed = 0;
  session_.kept().for_each_moved([&](uint32_t line, const KeptMoved& moved) {
    if (failed == 0) failed = take_over(line, moved);
  });
  if (failed < 0) return failed;
  let_go_of_the_rest();
  return 0;
}

int Mover::take_over(uint32_t line, const KeptMoved& kept) {
  auto owner = session_.members().find(kept.owner);
  auto slab = owner == session_.members().end() ? std::map<uint32_t, Slab>::iterator{} : owner->second->slabs.find(kept.slab);
  if (owner == session_.members().end() || slab == owner->second->slabs.end()) {
    session_.kept().erase_moved(line);  // the slab was about to go
    return 0;
  }
  auto made = std::make_unique<MovedObject>(*this, *owner->second);
  MovedObject& object = *made;
  object.slab = kept.slab;
  object.offset = kept.offset;
  object.size = kept.size;
  object.index = kept.index;
  object.generation = kept.generation;
  object.payload = kept.payload;
  object.line = line;
  object.is_dropped = kept.is_dropped != 0;
  // It has no pages, or none that count.
  object.is_charged = false;
  object.is_noted = true;
  object.is_told_away = true;
  slab->second.bytes_away += kept.size;
  slab->second.moved.emplace(kept.offset, std::move(made));
  if (int r = slab->second.payment->memory.add(kNoteSize); r < 0) return r;
  if (kept.is_abandoned != 0 || !is_current(object)) {
    abandon(object);
    return 0;
  }
  ObjectRecord* live = record(object.owner, object.index);
  if (live == nullptr) return fail(TARN_E_LOST, "the records of member %u cannot be mapped", kept.owner);
  if (!live->pins.is_away()) {
    // Its bytes are there: it stays, and is paid for again.
    if (int r = charge(object); r < 0) return r;
    forget(object);
    return 0;
  }
  Spill::Place place{kept.file, kept.file_offset, kept.size, kept.digest};
  if (int r = object.is_dropped ? 0 : services_.spill.take_over(session_.identity().uid, place, services_.disk, object.copy); r < 0)
    return r;
  if ((live->life.bits.load(shm::kAcquire) & store::kDaemonHolder) == 0) {
    object.enter(Phase::kAway);
    return 0;
  }
  // It was on its way, out or back: what is there of its pages goes.
  object.enter(Phase::kLeaving);
  take_pages(object);
  return 0;
}

// What was held for a copy that was not whole yet, or was held a moment longer.
void Mover::let_go_of_the_rest() {
  for (auto& [index, member] : session_.members()) {
    auto* segment = reinterpret_cast<const shm::MemberSegment*>(member->segment.data());
    uint32_t used = std::min({segment->objects_used.load(shm::kAcquire), member->backed.objects, shm::kObjectRecordsMax});
    for (uint32_t i = 0; i < used; ++i) {
      ObjectRecord* live = record(*member, i);
      if (live == nullptr) break;
      if ((live->life.bits.load(shm::kAcquire) & store::kDaemonHolder) == 0 || live->pins.is_away()) continue;
      (void)let_go(*member, i);
    }
  }
}

}  // namespace tarn::daemon
