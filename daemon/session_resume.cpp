// Session: what is kept of it for the next tarnd, and being taken over by that.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.hpp"
#include "log.hpp"
#include "os/clock.hpp"
#include "session.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {

// ---- Keeping ---------------------------------------------------------------------------------

void Session::keep_session(uint32_t hello_serial) {
  if (!services_.keeper.is_on()) return;
  auto identity = std::make_unique<KeptIdentity>();
  identity->number = identity_.number;
  identity->client_pid = identity_.client_pid;
  identity->uid = identity_.uid;
  identity->gid = identity_.gid;
  identity->group_count = static_cast<uint32_t>(identity_.groups.size());
  std::ranges::copy(identity_.groups, identity->groups);
  identity->lane_count = worker_count();
  for (uint32_t lane = 0; lane < worker_count(); ++lane) identity->lanes[lane] = lanes_[lane].slot;
  identity->hello_serial = hello_serial;
  identity->hello = hello_;
  const SharedFd* streams[] = {&standard_output_, &standard_error_};
  for (size_t i = 0; i < std::size(streams); ++i)
    if (os::FileStatus status; os::file_status(**streams[i], status) == 0) identity->streams[i] = {status.device, status.inode};
  kept_->begin(*identity, argv_, environment_);
  const std::pair<const char*, SharedFd*> all[] = {
      {"x", &executable_}, {"d", &directory_}, {"o", &standard_output_}, {"e", &standard_error_}, {"v", &client_event_}};
  for (auto& [what, kept] : all) kept_->keep(KeptSession::of_user(what, identity_.uid), **kept);
  kept_->keep("p", client_pidfd_);
  kept_->keep("b", *board_file_);
  keep_member(*find(shm::kClientMember));
  kept_->open();
}

void Session::keep_member(const Member& member) {
  kept_->keep(KeptSession::connection_name(member.index()), member.connection->socket());
  kept_->keep(KeptSession::segment_name(member.index()), *member.segment_file);
  output_.keep(member.index());
  update_kept(member);
}

// Once it is known: before that it is as if it had not been started.
void Session::update_kept(const Member& member) {
  if (!member.is_known() || !kept_->is_kept()) return;
  kept_->put_member(member.index(), {member.ticket, member.pid, member.lane, static_cast<uint32_t>(member.phase), member.signal,
                                     member.exit_status, member.settled ? 1u : 0u, member.settled_by, member.next_slab,
                                     member.backed});
}

void Session::keep_slab(const Member& owner, uint32_t number, const Slab& slab) {
  if (!kept_->is_kept()) return;
  const Fd& file = slab.is_file ? *slab.reader : *slab.writer;
  update_kept(owner);  // its number is not given again soon: others may not have heard that the former one is gone
  kept_->put_slab({owner.index(), number, slab.size, slab.node, slab.is_file ? 1u : 0u, slab.is_huge ? 1u : 0u, 0}, file);
}

// ---- Being taken over ------------------------------------------------------------------------

int Session::resume(std::unique_ptr<KeptSession> kept, std::span<const Fd> streams) {
  kept_ = std::move(kept);
  int r = resume_all(streams);
  for (auto& [what, fd] : kept_->take_rest()) services_.closer.close(identity_.uid, Closer::Kind::kForeign, std::move(fd));
  if (r == 0) return 0;
  for (auto& [index, member] : members_) services_.spawn.disown(member->ticket);
  output_.disown();
  kept_->end();
  return r;
}

int Session::resume_all(std::span<const Fd> streams) {
  if (int r = resume_client(); r < 0) return r;
  if (int r = resume_streams(streams); r < 0) return r;
  if (int r = resume_members(); r < 0) return r;
  // The one before may have been killed on the way between the book and the board.
  for (uint32_t index = 0; index < shm::kMembersMax; ++index)
    board_->members.set_there(index, find(index) != nullptr);
  int failed = 0;
  kept_->for_each_slab([&](const KeptSlab& slab) {
    if (failed == 0) failed = resume_slab(slab);
  });
  if (failed < 0) return failed;
  if (int r = mover_.take_over(); r < 0) return r;
  auto serial = static_cast<uint32_t>(os::now_ns()) | 1;  // no other tarnd's
  for (auto& [index, member] : members_) {
    if (member->connection == nullptr) continue;
    if (member->is_client() && !kept_->was_welcomed()) welcome(*member, kept_->identity().hello_serial);
    member->resuming = serial;
    wire::Buffer<wire::kToMemberSizeMax> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kResume, serial);
    message.body<wire::Resume>() = {getpid(), services_.host_epoch};
    member->connection->send(message);
    tell_all(*member);
    wire::Builder current(buffer.bytes, wire::Type::kCurrent, 0);
    member->connection->send(current);
    if (member->is_client()) tell_client_broken(0, "");  // this tarnd tries everything again
    member->connection->start();
  }
  kept_->set_welcomed();
  board_->membership.fetch_add(1);
  wake_everybody();
  // Those of which nothing was left, and nobody had been told.
  std::vector<Member*> dead;
  for (auto& [index, member] : members_)
    if (member->phase == Member::Phase::kDead) dead.push_back(member.get());
  for (Member* each : dead) release_if_empty(*each);
  for (uint32_t lane = 0; lane < lanes_.size(); ++lane) {
    bool has_worker = std::ranges::any_of(members_, [lane](const auto& entry) {
      return !entry.second->is_client() && entry.second->lane == lane && entry.second->ticket != 0;
    });
    if (lanes_[lane].is_used && !has_worker) start_worker(lane);
  }
  return 0;
}

int Session::resume_client() {
  const KeptIdentity& identity = kept_->identity();
  hello_ = identity.hello;
  name_ = printable(hello_.name);
  argv_.assign(kept_->argv().begin(), kept_->argv().end());
  environment_.assign(kept_->environment().begin(), kept_->environment().end());
  take_names(kept_->task_names());
  for (uint32_t lane = 0; lane < identity.lane_count; ++lane) {
    if (identity.lanes[lane] >= services_.slots.size())
      return fail(TARN_E_UNSATISFIABLE, "it has slot %u, and there are %u now", identity.lanes[lane], services_.slots.size());
    services_.slots.take_again(identity.lanes[lane]);
  }
  make_lanes(std::span(identity.lanes, identity.lane_count));
  if (int r = Charge::take(descriptors_, kDescriptorsOfSession, descriptor_charge_); r < 0) return r;
  if (int r = map_board(kept_->take("b")); r < 0) return r;
  trace_.resume();
  if (int r = take_resources(); r < 0) return r;
  services_.resources.resume(identity_.number, *board_);
  std::pair<const char*, SharedFd*> all[] = {{"x", &executable_}, {"d", &directory_}, {"v", &client_event_}};
  for (auto& [what, kept] : all)
    if (int r = resume_descriptor(what, kept_->take(KeptSession::of_user(what, identity_.uid)), *kept); r < 0) return r;
  output_.resume_log(kept_->take("l"));
  output_.resume_process(kept_->output_ticket());
  return watch_client(kept_->take("p"));
}

int Session::resume_descriptor(const char* what, Fd fd, SharedFd& out) {
  if (!fd.valid()) return fail(TARN_E_LOST, "a descriptor of its client (%s) was not kept", what);
  std::shared_ptr<Payment> payment;
  if (int r = pay(0, 1, payment); r < 0) return r;
  out = services_.closer.share(identity_.uid, Closer::Kind::kForeign, std::move(fd), std::move(payment));
  return 0;
}

int Session::resume_streams(std::span<const Fd> streams) {
  std::pair<const char*, SharedFd*> all[] = {{"o", &standard_output_}, {"e", &standard_error_}};
  for (size_t i = 0; i < std::size(all); ++i) {
    Fd fd = kept_->take(KeptSession::of_user(all[i].first, identity_.uid));
    const KeptIdentity::File& wanted = kept_->identity().streams[i];
    for (const Fd& stream : streams) {
      if (fd.valid()) break;
      os::FileStatus status;
      if (os::file_status(stream, status) == 0 && status.device == wanted.device && status.inode == wanted.inode)
        fd = Fd{fcntl(stream.get(), F_DUPFD_CLOEXEC, 0)};
    }
    if (int r = resume_descriptor(all[i].first, std::move(fd), *all[i].second); r < 0) return r;
  }
  return 0;
}

int Session::resume_members() {
  int failed = 0;
  kept_->for_each_member([&](uint32_t index, const KeptMember& member) {
    if (failed == 0) failed = resume_member(index, member);
  });
  if (failed == 0 && find(shm::kClientMember) == nullptr) return fail(TARN_E_LOST, "its client is not in its book");
  return failed;
}

int Session::resume_member(uint32_t index, const KeptMember& kept) {
  auto made = std::make_unique<Member>(*this, index);
  Member& member = *made;
  member.phase = static_cast<Member::Phase>(kept.phase);
  member.pid = kept.pid;
  member.lane = kept.lane;
  member.signal = kept.signal;
  member.exit_status = kept.exit_status;
  member.settled = kept.is_settled != 0;
  member.settled_by = kept.settled_by;
  member.next_slab = kept.next_slab;
  Fd socket = kept_->take(KeptSession::connection_name(index));
  Fd segment = kept_->take(KeptSession::segment_name(index));
  if (member.phase != Member::Phase::kDead) {
    if (!socket.valid()) return fail(TARN_E_LOST, "the connection of member %u was not kept", index);
    member.connection = std::make_unique<Connection>(services_.loop, services_.closer, identity_.uid, std::move(socket),
                                                     wire::From::kMember, member);
  }
  members_.emplace(index, std::move(made));
  if (!member.is_client()) {
    if (member.lane >= lanes_.size()) return fail(TARN_E_LOST, "member %u is of lane %u, and there are %zu", index, member.lane, lanes_.size());
    lanes_[member.lane].is_used = lanes_[member.lane].has_served = true;
  }
  if (int r = pay_segment(member); r < 0) return r;
  if (int r = os::Mapping::map(segment, shm::kSegmentFixedSize, os::Access::kReadWrite, member.segment); r < 0) return r;
  member.segment_file =
      services_.closer.share(identity_.uid, Closer::Kind::kOurs, std::move(segment), member.segment_payment);
  if (int r = pay_backed(member, kept.backed); r < 0) return r;
  if (member.is_client() || member.phase == Member::Phase::kDead) return 0;
  output_.resume(index, seat_of(member.lane), services_.slots[slot_of(member)].number, member.pid,
                 kept_->take(KeptSession::pipe_name(index, 0)), kept_->take(KeptSession::pipe_name(index, 1)));
  member.ticket = kept.ticket;
  services_.spawn.take_over(member.ticket, member);
  // It may have been told that it is admitted, or not, and what it answered is lost: another one begins anew.
  if (member.phase == Member::Phase::kAdmitted) kill_worker(member);
  if (member.phase == Member::Phase::kServing) board_->doorbell.set_serving(index, true);
  return 0;
}

int Session::resume_slab(const KeptSlab& kept) {
  Member* owner = find(kept.owner);
  Fd file = kept_->take(KeptSession::slab_name(kept, identity_.uid));
  if (owner == nullptr || !file.valid()) return fail(TARN_E_LOST, "slab %u of member %u was not kept", kept.number, kept.owner);
  Slab slab;
  slab.phase = Slab::Phase::kReady;
  slab.size = kept.size;
  slab.node = kept.node;
  slab.is_file = kept.is_file != 0;
  slab.is_huge = kept.is_huge != 0;
  std::shared_ptr<Payment> payment;
  // What has no pages is given back by the mover at once, but the sum may be more than there is.
  uint64_t away = 0;
  kept_->for_each_moved([&](uint32_t, const KeptMoved& moved) {
    if (moved.owner == kept.owner && moved.slab == kept.number) away += moved.size;
  });
  if (int r = pay(slab.is_file ? 0 : slab.size - std::min(away, slab.size), slab.is_file ? 1 : kDescriptorsOfSlab, payment); r < 0) return r;
  if (slab.is_file) {
    slab.reader = services_.closer.share(identity_.uid, Closer::Kind::kForeign, std::move(file), std::move(payment));
  } else {
    Fd reader;
    if (int r = os::memfd_open_reader_again(file, reader); r < 0) return r;
    slab.writer = services_.closer.share(identity_.uid, Closer::Kind::kOurs, std::move(file), payment);
    slab.reader = services_.closer.share(identity_.uid, Closer::Kind::kOurs, std::move(reader), payment);
    slab.payment = std::move(payment);
  }
  owner->slabs.emplace(kept.number, std::move(slab));
  ++slab_count_;
  mover_.expect_objects();
  return 0;
}

// What there is beside `to`. Of its own slabs it is told as well, in case that it was granted one and has not heard of that, or
// dropped one and was not heard.
void Session::tell_all(Member& to) {
  for (auto& [index, member] : members_) {
    bool is_own = member.get() == &to;
    if (!member->is_known()) continue;
    if (!is_own) announce(*member, to);
    for (auto& [number, slab] : member->slabs) {
      if (slab.phase != Slab::Phase::kReady) continue;
      // Who has it looks no further, and who has not drops it: any descriptor does.
      announce_slab(*member, number, slab, to, is_own ? wire::Type::kSlabGranted : wire::Type::kSlabAdded);
    }
    if (member->phase == Member::Phase::kDead) tell_of_death(*member, to, !member->settled && member->settled_by == to.index());
  }
}

}  // namespace tarn::daemon
