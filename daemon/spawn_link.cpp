#include "spawn_link.hpp"

#include <algorithm>
#include <csignal>
#include <vector>

#include "base/assert.hpp"
#include "log.hpp"

namespace tarn::daemon {

void SpawnLink::connect(Fd socket, std::function<void()> on_lost) {
  TARN_ASSERT(connection_ == nullptr);
  on_lost_ = std::move(on_lost);
  connection_ = std::make_unique<Connection>(loop_, closer_, static_cast<uid_t>(-1), std::move(socket), wire::From::kSpawn, *this);
  connection_->start();
}

void SpawnLink::call_roll() {
  wire::Buffer<sizeof(wire::Header)> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kRollCall, 0);
  connection_->send(message);
}

void SpawnLink::take_over(uint64_t ticket, SpawnedProcess& process) {
  tickets_.emplace(ticket, Ticket{&process, Ticket::Phase::kTakenOver, Fd{}, {}});
}

uint64_t SpawnLink::spawn(uid_t user, SpawnedProcess& process) {
  if (connection_ == nullptr) return 0;
  uint64_t ticket = ++last_ticket_;
  tickets_.emplace(ticket, Ticket{&process, Ticket::Phase::kWaiting, Fd{}, {}});
  waiting_[user].push_back(ticket);
  send_orders();
  return ticket;
}

void SpawnLink::send_orders() {
  while (connection_ != nullptr && under_way_ < kUnderWayMax && !waiting_.empty()) {
    auto turn = waiting_.upper_bound(last_user_);
    if (turn == waiting_.end()) turn = waiting_.begin();
    last_user_ = turn->first;
    uint64_t ticket = turn->second.front();
    turn->second.pop_front();
    if (turn->second.empty()) waiting_.erase(turn);
    auto found = tickets_.find(ticket);
    if (found == tickets_.end()) continue;
    found->second.phase = Ticket::Phase::kUnderWay;
    ++under_way_;
    send_order(ticket, *found->second.process);
  }
}

void SpawnLink::send_order(uint64_t ticket, SpawnedProcess& process) {
  SpawnOrder order;
  process.fill_order(order);
  size_t size = sizeof(wire::Header) + sizeof(wire::Spawn) + order.groups.size_bytes() + order.argv.size() +
                order.environment.size();
  std::vector<uint64_t> buffer(size / 8 + 1);
  wire::Builder message(std::as_writable_bytes(std::span(buffer)), wire::Type::kSpawn, 0);
  auto& body = message.body<wire::Spawn>();
  body.ticket = ticket;
  body.uid = order.uid;
  body.gid = order.gid;
  body.group_count = static_cast<uint32_t>(order.groups.size());
  body.argv_size = static_cast<uint32_t>(order.argv.size());
  body.environment_size = static_cast<uint32_t>(order.environment.size());
  body.cpu_count = order.cpu_count;
  std::ranges::copy(order.cpus, body.cpus);
  bool fits = message.append(order.groups.data(), order.groups.size_bytes()) &&
              message.append(order.argv.data(), order.argv.size()) &&
              message.append(order.environment.data(), order.environment.size());
  TARN_ASSERT(fits);
  connection_->send(message,
                    {order.executable, order.directory, order.standard_output, order.standard_error, order.control});
}

void SpawnLink::count_answer(Ticket& ticket) {
  if (ticket.phase != Ticket::Phase::kUnderWay) return;
  ticket.phase = Ticket::Phase::kAnswered;
  --under_way_;
  loop_.defer([this] { send_orders(); });
}

void SpawnLink::kill(uint64_t ticket, int signal) {
  // Without a service the process has got SIGKILL already.
  auto found = tickets_.find(ticket);
  if (connection_ == nullptr || found == tickets_.end()) return;
  if (found->second.phase == Ticket::Phase::kWaiting) return loop_.defer([this, ticket] { end(ticket, SIGKILL, 0); });
  send_kill(ticket, signal);
}

void SpawnLink::send_kill(uint64_t ticket, int signal) {
  wire::Buffer<64> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kKill, 0);
  auto& body = message.body<wire::Kill>();
  body.ticket = ticket;
  body.signal = signal;
  connection_->send(message);
}

bool SpawnLink::weigh(uint64_t ticket, int nice) {
  auto found = tickets_.find(ticket);
  if (connection_ == nullptr || found == tickets_.end() || found->second.phase != Ticket::Phase::kAnswered) return false;
  wire::Buffer<64> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kWeigh, 0);
  auto& body = message.body<wire::Weigh>();
  body.ticket = ticket;
  body.nice = static_cast<uint32_t>(nice);
  connection_->send(message);
  return true;
}

void SpawnLink::on_packet(Connection&, const wire::Packet& packet, os::Received& received) {
  if (packet.type == wire::Type::kRollCallEnd) {
    std::vector<uint64_t> dead;
    for (auto& [ticket, entry] : tickets_)
      if (entry.phase == Ticket::Phase::kTakenOver) dead.push_back(ticket);
    // How they ended was told to the tarnd before, who had no time to write it down.
    for (uint64_t ticket : dead) end(ticket, SIGKILL, 0);
    return;
  }
  uint64_t ticket;
  memcpy(&ticket, packet.body, sizeof ticket);  // every message of the service begins with it
  auto found = tickets_.find(ticket);
  if (found == tickets_.end() && packet.type == wire::Type::kSpawned) return send_kill(ticket, SIGKILL);
  if (found == tickets_.end() || found->second.phase == Ticket::Phase::kWaiting) return;
  if (found->second.phase == Ticket::Phase::kTakenOver && packet.type == wire::Type::kSpawned) {
    found->second.phase = Ticket::Phase::kAnswered;
    found->second.pidfd = std::move(received.descriptors[0]);
    return;
  }
  SpawnedProcess& process = *found->second.process;
  count_answer(found->second);
  switch (packet.type) {
    case wire::Type::kSpawned:
      found->second.pidfd = std::move(received.descriptors[0]);
      return process.on_started(packet.as<wire::Spawned>().pid);
    case wire::Type::kSpawnFailed: {
      const auto& failed = packet.as<wire::SpawnFailed>();
      tickets_.erase(found);
      return process.on_failed(failed.error, failed.text);
    }
    case wire::Type::kStopped:
      return process.on_stopped(packet.as<wire::Exited>().stopped != 0);
    default: {
      const auto& exited = packet.as<wire::Exited>();
      return end(ticket, exited.signal, exited.exit_status);
    }
  }
}

void SpawnLink::end(uint64_t ticket, int signal, int exit_status) {
  auto found = tickets_.find(ticket);
  if (found == tickets_.end()) return;
  SpawnedProcess& process = *found->second.process;
  tickets_.erase(found);
  process.on_exited(signal, exit_status);
}

void SpawnLink::on_closed(Connection&, const std::string& reason) {
  log(Level::kError, "the spawn service has gone%s%s: its workers end with it", reason.empty() ? "" : ": ",
      reason.c_str());
  connection_->close();
  loop_.bury(std::move(connection_));
  waiting_.clear();
  under_way_ = 0;
  std::vector<uint64_t> unborn;
  for (auto& [ticket, entry] : tickets_) {
    entry.phase = Ticket::Phase::kAnswered;  // not by the next service
    entry.process->on_service_gone();
    if (!entry.pidfd.valid()) {
      unborn.push_back(ticket);
      continue;
    }
    // It may be watched already: a service that is being killed can still take a new connection and
    // then lose that one, too.
    if (entry.watch.active()) continue;
    entry.watch = loop_.watch(entry.pidfd.get(), EPOLLIN, [this, number = ticket](uint32_t) { end(number, SIGKILL, 0); });
    if (!entry.watch.active()) unborn.push_back(ticket);  // it has got its SIGKILL, we only cannot see it end
  }
  for (uint64_t ticket : unborn) end(ticket, SIGKILL, 0);
  auto on_lost = std::move(on_lost_);
  if (on_lost) on_lost();
}

}  // namespace tarn::daemon
