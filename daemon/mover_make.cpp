// Mover: objects that were dropped, because a task can make them again, and are wanted.
//
// tarnd runs nothing and knows no task. The first worker that wants the object is told to make it, in its own memory, and says
// MADE when it has; tarnd finds room and copies the bytes to the object's place, which everybody has mapped. Others who want it
// wait. Whether the maker is to be believed is the business of its user, whose objects these all are: what is checked is that
// the bytes lie in a slab of the maker's, and that there are as many as there were.
//
// Room is asked for when the object is made, not before: who makes it may have to have others made first, any number of them,
// and if each had its room meanwhile there would be none for any. It needs memory for the object twice for a moment.
#include "mover.hpp"
#include "os/clock.hpp"
#include "session.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

using Phase = MovedObject::Phase;

// Who waits for another's making looks whether he is to go on.
constexpr int64_t kAskAgainNs = 1'000'000'000;
constexpr uint32_t kMakersDeadMax = 16;  // docs/limits.md

void send_make(Member& to, uint32_t serial, wire::MakeHow how) {
  if (to.connection == nullptr) return;
  wire::Buffer<sizeof(wire::Header) + sizeof(wire::Make)> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kMake, serial);
  message.body<wire::Make>() = {static_cast<uint32_t>(how), 0};
  to.connection->send(message);
}

// Where the bytes are that `from` says it has made; false if that is no place of its own.
bool find_made(Member& from, const wire::Made& what, Spill::Range& out) {
  auto slab = from.slabs.find(what.slab);
  if (slab == from.slabs.end() || slab->second.phase != Slab::Phase::kReady || slab->second.is_file)
    return false;
  if (what.offset > slab->second.size || what.size > slab->second.size - what.offset) return false;
  out = {slab->second.reader, what.offset, what.size, false};
  return true;
}

bool is_at_work(const std::weak_ptr<Member*>& maker) {
  auto member = maker.lock();
  return member != nullptr && (*member)->phase != Member::Phase::kDead;
}

}  // namespace

// Of those who want it: clients run no tasks, and each has a worker ask for it; of the workers the first makes it.
void Mover::have_made(MovedObject& object) {
  std::erase_if(object.askers, [](const MovedObject::Asker& asker) {
    auto member = asker.member.lock();
    bool is_client = member != nullptr && (*member)->is_client();
    if (is_client) send_make(**member, asker.serial, wire::MakeHow::kYou);
    return is_client || !is_at_work(asker.member);
  });
  if (object.askers.empty()) return;
  if (object.makers_dead >= kMakersDeadMax)
    return answer(object, TARN_E_LOST,
                  "the object was dropped, and each of the workers that were to make it again has "
                  "died in that; submit its task "
                  "without TARN_TASK_REPEATABLE");
  if (!is_at_work(object.maker)) {
    MovedObject::Asker first = object.askers.front();
    object.askers.erase(object.askers.begin());
    object.maker = first.member;
    making_.insert(&object);
    send_make(**first.member.lock(), first.serial, wire::MakeHow::kYou);
  }
  if (!making_timer_.armed()) ask_again_later();
}

void Mover::end_making(MovedObject& object) {
  object.maker.reset();
  object.made.reset();
  making_.erase(&object);
}

void Mover::look_at_makers() {
  for (MovedObject* object : std::vector(making_.begin(), making_.end())) {
    if (object->made || is_at_work(object->maker)) continue;
    ++object->makers_dead;
    end_making(*object);
    have_made(*object);
  }
}

// Nobody waits for another's task without a word for so long that he could take tarnd for dead.
void Mover::ask_again_later() {
  making_timer_ = services_.loop.call_at(os::now_ns() + kAskAgainNs, [this] {
    making_timer_.reset();
    for (MovedObject* object : making_) {
      if (object->phase != Phase::kAway) continue;
      for (const MovedObject::Asker& asker : std::exchange(object->askers, {}))
        if (auto member = asker.member.lock())
          send_make(**member, asker.serial, wire::MakeHow::kOther);
    }
    if (!making_.empty()) ask_again_later();
  });
}

void Mover::handle_made(Member& from, const wire::Made& what, uint32_t serial) {
  MovedObject* object = find(what.place);
  if (what.code < 0) {
    if (object == nullptr || object->maker.lock() != from.self || object->made) return;
    end_making(*object);
    return have_made(*object);
  }
  Spill::Range made;
  // One that came back meanwhile, or was made by another, or is another object by now: who asks for it hears how it is.
  bool is_wanted = object != nullptr && object->is_dropped && !object->made &&
                   what.size == object->payload &&
                   (object->phase == Phase::kAway || object->phase == Phase::kLeaving) &&
                   object->askers.size() < kAskersMax && find_made(from, what, made);
  if (is_wanted) {
    object->made = std::move(made);
    making_.insert(object);
  }
  handle_restore(from, what.place, serial);
}

}  // namespace tarn::daemon
