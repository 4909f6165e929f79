#include "tarnd.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "log.hpp"
#include "os/clock.hpp"
#include "os/process.hpp"
#include "query.hpp"
#include "tarn/tarn.h"

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

namespace tarn::daemon {
namespace {

constexpr size_t kVisitorsMax = 256;                  // connections without a session
constexpr size_t kVisitorsOfUserMax = 64;
constexpr int64_t kHelloTimeout = 10'000'000'000;     // to say who one is
constexpr int64_t kQueryCheap = 200'000;              // answers that take no longer are not counted
constexpr int64_t kQueryRest = 4;                     // after an answer its user waits so many times as long
constexpr int64_t kEndTimeout = 3'000'000'000;        // for killed workers to vanish
constexpr uint32_t kSpinBudgetDefault =
    25'000;  // until it is measured: one cross-core wake on a virtual machine
constexpr int64_t kWakeCostDelayNs = 200'000'000;     // not while the first tasks are under way
constexpr int64_t kWakeCostLookNs = 50'000'000;

// No other tarnd's of this host, for long enough: 24 bits, of 65 us each.
uint32_t epoch_now() { return static_cast<uint32_t>(os::now_ns() >> 16 & 0xffffff); }

// The groups of the process at the other end, the first kGroupsMax of them; those of the service itself say nothing
// about it.
std::vector<gid_t> peer_groups(const Fd& socket) {
  std::vector<gid_t> groups(wire::kGroupsMax);
  auto ask = [&] {
    auto size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    bool is_told = getsockopt(socket.get(), SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0;
    groups.resize(size / sizeof(gid_t));  // how many there are, also when they did not fit
    return is_told;
  };
  if (!ask() && (errno != ERANGE || !ask())) groups.clear();
  groups.resize(std::min<size_t>(groups.size(), wire::kGroupsMax));
  return groups;
}

// The rest is for visitors, listeners, and what arrives with a message before it is refused.
uint64_t descriptors_for_sessions() {
  constexpr uint64_t kReserve = kVisitorsMax + 64;
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return kReserve;
  return limit.rlim_cur > 2 * kReserve ? limit.rlim_cur - kReserve : limit.rlim_cur / 2;
}

constexpr uint64_t kSessionAbout = 4u << 20;  // what a session has at its start, with a few workers
constexpr int64_t kMoveSliceNs = 3'000'000;
constexpr int64_t kShortNs = 1'000'000'000;  // so long after memory was wanted it counts as short

// What is made free beyond what is asked for, while memory is short.
uint64_t spare_room(const Budget& budget) {
  constexpr uint64_t kMost = uint64_t{1} << 30;
  return std::min(budget.limit() / 8, kMost);
}

// What objects may take of the disk.
uint64_t disk_for_objects(const Config& config) {
  if (config.spill_max != 0) return config.spill_max;
  return static_cast<uint64_t>(static_cast<double>(Spill::disk_free(config.spill_directory)) * config.spill_share);
}

}  // namespace

Tenant::Tenant(uid_t user, const Limits& limits, const TenantBudgets& of_host)
    : uid(user),
      budget("user " + std::to_string(user), "bytes", limits.memory, TARN_E_QUOTA, &of_host.memory, limits.memory_key),
      descriptors("user " + std::to_string(user), "descriptors", limits.descriptors, TARN_E_QUOTA, &of_host.descriptors),
      in_flight("user " + std::to_string(user), "descriptors in sockets", limits.descriptors, TARN_E_QUOTA,
                &of_host.in_flight),
      disk("user " + std::to_string(user), "bytes on disk", limits.disk, TARN_E_QUOTA, &of_host.disk,
           "memory.spill_per_tenant") {}

Tarnd::Tarnd(Loop& loop, const Config& config, SlotTable slots, Keeper& keeper, bool is_private)
    : loop_(loop),
      keeper_(keeper),
      config_(config),
      is_private_(is_private),
      started_ns_(os::now_ns()),
      host_epoch_(epoch_now()),
      slots_(std::move(slots)),
      budget_("this host's tarnd", "bytes", config.memory_max != 0 ? config.memory_max : memory_for_us(config.memory_share),
              TARN_E_STORE_FULL, nullptr, is_private ? "a private tarnd" : "memory.limit"),
      descriptors_("this host's tarnd", "descriptors", descriptors_for_sessions(), TARN_E_LIMIT, nullptr),
      in_flight_("this host's tarnd", "descriptors in sockets", descriptors_for_sessions(), TARN_E_LIMIT, nullptr),
      disk_("this host's tarnd", "bytes on disk", disk_for_objects(config), TARN_E_STORE_FULL, nullptr,
            is_private ? "a private tarnd" : "memory.spill_limit"),
      memory_queue_(
          loop, int64_t{config.memory_wait_s} * 1'000'000'000,
          [this](const Budget& full, uint64_t missing, bool is_return) { want_memory(full, missing, is_return); },
          [this](const Budget& full) { return is_memory_coming(full); }),
      closer_(loop),
      spill_(loop, config.spill_directory, keeper),
      spawn_(loop, closer_),
      prefaulter_(loop),
      resources_(loop, config.resources),
      sharing_(loop, spawn_, sessions_, [this](uid_t tenant) { return weight_of(tenant); }, [this] { set_spin_budgets(); }),
      spare_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {
  budget_.on_given_back([this] { memory_queue_.serve_soon(); });
  wake_cost_timer_ = loop_.call_at(started_ns_ + kWakeCostDelayNs, [this] {
    if (wake_cost_.start()) measure_wake_cost();
  });
}

Tarnd::~Tarnd() {
  sessions_.clear();
  visitors_.clear();
  loop_.empty_graveyard();  // while the Closer is there
}

void Tarnd::use_spawn_service(Fd socket, std::function<void()> on_lost) {
  spawn_.connect(std::move(socket), std::move(on_lost));
}

void Tarnd::listen(Fd listener, bool tools_only) {
  auto entry = std::make_unique<Listener>(Listener{std::move(listener), {}, tools_only});
  fcntl(entry->socket.get(), F_SETFL, O_NONBLOCK);
  Listener& kept = *entry;
  kept.watch = loop_.watch(kept.socket.get(), EPOLLIN, [this, &kept](uint32_t) { accept_on_loop(kept); });
  if (!kept.watch.active()) throw std::runtime_error(last_error());
  listeners_.push_back(std::move(entry));
}

void Tarnd::accept_on_loop(Listener& listener) {
  Fd socket{accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
  if (socket.valid()) return receive_visitor(std::move(socket), listener.tools_only);
  if (errno != EMFILE && errno != ENFILE) return;
  // Without this the connection would stay in the queue and the loop would spin on it.
  log(Level::kError, "out of descriptors: a connection is turned away");
  spare_.reset();
  closer_.close(0, Closer::Kind::kOurs, Fd{accept4(listener.socket.get(), nullptr, nullptr, SOCK_CLOEXEC)});
  spare_ = Fd{open("/dev/null", O_RDONLY | O_CLOEXEC)};
}

void Tarnd::serve_client(Fd socket) { receive_visitor(std::move(socket), false); }

void Tarnd::receive_visitor(Fd socket, bool tools_only) {
  auto visitor = std::make_unique<Visitor>(*this, ++last_visitor_, tools_only);
  Visitor& kept = *visitor;
  if (os::socket_peer(socket, kept.peer) < 0) return;
  kept.connection = std::make_unique<Connection>(loop_, closer_, kept.peer.uid, std::move(socket), wire::From::kMember, kept);
  visitors_.emplace(kept.id, std::move(visitor));
  auto of_user = std::ranges::count_if(visitors_, [&](auto& each) { return each.second->peer.uid == kept.peer.uid; });
  if (visitors_.size() > kVisitorsMax || (kept.peer.uid != 0 && of_user > static_cast<ptrdiff_t>(kVisitorsOfUserMax)))
    return refuse(kept, 0, TARN_E_LIMIT, "too many connections without a session");
  kept.patience = loop_.call_at(os::now_ns() + kHelloTimeout,
                                [this, &kept] { refuse(kept, 0, TARN_E_TIMED_OUT, "no HELLO came"); });
  kept.connection->start();
}

void Tarnd::Visitor::on_packet(Connection&, const wire::Packet& packet, os::Received& received) {
  daemon.handle(*this, packet, received);
}

void Tarnd::Visitor::on_closed(Connection&, const std::string& reason) {
  if (!reason.empty()) {
    log(Level::kWarning, "process %d of user %u: %s", peer.pid, peer.uid, reason.c_str());
    return daemon.refuse(*this, 0, TARN_E_PROTOCOL, reason);
  }
  daemon.drop_visitor(*this);
}

void Tarnd::handle(Visitor& visitor, const wire::Packet& packet, os::Received& received) {
  if (visitor.is_tool) {
    if (packet.type == wire::Type::kQuery) {
      visitor.query = packet.as<wire::Query>();
      visitor.query_serial = packet.serial;
      visitor.connection->set_reading(false);
      return answer_in_turn(visitor);
    }
    if (packet.type == wire::Type::kLogAsk) return send_log(visitor, packet.as<wire::LogAsk>().session, packet.serial);
    if (packet.type == wire::Type::kTraceAsk) return send_trace(visitor, packet.as<wire::TraceAsk>(), packet.serial);
    if (packet.type == wire::Type::kGoodbye) return drop_visitor(visitor);
    return refuse(visitor, packet.serial, TARN_E_PROTOCOL, "a tool may send QUERY, LOG_ASK, TRACE_ASK and GOODBYE only");
  }
  if (packet.type != wire::Type::kHello)
    return refuse(visitor, packet.serial, TARN_E_PROTOCOL, "the first message must be HELLO");
  visitor.patience.reset();
  auto role = static_cast<wire::Role>(packet.as<wire::Hello>().role);
  if (role == wire::Role::kTool) {
    if (is_private_ && visitor.peer.uid != 0 && visitor.peer.uid != geteuid())
      return refuse(visitor, packet.serial, TARN_E_DENIED, "this tarnd belongs to another user");
    visitor.is_tool = true;
    return;
  }
  if (role == wire::Role::kWorker)
    return refuse(visitor, packet.serial, TARN_E_DENIED, "workers are started by tarnd and come with a connection");
  if (visitor.tools_only)
    return refuse(visitor, packet.serial, TARN_E_DENIED, "this private tarnd serves the client that started it");
  if (int r = open_session(visitor, packet, received); r < 0) refuse(visitor, packet.serial, r, last_error());
}

int Tarnd::open_session(Visitor& visitor, const wire::Packet& packet, os::Received& received) {
  if (ending_) return fail(TARN_E_DAEMON_GONE, "tarnd is shutting down");
  const os::PeerCredentials& peer = visitor.peer;
  if (is_private_ && peer.uid != geteuid()) return fail(TARN_E_DENIED, "this tarnd belongs to user %u", geteuid());
  if (!spawn_.connected()) return fail(TARN_E_SYSTEM, "the spawn service is not there; look at tarn-spawn.service");
  if (sessions_.size() >= config_.sessions_max)
    return fail(TARN_E_LIMIT, "there are %zu sessions, which is all this tarnd takes", sessions_.size());
  Tenant* tenant = nullptr;
  if (int r = check_tenant(peer.uid, tenant); r < 0) return r;

  // While its socket is open the process that connected is alive, or another that it gave it to: in
  // that case the session ends with the first, which is the stricter choice.
  Fd pidfd;
  if (int r = os::pidfd_open(peer.pid, pidfd); r < 0) return r;
  SessionIdentity identity{last_session_ + 1, peer.pid, peer.uid, peer.gid,
                           is_private_ ? std::vector<gid_t>{} : peer_groups(visitor.connection->socket())};
  auto session = make_session(std::move(identity), *tenant);
  int r = session->open(visitor.connection, packet, received, std::move(pidfd));
  if (r == TARN_E_STORE_FULL || r == TARN_E_QUOTA) {
    // Perhaps there is room when it comes again.
    std::string why = last_error();
    if (const Budget* full = tenant->budget.full_for(kSessionAbout)) on_memory_wanted(*full, kSessionAbout);
    return fail(r, "%s", why.c_str());
  }
  if (r < 0) return r;
  log(Level::kInfo, "session %u: %s, process %d of user %u, %u workers", session->number(), session->name().c_str(),
      peer.pid, peer.uid, session->worker_count());
  add_session(std::move(session), *tenant);
  drop_visitor(visitor);
  return 0;
}

std::unique_ptr<Session> Tarnd::make_session(SessionIdentity identity, Tenant& tenant) {
  SessionServices services{loop_,
                           closer_,
                           spawn_,
                           resources_,
                           slots_,
                           prefaulter_,
                           memory_queue_,
                           spill_,
                           keeper_,
                           host_epoch_,
                           is_private_,
                           spin_budget_ns(identity.number),
                           int64_t{config_.memory_keep_s} * 1'000'000'000,
                           config_.session_slabs_max,
                           config_.session_workers_max};
  uint64_t most = config_.session_memory_max != 0 ? config_.session_memory_max : Budget::kNoLimit;
  TenantBudgets budgets{tenant.budget, tenant.descriptors, tenant.in_flight, tenant.disk};
  return std::make_unique<Session>(services, std::move(identity), budgets, most, *this);
}

void Tarnd::add_session(std::unique_ptr<Session> session, Tenant& tenant) {
  ++tenant.sessions;
  last_session_ = std::max(last_session_, session->number());
  for (const Budget* b : {&session->budget(), session->budget().parent()}) payers_[b].push_back(session.get());
  sessions_.emplace(session->number(), std::move(session));
  set_spin_budgets();
  sharing_.begin();
}

void Tarnd::take_over(KeptDescriptors& passed) {
  spawn_.call_roll();
  spill_.take_over_files(passed);
  std::vector<uint32_t> numbers;
  std::vector<Fd> streams;
  for (auto& [name, fd] : passed) {
    if (name.find(".o@") != std::string::npos || name.find(".e@") != std::string::npos) streams.emplace_back(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
    std::string_view rest = std::string_view(name).substr(strlen(kKeptPrefix));
    if (rest.empty() || rest.find_first_not_of("0123456789") != std::string_view::npos) continue;
    numbers.push_back(static_cast<uint32_t>(std::stoul(std::string(rest))));
  }
  for (uint32_t number : numbers) {
    last_session_ = std::max(last_session_, number);
    if (take_over_session(number, passed, streams) < 0) log(Level::kWarning, "session %u ends: %s", number, last_error());
  }
  spill_.end_take_over();
  for (Fd& stream : streams) closer_.close(0, Closer::Kind::kForeign, std::move(stream));
  // Of a session whose book is not there.
  for (auto& [name, fd] : passed) {
    keeper_.drop(name);
    closer_.close(0, Closer::Kind::kForeign, std::move(fd));
  }
  passed.clear();
  if (!sessions_.empty()) sharing_.begin_after_restart();
  if (is_private_ && sessions_.empty()) shut_down();
}

int Tarnd::take_over_session(uint32_t number, KeptDescriptors& passed, std::span<const Fd> streams) {
  auto kept = std::make_unique<KeptSession>(keeper_);
  if (!kept->take_over(number, passed)) {
    for (auto& [what, fd] : kept->take_rest()) closer_.close(0, Closer::Kind::kForeign, std::move(fd));
    return TARN_E_LOST;
  }
  const KeptIdentity& before = kept->identity();
  Tenant* tenant = nullptr;
  if (int r = check_tenant(before.uid, tenant); r < 0) return r;
  auto session = make_session({number, before.client_pid, before.uid, before.gid, {before.groups, before.groups + before.group_count}},
                              *tenant);
  if (int r = session->resume(std::move(kept), streams); r < 0) return r;
  log(Level::kInfo, "session %u: %s, process %d of user %u goes on", number, session->name().c_str(), session->identity().client_pid,
      session->identity().uid);
  add_session(std::move(session), *tenant);
  return 0;
}

uint32_t Tarnd::spin_budget_ns(uint32_t session) const {
  if (slots_.size() < 2 || sharing_.is_shared(session)) return 0;
  uint32_t measured = wake_cost_.result_ns();
  return measured != 0 ? measured : kSpinBudgetDefault;
}

void Tarnd::set_spin_budgets() {
  for (auto& [number, session] : sessions_) session->set_spin_budget(spin_budget_ns(number));
}

void Tarnd::on_awake(Session&) { sharing_.begin(); }

uint32_t Tarnd::weight_of(uid_t tenant) const {
  auto own = config_.tenants.find(tenant);
  return own == config_.tenants.end() ? kWeightUsual : own->second.weight;
}

void Tarnd::measure_wake_cost() {
  if (wake_cost_.result_ns() != 0) {
    set_spin_budgets();
    return;
  }
  wake_cost_timer_ = loop_.call_at(os::now_ns() + kWakeCostLookNs, [this] { measure_wake_cost(); });
}

int Tarnd::check_tenant(uid_t uid, Tenant*& tenant) {
  std::erase_if(tenants_, [](auto& entry) {
    const Tenant& each = *entry.second;
    return each.sessions == 0 && each.budget.used() == 0 && each.descriptors.used() == 0 && each.in_flight.used() == 0 &&
           each.disk.used() == 0;
  });
  auto& entry = tenants_[uid];
  auto own = config_.tenants.find(uid);
  TenantConfig limits = own != config_.tenants.end() ? own->second : TenantConfig{};
  if (entry == nullptr) {
    uint64_t most = limits.memory != 0 ? limits.memory : config_.tenant_memory_max;
    const char* key = limits.memory != 0 ? "tenants.NAME.memory" : "memory.per_tenant";
    if (most == 0) most = Budget::kNoLimit;
    // No user can take all descriptors from the others.
    uint64_t descriptors = is_private_ ? descriptors_.limit() : descriptors_.limit() / 2;
    uint64_t disk = config_.tenant_spill_max != 0 ? config_.tenant_spill_max : Budget::kNoLimit;
    entry = std::make_unique<Tenant>(uid, Tenant::Limits{most, key, descriptors, disk},
                                     TenantBudgets{budget_, descriptors_, in_flight_, disk_});
  }
  if (entry->sessions >= (limits.sessions != 0 ? limits.sessions : config_.tenant_sessions_max))
    return fail(TARN_E_QUOTA, "user %u has %u sessions, which is all it may; close some", uid, entry->sessions);
  tenant = entry.get();
  return 0;
}

// A census takes the loop for milliseconds, and anybody may ask for as many as the sockets hold. So each connection has
// one query at a time, and no user's answers take more than a part of the loop's time.
void Tarnd::answer_in_turn(Visitor& visitor) {
  int64_t now = os::now_ns();
  std::erase_if(next_query_ns_, [now](const auto& entry) { return entry.second <= now; });
  auto next = next_query_ns_.find(visitor.peer.uid);
  if (next != next_query_ns_.end() && std::string_view(visitor.query.what) != "status") {
    visitor.patience = loop_.call_at(next->second, [this, &visitor] { answer_in_turn(visitor); });
    return;
  }
  answer_query(visitor, visitor.query, visitor.query_serial);
  int64_t took = os::now_ns() - now;
  if (took > kQueryCheap) next_query_ns_[visitor.peer.uid] = now + took * (1 + kQueryRest);
  // Its next query not before others have had their turn.
  visitor.patience = loop_.call_at(now, [&visitor] { visitor.connection->set_reading(true); });
}

void Tarnd::send_log(Visitor& visitor, uint32_t session, uint32_t serial) {
  auto found = sessions_.find(session);
  bool is_seen = found != sessions_.end() && (visitor.peer.uid == 0 || visitor.peer.uid == found->second->identity().uid);
  if (!is_seen) return refuse(visitor, serial, TARN_E_ARGUMENT, "there is no session " + std::to_string(session));
  found->second->output().send_log(*visitor.connection, serial);
}

void Tarnd::send_trace(Visitor& visitor, const wire::TraceAsk& wish, uint32_t serial) {
  auto found = sessions_.find(wish.session);
  bool is_seen = found != sessions_.end() && (visitor.peer.uid == 0 || visitor.peer.uid == found->second->identity().uid);
  if (!is_seen) return refuse(visitor, serial, TARN_E_ARGUMENT, "there is no session " + std::to_string(wish.session));
  if (int r = found->second->trace().ask(visitor.id, wish, *visitor.connection, serial); r < 0)
    refuse(visitor, serial, r, "session " + std::to_string(wish.session) + " is not traced: " + last_error());
}

void Tarnd::answer_query(Visitor& visitor, const wire::Query& query, uint32_t serial) {
  std::string text = answer(*this, query, visitor.peer.uid);
  wire::Buffer<wire::kReplyTextMax + 64> buffer;
  size_t at = 0;
  do {
    size_t size = std::min(text.size() - at, wire::kReplyTextMax);
    wire::Builder message(buffer.bytes, wire::Type::kReply, serial);
    auto& body = message.body<wire::Reply>();
    body.more = at + size < text.size() ? 1 : 0;
    body.text_size = static_cast<uint32_t>(size);
    TARN_ASSERT(message.append(text.data() + at, size));
    visitor.connection->send(message);
    at += size;
  } while (at < text.size());
}

void Tarnd::refuse(Visitor& visitor, uint32_t serial, int code, const std::string& text) {
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kRefused, serial);
  auto& body = message.body<wire::Refused>();
  body.code = code;
  wire::set_text(body.text, text);
  if (visitor.connection->is_open())  // straight to the socket: a connection that was cut off takes nothing
    (void)os::socket_send(visitor.connection->socket(), message.finish(), {}, 0);
  drop_visitor(visitor);
}

void Tarnd::drop_visitor(Visitor& visitor) {
  visitor.patience.reset();
  if (visitor.is_tool)
    for (auto& [number, session] : sessions_) session->trace().forget(visitor.id);
  if (visitor.connection != nullptr) {
    visitor.connection->close();
    loop_.bury(std::move(visitor.connection));
  }
  auto found = visitors_.find(visitor.id);
  loop_.bury(std::move(found->second));
  visitors_.erase(found);
  // A private tarnd whose client was refused or left before it had a session has nobody to serve.
  if (is_private_ && sessions_.empty() && last_session_ == 0) {
    bool waits = std::ranges::any_of(visitors_, [](auto& entry) { return !entry.second->tools_only; });
    if (!waits) shut_down();
  }
}

void Tarnd::on_session_ended(Session& session) {
  auto found = sessions_.find(session.number());
  auto tenant = tenants_.find(session.identity().uid);
  --tenant->second->sessions;
  for (const Budget* b : {&session.budget(), session.budget().parent()}) {
    auto payers = payers_.find(b);
    std::erase(payers->second, &session);
    if (payers->second.empty()) payers_.erase(payers);
  }
  loop_.bury(std::move(found->second));
  sessions_.erase(found);
  set_spin_budgets();
  if (is_private_ || (ending_ && sessions_.empty())) shut_down();
}

template <class Fn>
void Tarnd::for_each_payer(const Budget& budget, Fn fn) const {
  if (&budget == &budget_) {
    for (auto& [number, session] : sessions_) fn(*session);
  } else if (auto found = payers_.find(&budget); found != payers_.end()) {
    for (Session* session : found->second) fn(*session);
  }
}

// `full` has no room: whoever is paid from it shall drop the slabs that he keeps empty, and objects that nobody reads go
// to disk. A tenant who is at his own limit disturbs nobody else.
void Tarnd::on_memory_wanted(const Budget& full, uint64_t missing) { want_memory(full, missing, false); }

void Tarnd::want_memory(const Budget& full, uint64_t missing, bool is_return) {
  for_each_payer(full, [](Session& session) { session.reclaim(); });
  short_until_ns_ = os::now_ns() + kShortNs;
  if (spill_.why_off() != nullptr && !std::exchange(said_why_off_, true))
    log(Level::kInfo, "objects cannot leave memory, unless a task can make them again: %s", spill_.why_off());
  move_out(full, missing, is_return);
}

// While memory is short, the room for the next requests is made before they come: the disk works while they fill what they
// got. Memory that is full and read stays as it is.
void Tarnd::on_memory_taken(const Budget& budget) {
  if (os::now_ns() >= short_until_ns_) return;
  for (const Budget* b = &budget; b != nullptr; b = b->parent()) {
    uint64_t room = b->limit() - std::min(b->used(), b->limit());
    if (room < spare_room(*b)) return move_out(*b, 0, false);
  }
}

// Who has most begins. More than is missing, so that the next request finds room.
void Tarnd::move_out(const Budget& full, uint64_t missing, bool is_return) {
  uint64_t room = full.limit() - std::min(full.used(), full.limit());
  uint64_t wanted = missing + spare_room(full) - std::min(room, spare_room(full));
  std::vector<Session*> payers;
  for_each_payer(full, [&](Session& session) {
    wanted -= std::min(wanted, session.mover().bytes_leaving());
    payers.push_back(&session);
  });
  std::ranges::sort(payers, std::ranges::greater{}, [](const Session* each) { return each->budget().used(); });
  uint64_t begun = 0;
  int64_t end = os::now_ns() + kMoveSliceNs;  // who was looked at in vain is not looked at again at once: the next come then
  for (Session* session : payers)
    if (begun < wanted && os::now_ns() < end) begun += session->mover().move_out(wanted - begun, Spill::For::kNew);
  // The disk has some room that only this may use.
  if (!is_return) return;
  uint64_t leaving = 0;
  for (Session* session : payers) leaving += session->mover().bytes_leaving();
  for (Session* session : payers)
    if (leaving < missing) leaving += session->mover().move_out(missing - leaving, Spill::For::kReturn);
}

// Memory that somebody dropped is free once it is closed, a moment later, and that of an object when it is on the disk:
// nobody is refused for that.
bool Tarnd::is_memory_coming(const Budget& full) {
  bool is_leaving = false;
  for_each_payer(full, [&](const Session& session) { is_leaving = is_leaving || session.mover().bytes_leaving() != 0; });
  if (is_leaving) return true;
  auto is_users = [this](uid_t user) { return closer_.is_closing_memory(user) || prefaulter_.is_dropping(user); };
  if (&full == &budget_) return std::ranges::any_of(tenants_, [&](auto& entry) { return is_users(entry.first); });
  auto found = payers_.find(&full);
  return found != payers_.end() && is_users(found->second.front()->identity().uid);
}

// What others have is one sum: neither their names nor their number is anybody's business.
std::string Tarnd::largest_holders(const Budget& full, uid_t asker) const {
  // Only those that can be named get a name: when memory is short, many ask this at once.
  std::vector<std::pair<uint64_t, const Session*>> known;
  uint64_t of_others = 0;
  for_each_payer(full, [&](const Session& session) {
    if (session.identity().uid == asker || asker == 0) {
      known.emplace_back(session.budget().used(), &session);
    } else {
      of_others += session.budget().used();
    }
  });
  auto named = known.begin() + static_cast<ptrdiff_t>(std::min(known.size(), kHoldersNamed));
  std::ranges::partial_sort(known, named, std::ranges::greater{}, [](const auto& each) { return each.first; });
  std::vector<MemoryHolder> holders;
  for (auto& [bytes, session] : known) {
    bool is_named = holders.size() < kHoldersNamed;
    holders.push_back({bytes, is_named ? "session " + std::to_string(session->number()) + " (" + session->name() + ")" : ""});
  }
  holders.push_back({of_others, "other users"});
  return list_largest(std::move(holders));
}

void Tarnd::shut_down() {
  if (!ending_) {
    ending_ = true;
    listeners_.clear();
    std::vector<Session*> running;
    for (auto& [number, session] : sessions_) running.push_back(session.get());
    for (Session* session : running) session->end("tarnd shuts down");
    end_timer_ = loop_.call_at(os::now_ns() + kEndTimeout, [this] { loop_.stop(); });
  }
  if (sessions_.empty()) loop_.stop();
}

}  // namespace tarn::daemon
