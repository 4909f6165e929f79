// Session: lanes and the workers in them. Starting, admitting, watching, replacing.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/assert.hpp"
#include "base/error.hpp"
#include "log.hpp"
#include "os/clock.hpp"
#include "session.hpp"
#include "store/holders.hpp"
#include "tarn/tarn.h"

namespace tarn::daemon {
namespace {

constexpr uint32_t kFailuresMax = 5;  // then the session is told that it is broken
constexpr uint32_t kRefusalsMax = 8;  // of memory, in more than a second; if no worker serves it is told that it waits
constexpr int64_t kBackoffFirst = 10'000'000;
constexpr int64_t kServiceWait = 200'000'000;
constexpr uint32_t kServiceWaitsMax = 50;
constexpr int64_t kExitTimeout = 1'000'000'000;  // from closing the connection to being dead
constexpr int64_t kBackoffMax = 1'000'000'000;
constexpr uint64_t kRecordsAbout = uint64_t{1} << 20;  // of a worker, at its start
static_assert(shm::Seat::kRanks == wire::kRanksMax && shm::kCpuWords == kCpuWords);
constexpr int64_t kNoRoomDelay = 50'000'000;           // for others to hear that memory is wanted

int64_t backoff_after(uint32_t failures) {
  int64_t delay = kBackoffFirst << (failures - 1);
  return delay < kBackoffMax ? delay : kBackoffMax;
}

std::string describe_end(int signal, int exit_status) {
  if (signal != 0) return std::string("was killed by signal ") + std::to_string(signal) + " (" + strsignal(signal) + ")";
  return "exited with status " + std::to_string(exit_status);
}

}  // namespace

// One for each of the slots, and their stand-ins.
void Session::make_lanes(std::span<const uint32_t> slots) {
  lanes_.resize(slots.size() * shm::Seat::kRanks);
  for (uint32_t lane = 0; lane < lanes_.size(); ++lane) {
    lanes_[lane].slot = slots[lane % slots.size()];
    lanes_[lane].is_used = lane < slots.size();
  }
}

// The index of a replacement has to be free for every worker, or nothing goes on when one dies: then it does without.
void Session::handle_stand_in(Member& worker, const wire::StandIn& wish) {
  if (worker.is_client()) return reject(worker, "STAND_IN of a client");
  uint32_t lane = seat_of(worker.lane) + wish.rank * worker_count();
  uint32_t room_for = 2 * worker_count() + 2;
  if (lanes_[lane].is_used || members_.size() + room_for > store::kHoldersMax) return;
  lanes_[lane].is_used = true;
  start_worker(lane);
}

void Session::start_worker(uint32_t lane) {
  if (ending_) return;
  if (!services_.spawn.connected() && lanes_[lane].waits < kServiceWaitsMax) {
    // Nobody's fault here: the manager is about to start the service again.
    ++lanes_[lane].waits;
    lanes_[lane].restart =
        services_.loop.call_at(os::now_ns() + kServiceWait, [this, lane] { start_worker(lane); });
    return;
  }
  lanes_[lane].waits = 0;
  if (try_start_worker(lane) == 0) return;
  std::string why = last_error();
  restart_lane(lane, false, "could not be started: " + why);
}

int Session::try_start_worker(uint32_t lane) {
  uint32_t index = free_index();
  if (index == 0)
    return fail(TARN_E_LIMIT, "all %u members of the session are in use, by dead workers whose objects are still held",
                shm::kMembersMax);
  Fd ours;
  Fd theirs;
  if (int r = os::socket_pair(ours, theirs); r < 0) return r;

  auto worker = std::make_unique<Member>(*this, index);
  worker->lane = lane;
  worker->control = share(std::move(theirs));
  output_.open(index, seat_of(lane), services_.slots[lanes_[lane].slot].number, worker->standard_output, worker->standard_error);
  worker->ticket = services_.spawn.spawn(identity_.uid, *worker);
  if (worker->ticket == 0) {
    output_.close(index);
    return fail(TARN_E_SYSTEM, "the spawn service has gone");
  }
  // The process is on its way while its memory is made.
  worker->connection = std::make_unique<Connection>(services_.loop, services_.closer, identity_.uid, std::move(ours),
                                                    wire::From::kMember, *worker);
  worker->connection->start();
  Member& member = *worker;
  members_.emplace(index, std::move(worker));
  if (int r = make_segment(member); r < 0) {
    member.no_room = r;
    member.no_room_text = last_error();
    // What others keep for later may be enough for the next one.
    if (const Budget* full = budget_->full_for(kRecordsAbout)) owner_.on_memory_wanted(*full, kRecordsAbout);
    kill_worker(member);
  }
  return 0;
}

void Session::fill_order(Member& worker, SpawnOrder& order) {
  const Slot& slot = services_.slots[lanes_[worker.lane].slot];
  order.uid = identity_.uid;
  order.gid = identity_.gid;
  order.groups = identity_.groups;
  order.argv = argv_;
  order.environment = environment_;
  order.cpu_count = slot.cpu_count;
  order.cpus = slot.cpus;
  order.executable = executable_;
  order.directory = directory_;
  order.standard_output = std::move(worker.standard_output);
  order.standard_error = std::move(worker.standard_error);
  order.control = std::move(worker.control);
}

// Indices go round, so that one that was freed stays unused for as long as possible; among those that can hold objects while
// there is one of them, for the others cannot submit tasks.
uint32_t Session::free_index() {
  for (uint32_t end : {store::kHoldersMax, shm::kMembersMax}) {
    for (uint32_t i = 0; i < end; ++i) {
      if (++last_index_ >= end) last_index_ = shm::kFirstWorker;
      if (!members_.contains(last_index_)) return last_index_;
    }
  }
  return 0;
}

void Session::kill_worker(Member& worker) {
  if (worker.ticket == 0 || worker.ended_by_us) return;
  worker.ended_by_us = true;
  services_.spawn.kill(worker.ticket, SIGKILL);
}

void Session::kill_worker_later(Member& worker) {
  worker.last_moment = services_.loop.call_at(os::now_ns() + kExitTimeout, [this, &worker] { kill_worker(worker); });
}

void Session::handle_worker_hello(Member& worker, const wire::Packet& packet) {
  worker.hello = packet.as<wire::Hello>();
  worker.hello_serial = packet.serial;
  if (worker.hello->role != static_cast<uint32_t>(wire::Role::kWorker)) return reject(worker, "HELLO of another role");
  if (worker.pid != 0) admit_worker(worker);
}

void Session::admit_worker(Member& worker) {
  if (ending_ || worker.ended_by_us) return;
  // It has died since it said HELLO, and the service said only now that it was started: there is no connection to be kept.
  if (!worker.connection->is_open()) return;
  const wire::Hello& hello = *worker.hello;
  if (hello.build_id_size != hello_.build_id_size || memcmp(hello.build_id, hello_.build_id, sizeof hello.build_id) != 0) {
    wire::Buffer<wire::kToMemberSizeMax> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kRefused, worker.hello_serial);
    auto& body = message.body<wire::Refused>();
    body.code = TARN_E_VERSION;
    std::string text = "the worker '" + printable(hello.name) + "' is another build than its client '" + name_ +
                       "': the executable was replaced; restart the program";
    wire::set_text(body.text, text);
    worker.connection->send(message);
    lanes_[worker.lane].failures = kFailuresMax;  // trying again would end the same way
    lanes_[worker.lane].broken = true;
    break_session(TARN_E_VERSION, text);
    return kill_worker(worker);
  }
  // First everybody else learns of it, then it may begin: whoever meets its index in shared memory
  // finds the announcement in the socket.
  worker.phase = Member::Phase::kAdmitted;
  board_->members.join(worker.index(), worker.ticket);
  keep_member(worker);
  for (auto& [index, member] : members_)
    if (member.get() != &worker && member->is_reachable() && member->connection != nullptr) announce(worker, *member);
  welcome(worker, worker.hello_serial);
  for (auto& [index, member] : members_) {
    if (member->phase != Member::Phase::kDead || member->settled || member->settled_by != 0) continue;
    member->settled_by = worker.index();
    update_kept(*member);
  }
  tell_all(worker);
  board_->membership.fetch_add(1);
}

void Session::handle_ready(Member& worker) {
  if (worker.is_client() || worker.phase != Member::Phase::kAdmitted) return reject(worker, "READY out of order");
  worker.phase = Member::Phase::kServing;
  update_kept(worker);
  lanes_[worker.lane].failures = 0;
  lanes_[worker.lane].refusals = 0;
  lanes_[worker.lane].has_served = true;
  if (std::exchange(is_starved_, false)) mend_session();
  trace_.write(trace::Kind::kStarted, 0, trace::pack_process(worker.pid, services_.slots[slot_of(worker)].number, 0), worker.index());
  shm::begin_serving(*board_, worker.index());
  owner_.on_awake(*this);
}

void Session::handle_awake(Member& worker) {
  if (worker.is_client()) return reject(worker, "AWAKE of a client");
  set_watched(true);
  owner_.on_awake(*this);
}

void Session::handle_recovered(Member& worker, const wire::MemberInfo& message) {
  Member* dead = find(message.member);
  if (dead == nullptr || dead->phase != Member::Phase::kDead || dead->settled || dead->settled_by != worker.index())
    return reject(worker, "RECOVERED without an order");
  dead->settled = true;
  update_kept(*dead);
  wake_everybody();
  release_if_empty(*dead);
}

void Session::handle_stopped(Member& worker, bool stopped) {
  if (worker.phase != Member::Phase::kServing) return;
  board_->doorbell.set_serving(worker.index(), !stopped);
  if (stopped) board_->doorbell.withdraw(worker.index());  // or somebody spends a wake-up on it
  wake_everybody();
}

void Session::handle_start_failed(Member& worker, int error, const std::string& text) {
  uint32_t lane = worker.lane;
  output_.close(worker.index());
  forget(worker);
  if (ending_) return finish_if_over();
  restart_lane(lane, false, "could not be started: " + text + " (error " + std::to_string(error) + ")");
}

void Session::handle_worker_ended(Member& worker, int signal, int exit_status) {
  // One that went with the spawn service might have begun to serve.
  bool was_ready = worker.phase == Member::Phase::kServing || worker.service_gone;
  bool was_known = worker.is_known();
  uint32_t lane = worker.lane;
  int no_room = worker.no_room;
  std::string no_room_text = worker.no_room_text;
  worker.ticket = 0;
  worker.last_moment.reset();
  worker.signal = signal;
  worker.exit_status = exit_status;
  worker.phase = Member::Phase::kDead;
  trace_.write(trace::Kind::kDied, 0, trace::pack_process(worker.pid, static_cast<uint32_t>(exit_status), static_cast<uint32_t>(signal)), worker.index());
  worker.asks.reset();
  output_.close(worker.index());
  if (worker.connection != nullptr) {
    worker.connection->close();
    services_.loop.bury(std::move(worker.connection));
  }
  if (ending_) return finish_if_over();
  mover_.look_at_makers();
  owner_.on_awake(*this);  // it may have been about to say so
  ++lanes_[lane].deaths;

  slab_count_ -= static_cast<uint32_t>(
      std::erase_if(worker.slabs, [](auto& entry) { return entry.second.phase != Slab::Phase::kReady; }));
  for (auto& [index, member] : members_) {
    if (member->settled_by != worker.index()) continue;
    member->settled_by = 0;  // its orders go to the next one
    update_kept(*member);
  }
  if (was_known) {
    update_kept(worker);
    kept_->drop_connection(worker.index());
    board_->doorbell.set_serving(worker.index(), false);
    board_->doorbell.withdraw(worker.index());  // before wake_everybody: tests/model, ADeadWorkersBitMustGo
    for (auto& [index, member] : members_)
      if (member->is_reachable() && member->connection != nullptr) tell_of_death(worker, *member, false);
    board_->membership.fetch_add(1);
    wake_everybody();
  } else {
    forget(worker);
  }
  restart_lane(lane, was_ready, no_room != 0 ? "had no room for its records: " + no_room_text : describe_end(signal, exit_status),
               no_room);
}

void Session::restart_lane(uint32_t number, bool was_ready, const std::string& how_it_ended, int no_room) {
  Lane& lane = lanes_[number];
  if (no_room != 0) return wait_for_room(number, how_it_ended, no_room);
  log(Level::kInfo, "session %u: the worker in slot %u %s", identity_.number, lane.slot, how_it_ended.c_str());
  int64_t delay = 0;
  if (!was_ready) {
    ++lane.failures;
    delay = backoff_after(lane.failures);
  }
  if (lane.failures >= kFailuresMax) {
    if (lane.broken) return;
    lane.broken = true;
    std::string text = "workers do not start: the last one, in slot " + std::to_string(lane.slot) + ", " + how_it_ended;
    // One that has never served is no loss. What one that has left behind is to be settled.
    if (number >= worker_count() && !lane.has_served) return log(Level::kWarning, "session %u: its stand-ins do not start: the last one %s",
                                                                 identity_.number, how_it_ended.c_str());
    return break_session(TARN_E_WORKER_CRASHED, text + ", before tarn_init had begun to serve");
  }
  if (delay == 0) return start_worker(number);
  lane.restart = services_.loop.call_at(os::now_ns() + delay, [this, number] { start_worker(number); });
}

// Memory is full, of what the session itself holds or of what others do. That ends some time, and then a worker is started; while
// others serve, the session has one less. Its client is told when there is none, since what it waits for may wait for what it holds.
void Session::wait_for_room(uint32_t number, const std::string& how_it_ended, int no_room) {
  Lane& lane = lanes_[number];
  ++lane.refusals;
  if (lane.refusals == 1 || lane.refusals == kRefusalsMax)  // and not each second, for hours
    log(Level::kInfo, "session %u: the worker in slot %u %s", identity_.number, lane.slot, how_it_ended.c_str());
  order_an_idle_one_to_settle();
  if (lane.refusals >= kRefusalsMax && number >= worker_count() && !lane.has_served) {
    lane.refusals = 0;
    lane.is_used = false;  // a stand-in that never was is no loss, and will be asked for again
    return;
  }
  if (lane.refusals >= kRefusalsMax && !is_starved_ && !is_anyone_serving()) {
    is_starved_ = true;
    break_session(no_room, "no worker can start: the last one, in slot " + std::to_string(lane.slot) + ", " + how_it_ended +
                               "; release objects, and this session goes on");
  }
  int64_t delay = std::max(backoff_after(std::min(lane.refusals, kRefusalsMax)), kNoRoomDelay);
  lane.restart = services_.loop.call_at(os::now_ns() + delay, [this, number] { start_worker(number); });
}

bool Session::is_anyone_serving() const {
  return std::any_of(members_.begin(), members_.end(),
                     [](auto& entry) { return !entry.second->is_client() && entry.second->phase == Member::Phase::kServing; });
}

// What the dead have left behind their replacements settle. Where there is no room for one, another worker does, if it has no task in
// hand that may last: a claim is not to wait for hours for what a process that is no more had begun.
void Session::order_an_idle_one_to_settle() {
  for (auto& [index, worker] : members_) {
    if (worker->is_client() || worker->phase != Member::Phase::kServing || board_->workers[index].busy.load(shm::kRelaxed) != 0) continue;
    bool any = false;
    for (auto& [other, dead] : members_) {
      if (dead->phase != Member::Phase::kDead || dead->settled || dead->settled_by != 0) continue;
      dead->settled_by = index;
      update_kept(*dead);
      tell_of_death(*dead, *worker, true);
      any = true;
    }
    if (!any) return;
    board_->membership.fetch_add(1);
    shm::wake_worker(*board_, index);
    return;
  }
}

// The index of a dead worker is free again once nothing refers to it.
void Session::release_if_empty(Member& dead) {
  if (dead.phase != Member::Phase::kDead || !dead.settled || !dead.slabs.empty()) return;
  board_->members.leave(dead.index());
  wire::Buffer<wire::kToMemberSizeMax> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kMemberGone, 0);
  message.body<wire::MemberInfo>().member = dead.index();
  broadcast(dead.index(), message);
  forget(dead);
  board_->membership.fetch_add(1);
}

}  // namespace tarn::daemon
