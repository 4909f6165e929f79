#include "session.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "log.hpp"
#include "os/clock.hpp"
#include "os/process.hpp"
#include "tarn/tarn.h"
#include "task/registry.hpp"
#include "task/task_record.hpp"
#include "trace/trace_area.hpp"

namespace tarn::daemon {
namespace {

constexpr int64_t kReclaimPauseNs = 20'000'000;  // nobody is woken for memory more often

constexpr uint64_t kKeepFreeMax =
    uint64_t{1280} << 20;  // of empty slabs, by one member: a second use of a GB stays warm
constexpr size_t kTaskNamesMax = 1024;         // tasks with more names are shown by number
constexpr int64_t kEndTimeout = 3'000'000'000;  // of a private daemon, for killed workers to vanish
constexpr uint64_t kDescriptorsOfConnection = 2;  // and its other end in passing
constexpr uint64_t kDescriptorsOfSegment = 2;     // and its member's pidfd

int check_kind(const Fd& fd, mode_t kind, const char* what) {
  os::FileStatus status;
  if (os::file_status(fd, status) < 0 || (status.mode & S_IFMT) != kind)
    return fail(TARN_E_PROTOCOL, "HELLO: the descriptor of the %s is of another kind", what);
  return 0;
}

}  // namespace

Session::Session(SessionServices services, SessionIdentity identity, const TenantBudgets& of_tenant, uint64_t memory_max,
                 Owner& owner)
    : services_(services),
      identity_(std::move(identity)),
      owner_(owner),
      budget_(std::make_shared<Budget>("session " + std::to_string(identity_.number), "bytes", memory_max,
                                       TARN_E_QUOTA, &of_tenant.memory, "memory.per_client")),
      descriptors_(of_tenant.descriptors),
      in_flight_(of_tenant.in_flight),
      reclaim_(services.loop, kReclaimPauseNs, [this] { ask_for_memory(); }),
      kept_(std::make_unique<KeptSession>(services.keeper)),
      events_(services.loop, services.memory_queue, *budget_),
      mover_(*this, {services.loop, services.spill, services.memory_queue, *budget_, of_tenant.disk, services.keep_ns}) {}

Session::~Session() {
  services_.resources.close(identity_.number);
  for (uint32_t lane = 0; lane < worker_count(); ++lane) services_.slots.give_back(lanes_[lane].slot);
  for (auto& [index, member] : members_)
    if (member->connection != nullptr) services_.loop.bury(std::move(member->connection));
}

int Session::open(std::unique_ptr<Connection>& connection, const wire::Packet& packet, os::Received& received,
                  Fd client_pidfd) {
  if (int r = keep_hello(packet, received); r < 0) return r;
  uint32_t slots = services_.slots.size();
  uint32_t workers = hello_.workers == 0 ? std::min(slots, services_.workers_max) : hello_.workers;
  if ((hello_.flags & TARN_INIT_NO_WORKERS) != 0) workers = 0;
  if (workers > slots)
    return fail(TARN_E_UNSATISFIABLE, "%u workers were asked for, but there are %u slots; ask for fewer", workers, slots);
  if (workers > services_.workers_max)
    return fail(TARN_E_QUOTA, "%u workers were asked for; one client may have %u", workers, services_.workers_max);
  if (int r = Charge::take(descriptors_, kDescriptorsOfSession, descriptor_charge_); r < 0) return r;
  if (int r = make_board(); r < 0) return r;
  if (int r = take_resources(); r < 0) return r;

  auto client = std::make_unique<Member>(*this, shm::kClientMember);
  client->pid = identity_.client_pid;
  client->connection = std::move(connection);
  if (int r = make_segment(*client); r < 0) {
    connection = std::move(client->connection);  // the caller has to refuse it
    return r;
  }
  if (int r = watch_client(std::move(client_pidfd)); r < 0) {
    connection = std::move(client->connection);
    return r;
  }
  client->phase = Member::Phase::kServing;
  board_->members.join(shm::kClientMember, 0);
  client->connection->set_owner(*client);
  Member& member = *client;
  members_.emplace(shm::kClientMember, std::move(client));

  make_lanes(services_.slots.take(workers));
  fill_board();
  keep_session(packet.serial);
  welcome(member, packet.serial);
  kept_->set_welcomed();
  for (uint32_t lane = 0; lane < workers; ++lane) start_worker(lane);
  return 0;
}

// What tasks may ask for: its places, and what the host lends to it.
void Session::fill_board() {
  for (uint32_t lane = 0; lane < worker_count(); ++lane) {
    const Slot& slot = services_.slots[lanes_[lane].slot];
    shm::SeatPlace& place = board_->places[lane];
    place.slot = slot.number;
    place.node = slot.node;
    place.cpu_count = slot.cpu_count;
    std::ranges::copy(slot.cpus, place.cpus);
  }
  services_.resources.open(identity_.number, *board_);
}

// A private daemon has those that its client names.
int Session::take_resources() {
  constexpr std::string_view kName = "TARN_RESOURCES=";
  if (services_.is_private)
    for (size_t at = 0; at < environment_.size();) {
      const char* text = reinterpret_cast<const char*>(environment_.data()) + at;
      if (std::string_view(text).starts_with(kName)) {
        if (int r = services_.resources.set_kinds(text + kName.size()); r < 0) return r;
      }
      at += strlen(text) + 1;  // the message was validated: each has a NUL
    }
  return 0;
}

void Session::handle_resource_wish(Member& from, const wire::ResourceWish& wish) {
  if (from.is_client()) return reject(from, "RESOURCE_WISH of a client");
  shm::ResourceCounts counts;
  std::ranges::copy(wish.counts, counts.begin());
  services_.resources.wish(identity_.number, counts);
}

int Session::watch_client(Fd pidfd) {
  client_pidfd_ = std::move(pidfd);
  client_watch_ =
      services_.loop.watch(client_pidfd_.get(), EPOLLIN, [this](uint32_t) { handle_client_gone("its process ended"); });
  return client_watch_.active() ? 0 : TARN_E_SYSTEM;
}

int Session::keep_hello(const wire::Packet& packet, os::Received& received) {
  hello_ = packet.as<wire::Hello>();
  name_ = printable(hello_.name);
  auto tail = packet.tail;
  argv_.assign(tail.begin(), tail.begin() + hello_.argv_size);
  environment_.assign(tail.begin() + hello_.argv_size, tail.end());
  if (int r = check_kind(received.descriptors[0], S_IFREG, "executable"); r < 0) return r;
  if (int r = check_kind(received.descriptors[1], S_IFDIR, "working directory"); r < 0) return r;
  SharedFd* kept[] = {&executable_, &directory_, &standard_output_, &standard_error_, &client_event_};
  for (size_t i = 0; i < std::size(kept); ++i) {
    std::shared_ptr<Payment> payment;
    if (int r = pay(0, 1, payment); r < 0) return r;
    *kept[i] = services_.closer.share(identity_.uid, Closer::Kind::kForeign, std::move(received.descriptors[i]),
                                      std::move(payment));
  }
  return 0;
}

int Session::pay(uint64_t memory, uint64_t descriptors, std::shared_ptr<Payment>& out) {
  auto payment = std::make_shared<Payment>(Payment{budget_, {}, {}});
  if (int r = Charge::take(descriptors_, descriptors, payment->descriptors); r < 0) return r;
  if (int r = Charge::take(*budget_, memory, payment->memory); r < 0) return r;
  out = std::move(payment);
  return 0;
}

int Session::make_board() {
  Fd file;
  if (int r = os::memfd_create("tarn-board", trace::kBoardFileSize, file); r < 0) return r;
  if (int r = os::memfd_reserve(file, 0, sizeof(shm::Board)); r < 0) return r;
  if (int r = os::memfd_seal_size(file); r < 0) return r;
  if (int r = map_board(std::move(file)); r < 0) return r;
  board_->magic = shm::Board::kMagic;
  board_->session = identity_.number;
  set_spin_budget(services_.spin_budget_ns);
  return 0;
}

// While others want its cores its processes sleep after every other task, and falling asleep is to be cheap.
void Session::set_spin_budget(uint32_t budget_ns) {
  if (budget_ns == spin_budget_ns_) return;
  bool is_known = spin_budget_ns_ != kNotKnown;  // or the tarnd before may have been killed while it changed that
  if (!is_known || (budget_ns == 0) != (spin_budget_ns_ == 0)) board_->doorbell.set_order(budget_ns == 0);
  board_->spin_budget_ns.store(budget_ns, shm::kRelease);
  spin_budget_ns_ = budget_ns;
}

bool Session::is_asleep(const Member& worker) const {
  auto on_duty = static_cast<uint32_t>(std::countr_one(board_->seats[seat_of(worker.lane)].waiting()));
  return on_duty != rank_of(worker) || (board_->doorbell.parked(worker.index() / 64) >> worker.index() % 64 & 1) != 0;
}

bool Session::set_watched(bool watched) {
  if (watched == watched_) return false;
  board_->unwatched.store(watched ? 0 : 1, shm::kRelease);
  watched_ = watched;
  return true;
}

int Session::map_board(Fd file) {
  std::shared_ptr<Payment> payment;
  if (int r = pay(sizeof(shm::Board), 1, payment); r < 0) return r;
  if (int r = os::Mapping::map(file, sizeof(shm::Board), os::Access::kReadWrite, board_mapping_); r < 0) return r;
  board_ = reinterpret_cast<shm::Board*>(board_mapping_.data());
  board_file_ = services_.closer.share(identity_.uid, Closer::Kind::kOurs, std::move(file), std::move(payment));
  return 0;
}

// Its segment as far as it is fixed, and its connection, if it has one.
int Session::pay_segment(Member& member) {
  if (int r = pay(shm::kSegmentFixedSize, kDescriptorsOfSegment, member.segment_payment); r < 0) return r;
  if (member.connection == nullptr) return 0;
  std::shared_ptr<Payment> for_connection;
  if (int r = pay(0, kDescriptorsOfConnection, for_connection); r < 0) return r;
  member.connection->set_receipt(std::move(for_connection));
  member.connection->pay_in_flight(in_flight_);
  return 0;
}

int Session::make_segment(Member& member) {
  Fd file;
  if (int r = pay_segment(member); r < 0) return r;
  if (int r = os::memfd_create("tarn-segment", sizeof(shm::MemberSegment), file); r < 0) return r;
  if (int r = os::memfd_seal_size(file); r < 0) return r;
  if (int r = os::memfd_reserve(file, 0, shm::kSegmentFixedSize); r < 0) return r;
  if (int r = os::Mapping::map(file, shm::kSegmentFixedSize, os::Access::kReadWrite, member.segment); r < 0) return r;
  auto* segment = reinterpret_cast<shm::MemberSegment*>(member.segment.data());
  segment->magic = shm::MemberSegment::kMagic;
  segment->member = member.index();
  member.segment_file =
      services_.closer.share(identity_.uid, Closer::Kind::kOurs, std::move(file), member.segment_payment);
  if (int r = back_first_records(member); r < 0) return r;
  trace_.add_member(member.index());
  return 0;
}

void Session::welcome(Member& member, uint32_t serial) {
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kWelcome, serial);
  auto& body = message.body<wire::Welcome>();
  body.board_size = sizeof(shm::Board);
  body.segment_size = sizeof(shm::MemberSegment);
  body.session = identity_.number;
  body.host_epoch = services_.host_epoch;
  body.member = member.index();
  body.workers = worker_count();
  body.core = -1;
  body.node = -1;
  if (!member.is_client()) {
    const Slot& slot = services_.slots[slot_of(member)];
    body.slot = slot.number;
    body.core = slot.core;
    body.node = slot.node;
    body.seat = static_cast<uint16_t>(seat_of(member.lane));
    body.rank = static_cast<uint16_t>(rank_of(member));
  }
  body.spin_budget_ns = services_.spin_budget_ns;
  body.daemon_pid = getpid();
  body.is_private = services_.is_private ? 1 : 0;
  body.records_ready = member.backed.records;
  body.output_is_read = output_.reads(member.index()) ? 1 : 0;
  // All members together keep at most half of what the session may have.
  uint64_t keep = std::min(kKeepFreeMax, budget_->limit_of_all() / 2 / (worker_count() + 1));
  body.keep_free_mib = static_cast<uint32_t>(keep >> 20);
  member.connection->send(message, {board_file_, member.segment_file});
}

void Session::handle(Member& from, const wire::Packet& packet, os::Received& received) {
  if (ending_ || from.ended_by_us) return;  // too late to ask for anything
  if (packet.type == wire::Type::kResumed) {
    if (packet.serial == from.resuming) from.resuming = 0;
    return;
  }
  if (from.resuming != 0 && packet.type != wire::Type::kGoodbye) return;  // it says again what counts
  if (from.phase == Member::Phase::kStarting) {
    if (packet.type != wire::Type::kHello || from.hello) return reject(from, "a message before HELLO was answered");
    return handle_worker_hello(from, packet);
  }
  switch (packet.type) {
    case wire::Type::kSlabRequest:
      return handle_slab_request(from, packet.as<wire::SlabRequest>(), packet.serial);
    case wire::Type::kSlabDrop:
      return handle_slab_drop(from, packet.as<wire::SlabId>());
    case wire::Type::kFileShare:
      return handle_file_share(from, packet.as<wire::SlabInfo>(), packet.serial, std::move(received.descriptors[0]));
    case wire::Type::kRestore:
      return mover_.handle_restore(from, packet.as<wire::Extent>(), packet.serial);
    case wire::Type::kMade:
      return mover_.handle_made(from, packet.as<wire::Made>(), packet.serial);
    case wire::Type::kCopyDrop:
      return mover_.handle_copy_drop(from, packet.as<wire::Extent>());
    case wire::Type::kSubscribe:
      return handle_subscribe(from, packet.as<wire::Subscribe>());
    case wire::Type::kEndRun:
      return handle_end_run(from, packet.as<wire::EndRun>());
    case wire::Type::kStandIn:
      return handle_stand_in(from, packet.as<wire::StandIn>());
    case wire::Type::kResourceWish:
      return handle_resource_wish(from, packet.as<wire::ResourceWish>());
    case wire::Type::kLogAsk:
      return output_.send_log(*from.connection, packet.serial);
    case wire::Type::kGrow:
      return handle_grow(from, packet.as<wire::Grow>(), packet.serial);
    case wire::Type::kReady:
      return handle_ready(from);
    case wire::Type::kAwake:
      return handle_awake(from);
    case wire::Type::kRecovered:
      return handle_recovered(from, packet.as<wire::MemberInfo>());
    case wire::Type::kTaskNames:
      return handle_task_names(from, packet);
    case wire::Type::kGoodbye:
      if (!from.is_client()) return reject(from, "GOODBYE of a worker");
      return end("its client said goodbye");
    default:
      return reject(from, wire::type_name(packet.type));
  }
}

void Session::handle_task_names(Member& from, const wire::Packet& packet) {
  if (!from.is_client() || std::exchange(has_told_names_, true))
    return reject(from, "TASK_NAMES of a worker, or for the second time");
  kept_->set_task_names(packet.tail);
  take_names(packet.tail);
}

void Session::take_names(std::span<const std::byte> bytes) {
  output_.set_names(bytes);
  std::string_view names(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  while (!names.empty() && task_names_.size() < kTaskNamesMax) {
    std::string_view name =
        names.substr(0, names.find('\0'));  // there is one: the message was validated
    names.remove_prefix(name.size() + 1);
    task_names_.emplace(task::task_number(name), printable(name.substr(0, task::kTaskNameSizeMax)));
  }
}

// A doomed run cannot finish (task_protocol.hpp): whose record says so runs that, and nothing else, until it is gone.
void Session::handle_end_run(Member& from, const wire::EndRun& wish) {
  Member* owner = find(wish.owner);
  bool is_settled_by_it = owner != nullptr && owner->phase == Member::Phase::kDead && owner->settled_by == from.index();
  if (owner != &from && !is_settled_by_it) return reject(from, "END_RUN of another member's record");
  if (wish.record >= owner->backed.records) return reject(from, "END_RUN of a record that there is not");
  Member* worker = find(wish.member);
  if (worker == nullptr || worker->is_client() || !worker->is_reachable()) return;  // READY may still be on its way
  uint64_t word = 0;
  auto at = static_cast<off_t>(offsetof(shm::MemberSegment, task_records) + uint64_t{wish.record} * sizeof(task::TaskRecord) +
                               offsetof(task::TaskRecord, state));
  if (pread(owner->segment_file->get(), &word, sizeof word, at) != static_cast<ssize_t>(sizeof word)) return;
  auto state = task::State::unpack(word);
  if (state.phase != task::Phase::kRunning || state.generation != wish.generation || state.claimant != wish.member ||
      (state.flags & task::kDoomed) == 0)
    return;  // it is dead already
  kill_worker(*worker);
}

void Session::handle_subscribe(Member& from, const wire::Subscribe& wish) {
  if (!from.is_client()) return reject(from, "SUBSCRIBE of a worker");
  events_.subscribe(*from.connection, wish.mask);
}

const std::string* Session::task_name(uint32_t number) const {
  auto found = task_names_.find(number);
  return found == task_names_.end() ? nullptr : &found->second;
}

void Session::handle_client_gone(const std::string& reason) {
  client_watch_.reset();
  events_.stop();
  Member* client = find(shm::kClientMember);
  if (client->connection != nullptr) {
    client->connection->close();
    services_.loop.bury(std::move(client->connection));
  }
  end(reason.empty() ? "its client left" : reason.c_str());
}

void Session::end(const char* reason) {
  if (ending_) return;
  ending_ = true;
  kept_->end();
  events_.stop();
  log(Level::kInfo, "session %u (%s) ends: %s", identity_.number, name_.c_str(), reason);
  for (Lane& lane : lanes_) lane.restart.reset();
  idle_timer_.reset();
  for (auto& [index, member] : members_) {
    member->asks.reset();
    for (auto& [number, slab] : member->slabs) slab.wanted.reset();
    if (member->ticket != 0) kill_worker(*member);
  }
  services_.loop.defer([this, self = std::weak_ptr(self_)] {
    if (!self.expired()) finish_if_over();
  });
  if (!services_.is_private) return;
  // A spawn service that was stopped by a signal reports no deaths, and would keep a daemon that nobody needs any more.
  end_timer_ = services_.loop.call_at(os::now_ns() + kEndTimeout, [this] {
    log(Level::kWarning, "session %u: the spawn service does not say that its workers are dead", identity_.number);
    services_.loop.stop();
  });
}

// Memory is given back only when nobody can touch it any more, and the client's connection is closed
// last: whoever waits for that knows that everything has gone.
void Session::finish_if_over() {
  if (!ending_) return;
  for (auto& [index, member] : members_)
    if (member->ticket != 0) return;
  if (*self_ == nullptr || !output_.is_finished() || *self_ == nullptr) return;  // which may have come here again
  *self_ = nullptr;
  owner_.on_session_ended(*this);
}

// Takes `member` out of the session. It may still be on the stack, but holds nothing any more.
void Session::forget(Member& member) {
  auto found = members_.find(member.index());
  kept_->erase_member(member.index(), true);
  slab_count_ -= static_cast<uint32_t>(member.slabs.size());
  member.slabs.clear();
  member.last_moment.reset();
  member.asks.reset();
  member.self.reset();  // what is still being prepared for it finds nobody, also before it is buried
  member.records.reset();
  member.segment.reset();  // before the file: the last of the two frees the memory
  member.segment_file.reset();
  member.segment_payment.reset();
  if (member.connection != nullptr) {
    member.connection->close();
    services_.loop.bury(std::move(member.connection));
  }
  services_.loop.bury(std::move(found->second));
  members_.erase(found);
}

void Session::broadcast(uint32_t except, wire::Builder& message, std::initializer_list<SharedFd> descriptors) {
  for (auto& [index, member] : members_)
    if (index != except && member->is_reachable() && member->connection != nullptr)
      member->connection->send(message, descriptors);
}

void Session::announce(const Member& member, Member& to) {
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kMemberAdded, 0);
  auto& body = message.body<wire::MemberInfo>();
  body.member = member.index();
  body.pid = member.pid;
  body.segment_size = sizeof(shm::MemberSegment);
  body.number = board_->members.number_of(member.index());
  if (member.is_client()) {
    to.connection->send(message, {member.segment_file, client_event_});
  } else {
    to.connection->send(message, {member.segment_file});
  }
}

void Session::tell_of_death(const Member& dead, Member& to, bool recover) {
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kMemberDied, 0);
  auto& body = message.body<wire::MemberInfo>();
  body.member = dead.index();
  body.pid = dead.pid;
  body.signal = dead.signal;
  body.exit_status = dead.exit_status;
  body.recover = recover ? 1 : 0;
  to.connection->send(message);
}

// Somebody died, or was stopped by a signal: it may have been about to wake somebody.
void Session::wake_everybody() {
  shm::ring_all(*board_);
  for (auto& [index, member] : members_) {
    if (!member->is_reachable()) continue;
    shm::wake_all_waiters(reinterpret_cast<shm::MemberSegment*>(member->segment.data())->waiters);
    // Its pollable descriptor not by the eventfd: that is in the client's hands, and a write could block.
    if (!member->is_client() || member->connection == nullptr) continue;
    wire::Buffer<64> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kWake, 0);
    member->connection->send(message);
  }
}

void Session::break_session(int code, const std::string& text) {
  log(Level::kWarning, "session %u (%s) is broken: %s", identity_.number, name_.c_str(), text.c_str());
  tell_client_broken(code, text);
}

// For want of memory it waits, and that has come.
void Session::mend_session() {
  log(Level::kInfo, "session %u (%s) goes on", identity_.number, name_.c_str());
  tell_client_broken(0, "");
}

void Session::tell_client_broken(int code, const std::string& text) {
  Member* client = find(shm::kClientMember);
  if (client == nullptr || client->connection == nullptr) return;
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kSessionBroken, 0);
  auto& body = message.body<wire::Broken>();
  body.code = code;
  wire::set_text(body.text, text);
  client->connection->send(message);
}

void Session::reject(Member& from, const char* what) {
  char text[256];
  snprintf(text, sizeof text, "member %u (process %d) broke the protocol: %s", from.index(), from.pid, what);
  if (!from.is_client()) {
    log(Level::kWarning, "session %u: %s; it is killed", identity_.number, text);
    return kill_worker(from);
  }
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kRefused, 0);
  auto& body = message.body<wire::Refused>();
  body.code = TARN_E_PROTOCOL;
  wire::set_text(body.text, text);
  from.connection->send(message);
  handle_client_gone(text);
}

Member* Session::find(uint32_t index) {
  auto found = members_.find(index);
  return found == members_.end() ? nullptr : found->second.get();
}

// ---- Member: passes what happens to it on to its session ----

void Member::on_packet(Connection&, const wire::Packet& packet, os::Received& received) {
  session_.handle(*this, packet, received);
}

void Member::on_closed(Connection&, const std::string& reason) {
  if (is_client()) return session_.handle_client_gone(reason);
  // A worker without its connection can be of no use. But most likely it is exiting, and a SIGKILL now
  // would take the place of its exit status.
  connection->close();
  if (reason.empty()) return session_.kill_worker_later(*this);
  log(Level::kWarning, "worker process %d: %s", pid, reason.c_str());
  session_.kill_worker(*this);
}

void Member::on_room(Connection&) { session_.events().on_room(); }

void Member::fill_order(SpawnOrder& order) { session_.fill_order(*this, order); }

void Member::on_started(int32_t started_pid) {
  pid = started_pid;
  session_.output_.set_pid(index_, pid);
  if (hello) session_.admit_worker(*this);
}

void Member::on_failed(int error, const std::string& text) { session_.handle_start_failed(*this, error, text); }
void Member::on_exited(int by_signal, int status) { session_.handle_worker_ended(*this, by_signal, status); }
void Member::on_stopped(bool stopped) { session_.handle_stopped(*this, stopped); }

}  // namespace tarn::daemon
