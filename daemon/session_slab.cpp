// Session: memory. Slabs with one writer each, shared files, and records that grow.
#include <fcntl.h>
#include <sys/stat.h>

#include <cstddef>
#include <cstdio>

#include "base/error.hpp"
#include "log.hpp"
#include "os/clock.hpp"
#include "session.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

constexpr uint64_t kFollowedMin = 8u << 20;       // its owner follows with his part of the work while a slab is made warm
constexpr int64_t kReclaimPatienceNs = 200'000'000;  // for others to drop what they keep, though nothing is coming yet
constexpr int64_t kHurryNs = 1'000'000'000;          // of who has other ways than to wait; 5 GiB are closed in that time

int check_shared_file(const Fd& file, uint64_t size) {
  os::FileStatus status;
  int flags = fcntl(file.get(), F_GETFL);
  if (flags < 0 || os::file_status(file, status) < 0) return fail(TARN_E_FILE, "a shared file cannot be looked at");
  if (!S_ISREG(status.mode)) return fail(TARN_E_FILE, "only regular files can be shared");
  if ((flags & O_PATH) != 0 || (flags & O_ACCMODE) != O_RDONLY)
    return fail(TARN_E_FILE, "a file is shared by a descriptor that was opened for reading only");
  if (status.size < size)
    return fail(TARN_E_FILE_CHANGED, "a shared file has %llu bytes, not %llu", static_cast<unsigned long long>(status.size),
                static_cast<unsigned long long>(size));
  return 0;
}

}  // namespace

// A part of a member's segment that is to be backed with memory, and what can be told when it is.
struct Session::Area {
  uint64_t begin;
  uint64_t size;
  uint32_t wire::Grow::*total;  // nullptr: goes with the next area
  uint32_t entries;
};

// One that may wait gets what others can spare, if they say so soon: a process that runs a user's code for longer does not
// look, and keep_free bounds what it keeps. Memory that is on its way back both kinds wait for.
void Session::handle_slab_request(Member& from, const wire::SlabRequest& request, uint32_t serial) {
  constexpr uint64_t kGenerousPart = 8;
  bool may_wait = request.how == wire::kSlabMayWait;
  if (request.how == wire::kSlabGenerous && request.size > budget_->room() / kGenerousPart)
    return refuse_slab(from, serial, TARN_E_STORE_FULL, "not so much more than is needed");  // others can use it
  int64_t now = os::now_ns();
  int64_t latest = may_wait ? os::kForever : now + kHurryNs;
  // Both are called only while `from` asks.
  auto attempt = [this, &from, request, serial] { return make_slab(from, request, serial); };
  auto refuse = [this, &from, request, serial](int code) {
    if (code == TARN_E_QUOTA && find_full(request.size) == nullptr &&  // there is memory, and no descriptors for it yet
        ask_again_later(from, [this, request, serial](Member& member) { handle_slab_request(member, request, serial); }))
      return;
    std::string text = memory_refusal(code, request.size);
    if (request.how == wire::kSlabMayWait) events_.after_refusal(code, request.size);  // the others have other ways
    refuse_slab(from, serial, code, text.c_str());
  };
  services_.memory_queue.submit({from.asks, budget_.get(), os::round_up(request.size, os::kPageSize),
                                 may_wait ? now + kReclaimPatienceNs : now, latest, std::move(attempt), std::move(refuse)});
  events_.after_request(request.size);
}

// The budget that has no room for `bytes`, or of which others wait for the rest; nullptr: none.
const Budget* Session::find_full(uint64_t bytes) const {
  const Budget* full = budget_->full_for(os::round_up(bytes, os::kPageSize));
  return full != nullptr ? full : services_.memory_queue.blocked_by(*budget_);
}

void Session::ask_for_memory() {
  if (ending_) return;
  wire::Buffer<sizeof(wire::Header)> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kReclaim, 0);
  broadcast(shm::kDaemonMember, message);
  board_->membership.fetch_add(1);  // workers that sleep look at their sockets
  wake_everybody();
}

// Where the process runs; a client may run anywhere.
int32_t Session::node_of(const Member& member) const {
  return member.is_client() ? -1 : services_.slots[slot_of(member)].node;
}

int Session::make_slab(Member& from, const wire::SlabRequest& request, uint32_t serial) {
  Slab slab;
  slab.size = os::round_up(request.size, os::kPageSize);
  slab.node = request.node == wire::kOwnNode ? node_of(from) : request.node;
  slab.serial = serial;
  uint32_t number = 0;
  Fd writer;
  Fd owners;
  Fd reader;
  std::shared_ptr<Payment> payment;
  int r = check_slab_count(from, number);
  if (r == 0) r = pay(slab.size, kDescriptorsOfSlab, payment);
  if (r == 0) r = os::memfd_create("tarn-slab", slab.size, writer);
  if (r == 0) r = os::memfd_open_again(writer, owners);
  if (r == 0) r = os::memfd_open_reader(writer, reader);
  if (r < 0) return r;
  slab.owners = services_.closer.share(identity_.uid, Closer::Kind::kOurs, std::move(owners), payment);
  slab.writer = services_.closer.share(identity_.uid, Closer::Kind::kOurs, std::move(writer), payment);
  slab.reader = services_.closer.share(identity_.uid, Closer::Kind::kOurs, std::move(reader), payment);
  slab.payment = std::move(payment);
  slab.wanted = std::make_shared<bool>(true);
  SharedFd warmed = slab.writer;
  std::weak_ptr<const void> wanted = slab.wanted;
  uint64_t size = slab.size;
  int32_t node = slab.node;
  from.slabs.emplace(number, std::move(slab));
  ++slab_count_;
  mover_.expect_objects();
  owner_.on_memory_taken(*budget_);
  // Once, so that a session that sleeps goes on sleeping.
  idle_timer_ = services_.loop.call_at(os::now_ns() + services_.keep_ns, [this] { reclaim(); });
  uint32_t owner = from.index();
  // While it is wanted its owner is there, with the index it had.
  Prefaulter::Progress tell;
  if (size > kFollowedMin) {
    send_slab(from, number, wire::Type::kSlabComing);
    tell = [this, owner, serial](uint64_t bytes) { send_warm(*find(owner), serial, bytes); };
  }
  services_.prefaulter.prepare(
      identity_.uid, std::move(wanted), {std::move(warmed), 0, size, node, false},
      [this, owner, number](const Prefaulter::Result& result) { grant_slab(*find(owner), number, result); },
      std::move(tell));
  return 0;
}

// To its owner, for reading and writing.
void Session::send_slab(Member& owner, uint32_t number, wire::Type type) {
  if (owner.connection == nullptr) return;
  const Slab& slab = owner.slabs.at(number);
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, type, slab.serial);
  auto& body = message.body<wire::SlabInfo>();
  body.member = owner.index();
  body.slab = number;
  body.size = slab.size;
  body.node = slab.node;
  owner.connection->send(message, {slab.owners});
}

// Only what he was told of does he touch: whoever touches a page first pays for it in its control group, and that is tarnd.
void Session::send_warm(Member& owner, uint32_t serial, uint64_t bytes) {
  if (owner.connection == nullptr) return;
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kSlabWarm, serial);
  message.body<wire::SlabWarm>().bytes = bytes;
  owner.connection->send(message);
}

// Memory that somebody dropped is free once it is closed, a moment later: nobody is refused for that.
bool Session::is_memory_coming() const {
  return services_.closer.is_closing_memory(identity_.uid) || services_.prefaulter.is_dropping(identity_.uid);
}

// Returns whether it is worth the wait; `ask` comes if `from` is still there then.
bool Session::ask_again_later(const Member& from, std::function<void(Member&)> ask) {
  if (!is_memory_coming()) return false;
  services_.closer.call_after_next([this, session = std::weak_ptr(self_), member = std::weak_ptr(from.self),
                                    ask = std::move(ask)] {
    auto there = member.lock();
    if (!session.expired() && there != nullptr && !ending_ && (*there)->phase != Member::Phase::kDead) ask(**there);
  });
  return true;
}

void Session::grant_slab(Member& owner, uint32_t number, const Prefaulter::Result& result) {
  Slab& slab = owner.slabs.at(number);
  if (result.code < 0) {
    uint32_t serial = slab.serial;
    owner.slabs.erase(number);
    --slab_count_;
    return refuse_slab(owner, serial, result.code, result.text.c_str());
  }
  slab.is_huge = result.is_huge;
  slab.phase = Slab::Phase::kReady;
  slab.wanted.reset();
  keep_slab(owner, number, slab);
  announce_slab_to_others(owner, number, slab);  // before the owner can refer to anything in it
  send_slab(owner, number, wire::Type::kSlabGranted);
  slab.owners.reset();
}

void Session::handle_slab_drop(Member& from, const wire::SlabId& id) {
  Member* owner = find(id.member);
  if (owner == nullptr) return;  // dropped by somebody else already, with the rest of its owner
  if (owner != &from && owner->phase != Member::Phase::kDead) return reject(from, "SLAB_DROP of a slab of another");
  auto found = owner->slabs.find(id.slab);
  if (found == owner->slabs.end()) return;
  if (found->second.phase != Slab::Phase::kReady) return reject(from, "SLAB_DROP of a slab that is not ready");
  SharedFd file = std::move(found->second.reader);
  kept_->erase_slab(id.member, id.slab);
  owner->slabs.erase(found);
  --slab_count_;
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kSlabDropped, 0);
  message.body<wire::SlabId>() = id;
  for (auto& [index, member] : members_) {
    if (index == from.index() || !member->is_reachable() || member->connection == nullptr) continue;
    // Who has not been sent the slab yet never hears of it, and its memory does not wait for him to read.
    if (!member->connection->withdraw(file)) member->connection->send(message);
  }
  release_if_empty(*owner);
}

void Session::handle_file_share(Member& from, const wire::SlabInfo& info, uint32_t serial, Fd file) {
  uint32_t number = 0;
  int r = check_slab_count(from, number);
  Slab slab;
  std::shared_ptr<Payment> payment;
  if (r == 0) r = check_shared_file(file, info.size);
  if (r == 0) r = pay(0, 1, payment);
  slab.reader = services_.closer.share(identity_.uid, Closer::Kind::kForeign, std::move(file), std::move(payment));
  if (r < 0) return refuse_slab(from, serial, r, last_error());
  slab.phase = Slab::Phase::kReady;
  slab.size = info.size;
  slab.is_file = true;
  keep_slab(from, number, slab);
  announce_slab_to_others(from, number, slab);
  from.slabs.emplace(number, std::move(slab));
  ++slab_count_;
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kSlabReady, serial);
  message.body<wire::SlabId>() = {from.index(), number};
  from.connection->send(message);
}

void Session::handle_grow(Member& from, const wire::Grow& wish, uint32_t serial) {
  if (from.is_growing) return reject(from, "GROW before the last one was answered");
  if (wish.records > shm::kTaskRecordsMax || wish.objects > shm::kObjectRecordsMax || wish.edges > shm::kEdgesMax ||
      wish.graph_pages > shm::kGraphPagesMax)
    return refuse_slab(from, serial, TARN_E_LIMIT, "more records than a member can have; docs/limits.md has the bounds");
  from.is_growing = true;
  uint64_t bytes = 0;
  (void)missing_areas(from, wish, bytes);
  // Both are called only while `from` asks.
  auto attempt = [this, &from, wish, serial] {
    std::vector<Area> areas;
    if (int r = pay_areas(from, wish, areas); r < 0) return r;
    back_areas(from, std::move(areas), serial);
    return 0;
  };
  auto refuse = [this, &from, bytes, serial](int code) {
    from.is_growing = false;
    std::string text = memory_refusal(code, bytes);
    events_.after_refusal(code, bytes);
    refuse_slab(from, serial, code, text.c_str());
  };
  services_.memory_queue.submit({from.asks, budget_.get(), bytes, os::now_ns() + kReclaimPatienceNs, os::kForever,
                                 std::move(attempt), std::move(refuse), true});
  events_.after_request(bytes);
}

// The areas of a segment that are missing for `wish`, the next one last; the words of fan-in trees grow with the edges.
std::vector<Session::Area> Session::missing_areas(const Member& member, const wire::Grow& wish, uint64_t& bytes) {
  constexpr uint32_t kEdgesPerGroupWord = shm::kEdgesAtStart / shm::kGroupWordsAtStart;
  static_assert(shm::kEdgesMax / kEdgesPerGroupWord >= shm::kGroupWordsMax);
  auto group_words = [](uint32_t edges) { return std::min(edges / kEdgesPerGroupWord, shm::kGroupWordsMax); };
  std::vector<Area> areas;
  bytes = 0;
  auto add = [&](uint64_t offset, uint64_t entry_size, uint32_t had, uint32_t wanted, uint32_t wire::Grow::*total) {
    uint64_t begin = os::round_up(had * entry_size, os::kPageSize);
    uint64_t end = os::round_up(wanted * entry_size, os::kPageSize);
    if (wanted <= had) return;
    areas.push_back({offset + begin, end - begin, total, wanted});
    bytes += end - begin;
  };
  const wire::Grow& had = member.backed;
  add(offsetof(shm::MemberSegment, graph_arena), os::kPageSize, had.graph_pages, wish.graph_pages, &wire::Grow::graph_pages);
  add(offsetof(shm::MemberSegment, edges), shm::kEdgeSize, had.edges, wish.edges, &wire::Grow::edges);
  add(offsetof(shm::MemberSegment, group_words), sizeof(uint64_t), group_words(had.edges), group_words(wish.edges), nullptr);
  add(offsetof(shm::MemberSegment, object_records), shm::kRecordSize, had.objects, wish.objects, &wire::Grow::objects);
  add(offsetof(shm::MemberSegment, task_records), shm::kRecordSize, had.records, wish.records, &wire::Grow::records);
  return areas;
}

int Session::pay_areas(Member& member, const wire::Grow& wish, std::vector<Area>& areas) {
  uint64_t bytes;
  areas = missing_areas(member, wish, bytes);
  return member.segment_payment->memory.add(bytes);
}

// For what the tarnd before had backed.
int Session::pay_backed(Member& member, const wire::Grow& backed) {
  std::vector<Area> areas;
  if (int r = pay_areas(member, backed, areas); r < 0) return r;
  member.backed = backed;
  return 0;
}

// One after the other; large ones not on the loop. `serial` 0: nobody waits for an answer.
void Session::back_areas(Member& member, std::vector<Area> areas, uint32_t serial) {
  if (!areas.empty()) {
    Area next = areas.back();
    // While it is wanted the member is there, and so is the session.
    return services_.prefaulter.prepare(
        identity_.uid, member.self, {member.segment_file, next.begin, next.size, node_of(member), true},
        [this, &member, areas = std::move(areas), serial](const Prefaulter::Result& result) mutable {
          if (result.code == 0) {
            if (areas.back().total != nullptr) member.backed.*areas.back().total = areas.back().entries;
            update_kept(member);
            areas.pop_back();
            return back_areas(member, std::move(areas), serial);
          }
          for (const Area& area : areas) member.segment_payment->memory.give_back(area.size);
          member.is_growing = false;
          if (serial != 0) refuse_slab(member, serial, result.code, result.text.c_str());
        });
  }
  member.is_growing = false;
  if (serial == 0 || member.connection == nullptr) return;
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kGrown, serial);
  message.body<wire::Grow>() = member.backed;
  member.connection->send(message);
}

// What a member begins with is little, and there at once.
int Session::back_first_records(Member& member) {
  std::vector<Area> areas;
  if (int r = pay_areas(member, {shm::kRecordsAtStart, shm::kObjectsAtStart, shm::kEdgesAtStart, 0}, areas); r < 0) return r;
  back_areas(member, std::move(areas), 0);
  if (member.backed.edges == shm::kEdgesAtStart) return 0;  // the last of them
  return fail(TARN_E_NO_MEMORY, "no memory for the records of a member");
}

void Session::announce_slab(const Member& owner, uint32_t number, const Slab& slab, Member& to, wire::Type how) {
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, how, 0);
  auto& body = message.body<wire::SlabInfo>();
  body.member = owner.index();
  body.slab = number;
  body.size = slab.size;
  body.node = slab.node;
  body.is_file = slab.is_file ? 1 : 0;
  to.connection->send(message, {slab.reader});
}

void Session::announce_slab_to_others(const Member& owner, uint32_t number, const Slab& slab) {
  for (auto& [index, member] : members_)
    if (member.get() != &owner && member->is_reachable() && member->connection != nullptr)
      announce_slab(owner, number, slab, *member);
}

// Numbers go round like member indices do.
int Session::check_slab_count(const Member& owner, uint32_t& number) {
  if (slab_count_ >= services_.slabs_max)
    return fail(TARN_E_LIMIT, "the session has %u slabs and files, which is all it may; release objects", slab_count_);
  auto& next = const_cast<Member&>(owner).next_slab;
  while (owner.slabs.contains(next)) next = next >= wire::kSlabNumberMax ? 0 : next + 1;
  number = next;
  next = next >= wire::kSlabNumberMax ? 0 : next + 1;
  return 0;
}

void Session::refuse_slab(Member& to, uint32_t serial, int code, const char* text) {
  if (to.connection == nullptr) return;
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kSlabRefused, serial);
  auto& body = message.body<wire::SlabRefused>();
  body.code = code;
  wire::set_text(body.text, text);
  to.connection->send(message);
}

std::string Session::memory_refusal(int code, uint64_t bytes) const {
  std::string text = last_error();
  if (code != TARN_E_STORE_FULL && code != TARN_E_QUOTA) return text;
  if (const Budget* full = find_full(bytes)) {
    std::string list = full == budget_.get() ? largest_members() : owner_.largest_holders(*full, identity_.uid);
    if (!list.empty()) text += "; most is held by " + list;
  }
  if (std::string why = mover_.why_not(); !why.empty()) text += "; nothing goes to disk: " + why;
  return text;
}

std::string Session::largest_members() const {
  std::vector<MemoryHolder> holders;
  for (auto& [index, member] : members_) {
    uint64_t bytes = member->segment_payment == nullptr ? 0 : member->segment_payment->memory.amount();
    for (auto& [number, slab] : member->slabs)
      if (!slab.is_file) bytes += slab.size - slab.bytes_away;
    std::string name = member->is_client() ? "the client" : "worker " + std::to_string(index);
    if (member->phase == Member::Phase::kDead) name = "dead " + name;
    holders.push_back({bytes, std::move(name)});
  }
  return list_largest(std::move(holders));
}

}  // namespace tarn::daemon
