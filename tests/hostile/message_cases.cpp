// Messages: forged numbers, wrong order, wrong descriptors, wrong sizes.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <functional>
#include <random>

#include "cases.hpp"
#include "os/clock.hpp"
#include "shm/member_segment.hpp"
#include "tarn/tarn.h"

namespace tarn::hostile {
namespace {

// A session for one forged message.
struct Victimless {
  Context& context;
  std::string wrong;

  // Sends it in a session of its own and expects that this session is ended for it.
  void ends(const char* what, const std::function<void(Peer&)>& send, const Peer::Options& options = {}) {
    Peer peer(context.socket);
    if (!peer.open(options)) return note(std::string("cannot begin: ") + what);
    send(peer);
    if (!peer.wait_for_end(2'000'000'000)) note(std::string("the session goes on after ") + what);
    if (peer.protocol_broken()) note(std::string("tarnd broke the protocol after ") + what);
  }

  // The same, but it is answered with an error, or by nothing, and the session goes on.
  void is_ignored(Peer& peer, const char* what, const std::function<void(Peer&)>& send) {
    send(peer);
    if (!peer.is_served()) note(std::string("the session does not go on after ") + what);
  }

  void note(const std::string& text) { wrong += (wrong.empty() ? "" : "; ") + text; }
  [[nodiscard]] Outcome outcome(Outcome good) const { return wrong.empty() ? good : failed(wrong); }
};

template <class Body>
std::function<void(Peer&)> sending(wire::Type type, const Body& body, uint32_t serial = 7) {
  return [type, body, serial](Peer& peer) { peer.send(type, serial, body); };
}

Outcome drop_slabs_of_others(Context& context) {
  Victimless forged{context, {}};
  Peer::Options with_worker{.workers = 1, .worker_arguments = {"slab"}, .descriptors = {}};
  forged.ends("SLAB_DROP of a living worker's slab", [](Peer& peer) {
    auto added = peer.expect(wire::Type::kSlabAdded);
    if (!added) return;
    auto info = added->as<wire::SlabInfo>();
    peer.send(wire::Type::kSlabDrop, 0, wire::SlabId{info.member, info.slab});
  }, with_worker);
  for (uint32_t member : {0u, 256u, 0xffffffffu})
    forged.ends("SLAB_DROP of no member", sending(wire::Type::kSlabDrop, wire::SlabId{member, 0}));
  forged.ends("SLAB_DROP of no slab", sending(wire::Type::kSlabDrop, wire::SlabId{1, 0xffff}));
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open());
  for (uint32_t member = 2; member <= 255; ++member)
    for (uint32_t slab : {0u, 1u, 65534u})
      HOSTILE_NEEDS(peer.send(wire::Type::kSlabDrop, member, wire::SlabId{member, slab}));
  forged.is_ignored(peer, "SLAB_DROP of members that are not there", [](Peer&) {});
  for (int i = 0; i < 3; ++i)
    forged.is_ignored(peer, "SLAB_DROP of an own slab twice", sending(wire::Type::kSlabDrop, wire::SlabId{1, 0}));
  return forged.outcome(refused());
}

Outcome recovered_of_the_living(Context& context) {
  Victimless forged{context, {}};
  for (uint32_t member : {1u, 2u, 17u, 255u}) {
    wire::MemberInfo info{};
    info.member = member;
    forged.ends("RECOVERED of a living member", sending(wire::Type::kRecovered, info),
                {.workers = 1, .worker_arguments = {}, .descriptors = {}});
  }
  // By a worker, which is killed for it; its session breaks in the end.
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open({.workers = 1, .worker_arguments = {"recovered"}, .descriptors = {}}));
  HOSTILE_REFUSED(peer.expect(wire::Type::kMemberDied).has_value() || peer.expect(wire::Type::kSessionBroken).has_value());
  return forged.outcome(refused());
}

Outcome messages_of_others(Context& context) {
  Victimless forged{context, {}};
  wire::Hello hello{};
  hello.role = static_cast<uint32_t>(wire::Role::kTool);
  hello.pid = getpid();
  forged.ends("a second HELLO", sending(wire::Type::kHello, hello));
  forged.ends("WELCOME", sending(wire::Type::kWelcome, wire::Welcome{}));
  forged.ends("SPAWN", sending(wire::Type::kSpawn, wire::Spawn{}));
  forged.ends("KILL", sending(wire::Type::kKill, wire::Kill{1, 9, 0}));
  forged.ends("EXITED", sending(wire::Type::kExited, wire::Exited{1, context.victim, 9, 0, 0}));
  forged.ends("MEMBER_DIED", sending(wire::Type::kMemberDied, wire::MemberInfo{2, context.victim, 9, 0, 0, 0, 0, 0}));
  forged.ends("SLAB_GRANTED", sending(wire::Type::kSlabGranted, wire::SlabInfo{1, 0, 4096, -1, 0}));
  forged.ends("QUERY of a client", sending(wire::Type::kQuery, wire::Query{"memory", 0, 0}));
  forged.ends("END_RUN of a record that there is not", sending(wire::Type::kEndRun, wire::EndRun{2, UINT32_MAX, 1, 1}));
  Peer& lonely = context.peer();
  HOSTILE_NEEDS(lonely.open());
  forged.is_ignored(lonely, "END_RUN of members that are not there", [](Peer& peer) {
    for (uint32_t member = 1; member <= 255; ++member) peer.send(wire::Type::kEndRun, 0, wire::EndRun{member, 0, 1, 1});
  });
  forged.ends("END_RUN of another member's record", sending(wire::Type::kEndRun, wire::EndRun{2, 0, 1, 2}));
  forged.ends("READY of a client", [](Peer& peer) {
    wire::Buffer<64> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kReady, 0);
    peer.send_raw(message.finish());
  });
  // Before there is a session.
  hello.role = static_cast<uint32_t>(wire::Role::kWorker);
  for (int i = 0; i < 3; ++i) {
    Peer peer(context.socket);
    HOSTILE_NEEDS(peer.connected());
    if (i == 0) peer.send(wire::Type::kHello, 1, hello);
    if (i == 1) peer.send(wire::Type::kSlabRequest, 1, wire::SlabRequest{4096, -1, 0});
    if (i == 2) {
      hello.role = static_cast<uint32_t>(wire::Role::kTool);
      peer.send(wire::Type::kHello, 1, hello);
      peer.send(wire::Type::kSlabRequest, 1, wire::SlabRequest{4096, -1, 0});
    }
    if (!peer.wait_for_end()) forged.note("a visitor is not turned away, " + std::to_string(i));
  }
  return forged.outcome(refused());
}

Outcome sizes_and_nodes(Context& context) {
  Victimless forged{context, {}};
  for (uint64_t size : {uint64_t{0}, (uint64_t{1} << 46) + 1, uint64_t{1} << 63, UINT64_MAX})
    forged.ends("SLAB_REQUEST of a size that cannot be", sending(wire::Type::kSlabRequest, wire::SlabRequest{size, -1, 0}));
  for (int32_t node : {wire::kAllNodes - 1, INT_MIN, 1024, INT_MAX})
    forged.ends("SLAB_REQUEST on a node that cannot be", sending(wire::Type::kSlabRequest, wire::SlabRequest{4096, node, 0}));
  for (uint32_t how : {3u, 0xffffffffu})
    forged.ends("SLAB_REQUEST with another flag", sending(wire::Type::kSlabRequest, wire::SlabRequest{4096, -1, how}));
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open());
  // Possible, but not here: refused with a code, or met from another node.
  HOSTILE_REFUSED(!peer.request_slab(uint64_t{1} << 46) && peer.code() < 0);
  HOSTILE_NEEDS(peer.request_slab(4096, 1023).has_value() || peer.code() < 0);
  HOSTILE_NEEDS(peer.request_slab(4096, wire::kAllNodes).has_value());
  peer.send(wire::Type::kGrow, 9, wire::Grow{UINT32_MAX, UINT32_MAX, UINT32_MAX, 0});
  auto answer = peer.answer(9);
  HOSTILE_REFUSED(!answer || answer->type != wire::Type::kGrown);
  return forged.outcome(refused());
}

Outcome serial_tricks(Context& context) {
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open());
  // The same number for everything, 0, and numbers that wrap.
  for (uint32_t serial : {0u, 1u, 1u, UINT32_MAX, UINT32_MAX, 5u}) {
    for (int i = 0; i < 8; ++i) HOSTILE_NEEDS(peer.send(wire::Type::kSlabRequest, serial, wire::SlabRequest{4096, -1, 0}));
    for (int i = 0; i < 8; ++i) {
      auto answer = peer.next();
      HOSTILE_REFUSED(answer.has_value() && answer->serial == serial && answer->type == wire::Type::kSlabGranted);
    }
  }
  HOSTILE_NEEDS(peer.is_served());
  return harmless("each is answered with its own number");
}

// ---- Descriptors -------------------------------------------------------------------------------

struct Odd {
  const char* what;
  Fd fd;
};

std::vector<Odd> odd_descriptors(Context& context) {
  std::vector<Odd> all;
  auto add = [&](const char* what, int fd) {
    if (fd >= 0) all.push_back({what, Fd{fd}});
  };
  std::string fifo = context.scratch + "/fifo";
  mkfifo(fifo.c_str(), 0600);
  add("FIFO", open(fifo.c_str(), O_RDWR | O_CLOEXEC));
  add("directory", open(context.scratch.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  add("socket", socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  add("O_PATH", open("/proc/self/exe", O_PATH | O_CLOEXEC));
  add("/dev/zero", open("/dev/zero", O_RDONLY | O_CLOEXEC));
  add("/dev/null", open("/dev/null", O_RDWR | O_CLOEXEC));
  add("eventfd", eventfd(0, EFD_CLOEXEC));
  add("epoll", epoll_create1(EPOLL_CLOEXEC));
  add("/proc/self/mem", open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
  add("/proc/self/maps", open("/proc/self/maps", O_RDONLY | O_CLOEXEC));
  std::string file = context.scratch + "/file";
  add("file open for writing", open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (!all.empty()) (void)!ftruncate(all.back().fd.get(), 1 << 16);
  add("memfd open for writing", memfd_create("odd", MFD_CLOEXEC));
  if (!all.empty()) (void)!ftruncate(all.back().fd.get(), 1 << 16);
  return all;
}

Outcome share_what_is_no_file(Context& context) {
  Victimless forged{context, {}};
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open({.workers = 1, .worker_arguments = {}, .descriptors = {}}));
  uint32_t serial = 100;
  for (Odd& odd : odd_descriptors(context)) {
    HOSTILE_NEEDS(peer.send(wire::Type::kFileShare, ++serial, wire::SlabInfo{0, 0, 4096, -1, 1}, {odd.fd.get()}));
    auto answer = peer.answer(serial);
    if (!answer || answer->type != wire::Type::kSlabRefused) forged.note(std::string("shared: ") + odd.what);
  }
  // Sizes that are no file's, and one that the file has not.
  Fd self{open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  HOSTILE_NEEDS(peer.send(wire::Type::kFileShare, 99, wire::SlabInfo{0, 0, uint64_t{1} << 46, -1, 1}, {self.get()}));
  auto answer = peer.answer(99);
  HOSTILE_REFUSED(answer.has_value() && answer->type == wire::Type::kSlabRefused);
  for (uint64_t size : {uint64_t{0}, UINT64_MAX})
    forged.ends("FILE_SHARE of a size that cannot be", [&self, size](Peer& each) {
      each.send(wire::Type::kFileShare, 1, wire::SlabInfo{0, 0, size, -1, 1}, {self.get()});
    });
  forged.ends("FILE_SHARE without a descriptor", sending(wire::Type::kFileShare, wire::SlabInfo{0, 0, 4096, -1, 1}));
  forged.ends("FILE_SHARE with two", [&self](Peer& each) {
    each.send(wire::Type::kFileShare, 1, wire::SlabInfo{0, 0, 4096, -1, 1}, {self.get(), self.get()});
  });
  HOSTILE_NEEDS(peer.is_served());
  return forged.outcome(refused());
}

// A file that it may still write by another descriptor, that shrinks, and one without seals.
Outcome share_a_file_and_change_it(Context& context) {
  Peer& peer = context.peer();
  HOSTILE_NEEDS(peer.open({.workers = 1, .worker_arguments = {}, .descriptors = {}}));
  Fd writable{memfd_create("shrinks", MFD_CLOEXEC)};
  HOSTILE_NEEDS(ftruncate(writable.get(), 1 << 20) == 0);
  std::string path = "/proc/self/fd/" + std::to_string(writable.get());
  Fd readable{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  HOSTILE_NEEDS(readable.valid());
  HOSTILE_NEEDS(peer.send(wire::Type::kFileShare, 50, wire::SlabInfo{0, 0, 1 << 20, -1, 1}, {readable.get()}));
  auto answer = peer.answer(50);
  HOSTILE_NEEDS(answer.has_value() && answer->type == wire::Type::kSlabReady);
  HOSTILE_NEEDS(ftruncate(writable.get(), 0) == 0);
  HOSTILE_NEEDS(peer.is_served());
  return harmless("read by its own workers only");
}

Outcome greet_with_odd_descriptors(Context& context) {
  Victimless forged{context, {}};
  Fd executable{open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  Fd directory{open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  Fd event{eventfd(0, EFD_CLOEXEC)};
  const int good[] = {executable.get(), directory.get(), STDERR_FILENO, STDERR_FILENO, event.get()};
  auto is_regular = [](const Fd& fd) {
    struct stat status {};
    return fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode);
  };
  for (Odd& odd : odd_descriptors(context)) {
    for (size_t place = 0; place < std::size(good); ++place) {
      std::vector<int> descriptors(std::begin(good), std::end(good));
      descriptors[place] = odd.fd.get();
      Peer peer(context.socket);
      HOSTILE_NEEDS(peer.connected());
      bool is_open = peer.open({.workers = place == 0 ? 1u : 0u, .worker_arguments = {}, .descriptors = descriptors});
      bool is_folder = strcmp(odd.what, "directory") == 0;
      // An executable must be a regular file and the working directory a directory; the others may be anything.
      if (place == 0 && is_open && !is_regular(odd.fd) && strcmp(odd.what, "O_PATH") != 0)
        forged.note(std::string("an executable: ") + odd.what);
      if (place == 1 && is_open && !is_folder) forged.note(std::string("a directory: ") + odd.what);
      if (place >= 2 && !is_open) forged.note(std::string("refused as a stream: ") + odd.what);
      if (place == 0 && is_open && !peer.expect(wire::Type::kSessionBroken, 3'000'000'000) && strcmp(odd.what, "O_PATH") != 0)
        forged.note(std::string("it was started: ") + odd.what);
    }
  }
  for (size_t count : {0u, 1u, 4u, 6u, 8u, 9u, 60u, 253u}) {
    Peer peer(context.socket);
    if (count == 0) {
      wire::Hello hello{};
      hello.pid = getpid();
      hello.argv_size = 1;
      peer.send(wire::Type::kHello, 1, hello);
    } else {
      std::vector<int> descriptors(count, event.get());
      (void)peer.say_hello({.workers = 0, .worker_arguments = {}, .descriptors = descriptors});
    }
    if (!peer.wait_for_end()) forged.note("HELLO with " + std::to_string(count) + " descriptors");
  }
  return forged.outcome(refused("or a stream of its own workers"));
}

// ---- Packets -----------------------------------------------------------------------------------

Outcome half_and_giant_packets(Context& context) {
  Victimless forged{context, {}};
  std::vector<std::byte> giant(200 * 1024);
  wire::Header header{wire::kMagic, wire::kVersion, static_cast<uint16_t>(wire::Type::kSlabRequest), 0, 0};
  for (size_t size : {size_t{1}, size_t{15}, size_t{16}, size_t{31}, size_t{33}, wire::kMessageSizeMax, wire::kMessageSizeMax + 1,
                      giant.size()}) {
    header.size = static_cast<uint32_t>(size);
    memcpy(giant.data(), &header, sizeof header);
    Peer peer(context.socket);
    HOSTILE_NEEDS(peer.open());
    int room = 1 << 20;
    setsockopt(peer.socket().get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (!peer.send_raw({giant.data(), size})) continue;  // the kernel's limit
    if (!peer.wait_for_end()) forged.note("a packet of " + std::to_string(size) + " bytes");
  }
  // A header that lies about its size, its version, its magic.
  for (int lie = 0; lie < 4; ++lie) {
    wire::Header bad{wire::kMagic, wire::kVersion, static_cast<uint16_t>(wire::Type::kSlabRequest), 32, 0};
    if (lie == 0) bad.magic ^= 1;
    if (lie == 1) bad.version ^= 0x8000;
    if (lie == 2) bad.size = UINT32_MAX;
    if (lie == 3) bad.type = 0xffff;
    std::byte bytes[32]{};
    memcpy(bytes, &bad, sizeof bad);
    forged.ends("a header that lies", [&bytes](Peer& peer) { peer.send_raw(bytes); });
  }
  forged.ends("a packet of nothing", [](Peer& peer) { send(peer.socket().get(), "", 0, MSG_NOSIGNAL); });
  return forged.outcome(refused());
}

// Every message there is, right in its header and random behind it.
Outcome random_messages(Context& context) {
  std::mt19937_64 random(20261125);
  for (int i = 0; i < 300; ++i) {
    Peer peer(context.socket);
    if (!peer.connected() || (i % 2 == 0 && !peer.open())) continue;
    for (int j = 0; j < 8; ++j) {
      std::vector<std::byte> bytes(16 + random() % 200);
      for (std::byte& each : bytes) each = static_cast<std::byte>(random() % 4 == 0 ? random() : 0);
      wire::Header header{wire::kMagic, wire::kVersion, static_cast<uint16_t>(1 + random() % 70),
                          static_cast<uint32_t>(bytes.size()), static_cast<uint32_t>(random())};
      memcpy(bytes.data(), &header, sizeof header);
      if (!peer.send_raw(bytes, {}, false)) break;
    }
    if (peer.protocol_broken()) return failed("tarnd broke the protocol");
  }
  return harmless("2400 of them");
}

// A tool of another user sees the numbers of the host and nothing of its sessions.
Outcome ask_about_others(Context& context) {
  for (const char* what : {"objects", "memory", "tasks", "workers", "sessions"}) {
    Peer peer(context.socket);
    wire::Hello hello{};
    hello.role = static_cast<uint32_t>(wire::Role::kTool);
    hello.pid = getpid();
    wire::Query query{};
    wire::set_text(query.what, what);
    HOSTILE_NEEDS(peer.send(wire::Type::kHello, 1, hello) && peer.send(wire::Type::kQuery, 2, query));
    auto reply = peer.answer(2);
    HOSTILE_NEEDS(reply.has_value() && reply->type == wire::Type::kReply);
    HOSTILE_REFUSED(reply->tail.find("\"session\":") == std::string::npos);
    HOSTILE_REFUSED(reply->tail.find("victim") == std::string::npos);
  }
  return refused("sees none of them");
}

constexpr Case kCases[] = {
    {"drop slabs of others", drop_slabs_of_others},
    {"RECOVERED for the living", recovered_of_the_living},
    {"messages that are another's to send", messages_of_others},
    {"sizes and nodes that cannot be", sizes_and_nodes},
    {"serial numbers that repeat or wrap", serial_tricks},
    {"FILE_SHARE of what is no file", share_what_is_no_file},
    {"FILE_SHARE of a file that shrinks", share_a_file_and_change_it},
    {"HELLO with odd descriptors", greet_with_odd_descriptors},
    {"half, giant and lying packets", half_and_giant_packets},
    {"random messages", random_messages},
    {"ask about sessions of others", ask_about_others, Case::Counter::kRoot},
};

}  // namespace

std::span<const Case> message_cases() { return kCases; }

}  // namespace tarn::hostile
