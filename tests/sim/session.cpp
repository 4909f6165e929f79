#include "session.hpp"

#include <fcntl.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "store/object_record.hpp"
#include "task/task_record.hpp"

namespace tarn::sim {
namespace {

constexpr int64_t kMomentNs = 1'000'000;
constexpr int64_t kAnnouncedMax = 500'000'000;
constexpr uint32_t kMembersMost = store::kHoldersMax - 1;

void must(int r) {
  if (r >= 0) return;
  fprintf(stderr, "sim: %s\n", last_error());
  abort();
}

}  // namespace

Session::Session(World& world, uint32_t slots, std::function<void(task::Submitter&)> client)
    : world_(world), slots_(slots), lane_used_(slots * shm::Seat::kRanks) {
  must(os::memfd_create("board", sizeof(shm::Board), board_fd_));
  must(os::Mapping::map(board_fd_, sizeof(shm::Board), os::Access::kReadWrite, board_map_));
  board_ = reinterpret_cast<shm::Board*>(board_map_.data());
  board_->spin_budget_ns.store(world.chance(2) ? 20'000 : 0, shm::kRelaxed);
  for (uint32_t slot = 0; slot < slots; ++slot) board_->places[slot].cpu_count = 1;  // none of the CPUs that there are
  world_.on_death = [this](int process) {
    if (Member* member = member_of_process(process); member != nullptr) do_soon([this, member] { handle_death(*member); });
  };
  world_.on_stop = [this](int process, bool is_stopped) {
    Member* member = member_of_process(process);
    if (member == nullptr) return;
    do_soon([this, member, is_stopped] {
      if (!member->is_serving || member->is_dead) return;
      board_->doorbell.set_serving(member->number, !is_stopped);
      if (is_stopped) board_->doorbell.withdraw(member->number);
      wake_everybody();
    });
  };
  world_.on_idle = [this] { check_idle(); };
  world_.start("tarnd", false, [this] { serve_tarnd(); });
  Member& first = add_member();
  first.process = world_.start("client", false, [this, &first, client = std::move(client)] {
    first.store = new store::Store(first);
    must(first.store->init(first.number, 1, segment_of(first)));
    first.submitter = new task::Submitter(first.view, *first.store);
    must(first.submitter->init());
    admit(first);
    for (uint32_t lane = 0; lane < slots_; ++lane) do_soon([this, lane] { start_worker(lane); });
    client(*first.submitter);
    world_.finish();
  });
}

Session::~Session() = default;

Session::Member* Session::find(uint32_t number) {
  for (auto& member : members_)
    if (member->number == number) return member.get();
  return nullptr;
}

Session::Member* Session::member_of_process(int process) {
  for (auto& member : members_)
    if (member->process == process) return member.get();
  return nullptr;
}

bool Session::is_alive(uint32_t number) const {
  for (auto& member : members_)
    if (member->number == number) return !world_.is_dead(member->process);
  return false;
}

// ---- tarnd -----------------------------------------------------------------------------------

// Some time from now, in tarnd's process.
void Session::do_soon(std::function<void()> what) {
  tarnd_does_.push_back(std::move(what));
  ++tarnd_word_;
  world_.wake(&tarnd_word_, 1);
}

void Session::serve_tarnd() {
  for (;;) {
    uint32_t seen = tarnd_word_;
    while (!tarnd_does_.empty()) {
      auto next = std::move(tarnd_does_.front());
      tarnd_does_.pop_front();
      world_.point();
      next();
    }
    world_.futex_wait(&tarnd_word_, seen, os::kForever);
  }
}

Session::Member& Session::add_member() {
  auto made = std::make_unique<Member>();
  Member& member = *made;
  member.session = this;
  member.number = shm::kClientMember + static_cast<uint32_t>(members_.size());
  if (member.number > kMembersMost) world_.violate("there are too many members: fewer kills, please");
  Fd fd;
  must(os::memfd_create("segment", sizeof(shm::MemberSegment), fd));
  must(os::Mapping::map(fd, sizeof(shm::MemberSegment), os::Access::kReadWrite, member.segment));
  member.view.board = board_;
  member.view.self = member.number;
  member.view.segments[member.number] = &segment_of(member);
  member.view.members_end = member.number + 1;
  member.view.link = &member;
  members_.push_back(std::move(made));
  return member;
}

// First everybody else learns of it, then it may begin.
void Session::admit(Member& member) {
  board_->members.join(member.number, 0);
  for (auto& other : members_) {
    if (other.get() == &member || other->is_gone) continue;
    if (!other->is_dead) other->inbox.push_back({Message::Kind::kMemberAdded, member.number});
    member.inbox.push_back({Message::Kind::kMemberAdded, other->number});
  }
  for (auto& [place, slab] : slabs_)
    if (place.first != member.number) member.inbox.push_back({Message::Kind::kSlabAdded, place.first, place.second});
  for (auto& other : members_) {
    if (!other->is_dead || other->is_gone) continue;
    bool is_order = !other->is_settled && other->settled_by == 0;
    if (is_order) other->settled_by = member.number;
    member.inbox.push_back({Message::Kind::kMemberDied, other->number, 0, is_order});
  }
  board_->membership.fetch_add(1);
}

void Session::start_worker(uint32_t lane) {
  lane_used_[lane] = true;
  Member& member = add_member();
  member.lane = lane;
  admit(member);
  member.process = world_.start("worker " + std::to_string(member.number), true, [this, &member] { run_worker(member); });
}

void Session::run_worker(Member& member) {
  member.store = new store::Store(member);
  must(member.store->init(member.number, 1, segment_of(member)));
  member.submitter = new task::Submitter(member.view, *member.store);
  must(member.submitter->init());
  uint32_t slot = member.lane % slots_;
  member.executor = new task::Executor(member.view, *member.store, slot, 1000 + static_cast<int>(slot), 0);
  must(member.executor->set_submitter(*member.submitter, reinterpret_cast<tarn_client*>(member.submitter)));
  member.executor->set_seat(slot, member.lane / slots_);
  must(member.poll());  // orders are carried out before the first task
  do_soon([this, &member] {
    if (member.is_dead || world_.is_dead(member.process)) return;
    member.is_serving = true;
    shm::begin_serving(*board_, member.number);
  });
  must(member.executor->serve());
}

void Session::tell_others(const Member& about, const Message& message) {
  for (auto& other : members_)
    if (other.get() != &about && !other->is_dead) other->inbox.push_back(message);
}

void Session::wake_everybody() {
  shm::ring_all(*board_);
  for (auto& member : members_)
    if (!member->is_gone) shm::wake_all_waiters(segment_of(*member).waiters);
}

void Session::handle_death(Member& member) {
  member.is_dead = true;
  for (auto& other : members_)
    if (other->settled_by == member.number && !other->is_settled) other->settled_by = 0;
  board_->doorbell.set_serving(member.number, false);
  board_->doorbell.withdraw(member.number);
  tell_others(member, {Message::Kind::kMemberDied, member.number});
  board_->membership.fetch_add(1);
  wake_everybody();
  start_worker(member.lane);
}

// Of a worker that has died since, another one has the order by now.
void Session::handle_recovered(uint32_t number, uint32_t by) {
  Member* dead = find(number);
  if (find(by)->is_dead) return;
  if (dead->is_settled || dead->settled_by != by) world_.violate("member " + std::to_string(by) + " says RECOVERED without an order");
  dead->is_settled = true;
  wake_everybody();
  release_if_empty(*dead);
}

void Session::release_if_empty(Member& dead) {
  if (!dead.is_dead || !dead.is_settled || dead.is_gone) return;
  for (auto& [place, slab] : slabs_)
    if (place.first == dead.number) return;
  dead.is_gone = true;
  board_->members.leave(dead.number);
  tell_others(dead, {Message::Kind::kMemberGone, dead.number});
  board_->membership.fetch_add(1);
}

// Nobody can run. Then nobody may have been left asleep who has something to do.
void Session::check_idle() {
  if (!tarnd_does_.empty()) return;
  bool is_somebody_parked = false;
  for (auto& member : members_) {
    bool is_able = member->is_serving && !member->is_dead && !world_.is_stopped(member->process);
    // It waits until another has said what it has taken, and comes to that in a moment.
    if (is_able && world_.wakes_ns(member->process) <= world_.now() + kMomentNs) return;
    uint64_t bit = uint64_t{1} << member->number % 64;
    if (is_able && (board_->doorbell.serving(member->number / 64) & bit & ~board_->doorbell.looking(member->number / 64)) != 0)
      is_somebody_parked = true;
    if (world_.is_stopped(member->process)) return;  // it may have a hint in hand
  }
  bool is_unsettled = false;
  for (auto& member : members_) is_unsettled |= member->is_dead && !member->is_settled;
  if (awaited_ != nullptr && !is_unsettled) {
    auto* records = reinterpret_cast<const task::TaskRecord*>(segment_of(*members_.front()).task_records);
    auto& record = records[shm::id_index(static_cast<uint32_t>(awaited_->id))];
    if (task::State::unpack(record.state.load(kAcquire)).finished()) world_.violate("the client sleeps, and what it waits for is finished");
  }
  if (!is_somebody_parked) return;
  for (auto& member : members_) {
    if (member->is_gone || (member->is_dead && member->is_settled)) continue;
    if (member->is_dead) return;  // its records are still to be settled
    auto* records = reinterpret_cast<const task::TaskRecord*>(segment_of(*member).task_records);
    for (uint32_t i = 0; i < segment_of(*member).records_used.load(kAcquire); ++i)
      if (task::State::unpack(records[i].state.load(kAcquire)).phase == task::Phase::kReady)
        world_.violate("everybody sleeps, one of them for want of work, and record " + std::to_string(i) + " of member " +
                       std::to_string(member->number) + " is ready;" + where_hints_are());
  }
}

std::string Session::where_hints_are() const {
  std::string text = board_->nested.load(kRelaxed) != 0 ? " tasks submit tasks;" : "";
  for (auto& member : members_) {
    if (member->is_gone) continue;
    auto& lane = segment_of(*member).usual;
    std::string name = " member " + std::to_string(member->number);
    if (!lane.ring.empty()) text += name + " has hints in its ring;";
    if (lane.unhinted.load(kRelaxed) != 0) text += name + " has records without hints;";
    for (auto& word : board_->workers[member->number].batch)
      if (uint32_t id = word.load(kRelaxed); id != 0)
        text += name + " has record " + std::to_string(shm::id_index(id)) + " of member " + std::to_string(shm::id_member(id)) + " in hand;";
  }
  return text;
}

std::string Session::leftovers() const {
  uint32_t tasks = 0;
  uint32_t objects = 0;
  std::string where;
  for (auto& member : members_) {
    if (member->is_gone) continue;
    if (member->is_dead) where += " dead member " + std::to_string(member->number);
    auto& segment = segment_of(*member);
    auto* records = reinterpret_cast<const task::TaskRecord*>(segment.task_records);
    for (uint32_t i = 0; i < segment.records_used.load(kAcquire); ++i) {
      task::State state = task::State::unpack(records[i].state.load(kAcquire));
      // Of a dead one nobody tells others any more.
      if (state.phase == task::Phase::kFree || state.phase == task::Phase::kDone || (member->is_dead && state.phase == task::Phase::kFinished)) continue;
      ++tasks;
      where += " task " + std::to_string(member->number) + "/" + std::to_string(i) + " phase " + std::to_string(static_cast<int>(state.phase));
    }
    auto* all = reinterpret_cast<const store::ObjectRecord*>(segment.object_records);
    for (uint32_t i = 0; i < segment.objects_used.load(kAcquire); ++i) {
      uint64_t bits = all[i].life.bits.load(kAcquire);
      if (all[i].life.state_now().phase == store::Phase::kFree || (bits & store::kDead) != 0) continue;
      ++objects;
      char text[64];
      snprintf(text, sizeof text, " object %u/%u bits %llx", member->number, i, static_cast<unsigned long long>(bits));
      where += text;
    }
  }
  return where.empty() ? "" : std::to_string(tasks) + " tasks, " + std::to_string(objects) + " objects:" + where;
}

// ---- What a process says to tarnd, and hears -------------------------------------------------

bool Session::Member::take_in() {
  if (inbox.empty()) return false;
  Message message = inbox.front();
  inbox.pop_front();
  switch (message.kind) {
    case Message::Kind::kMemberAdded:
      view.segments[message.member] = &session->segment_of(*session->find(message.member));
      view.members_end = std::max(view.members_end, message.member + 1);
      must(store->on_member_added(message.member, view.segments[message.member]));
      break;
    case Message::Kind::kMemberDied:
      if (message.recover) orders.add({message.member, SIGKILL, 0});
      store->on_member_died(message.member);
      break;
    case Message::Kind::kMemberGone:
      view.segments[message.member] = nullptr;
      store->on_member_gone(message.member);
      break;
    case Message::Kind::kSlabAdded: {
      auto found = session->slabs_.find({message.member, message.slab});
      if (found == session->slabs_.end()) break;  // and dropped since
      must(store->on_slab_added(message.member, message.slab, Fd{fcntl(found->second.fd.get(), F_DUPFD_CLOEXEC, 3)}, found->second.size,
                                false));
      break;
    }
    case Message::Kind::kSlabDropped: store->on_slab_dropped(message.member, message.slab); break;
  }
  return true;
}

int Session::Member::poll() {
  if (store == nullptr) return 0;
  session->world_.point();
  while (take_in()) {
  }
  store->settle();
  if (executor == nullptr) return 0;
  return orders.carry_out([this](const task::RecoveryOrder& order) { return executor->recover_member(order.member, order.signal, order.exit_status); },
                          [this](const task::RecoveryOrder& order) {
                            session->do_soon([session = session, dead = order.member, self = number] { session->handle_recovered(dead, self); });
                            return 0;
                          });
}

int Session::Member::learn(uint32_t wanted) {
  // tarnd may be about to say so.
  for (int64_t end = session->world_.now() + kAnnouncedMax; view.segments[wanted] == nullptr;) {
    if (take_in()) continue;
    if (!session->board_->members.is_there(wanted) || session->world_.now() > end) break;
    session->world_.sleep_until(session->world_.now() + 100'000);
  }
  if (view.segments[wanted] == nullptr && !session->board_->members.is_there(wanted)) return fail(TARN_E_LOST, "member %u is gone", wanted);
  if (view.segments[wanted] == nullptr) session->world_.violate("member " + std::to_string(wanted) + " was met before it was announced");
  return 0;
}

int Session::Member::learn_slab(uint32_t owner, uint32_t slab) {
  while (!store->knows_slab(owner, slab) && take_in()) {
  }
  if (store->knows_slab(owner, slab)) return 0;
  // Of a dead member whose tasks have been orphaned since this one claimed one: then it is about to be killed.
  session->world_.sleep_until(session->world_.now() + kAnnouncedMax);
  session->world_.violate("slab " + std::to_string(slab) + " of member " + std::to_string(owner) + " was met before it was announced");
}

int Session::Member::end_run(uint32_t worker, uint32_t id, uint32_t generation) {
  session->do_soon([session = session, worker, id, generation] {
    Member* owner = session->find(shm::id_member(id));
    Member* target = session->find(worker);
    if (owner == nullptr || target == nullptr || target->is_dead) return;
    auto* records = reinterpret_cast<const task::TaskRecord*>(session->segment_of(*owner).task_records);
    task::State state = task::State::unpack(records[shm::id_index(id)].state.load(kAcquire));
    bool is_it = state.phase == task::Phase::kRunning && state.generation == generation && state.claimant == worker &&
                 (state.flags & task::kDoomed) != 0;
    if (is_it) session->world_.kill(target->process);
  });
  return 0;
}

int Session::Member::ask_for_stand_in(uint32_t wanted_rank) {
  uint32_t wanted = lane % session->slots_ + wanted_rank * session->slots_;
  session->do_soon([session = session, wanted] {
    if (!session->lane_used_[wanted]) session->start_worker(wanted);
  });
  return 0;
}

int Session::Member::request_slab(uint64_t size, store::Placement, wire::SlabHow, store::SlabView& out) {
  size = os::round_up(size, os::kPageSize);
  Fd fd;
  Fd reader;
  must(os::memfd_create("slab", size, fd));
  must(os::Mapping::map(fd, size, os::Access::kReadWrite, out.mapping));
  must(os::memfd_open_reader(fd, reader));
  session->world_.point();
  out.slab = session->next_slab_[number]++;
  out.node = 0;
  session->slabs_[{number, out.slab}] = {std::move(reader), size};
  session->tell_others(*this, {Message::Kind::kSlabAdded, number, out.slab});
  session->world_.point();
  return 0;
}

void Session::Member::drop_slab(uint32_t owner, uint32_t slab) {
  session->do_soon([session = session, owner, slab] {
    if (session->slabs_.erase({owner, slab}) == 0) return;
    Member& of = *session->find(owner);
    session->tell_others(of, {Message::Kind::kSlabDropped, owner, slab});
    session->release_if_empty(of);
  });
}

}  // namespace tarn::sim
