// Mover: the objects of one session that leave memory for the disk while memory is short, and come back.
//
//   begin to copy -> kSaving -> nobody pinned it: kLeaving (its pages go) -> kAway -> somebody pins it: kWaiting (for room)
//   -> kReturning -> in memory again, with the copy kept for the next time: kKept. Freed while away: kAbandoned, its place is
//   nobody's until the slab goes.
//
// One that a task can make again (kRepeatable) skips kSaving: there is no copy of it, and while it is kAway nothing but its record
// tells how it is made. Who wants it is told to make it (mover_make.cpp), and is kWaiting for room once it is made.
//
// tarnd holds the object (kDaemonHolder) in kSaving, kLeaving and kReturning, so its record stays its own meanwhile. In kKept
// nobody tells tarnd when it is freed: its generation does, whenever tarnd looks. The words are store/pins.hpp and store/holders.hpp. Which objects there are, and where, is read from the records of the
// session's members: hostile bytes, copied once, checked against tarnd's own table of slabs, and then used. What a member
// can bring about by lies is that pages of its own user's slabs leave memory.
//
// Loop thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ledger.hpp"
#include "memory_queue.hpp"
#include "spill.hpp"
#include "wire/messages.hpp"

namespace tarn::store {
struct ObjectRecord;
}

namespace tarn::daemon {

class Member;
class Mover;
class Session;
struct Slab;
struct KeptMoved;

// An object that is not, or soon not, in memory, or of which there is a copy. Its slab owns it.
struct MovedObject {
  enum class Phase : uint8_t { kNone, kSaving, kLeaving, kAway, kWaiting, kReturning, kKept, kAbandoned };
  // Somebody who waits for it to come back.
  struct Asker {
    std::weak_ptr<Member*> member;
    uint32_t serial;
  };

  MovedObject(Mover& by, Member& of) : mover(by), owner(of) {}
  MovedObject(const MovedObject&) = delete;
  MovedObject& operator=(const MovedObject&) = delete;
  ~MovedObject();

  void enter(Phase next);

  Mover& mover;
  Member& owner;
  uint32_t slab = 0;
  uint64_t offset = 0;
  uint64_t size = 0;  // whole pages
  uint32_t index = 0;
  uint32_t generation = 0;
  uint64_t payload = 0;  // its bytes, without the rest of the last page and what the object says about itself
  std::string label;     // lies with the bytes: for the tools, while those are away
  bool is_charged = true;     // for memory
  bool is_noted = false;      // and for what tarnd remembers, until it forgets
  bool is_told_away = false;  // the client has been told, as far as it wants to be
  Phase phase = Phase::kNone;
  std::shared_ptr<Spill::Copy> copy;
  bool is_dropped = false;            // instead of a copy: it can be made again,
  std::weak_ptr<Member*> maker;       // was told to be, by that worker,
  std::optional<Spill::Range> made;   // and was: there are its bytes, until it is back
  uint32_t makers_dead = 0;           // how many have died in it
  uint32_t line = UINT32_MAX;  // of the book (kept_session.hpp)
  std::weak_ptr<Spill::Copy> kept;  // kKept: the copy, as long as the disk has room for it
  size_t kept_at = 0;               // and the place in mover.kept_
  std::vector<Asker> askers;
  std::shared_ptr<const void> alive = std::make_shared<bool>(true);  // jobs and requests about it end with it
};

class Mover {
 public:
  struct Services {
    Loop& loop;
    Spill& spill;
    MemoryQueue& queue;
    Budget& memory;  // of the session
    Budget& disk;    // of the tenant
    int64_t keep_ns;  // how long copies are kept after an object last left or came back
  };

  Mover(Session& session, Services services) : session_(session), services_(services) {}
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  // Begins to move objects that nobody pins, the longest unused first, until they have `bytes` together or none is found in
  // a bounded look. Returns how many bytes that is.
  uint64_t move_out(uint64_t bytes, Spill::For why);

  // What the tarnd before had moved, after its slabs: as if it had left just now.
  [[nodiscard]] int take_over();

  // The session got memory: there will be objects.
  void expect_objects() { look_again_ns_ = look_pause_ns_ = 0; }

  // RESTORE: answered when the object is in memory, or cannot be.
  void handle_restore(Member& from, const wire::Extent& place, uint32_t serial);
  // MADE: an object that was dropped lies in a slab of `from`; or is not to be had from that one.
  void handle_made(Member& from, const wire::Made& what, uint32_t serial);
  // A member has died, which may have been making something.
  void look_at_makers();
  // COPY_DROP: an object of `from` was freed while it was away.
  void handle_copy_drop(Member& from, const wire::Extent& place);

  // Why nothing leaves memory, as far as it is the disk's doing; or "".
  [[nodiscard]] std::string why_not() const;
  // What the disk last said when it took no object, and when that was; "": it always took them.
  struct Refusal {
    std::string why;
    int64_t at_ns;
  };
  [[nodiscard]] Refusal last_refusal() const;
  // Who pays for what is there.
  [[nodiscard]] const Budget& disk() const { return services_.disk; }
  [[nodiscard]] uint64_t bytes_leaving() const { return bytes_leaving_; }
  [[nodiscard]] uint64_t bytes_on_disk() const { return bytes_on_disk_; }

 private:
  friend MovedObject;

  static constexpr size_t kAskersMax = 1024;  // docs/limits.md
  static constexpr uint64_t kNoteSize = 640;  // what tarnd itself remembers of one: 100 000 took 57 MB

  // What a look at the records found.
  struct Candidate {
    uint32_t member;
    uint32_t index;
    uint32_t generation;
    uint32_t used_at;
    uint64_t size;
    bool is_repeatable;
  };

  [[nodiscard]] int take_over(uint32_t line, const KeptMoved& kept);
  void let_go_of_the_rest();
  void note(MovedObject& object);
  void strike_out(MovedObject& object);
  void complain(const char* what, const MovedObject& object, const std::string& why);
  void pause(Spill::For of, const std::string& why);
  [[nodiscard]] bool can_write(Spill::For why) const;
  void look_at_kept();
  [[nodiscard]] bool is_current(MovedObject& object);
  [[nodiscard]] std::shared_ptr<Spill::Copy> take_kept(Slab& slab, const MovedObject& of);
  void look_at_records(bool can_write);
  uint32_t look_at_records_of(const Member& member, uint32_t most, bool can_write);
  [[nodiscard]] store::ObjectRecord* record(Member& owner, uint32_t index);
  [[nodiscard]] uint64_t begin(const Candidate& candidate, Spill::For why);
  void finish_saving(MovedObject& object, int code, const std::string& text);
  bool leave(MovedObject& object);
  void take_pages(MovedObject& object);
  void finish_leaving(MovedObject& object, int code, const std::string& text);
  void bring_back(MovedObject& object);
  void ask_for_room(MovedObject& object);
  [[nodiscard]] MovedObject* find(const wire::Extent& place);
  void have_made(MovedObject& object);
  void end_making(MovedObject& object);
  void ask_again_later();
  [[nodiscard]] static MovedObject* next_away(const MovedObject& of);
  void read_ahead(MovedObject& object);
  [[nodiscard]] int try_to_return(MovedObject& object);
  void finish_returning(MovedObject& object, int code, const std::string& text);
  void answer(MovedObject& object, int code, const std::string& text);
  [[nodiscard]] int charge(MovedObject& object);
  void give_back(MovedObject& object);
  [[nodiscard]] bool take(Member& owner, uint32_t index, uint32_t generation);
  bool let_go(Member& owner, uint32_t index);
  void tell_freed(Member& owner, uint32_t index);
  void abandon(MovedObject& object);
  void forget(MovedObject& object);
  void tell(MovedObject& object, bool is_away);
  bool check_pages();
  void check_later();
  void abandon_freed(Slab& slab);
  void take_abandoned_pages(Slab& slab);
  void take_away_pages(Slab& slab);

  Session& session_;
  Services services_;
  std::vector<Candidate> candidates_;  // the best last
  uint32_t look_member_ = 0;
  uint32_t look_record_ = 0;
  int64_t look_pause_ns_ = 0;
  int64_t look_again_ns_ = 0;
  int64_t pause_until_ns_[2] = {};  // after a disk said no, by Spill::For
  std::string why_pause_;
  uint32_t complaints_ = 0;  // not told yet
  int64_t complain_again_ns_ = 0;
  int64_t checked_ns_ = 0;
  std::pair<uint32_t, uint32_t> check_next_;  // the member and slab with which the next check goes on
  Loop::Timer check_timer_;
  // Where who reads in order would ask next, and how many are brought back ahead of him then.
  struct Place {
    uint32_t member = 0;
    uint32_t slab = 0;
    uint64_t offset = 0;
    bool operator==(const Place&) const = default;
  };
  Place expected_;
  uint32_t ahead_ = 0;
  std::vector<MovedObject*> kept_;
  size_t kept_left_ = 0;  // of those, not looked at yet
  Loop::Timer kept_timer_;
  int64_t moved_ns_ = 0;  // when an object last left or came back
  uint64_t bytes_leaving_ = 0;
  uint64_t bytes_on_disk_ = 0;
  std::set<MovedObject*> making_;  // what a worker makes again
  Loop::Timer making_timer_;
};

}  // namespace tarn::daemon
