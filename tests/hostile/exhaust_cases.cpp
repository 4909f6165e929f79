// Exhaustion: as many connections, sessions, slabs, files, records and bytes as it gets, kept while the driver sees whether
// others can still work and come.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <csignal>
#include <cstring>

#include "cases.hpp"
#include "os/clock.hpp"
#include "shm/member_segment.hpp"
#include "tarn/tarn.h"

namespace tarn::hostile {
namespace {

constexpr int64_t kFloodNs = 700'000'000;
constexpr int kSessionsTried = 200;
constexpr int kSlabsTried = 20'000;

Outcome connections(Context& context) {
  int open = 0;
  int turned_away = 0;
  std::vector<Peer*> all;
  for (int i = 0; i < 900; ++i) {
    Peer& peer = context.peer();
    if (!peer.connected()) break;
    ++open;
    all.push_back(&peer);
  }
  for (Peer* peer : all)
    if (auto message = peer->next(1'000'000); message && message->type == wire::Type::kRefused) ++turned_away;
  HOSTILE_REFUSED(turned_away > 0);
  return refused(std::to_string(turned_away) + " of " + std::to_string(open) + " so far");
}

// Sessions until there are no more; the code of the refusal.
std::vector<Peer*> sessions(Context& context, int most, int& code) {
  std::vector<Peer*> all;
  while (static_cast<int>(all.size()) < most) {
    Peer& peer = context.peer();
    if (!peer.open()) {
      code = peer.refusal();
      return all;
    }
    all.push_back(&peer);
  }
  return all;
}

Outcome many_sessions(Context& context) {
  int code = 0;
  size_t count = sessions(context, kSessionsTried, code).size();
  HOSTILE_NEEDS(count > 0);
  HOSTILE_REFUSED(code == TARN_E_QUOTA || code == TARN_E_LIMIT);
  return refused("after " + std::to_string(count) + ", " + tarn_error_name(code));
}

Outcome slabs_of(Context& context, uint64_t size, int session_count) {
  int code = 0;
  int slabs = 0;
  for (Peer* peer : sessions(context, session_count, code)) {
    for (code = 0; slabs < kSlabsTried; ++slabs) {
      if (peer->request_slab(size)) continue;
      code = peer->code();
      break;
    }
  }
  HOSTILE_NEEDS(slabs > 0);
  HOSTILE_REFUSED(code == TARN_E_QUOTA || code == TARN_E_LIMIT || code == TARN_E_STORE_FULL);
  return refused("after " + std::to_string(slabs) + ", " + tarn_error_name(code));
}

Outcome small_slabs(Context& context) { return slabs_of(context, 4096, 4); }
Outcome large_slabs(Context& context) { return slabs_of(context, 32 << 20, 4); }

// The descriptors stay with it; a slab whose descriptor is kept lives on (docs/service.md).
Outcome files(Context& context) {
  int code = 0;
  int count = 0;
  Fd file{open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  for (Peer* peer : sessions(context, 4, code)) {
    for (code = 0; count < kSlabsTried; ++count) {
      uint32_t serial = static_cast<uint32_t>(count) + 10;
      if (!peer->send(wire::Type::kFileShare, serial, wire::SlabInfo{0, 0, 4096, -1, 1}, {file.get()})) break;
      auto answer = peer->answer(serial);
      if (answer && answer->type == wire::Type::kSlabReady) continue;
      if (answer && answer->type == wire::Type::kSlabRefused) code = answer->as<wire::SlabRefused>().code;
      break;
    }
  }
  HOSTILE_REFUSED(code == TARN_E_QUOTA || code == TARN_E_LIMIT);
  return refused("after " + std::to_string(count) + ", " + tarn_error_name(code));
}

Outcome records(Context& context) {
  int code = 0;
  int grown = 0;
  for (Peer* peer : sessions(context, 8, code)) {
    if (!peer->send(wire::Type::kGrow, 3, wire::Grow{shm::kTaskRecordsMax, shm::kObjectRecordsMax, shm::kEdgesMax, 0})) break;
    auto answer = peer->answer(3);
    if (answer && answer->type == wire::Type::kGrown) ++grown;
    if (answer && answer->type == wire::Type::kSlabRefused) code = answer->as<wire::SlabRefused>().code;
  }
  HOSTILE_REFUSED(code == TARN_E_QUOTA || code == TARN_E_STORE_FULL || code == TARN_E_NO_MEMORY);
  return refused("after " + std::to_string(grown) + ", " + tarn_error_name(code));
}

// Descriptors that lie in sockets count for the user who sent them, which is tarnd's, and it may have so many there as it
// may have open: slabs that come and go, announced to workers that never look.
Outcome descriptors_in_flight(Context& context) {
  int slabs = 0;
  for (int i = 0; i < 20; ++i) {
    Peer& peer = context.peer();
    peer.set_patience(200'000'000);  // in the end its own requests have to wait
    if (!peer.open({.workers = 2, .worker_arguments = {"deaf"}, .descriptors = {}})) break;
    for (int j = 0; j < 2; ++j) (void)peer.expect(wire::Type::kMemberAdded, 200'000'000);
    for (int j = 0; j < 300; ++j, ++slabs)
      if (!peer.is_served()) break;
  }
  HOSTILE_NEEDS(slabs > 500);
  return harmless(std::to_string(slabs) + " slabs");
}

// Requests without end whose answers nobody reads: of a client, of its worker, of tools.
Outcome never_read(Context& context) {
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open({.workers = 1, .worker_arguments = {"unread"}, .descriptors = {}}));
  std::vector<Peer*> tools;
  wire::Hello hello{};
  hello.role = static_cast<uint32_t>(wire::Role::kTool);
  hello.pid = getpid();
  for (int i = 0; i < 20; ++i) {
    tools.push_back(&context.peer());
    if (!tools.back()->send(wire::Type::kHello, 1, hello)) tools.pop_back();
  }
  wire::Query query{};
  wire::set_text(query.what, "objects");
  int64_t end = os::deadline_after(kFloodNs);
  uint64_t sent = 0;
  while (os::now_ns() < end) {
    if (peer.send(wire::Type::kSlabRequest, 1, wire::SlabRequest{4096, -1, 0}, {}, false)) ++sent;
    for (Peer* tool : tools)
      if (tool->send(wire::Type::kQuery, 2, query, {}, false)) ++sent;
  }
  HOSTILE_NEEDS(sent > 100);
  return harmless(std::to_string(sent) + " requests");
}

// Requests and their opposites, as fast as they go, by four processes.
Outcome flood(Context& context) {
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    pid_t child = fork();
    if (child > 0) children.push_back(child);
    if (child != 0) continue;
    Peer peer(context.socket);
    if (!peer.open()) _exit(1);
    int64_t end = os::deadline_after(kFloodNs);
    for (uint32_t serial = 1; os::now_ns() < end; ++serial) {
      if (i % 2 == 0) {
        peer.send(wire::Type::kSlabRequest, serial, wire::SlabRequest{64 << 10, -1, 1}, {}, false);
        peer.send(wire::Type::kSlabDrop, serial, wire::SlabId{1, serial % 64}, {}, false);
        while (auto message = peer.next(0)) {
        }
        if (peer.ended() && !peer.open()) break;
      } else {
        Peer another(context.socket);
        if (another.connected() && serial % 2 == 0) (void)another.open();
      }
    }
    _exit(0);
  }
  for (pid_t child : children) waitpid(child, nullptr, 0);
  return harmless();
}

// Workers that die at once, and sessions that leave before theirs have come.
Outcome workers_that_die(Context& context) {
  for (int i = 0; i < 6; ++i) {
    Peer& peer = context.peer();
    if (!peer.open({.workers = 1, .worker_arguments = {"exit"}, .descriptors = {}})) break;
  }
  for (int i = 0; i < 20; ++i) {
    Peer peer(context.socket);
    if (!peer.open({.workers = 2, .worker_arguments = {}, .descriptors = {}})) break;
  }
  return harmless();
}

// Its main thread stops when it has said so (see main.cpp).
Outcome stop_with_requests_outstanding(Context& context) {
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open({.workers = 2, .worker_arguments = {"stop"}, .descriptors = {}}));
  for (uint32_t i = 1; i <= 100; ++i)
    HOSTILE_NEEDS(peer.send(wire::Type::kSlabRequest, i, wire::SlabRequest{1 << 20, -1, 1}, {}, false) || i > 1);
  context.stops = true;
  return harmless("stopped, a worker of its own too");
}

constexpr Case kCases[] = {
    {"connections without a session", connections},
    {"sessions without end", many_sessions},
    {"small slabs without end", small_slabs},
    {"large slabs without end", large_slabs},
    {"shared files without end", files},
    {"records without end", records},
    {"slabs in the sockets of deaf workers", descriptors_in_flight},
    {"never read what is answered", never_read},
    {"a flood by four processes", flood},
    {"workers that die at once", workers_that_die},
    {"SIGSTOP with requests outstanding", stop_with_requests_outstanding},
};

}  // namespace

std::span<const Case> exhaust_cases() { return kCases; }

}  // namespace tarn::hostile
