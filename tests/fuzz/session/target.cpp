// A client, its workers and even a confused spawn service may send tarnd any messages in any order.
// Whatever they are, tarnd must not fail an assertion or touch what is gone, every packet that it sends
// must be one of the protocol, and at the end it must have let go of every descriptor.
//
// They may also write anything into their shared memory. tarnd looks for objects there that can go to the disk while memory
// is short, as it soon is here; at the end nothing may be left on the disk either.
//
// The whole daemon runs here in one thread (but for the disk's), with this program as its client, its workers and its spawn
// service. Input: a script, one byte of operation each, followed by the bytes that the operation takes
// (0 once the input has ended).
#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include "../input.hpp"
#include "log.hpp"
#include "os/memory.hpp"
#include "os/process.hpp"
#include "os/clock.hpp"
#include "os/socket.hpp"
#include "shm/member_segment.hpp"
#include "store/object_record.hpp"
#include "tarn/tarn.h"
#include "tarnd.hpp"
#include "wire/validate.hpp"

namespace tarn::daemon {
namespace {

using fuzz::Input;
using fuzz::require;

size_t count_descriptors() {
  DIR* directory = opendir("/proc/self/fd");
  size_t count = 0;
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

struct Peer {
  Fd socket;
  uint64_t ticket = 0;
  uint32_t member = 0;  // as WELCOME told
  Fd segment;           // the same
  bool is_output = false;  // not a worker: it reads what they print
};

class World {
 public:
  World() : daemon_(loop_, small_config(), two_slots(), keeper_, true) {
    Fd theirs;
    require(os::socket_pair(spawn_, theirs) == 0, "socket pair");
    daemon_.use_spawn_service(std::move(theirs), [this] { daemon_.shut_down(); });
    Fd client;
    require(os::socket_pair(client_.socket, client) == 0, "socket pair");
    daemon_.serve_client(std::move(client));
  }

  void play(Input& input) {
    for (int steps = 0; !input.empty() && steps < 200; ++steps) {
      step(input);
      settle();
    }
  }

  // Ends as a private tarnd does when its client is gone and the service has reported all deaths.
  void end() {
    client_.socket.reset();
    client_.segment.reset();
    settle();
    for (auto& [ticket, peer] : workers_) {
      peer.socket.reset();
      peer.segment.reset();
      report_exit(ticket, SIGKILL, 0);
    }
    settle();
    // What printed something is read to its end by a process that may have been started just now.
    for (auto& [ticket, peer] : workers_)
      if (peer.is_output) report_exit(ticket, SIGKILL, 0);
    settle();
    spawn_.reset();
    settle();
    require(daemon_.sessions().empty(), "sessions end with their client");
    for (int64_t deadline = os::deadline_after(10'000'000'000); !daemon_.has_closed_all() && os::now_ns() < deadline;)
      settle();
    require(daemon_.budget().used() == 0, "memory is given back");
    require(daemon_.disk().used() == 0, "the disk is given back");
  }

 private:
  static constexpr uint64_t kMemory = 6u << 20;
  static constexpr uint64_t kDisk = 1u << 20;
  static constexpr uint8_t kFirstOfDisk = 192;  // operation
  static constexpr uint32_t kRecords = 8;
  static constexpr uint64_t kObjectSize = 10 * os::kPageSize;

  static Config small_config() {
    Config config;
    config.memory_max = kMemory;
    config.spill_max = kDisk;
    config.session_slabs_max = 8;
    return config;
  }

  static SlotTable two_slots() {
    std::vector<Slot> slots(2);
    for (uint32_t i = 0; i < 2; ++i) {
      slots[i].number = i;
      slots[i].core = static_cast<int32_t>(i);
      slots[i].cpu_count = 1;
      slots[i].cpus[0] = 1u << i;
    }
    return SlotTable(std::move(slots));
  }

  void step(Input& input) {
    uint8_t operation = input.byte();
    if (operation >= kFirstOfDisk) return step_of_disk(operation, input);
    switch (operation % 12) {
      case 0:
        return say_hello(client_, wire::Role::kClient, input.byte());
      case 1:
        return say_hello(pick(input), static_cast<wire::Role>(input.byte() % 3), input.byte());
      case 2:
      case 3:
      case 4:
        return send_request(pick(input), input);
      case 5:
        return report_started(pick_ticket(input));
      case 6:
        return report_exit(pick_ticket(input), input.byte() % 65, input.byte());
      case 7:
        return report_failure(pick_ticket(input));
      case 8:
        return report_stop(pick_ticket(input), input.byte() % 2);
      case 9:
        return send_garbage(pick(input), input);
      case 10:
        pick(input).socket.reset();
        return;
      default:
        return start_all(input);
    }
  }

  void step_of_disk(uint8_t operation, Input& input) {
    switch (operation % 8) {
      case 0:
      case 1:
        return write_object(pick(input), input);
      case 2:
        return write_record(pick(input), input);
      case 3:
        return ask_for_slab(pick(input), input.byte());
      case 4:
        return wait_for_disk();
      case 5:
        return tell_place(pick(input), wire::Type::kRestore, input.byte());
      case 6:
        return tell_place(pick(input), wire::Type::kCopyDrop, input.byte());
      default:
        return write_word(pick(input), input);
    }
  }

  // A slab, so that there are places for objects; or, if memory is short, objects that leave.
  void ask_for_slab(Peer& peer, uint8_t pages) {
    wire::Buffer<64> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kSlabRequest, 7);
    message.body<wire::SlabRequest>() = {(1 + uint64_t{pages}) * 4 * os::kPageSize, -1, pages % 2u};
    transmit(peer.socket, message);
    settle();
    wait_for_disk();
  }

  void wait_for_disk() {
    for (int64_t deadline = os::deadline_after(20'000'000); !daemon_.has_closed_all() && os::now_ns() < deadline;) {
      settle();
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  // Says so of a place where an object was written.
  void tell_place(Peer& peer, wire::Type type, uint8_t which) {
    if (places_.empty()) return;
    wire::Buffer<64> buffer;
    wire::Builder message(buffer.bytes, type, 9);
    message.body<wire::Extent>() = places_[which % places_.size()];
    transmit(peer.socket, message);
  }

  static size_t offset_of_record(uint32_t index) {
    return offsetof(shm::MemberSegment, object_records) + index * sizeof(store::ObjectRecord);
  }

  template <class Value>
  static void poke(const Peer& peer, size_t at, const Value& value) {
    ssize_t size = pwrite(peer.segment.get(), &value, sizeof value, static_cast<off_t>(at));
    require(size == ssize_t{sizeof value}, "shared memory can be written");
  }

  void put(const Peer& peer, uint32_t index, const store::ObjectImage& words, uint32_t used) {
    if (!peer.segment.valid()) return;
    poke(peer, offset_of_record(index), words);
    poke(peer, offsetof(shm::MemberSegment, objects_used), used);
    store::ObjectPlace place = store::ObjectPlace::unpack(words.place);
    places_.push_back({peer.member, place.slab, place.offset});
  }

  // An object as an honest member makes it.
  void write_object(Peer& peer, Input& input) {
    uint32_t index = input.byte() % kRecords;
    uint8_t where = input.byte();
    store::ObjectImage words{};
    words.state = store::ObjectState{1u + where / 128, store::Phase::kSealed, 0}.pack();
    words.holders = store::holder_bit(peer.member);
    words.place = store::ObjectPlace{where % 4u, false, where / 4 % 8u * kObjectSize}.pack();
    words.size = kObjectSize;
    words.pins = index % 2 == 0 ? 0 : store::kRepeatable;
    put(peer, index, words, kRecords);
  }

  // Anything, preferably what is nearly right.
  void write_record(Peer& peer, Input& input) {
    const uint64_t sets[] = {store::holder_bit(peer.member), store::kDaemonHolder, store::kDead, store::dead_by(1),
                             store::kDaemonHolder | store::holder_bit(peer.member), 0, ~uint64_t{0}, input.byte()};
    const uint64_t pins[] = {0, 0, 0, 1, store::kAway, store::kDaemonHolder, store::kAway | 1, ~uint64_t{0}};
    const uint64_t sizes[] = {kObjectSize,          store::kStaysMax,   store::kStaysMax + 1,      store::kObjectSizeMax,
                              store::kObjectSizeMax + 1, ~uint64_t{0}, uint64_t{1} << 63, input.number() * os::kPageSize};
    uint32_t index = input.byte() % kRecords;
    uint8_t which = input.byte();
    uint8_t more = input.byte();
    store::ObjectImage words{};
    words.state = store::ObjectState{which % 4u, static_cast<store::Phase>(more % 8 == 0 ? more : 3), 0}.pack();
    words.holders = sets[which / 4 % 8];
    words.pins = pins[which / 32];
    words.size = sizes[more / 8 % 8];
    words.meta_size = more >= 192 ? ~0u : more >= 128 ? static_cast<uint32_t>(input.number() * 1024) : 0;
    words.used_at = input.byte();
    words.place = store::ObjectPlace{input.byte() % 5u, input.byte() % 16 == 15, input.number() * 512}.pack();
    words.link = input.byte();
    put(peer, index, words, input.byte() % 16 == 15 ? ~0u : kRecords);
  }

  // One word of a record, whatever it was: so its object is freed, pinned, or another while tarnd moves it.
  void write_word(Peer& peer, Input& input) {
    uint32_t index = input.byte() % kRecords;
    uint8_t which = input.byte() % 8;
    uint8_t bit = input.byte();
    uint64_t word = bit < 64 ? uint64_t{1} << bit : bit < 128 ? 0 : input.number();
    if (peer.segment.valid()) poke(peer, offset_of_record(index) + 8 * which, word);
  }

  Peer& pick(Input& input) {
    uint8_t choice = input.byte();
    if (choice % 3 == 0 || workers_.empty()) return client_;
    auto found = workers_.begin();
    std::advance(found, choice / 3 % workers_.size());
    return found->second;
  }

  // One that there is, or none: 0, and one that nobody has been given.
  uint64_t pick_ticket(Input& input) {
    size_t choice = input.byte() % (workers_.size() + 2);
    if (choice == 0) return 0;
    return choice > workers_.size() ? last_ticket_ + 1 : std::next(workers_.begin(), static_cast<ptrdiff_t>(choice) - 1)->first;
  }

  void transmit(const Fd& socket, wire::Builder& message, std::initializer_list<int> descriptors = {}) {
    if (socket.valid()) (void)os::socket_send(socket, message.finish(), {descriptors.begin(), descriptors.size()}, 0);
  }

  void say_hello(Peer& peer, wire::Role role, uint8_t variant) {
    wire::Buffer<1024> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kHello, 1);
    auto& hello = message.body<wire::Hello>();
    hello.role = static_cast<uint32_t>(role);
    hello.pid = getpid();
    hello.build_id_size = 1;
    hello.build_id[0] = (variant & 1) != 0 ? 1 : 0;
    if (role != wire::Role::kClient) return transmit(peer.socket, message);
    hello.build_id[0] = 0;
    hello.workers = variant % 4;
    hello.argv_size = 2;
    require(message.append("a", 2), "it fits");
    Fd executable{open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
    Fd directory{open("/", O_RDONLY | O_CLOEXEC)};
    Fd event{eventfd(0, EFD_CLOEXEC)};
    transmit(peer.socket, message, {executable.get(), directory.get(), 1, 2, event.get()});
  }

  void send_request(Peer& peer, Input& input) {
    wire::Buffer<1024> buffer;
    constexpr wire::Type kTypes[] = {wire::Type::kSlabRequest, wire::Type::kSlabRequest,
                                     wire::Type::kSlabDrop,    wire::Type::kFileShare,
                                     wire::Type::kGrow,        wire::Type::kRecovered,
                                     wire::Type::kReady,       wire::Type::kQuery,
                                     wire::Type::kGoodbye,     wire::Type::kTaskNames,
                                     wire::Type::kRestore,     wire::Type::kCopyDrop,
                                     wire::Type::kSubscribe,   wire::Type::kEndRun,
                                     wire::Type::kLogAsk,      wire::Type::kAwake,
                                     wire::Type::kStandIn,     wire::Type::kResourceWish,
                                     wire::Type::kMade};
    size_t choice = input.byte() % std::size(kTypes);
    wire::Type type = kTypes[choice];
    wire::Builder message(buffer.bytes, type, input.byte());
    switch (type) {
      case wire::Type::kSlabRequest:
        message.body<wire::SlabRequest>() = {1 + input.number() * 4096, -1, choice == 1 ? 1u : 0u};
        return transmit(peer.socket, message);
      case wire::Type::kSlabDrop: {
        uint8_t member = input.byte();
        message.body<wire::SlabId>() = {member == 0 ? peer.member : member, static_cast<uint32_t>(input.number())};
        return transmit(peer.socket, message);
      }
      case wire::Type::kStandIn:
        message.body<wire::StandIn>().rank = input.byte() % 5;
        return transmit(peer.socket, message);
      case wire::Type::kResourceWish: {
        auto& counts = message.body<wire::ResourceWish>().counts;
        for (uint32_t i = 0; i < 2; ++i) counts[i] = static_cast<uint32_t>(input.number());
        return transmit(peer.socket, message);
      }
      case wire::Type::kRestore:
      case wire::Type::kCopyDrop: {
        uint8_t member = input.byte();
        message.body<wire::Extent>() = {member == 0 ? peer.member : member, input.byte(), input.number() * 4096};
        return transmit(peer.socket, message);
      }
      case wire::Type::kMade: {
        auto& made = message.body<wire::Made>();
        if (!places_.empty()) made.place = places_[input.byte() % places_.size()];
        if (input.byte() % 8 == 0) {
          made.code = TARN_E_LOST;
          return transmit(peer.socket, message);
        }
        made.slab = input.byte();
        made.offset = input.number() * 4096;
        made.size = input.byte() % 4 != 0 ? kObjectSize : input.number() * 4096;
        return transmit(peer.socket, message);
      }
      case wire::Type::kEndRun:
        message.body<wire::EndRun>() = {1u + input.byte(), static_cast<uint32_t>(input.number()), input.byte(), 1u + input.byte() % 8};
        return transmit(peer.socket, message);
      case wire::Type::kSubscribe:
        message.body<wire::Subscribe>().mask = input.byte() & 0x1e;  // others are garbage
        return transmit(peer.socket, message);
      case wire::Type::kFileShare: {
        message.body<wire::SlabInfo>() = {0, 0, 1 + input.number(), -1, 1};
        Fd file{open(input.byte() % 4 != 0 ? "/proc/self/exe" : "/dev/null", O_RDONLY | O_CLOEXEC)};
        return transmit(peer.socket, message, {file.get()});
      }
      case wire::Type::kGrow:
        message.body<wire::Grow>() = {static_cast<uint32_t>(input.number() * 64), static_cast<uint32_t>(input.number()),
                                      static_cast<uint32_t>(input.number() * 64), 0};
        return transmit(peer.socket, message);
      case wire::Type::kRecovered:
        message.body<wire::MemberInfo>().member = input.byte();
        return transmit(peer.socket, message);
      case wire::Type::kTaskNames: {
        const std::array<char, 4> names{'a', static_cast<char>(input.byte()), '\0', '\0'};
        message.body<wire::TaskNames>().names_size = names.size();
        require(message.append(names.data(), names.size()), "it fits");
        return transmit(peer.socket, message);
      }
      case wire::Type::kLogAsk:
        message.body<wire::LogAsk>().session = input.byte() % 3;
        return transmit(peer.socket, message);
      case wire::Type::kQuery:
        wire::set_text(message.body<wire::Query>().what, input.byte() % 2 != 0 ? "status" : "workers");
        return transmit(peer.socket, message);
      default:
        return transmit(peer.socket, message);
    }
  }

  void send_garbage(Peer& peer, Input& input) {
    alignas(8) std::byte bytes[256]{};
    size_t size = 1 + input.byte() % sizeof bytes;
    for (size_t i = 0; i < size; ++i) bytes[i] = std::byte{input.byte()};
    if (peer.socket.valid()) (void)os::socket_send(peer.socket, {bytes, size}, {}, 0);
  }

  void report_started(uint64_t ticket) {
    if (ticket == 0) return;
    wire::Buffer<64> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kSpawned, 0);
    auto& body = message.body<wire::Spawned>();
    body.ticket = ticket;
    body.pid = 1000 + static_cast<int32_t>(ticket);
    Fd pidfd;
    require(os::pidfd_open(getpid(), pidfd) == 0, "pidfd");
    transmit(spawn_, message, {pidfd.get()});
  }

  void report_exit(uint64_t ticket, int signal, int status) {
    if (ticket == 0) return;
    wire::Buffer<64> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kExited, 0);
    message.body<wire::Exited>() = {ticket, 5, signal, status, 0};
    transmit(spawn_, message);
  }

  void report_failure(uint64_t ticket) {
    if (ticket == 0) return;
    wire::Buffer<512> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kSpawnFailed, 0);
    auto& body = message.body<wire::SpawnFailed>();
    body.ticket = ticket;
    body.error = 2;
    transmit(spawn_, message);
  }

  void report_stop(uint64_t ticket, uint32_t stopped) {
    if (ticket == 0) return;
    wire::Buffer<64> buffer;
    wire::Builder message(buffer.bytes, wire::Type::kStopped, 0);
    message.body<wire::Exited>() = {ticket, 5, 0, 0, stopped};
    transmit(spawn_, message);
  }

  // The usual beginning, so that scripts need not discover it.
  void start_all(Input& input) {
    say_hello(client_, wire::Role::kClient, input.byte());
    settle();
    for (auto& [ticket, peer] : workers_) report_started(ticket);
    for (auto& [ticket, peer] : workers_) say_hello(peer, wire::Role::kWorker, 0);
    settle();
    wire::Buffer<64> buffer;
    wire::Builder ready(buffer.bytes, wire::Type::kReady, 0);
    for (auto& [ticket, peer] : workers_) transmit(peer.socket, ready);
  }

  // Lets tarnd and its peers take all that was sent, until nothing moves.
  void settle() {
    for (bool moved = true; moved;) {
      moved = loop_.run_ready();
      moved |= read_all(client_.socket, wire::From::kDaemon, &client_);
      for (auto& [ticket, peer] : workers_)
        moved |= read_all(peer.socket, peer.is_output ? wire::From::kDaemonToOutput : wire::From::kDaemon, &peer);
      moved |= read_all(spawn_, wire::From::kDaemonToSpawn, nullptr);
    }
  }

  bool read_all(Fd& socket, wire::From from, Peer* peer) {
    bool any = false;
    while (socket.valid()) {
      os::Received received;
      int r = os::socket_receive(socket, incoming_.bytes, received, 0);
      if (r == os::kWouldBlock) break;
      any = true;
      if (r < 0 || received.size == 0) {
        socket.reset();
        break;
      }
      wire::Packet packet;
      require(wire::parse({incoming_.bytes, received.size}, received.descriptor_count, from, packet) == 0,
              "tarnd sends only messages of the protocol");
      if (packet.type == wire::Type::kSpawn) {
        last_ticket_ = packet.as<wire::Spawn>().ticket;
        Peer worker;
        worker.socket = std::move(received.descriptors[4]);
        worker.ticket = last_ticket_;
        auto argv = packet.tail.subspan(packet.as<wire::Spawn>().group_count * sizeof(uint32_t));
        worker.is_output = std::string_view(reinterpret_cast<const char*>(argv.data())) == "tarn-output";
        // Every other one prints something at once. That may fail: the session then has ended.
        if (!worker.is_output && last_ticket_ % 2 == 0) (void)!write(received.descriptors[2].get(), "x", 1);
        pending_.emplace_back(std::move(worker));
      }
      if (packet.type == wire::Type::kWelcome) {
        peer->member = packet.as<wire::Welcome>().member;
        peer->segment = std::move(received.descriptors[1]);
      }
    }
    for (Peer& worker : pending_) workers_.emplace(worker.ticket, std::move(worker));
    pending_.clear();
    return any;
  }

  Loop loop_;
  Keeper keeper_{0};
  Tarnd daemon_;
  Fd spawn_;
  Peer client_;
  std::map<uint64_t, Peer> workers_;
  std::vector<Peer> pending_;
  std::vector<wire::Extent> places_;  // where somebody wrote that an object lies
  uint64_t last_ticket_ = 0;
  wire::Buffer<wire::kMessageSizeMax> incoming_;
};

}  // namespace
}  // namespace tarn::daemon

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tarn::daemon;
  set_log_level(static_cast<Level>(0));
  size_t before = count_descriptors();
  {
    auto world = std::make_unique<World>();
    tarn::fuzz::Input input(data, size);
    world->play(input);
    world->end();
  }
  tarn::fuzz::require(count_descriptors() == before, "no descriptor is left");
  return 0;
}
