#include "mover.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/error.hpp"
#include "leaving_object.hpp"
#include "log.hpp"
#include "object_label.hpp"
#include "os/clock.hpp"
#include "session.hpp"
#include "store/object_record.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

using Phase = MovedObject::Phase;
using store::ObjectImage;
using store::ObjectRecord;

constexpr uint32_t kRecordsPerLook = 16384;  // a megabyte: some 0.3 ms
constexpr uint32_t kRecordsPerRead = 256;
constexpr int64_t kLookPauseNs = 20'000'000;
constexpr int64_t kLookPauseMaxNs = 80'000'000;  // who waits does so for longer
constexpr uint32_t kBegunMax = 256;  // at a time
constexpr uint32_t kTriesMax = 4096;  // of candidates for that: what was one may be gone, or a record made to look like one
constexpr uint32_t kKeptPerLook = 4096;
constexpr int64_t kLookAtKeptNs = 1'000'000'000;
constexpr uint32_t kAheadMax = 64;            // objects that are brought back before they are asked for
constexpr uint32_t kLooksAhead = 256;         // for the next one that is away
constexpr int64_t kPauseNs = 50'000'000;     // after a disk said no; those who wait do so for longer
constexpr int64_t kTellNs = 1'000'000'000;   // and those who were refused are told of it
constexpr int64_t kCheckPauseNs = 100'000'000;
constexpr int64_t kCheckNs = 1'000'000'000;   // and without anybody's wanting memory
constexpr size_t kLooksPerCheck = 8192;       // and what of it
constexpr uint32_t kTakenAgainMax = 512;      // of a slab
constexpr int64_t kPatienceNs = 200'000'000;  // of who wants an object back, while nothing is coming; else memory.wait

Slab& slab_of(MovedObject& object) { return object.owner.slabs.at(object.slab); }

constexpr const char* kFreed = "the object was freed";

void send_restored(Member& to, uint32_t serial) {
  if (to.connection == nullptr) return;
  wire::Buffer<sizeof(wire::Header)> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kRestored, serial);
  to.connection->send(message);
}

Spill::Range range_of(MovedObject& object) {
  Slab& slab = slab_of(object);
  return {slab.writer, object.offset, object.size, slab.is_huge};
}

}  // namespace

MovedObject::~MovedObject() {
  mover.strike_out(*this);
  mover.end_making(*this);
  enter(Phase::kNone);
}

void MovedObject::enter(Phase next) {
  auto count = [this](Phase of, int64_t by) {
    uint64_t bytes = by > 0 ? size : -size;
    if (of == Phase::kSaving || of == Phase::kLeaving) mover.bytes_leaving_ += bytes;
    if (!is_dropped && (of == Phase::kAway || of == Phase::kWaiting || of == Phase::kReturning)) mover.bytes_on_disk_ += bytes;
  };
  count(phase, -1);
  if (phase == Phase::kKept) {
    copy = mover.services_.spill.take_back(kept);
    mover.kept_.back()->kept_at = kept_at;
    mover.kept_[kept_at] = mover.kept_.back();
    mover.kept_.pop_back();
  }
  phase = next;
  if (phase == Phase::kKept) {
    kept = copy;
    mover.services_.spill.keep(std::move(copy));
    kept_at = mover.kept_.size();
    mover.kept_.push_back(this);
  }
  count(phase, 1);
}

// ---- Which ones ------------------------------------------------------------------------------

uint32_t Mover::look_at_records_of(const Member& member, uint32_t most, bool can_write) {
  if (member.segment_file == nullptr || !member.segment.valid()) return 0;
  auto* segment = reinterpret_cast<const shm::MemberSegment*>(member.segment.data());
  uint32_t used = std::min({segment->objects_used.load(shm::kAcquire), member.backed.objects, shm::kObjectRecordsMax});
  uint32_t looked = 0;
  ObjectImage images[kRecordsPerRead];
  while (look_record_ < used && looked < most) {
    uint32_t count = std::min({kRecordsPerRead, used - look_record_, most - looked});
    auto at = static_cast<off_t>(offsetof(shm::MemberSegment, object_records) + uint64_t{look_record_} * sizeof(ObjectImage));
    ssize_t size = pread(member.segment_file->get(), images, count * sizeof(ObjectImage), at);
    if (size != static_cast<ssize_t>(count * sizeof(ObjectImage))) break;
    for (uint32_t i = 0; i < count; ++i)
      if (can_leave(images[i]) && (can_write || can_be_made_again(images[i])))
        candidates_.push_back({member.index(), look_record_ + i, store::ObjectState::unpack(images[i].state).generation,
                               images[i].used_at, images[i].size, can_be_made_again(images[i])});
    look_record_ += count;
    looked += count;
  }
  return looked;
}

// On from where the last look ended, and at most once around.
void Mover::look_at_records(bool can_write) {
  candidates_.clear();
  auto& members = session_.members();
  uint32_t left = kRecordsPerLook;
  uint32_t first_record = 0;
  for (size_t turn = 0; turn <= members.size() && left > 0; ++turn) {
    auto at = members.lower_bound(look_member_);
    if (at == members.end()) at = members.begin();
    if (at == members.end()) return;
    if (at->first != look_member_) look_record_ = 0;
    look_member_ = at->first;
    if (turn == 0) first_record = look_record_;
    bool is_first_again = turn == members.size();
    left -= look_at_records_of(*at->second, is_first_again ? std::min(left, first_record) : left, can_write);
    if (left > 0 && !is_first_again) {
      ++look_member_;
      look_record_ = 0;
    }
  }
  std::ranges::sort(candidates_, [](const Candidate& a, const Candidate& b) {
    return a.used_at != b.used_at ? a.used_at > b.used_at : a.size < b.size;
  });
}

void Mover::pause(Spill::For of, const std::string& why) {
  pause_until_ns_[static_cast<size_t>(of)] = os::now_ns() + kPauseNs;
  why_pause_ = why;
}

// Whether a disk takes objects now, as far as known: others are only dropped meanwhile.
bool Mover::can_write(Spill::For why) const {
  return os::now_ns() >= pause_until_ns_[static_cast<size_t>(why)] && services_.spill.why_off() == nullptr;
}

std::string Mover::why_not() const {
  if (const char* why = services_.spill.why_off()) return why;
  return os::now_ns() < std::ranges::max(pause_until_ns_) + kTellNs ? why_pause_ : "";
}

Mover::Refusal Mover::last_refusal() const { return {why_pause_, std::ranges::max(pause_until_ns_) - kPauseNs}; }

uint64_t Mover::move_out(uint64_t bytes, Spill::For why) {
  if (session_.is_ending()) return 0;
  (void)check_pages();
  uint64_t begun = 0;
  uint32_t may_begin = kBegunMax;
  uint32_t tries = kTriesMax;
  for (bool looked = false; begun < bytes && may_begin > 0 && tries > 0; --tries) {
    if (candidates_.empty()) {
      if (looked || os::now_ns() < look_again_ns_) break;
      looked = true;
      look_at_records(can_write(why));
      // Where nothing can leave it is not looked for all the time: others wait as well.
      look_pause_ns_ = candidates_.empty() && bytes_leaving_ == 0 ? std::clamp(2 * look_pause_ns_, kLookPauseNs, kLookPauseMaxNs) : 0;
      look_again_ns_ = os::now_ns() + look_pause_ns_;
      if (candidates_.empty()) break;
    }
    Candidate next = candidates_.back();
    candidates_.pop_back();
    if (!next.is_repeatable && !can_write(why)) continue;
    if (uint64_t size = begin(next, why); size != 0) {
      begun += size;
      --may_begin;
    }
  }
  return begun;
}

// The record behind an index that is backed with memory; nullptr if it cannot be mapped.
ObjectRecord* Mover::record(Member& owner, uint32_t index) {
  if (index >= owner.backed.objects || owner.segment_file == nullptr) return nullptr;
  if (!owner.records.valid() &&
      os::Mapping::map_range(*owner.segment_file, offsetof(shm::MemberSegment, object_records),
                             uint64_t{shm::kObjectRecordsMax} * sizeof(ObjectRecord), os::Access::kReadWrite,
                             owner.records) < 0)
    return nullptr;
  return reinterpret_cast<ObjectRecord*>(owner.records.data()) + index;
}

// ---- Copies of what is in memory again -------------------------------------------------------

// Copies of what has been freed go, and so do all when nothing has moved for long.
void Mover::look_at_kept() {
  bool all = os::now_ns() - moved_ns_ >= services_.keep_ns;
  // Downwards: when one goes, the last takes its place, and that has been looked at.
  kept_left_ = std::min(kept_left_ == 0 ? kept_.size() : kept_left_, kept_.size());
  for (uint32_t looks = kKeptPerLook; looks > 0 && kept_left_ > 0; --looks) {
    MovedObject& object = *kept_[--kept_left_];
    if (all || object.kept.expired() || !is_current(object)) forget(object);
  }
  if (!kept_.empty())
    kept_timer_ = services_.loop.call_at(os::now_ns() + kLookAtKeptNs, [this] { look_at_kept(); });
}

// Whether the object still is the one that was copied.
bool Mover::is_current(MovedObject& object) {
  ObjectRecord* live = record(object.owner, object.index);
  if (live == nullptr) return true;  // it cannot be seen: nothing is thrown away for that
  if ((live->life.bits.load(shm::kAcquire) & store::kDead) != 0) return false;
  auto now = live->life.state_now();
  return now.generation == object.generation && now.readable();
}

// The copy of `of`, if there is one from the last time. Others that were kept of its pages are of objects that are gone.
std::shared_ptr<Spill::Copy> Mover::take_kept(Slab& slab, const MovedObject& of) {
  std::shared_ptr<Spill::Copy> copy;
  for (;;) {
    auto found = find_moved(slab, {of.offset, of.size});
    if (found == slab.moved.end() || found->second->phase != Phase::kKept) return copy;
    MovedObject& kept = *found->second;
    if (kept.offset == of.offset && kept.size == of.size && kept.index == of.index && kept.generation == of.generation)
      copy = services_.spill.take_back(kept.kept);
    forget(kept);
  }
}

// ---- Out -------------------------------------------------------------------------------------

uint64_t Mover::begin(const Candidate& candidate, Spill::For why) {
  auto member = session_.members().find(candidate.member);
  if (member == session_.members().end()) return 0;
  Member& owner = *member->second;
  ObjectRecord* live = record(owner, candidate.index);
  // What tarnd holds it is moving already; taken once more, it would be let go of once too often.
  if (live == nullptr || (live->life.bits.load(shm::kAcquire) & store::kDaemonHolder) != 0) return 0;
  if (!take(owner, candidate.index, candidate.generation)) return 0;
  ObjectImage image;
  memcpy(&image, static_cast<const void*>(live), sizeof image);
  store::ObjectPlace place = store::ObjectPlace::unpack(image.place);
  auto slab = owner.slabs.find(place.slab);
  Pages pages;
  if (slab == owner.slabs.end() || !find_pages(image, slab->second, pages)) {
    (void)let_go(owner, candidate.index);
    return 0;
  }
  auto object = std::make_unique<MovedObject>(*this, owner);
  object->slab = place.slab;
  object->offset = pages.offset;
  object->size = pages.size;
  object->payload = image.size;
  object->index = candidate.index;
  object->generation = candidate.generation;
  if (image.meta_size != 0)
    object->label = read_label(*slab->second.reader, slab->second.size, {place.offset, image.size, image.meta_size});
  object->copy = take_kept(slab->second, *object);
  object->is_dropped = can_be_made_again(image);
  if (find_moved(slab->second, pages) != slab->second.moved.end()) {
    // An honest owner does not put an object where one is that has left.
    (void)let_go(owner, candidate.index);
    return 0;
  }
  MovedObject& moved = *object;
  slab->second.moved.emplace(place.offset, std::move(object));
  if (moved.copy != nullptr || moved.is_dropped) return leave(moved) ? pages.size : 0;
  int r = services_.spill.save(
      session_.identity().uid, moved.alive, range_of(moved), services_.disk, why,
      [this, &moved](int code, const std::string& text) { finish_saving(moved, code, text); }, moved.copy);
  if (r < 0) {
    pause(why, last_error());
    (void)let_go(owner, candidate.index);
    forget(moved);
    return 0;
  }
  moved.enter(Phase::kSaving);
  return pages.size;
}

void Mover::finish_saving(MovedObject& object, int code, const std::string& text) {
  if (code < 0) {
    complain("stays in memory", object, text);
    pause(Spill::For::kNew, text);
    pause(Spill::For::kReturn, text);
    (void)let_go(object.owner, object.index);
    return forget(object);
  }
  (void)leave(object);
}

// There is a whole copy, or none is needed. If nobody has pinned the object, its pages go.
bool Mover::leave(MovedObject& object) {
  ObjectRecord* live = record(object.owner, object.index);
  note(object);
  if (live == nullptr || !live->pins.leave(object.is_dropped)) {
    (void)let_go(object.owner, object.index);
    forget(object);
    return false;
  }
  moved_ns_ = os::now_ns();
  object.enter(Phase::kLeaving);
  take_pages(object);
  return true;
}

void Mover::take_pages(MovedObject& object) {
  services_.spill.discard(session_.identity().uid, object.alive, range_of(object),
                          [this, &object](int code, const std::string& text) { finish_leaving(object, code, text); });
}

void Mover::finish_leaving(MovedObject& object, int code, const std::string& text) {
  if (code == 0) {
    give_back(object);
  } else {
    // It is away and, perhaps, in memory: it stays charged for both.
    complain("does not leave memory", object, text);
  }
  object.enter(Phase::kAway);
  if (!check_timer_.armed()) check_later();
  tell(object, true);
  if (let_go(object.owner, object.index)) return abandon(object);
  if (!object.askers.empty()) bring_back(object);
}

// ---- Back ------------------------------------------------------------------------------------

MovedObject* Mover::find(const wire::Extent& place) {
  auto owner = session_.members().find(place.member);
  if (owner == session_.members().end()) return nullptr;
  auto slab = owner->second->slabs.find(place.slab);
  if (slab == owner->second->slabs.end()) return nullptr;
  auto found = slab->second.moved.find(place.offset);
  return found == slab->second.moved.end() ? nullptr : found->second.get();
}

void Mover::handle_restore(Member& from, const wire::Extent& place, uint32_t serial) {
  MovedObject* object = find(place);
  // Who has pinned it and asks while it is still being copied has made sure that it stays.
  if (object == nullptr || object->phase == Phase::kSaving || object->phase == Phase::kKept) return send_restored(from, serial);
  if (object->phase == Phase::kAbandoned) return session_.refuse_slab(from, serial, TARN_E_NO_OBJECT, kFreed);
  if (object->askers.size() >= kAskersMax)
    return session_.refuse_slab(from, serial, TARN_E_LIMIT, "too many requests for one object at once");
  if (object->maker.lock() == from.self) object->maker.reset();  // it has heard from nobody that it was to
  object->askers.push_back({from.self, serial});
  if (object->phase == Phase::kAway) bring_back(*object);
}

void Mover::bring_back(MovedObject& object) {
  if (object.is_dropped && !object.made) return have_made(object);
  ask_for_room(object);
  if (!object.is_dropped) read_ahead(object);
}

// The next one that is away, in the order in which they lie, which as a rule is that in which they were made.
MovedObject* Mover::next_away(const MovedObject& of) {
  auto& slabs = of.owner.slabs;
  auto slab = slabs.find(of.slab);
  auto next = slab->second.moved.upper_bound(of.offset);
  for (uint32_t looks = 0; looks < kLooksAhead; ++looks) {
    if (next == slab->second.moved.end()) {
      if (++slab == slabs.end()) return nullptr;
      next = slab->second.moved.begin();
    } else if (next->second->phase == Phase::kAway && !next->second->is_dropped) {
      return next->second.get();
    } else {
      ++next;
    }
  }
  return nullptr;
}

// Who asks for one object after the other finds some there already: the disk reads while he does what he does with the last. Only
// into memory that nobody else wants, half of it at most.
void Mover::read_ahead(MovedObject& object) {
  Place here{object.owner.index(), object.slab, object.offset};
  ahead_ = here == expected_ ? std::clamp(2 * ahead_, 2u, kAheadMax) : 0;
  uint64_t left = services_.memory.room() / 2;
  MovedObject* last = &object;
  MovedObject* next = next_away(*last);
  for (uint32_t n = 0; n < ahead_ && next != nullptr; ++n) {
    if (next->size > left || services_.queue.waits().requests != 0) break;
    left -= next->size;
    next->enter(Phase::kWaiting);
    if (try_to_return(*next) < 0) {
      next->enter(Phase::kAway);
      break;
    }
    last = next;
    next = next_away(*last);
  }
  expected_ = next == nullptr ? Place{} : Place{next->owner.index(), next->slab, next->offset};
}

void Mover::ask_for_room(MovedObject& object) {
  object.enter(Phase::kWaiting);
  uint64_t size = object.size;
  services_.queue.submit({object.alive, &services_.memory, object.is_charged ? 0 : object.size, os::now_ns() + kPatienceNs,
                          os::kForever, [this, &object] { return try_to_return(object); },
                          [this, &object](int code) {
                            object.enter(Phase::kAway);
                            end_making(object);
                            std::string text = session_.memory_refusal(code, object.size);
                            session_.events().after_refusal(code, object.size);
                            answer(object, code, text);
                          },
                          false, true});
  session_.events().after_request(size);
}

int Mover::try_to_return(MovedObject& object) {
  bool was_charged = object.is_charged;
  if (int r = charge(object); r < 0) return r;
  if (!take(object.owner, object.index, object.generation)) {
    if (!was_charged) give_back(object);
    object.enter(Phase::kAway);
    end_making(object);
    answer(object, TARN_E_NO_OBJECT, kFreed);
    return 0;
  }
  object.enter(Phase::kReturning);
  auto done = [this, &object](int code, const std::string& text) { finish_returning(object, code, text); };
  if (object.is_dropped) {
    services_.spill.copy(session_.identity().uid, object.alive, *object.made, range_of(object), std::move(done));
  } else {
    services_.spill.load(session_.identity().uid, object.alive, object.copy, range_of(object), std::move(done));
  }
  return 0;
}

void Mover::finish_returning(MovedObject& object, int code, const std::string& text) {
  end_making(object);
  if (code < 0) {
    complain("does not come back", object, text);
    answer(object, code, text);
    object.enter(Phase::kLeaving);
    return take_pages(object);  // whatever has come
  }
  if (ObjectRecord* live = record(object.owner, object.index)) live->pins.come_back();
  strike_out(object);
  answer(object, 0, "");
  tell(object, false);
  if (let_go(object.owner, object.index) || object.is_dropped) return forget(object);
  moved_ns_ = os::now_ns();
  object.enter(Phase::kKept);
  if (!kept_timer_.armed())
    kept_timer_ = services_.loop.call_at(os::now_ns() + kLookAtKeptNs, [this] { look_at_kept(); });
}

void Mover::handle_copy_drop(Member& from, const wire::Extent& place) {
  auto slab = from.slabs.find(place.slab);
  if (place.member != from.index() || slab == from.slabs.end()) return;
  auto found = slab->second.moved.find(place.offset);
  if (found == slab->second.moved.end()) return;
  // What tarnd holds nobody has freed; and what it was the last to hold it has seen to itself.
  if (found->second->phase == Phase::kAway || found->second->phase == Phase::kWaiting) abandon(*found->second);
}

// It was freed while it was away.
void Mover::abandon(MovedObject& object) {
  end_making(object);
  object.enter(Phase::kAbandoned);
  session_.kept().abandon_moved(object.line);
  object.copy.reset();
  object.alive = std::make_shared<bool>(true);  // what was asked for it is over
  answer(object, TARN_E_NO_OBJECT, kFreed);
}

// ---- Both ------------------------------------------------------------------------------------

int Mover::charge(MovedObject& object) {
  if (object.is_charged) return 0;
  Slab& slab = slab_of(object);
  if (int r = slab.payment->memory.add(object.size); r < 0) return r;
  slab.bytes_away -= object.size;
  object.is_charged = true;
  return 0;
}

void Mover::give_back(MovedObject& object) {
  if (!object.is_charged) return;
  Slab& slab = slab_of(object);
  slab.payment->memory.give_back(object.is_noted ? object.size : object.size - kNoteSize);
  object.is_noted = true;
  slab.bytes_away += object.size;
  object.is_charged = false;
}

// At most once a second: what goes wrong may be its owner's doing, as often as he likes.
void Mover::complain(const char* what, const MovedObject& object, const std::string& why) {
  ++complaints_;
  if (os::now_ns() < complain_again_ns_) return;
  complain_again_ns_ = os::now_ns() + kTellNs;
  log(Level::kWarning, "session %u: an object of %llu bytes %s: %s (%u such lines since the last)", session_.number(),
      static_cast<unsigned long long>(object.size), what, why.c_str(), std::exchange(complaints_, 0) - 1);
}

void Mover::answer(MovedObject& object, int code, const std::string& text) {
  for (const MovedObject::Asker& asker : std::exchange(object.askers, {})) {
    auto member = asker.member.lock();
    if (member == nullptr || (*member)->connection == nullptr) continue;
    if (code == 0) {
      send_restored(**member, asker.serial);
    } else {
      session_.refuse_slab(**member, asker.serial, code, text.c_str());
    }
  }
}

// Whether the object is still there; tarnd holds it then.
bool Mover::take(Member& owner, uint32_t index, uint32_t generation) {
  ObjectRecord* live = record(owner, index);
  if (live == nullptr) return false;
  auto taken = live->life.take(generation, shm::kDaemonMember, store::daemon_of(session_.host_epoch()));
  // The next object of the record, which tarnd held up by mistake for a moment, and all others let go of in that.
  if (taken == store::Holders::Taken::kGoneAndFreed) tell_freed(owner, index);
  return taken == store::Holders::Taken::kHeld;
}

// tarnd does not hold the object any more. Returns whether nobody else did either.
bool Mover::let_go(Member& owner, uint32_t index) {
  ObjectRecord* live = record(owner, index);
  if (live == nullptr || !live->life.drop(shm::kDaemonMember, store::daemon_of(session_.host_epoch()))) return false;
  tell_freed(owner, index);
  return true;
}

// tarnd was the last to hold the object: its owner hears of it; or, if that is dead, whoever looks for what it left.
void Mover::tell_freed(Member& owner, uint32_t index) {
  auto* segment = reinterpret_cast<shm::MemberSegment*>(owner.segment.data());
  auto* records = reinterpret_cast<ObjectRecord*>(owner.records.data());
  store::push_returned(segment->returned_objects, [&](uint32_t i) -> shm::Word<uint32_t>& { return records[i].link; }, index);
  if (owner.phase == Member::Phase::kDead) session_.reclaim();
  if (owner.is_client() && session_.events().wants(TARN_EVENT_FREED)) session_.events().tell_of_free();
}

// Tells the client, if it holds the object, that it has left memory or is back. While tarnd holds it, too.
void Mover::tell(MovedObject& object, bool is_away) {
  bool was_away = std::exchange(object.is_told_away, is_away);
  if (was_away != is_away)
    session_.trace().write(is_away ? trace::Kind::kSpilled : trace::Kind::kRestored,
                           uint64_t{object.generation} << 32 | shm::make_id(object.owner.index(), object.index), object.payload, object.is_dropped ? 1 : 0);
  uint32_t kind = is_away ? TARN_EVENT_SPILLED : TARN_EVENT_RESTORED;
  if (!session_.events().wants(kind) || was_away == is_away) return;
  ObjectRecord* live = record(object.owner, object.index);
  if (live == nullptr || object.generation == 0 || (live->life.bits.load(shm::kAcquire) & store::holder_bit(shm::kClientMember)) == 0) return;
  session_.events().tell(kind, shm::make_id(object.owner.index(), object.index), object.generation, object.payload);
}

void Mover::forget(MovedObject& object) {
  Slab& slab = slab_of(object);
  if (object.is_noted) slab.payment->memory.give_back(kNoteSize);
  slab.moved.erase(object.offset);
}

// A slab has no more memory than is paid for: its owner could write where it had been told that pages are gone. Returns whether
// there is anything to look at again. How much there is to do is the owner's doing: a bounded part at a time.
bool Mover::check_pages() {
  constexpr uint64_t kBlock = 512;
  if (os::now_ns() < checked_ns_ + kCheckPauseNs) return true;
  checked_ns_ = os::now_ns();
  auto from = std::exchange(check_next_, {});
  size_t looks = 0;
  bool any = false;
  for (bool is_second_round : {false, true}) {
    for (auto& [index, member] : session_.members()) {
      for (auto& [number, slab] : member->slabs) {
        std::pair<uint32_t, uint32_t> here{index, number};
        if ((here < from) != is_second_round || slab.bytes_away == 0) continue;
        any = true;
        if (looks >= kLooksPerCheck) {
          check_next_ = here;
          return true;
        }
        looks += slab.moved.size();
        abandon_freed(slab);
        struct stat status;
        if (fstat(slab.writer->get(), &status) < 0) continue;
        if (static_cast<uint64_t>(status.st_blocks) * kBlock <= slab.size - slab.bytes_away) continue;
        take_abandoned_pages(slab);
        take_away_pages(slab);
      }
    }
  }
  return any;
}

// Also when nobody wants memory: there is more of it in use than is paid for.
void Mover::check_later() {
  check_timer_ = services_.loop.call_at(os::now_ns() + kCheckNs, [this] {
    check_timer_.reset();
    if (check_pages()) check_later();
  });
}

// Their owner says COPY_DROP when he looks at what others have freed: not if he is dead, and when he is idle not soon.
void Mover::abandon_freed(Slab& slab) {
  for (auto& [offset, object] : slab.moved)
    if (object->phase == Phase::kAway && !is_current(*object)) abandon(*object);
}

// One job for what lies side by side, and none more before those are done.
void Mover::take_abandoned_pages(Slab& slab) {
  if (slab.discards != 0) return;
  auto discard = [&](MovedObject& first, uint64_t size) {
    ++slab.discards;
    services_.spill.discard(session_.identity().uid, first.alive, {slab.writer, first.offset, size, slab.is_huge},
                            [&slab](int, const std::string&) { --slab.discards; });  // `first` goes with the slab
  };
  MovedObject* first = nullptr;
  uint64_t size = 0;
  for (auto& [offset, object] : slab.moved) {
    if (object->phase != Phase::kAbandoned) continue;
    if (first != nullptr && first->offset + size != offset) {
      discard(*first, std::exchange(size, 0));
      first = nullptr;
    }
    if (first == nullptr) first = object.get();
    size += object->size;
  }
  if (first != nullptr) discard(*first, size);
}

void Mover::take_away_pages(Slab& slab) {
  auto next = slab.moved.lower_bound(slab.taken_again_to);
  for (uint32_t taken = 0; next != slab.moved.end() && taken < kTakenAgainMax; ++next) {
    MovedObject& object = *next->second;
    if (object.phase != Phase::kAway || object.is_charged || !take(object.owner, object.index, object.generation)) continue;
    ++taken;
    object.enter(Phase::kLeaving);  // not to be brought back, nor freed, while its pages go
    take_pages(object);
  }
  slab.taken_again_to = next == slab.moved.end() ? 0 : next->first;
}

}  // namespace tarn::daemon
