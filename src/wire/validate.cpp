#include "wire/validate.hpp"

#include <bit>

#include "base/error.hpp"
#include "base/error_info.hpp"
#include "tarn/tarn.h"

namespace tarn::wire {
namespace {

// Layout of what leaves the process: these numbers are the protocol (docs/formats/wire.md).
static_assert(sizeof(Hello) == 120 && offsetof(Hello, build_id) == 32 && offsetof(Hello, name) == 56);
static_assert(sizeof(Welcome) == 72 && offsetof(Welcome, session) == 16 &&
              offsetof(Welcome, keep_free_mib) == 60);
static_assert(sizeof(LogAsk) == 8 && sizeof(Log) == 16 && sizeof(OutputBegin) == 24 && sizeof(OutputWorker) == 16);
static_assert(sizeof(Refused) == 768 && sizeof(SlabRefused) == 768 && sizeof(Broken) == 512);
static_assert(sizeof(SlabRequest) == 16 && sizeof(SlabId) == 8 && sizeof(SlabWarm) == 8 && sizeof(EndRun) == 16 && sizeof(StandIn) == 8 && sizeof(ResourceWish) == 64 &&
              sizeof(Resume) == 8);
static_assert(sizeof(Subscribe) == 8 && sizeof(Event) == 32 && offsetof(Event, bytes) == 16);
static_assert(sizeof(SlabInfo) == 24 && offsetof(SlabInfo, size) == 8 && offsetof(SlabInfo, is_file) == 20);
static_assert(sizeof(Grow) == 16 && sizeof(Query) == 40 && sizeof(TaskNames) == 8 &&
              sizeof(Reply) == 8);
static_assert(sizeof(MemberInfo) == 40 && offsetof(MemberInfo, segment_size) == 24);
static_assert(sizeof(Spawn) == 160 && offsetof(Spawn, cpus) == 32);
static_assert(sizeof(Spawned) == 16 && sizeof(SpawnFailed) == 256 && sizeof(Exited) == 24 && sizeof(Kill) == 16);
static_assert(sizeof(Header) + sizeof(Spawn) + kGroupsMax * 4 + kArgumentsSizeMax <= kMessageSizeMax);
static_assert(sizeof(Header) + sizeof(SlabRefused) <= kToMemberSizeMax);

constexpr int32_t kNodeMax = 1023;
static_assert(kOwnNode == TARN_NODE_NONE && kAllNodes == TARN_NODE_ALL);
constexpr uint32_t kRecordsMax = 1u << 22;  // of a kind in one segment: more than any index can name
constexpr int32_t kSignalMax = 64;
constexpr uint32_t kObjectEvents = TARN_EVENT_SPILLED | TARN_EVENT_RESTORED;  // that tarnd sends
// A client that asked for FREED is woken when tarnd was the last to hold something.
constexpr uint32_t kSubscribable = kObjectEvents | TARN_EVENT_PRESSURE | TARN_EVENT_FREED;

// A message as it is looked at. Each `check` sets `why` to the first field that is wrong.
struct Candidate {
  const Packet& packet;
  size_t descriptor_count;
  const char* why = nullptr;

  bool check(bool holds, const char* field) {
    if (!holds && why == nullptr) why = field;
    return holds;
  }
  void descriptors(size_t count) { check(descriptor_count == count, "number of descriptors"); }
  void tail(uint64_t size) { check(packet.tail.size() == size, "size"); }
};

template <size_t Size>
bool ends_inside(const char (&field)[Size]) {
  return memchr(field, 0, Size) != nullptr;
}

template <class T, size_t Size>
bool is_zero(const T (&field)[Size], size_t from = 0) {
  for (size_t i = from; i < Size; ++i)
    if (field[i] != 0) return false;
  return true;
}

bool is_strings(std::span<const std::byte> bytes) { return bytes.empty() || bytes.back() == std::byte{0}; }

bool is_node(int32_t node) { return node >= kOwnNode && node <= kNodeMax; }
bool is_placement(int32_t node) { return is_node(node) || node == kAllNodes; }
bool is_error(int32_t code) { return error_info(code) != nullptr && code < 0; }
bool is_signal(int32_t signal) { return signal >= 0 && signal <= kSignalMax; }
bool is_exit_status(int32_t status) { return status >= 0 && status <= 255; }

// argv and environment behind `skip` other bytes of the tail.
void check_arguments(Candidate& c, uint64_t skip, uint32_t argv_size, uint32_t environment_size) {
  if (!c.check(uint64_t{argv_size} + environment_size <= kArgumentsSizeMax, "argv_size, environment_size")) return;
  c.tail(skip + argv_size + environment_size);
  if (c.why != nullptr) return;
  c.check(is_strings(c.packet.tail.subspan(skip, argv_size)), "argv");
  c.check(is_strings(c.packet.tail.subspan(skip + argv_size, environment_size)), "environment");
}

void check_hello(Candidate& c) {
  const auto& m = c.packet.as<Hello>();
  c.check(m.role <= static_cast<uint32_t>(Role::kTool), "role");
  c.check(m.workers <= kMemberIndexMax - 1, "workers");
  c.check((m.flags & ~uint32_t{TARN_INIT_NO_WORKERS}) == 0, "flags");
  c.check(m.pid > 0, "pid");
  if (c.check(m.build_id_size <= kBuildIdSize, "build_id_size"))
    c.check(is_zero(m.build_id, m.build_id_size), "build_id");
  c.check(is_zero(m.padding), "reserved");
  c.check(ends_inside(m.name), "name");
  check_arguments(c, 0, m.argv_size, m.environment_size);
  if (m.role == static_cast<uint32_t>(Role::kClient)) {
    c.check(m.argv_size > 0, "argv_size");
    c.check(m.output <= static_cast<uint32_t>(OutputMode::kNone), "output");
    c.descriptors(5);
  } else {
    c.check(m.workers == 0 && m.flags == 0 && m.output == 0, "workers, flags, output");
    c.check(m.argv_size == 0 && m.environment_size == 0, "argv_size, environment_size");
    c.descriptors(0);
  }
}

void check_welcome(Candidate& c) {
  const auto& m = c.packet.as<Welcome>();
  c.check(m.board_size > 0 && m.board_size <= kSizeMax, "board_size");
  c.check(m.segment_size > 0 && m.segment_size <= kSizeMax, "segment_size");
  c.check(m.member > 0 && m.member <= kMemberIndexMax, "member");
  c.check(m.workers < kMemberIndexMax, "workers");
  c.check(m.core >= -1, "core");
  c.check(is_node(m.node), "node");
  c.check(m.daemon_pid > 0, "daemon_pid");
  c.check(m.is_private <= 1, "is_private");
  c.check(m.records_ready <= kRecordsMax, "records_ready");
  c.check(m.output_is_read <= 1, "output_is_read");
  c.check(m.rank < kRanksMax, "rank");
  c.descriptors(2);
}

void check_slab_id(Candidate& c) {
  const auto& m = c.packet.as<SlabId>();
  c.check(m.member > 0 && m.member <= kMemberIndexMax, "member");
  c.check(m.slab <= kSlabNumberMax, "slab");
  c.descriptors(0);
}

void check_extent(Candidate& c, const Extent& m) {
  c.check(m.member > 0 && m.member <= kMemberIndexMax, "member");
  c.check(m.slab <= kSlabNumberMax, "slab");
  c.check(m.offset < kSizeMax, "offset");
  c.descriptors(0);
}

void check_made(Candidate& c) {
  const auto& m = c.packet.as<Made>();
  check_extent(c, m.place);
  c.check(m.code <= 0 && (m.code == 0 || (m.slab == 0 && m.offset == 0 && m.size == 0)), "code");
  c.check(m.slab <= kSlabNumberMax, "slab");
  c.check(m.offset < kSizeMax && m.size <= kSizeMax, "offset, size");
}

void check_event(Candidate& c) {
  const auto& m = c.packet.as<Event>();
  bool is_pressure = m.kind == TARN_EVENT_PRESSURE;
  c.check(is_pressure || ((m.kind & kObjectEvents) == m.kind && std::has_single_bit(m.kind)), "kind");
  c.check(m.is_over <= (is_pressure ? 1u : 0u), "is_over");
  c.check(!is_pressure || m.id == 0, "id");
  c.check((m.generation == 0) == is_pressure, "generation");
  c.check(m.bytes <= kSizeMax, "bytes");
  c.descriptors(0);
}

void check_slab_info(Candidate& c, bool is_share) {
  const auto& m = c.packet.as<SlabInfo>();
  if (is_share) {
    c.check(m.member == 0 && m.slab == 0 && m.is_file == 1, "member, slab, is_file");
  } else {
    c.check(m.member > 0 && m.member <= kMemberIndexMax, "member");
    c.check(m.slab <= kSlabNumberMax, "slab");
    c.check(m.is_file <= 1, "is_file");
  }
  c.check(m.size > 0 && m.size <= kSizeMax, "size");
  c.check(m.is_file == 0 ? is_placement(m.node) : is_node(m.node), "node");
  c.descriptors(1);
}

void check_member(Candidate& c) {
  const auto& m = c.packet.as<MemberInfo>();
  Type type = c.packet.type;
  bool added = type == Type::kMemberAdded;
  bool died = type == Type::kMemberDied;
  c.check(m.member > 0 && m.member <= kMemberIndexMax, "member");
  c.check(added || died ? m.pid > 0 : m.pid == 0, "pid");
  c.check(died ? is_signal(m.signal) : m.signal == 0, "signal");
  c.check(died ? is_exit_status(m.exit_status) : m.exit_status == 0, "exit_status");
  c.check(m.recover <= (died ? 1u : 0u), "recover");
  c.check(added ? m.segment_size > 0 && m.segment_size <= kSizeMax : m.segment_size == 0, "segment_size");
  c.check(added || m.number == 0, "number");
  c.check(m.reserved == 0, "reserved");
  c.descriptors(!added ? 0 : m.member == 1 ? 2 : 1);
}

void check_spawn(Candidate& c) {
  const auto& m = c.packet.as<Spawn>();
  c.check(m.ticket != 0, "ticket");
  c.check(m.uid != UINT32_MAX && m.gid != UINT32_MAX, "uid, gid");
  c.check(m.argv_size > 0, "argv_size");
  uint32_t cpus = 0;
  for (uint64_t word : m.cpus) cpus += static_cast<uint32_t>(std::popcount(word));
  c.check(m.cpu_count == cpus, "cpu_count");
  if (c.check(m.group_count <= kGroupsMax, "group_count"))
    check_arguments(c, m.group_count * uint64_t{4}, m.argv_size, m.environment_size);
  c.descriptors(5);
}

void check_output_begin(Candidate& c) {
  const auto& m = c.packet.as<OutputBegin>();
  auto mode = static_cast<OutputMode>(m.mode);
  c.check(m.board_size > 0 && m.board_size <= kSizeMax, "board_size");
  c.check(m.log_size <= kSizeMax, "log_size");
  c.check(mode == OutputMode::kPrefixed || mode == OutputMode::kPlain || mode == OutputMode::kNone, "mode");
  if (c.check(m.names_size <= kTaskNamesSizeMax, "names_size")) c.tail(m.names_size);
  if (c.why == nullptr) c.check(is_strings(c.packet.tail), "names");
  c.descriptors(m.log_size == 0 ? 1 : 2);
}

void check_output_worker(Candidate& c) {
  const auto& m = c.packet.as<OutputWorker>();
  c.check(m.member > 0 && m.member <= kMemberIndexMax, "member");
  c.check(m.lane < kMemberIndexMax, "lane");
  c.check(m.pid > 0, "pid");
  c.descriptors(c.packet.type == Type::kOutputWorker ? 2 : 0);
}

// Everything behind the header.
void check_body(Candidate& c) {
  const Packet& p = c.packet;
  switch (p.type) {
    case Type::kHello:
      return check_hello(c);
    case Type::kWelcome:
      return check_welcome(c);
    case Type::kSlabReady:
    case Type::kSlabDrop:
    case Type::kSlabDropped:
      return check_slab_id(c);
    case Type::kFileShare:
      return check_slab_info(c, true);
    case Type::kSlabComing:
    case Type::kSlabGranted:
    case Type::kSlabAdded:
      return check_slab_info(c, false);
    case Type::kEndRun: {
      const auto& m = p.as<EndRun>();
      c.check(m.member > 0 && m.member <= kMemberIndexMax, "member");
      c.check(m.owner > 0 && m.owner <= kMemberIndexMax, "owner");
      return c.descriptors(0);
    }
    case Type::kStandIn:
      c.check(p.as<StandIn>().rank > 0 && p.as<StandIn>().rank < kRanksMax, "rank");
      return c.descriptors(0);
    case Type::kResourceWish:
      return c.descriptors(0);
    case Type::kSlabWarm: {
      uint64_t bytes = p.as<SlabWarm>().bytes;
      c.check(bytes > 0 && bytes <= kSizeMax, "bytes");
      return c.descriptors(0);
    }
    case Type::kRecovered:
    case Type::kMemberAdded:
    case Type::kMemberDied:
    case Type::kMemberGone:
      return check_member(c);
    case Type::kSpawn:
      return check_spawn(c);
    case Type::kSlabRequest: {
      const auto& m = p.as<SlabRequest>();
      c.check(m.size > 0 && m.size <= kSizeMax, "size");
      c.check(is_placement(m.node), "node");
      c.check(m.how <= kSlabGenerous, "how");
      return c.descriptors(0);
    }
    case Type::kGrow:
    case Type::kGrown: {
      const auto& m = p.as<Grow>();
      c.check(m.records <= kRecordsMax && m.objects <= kRecordsMax && m.edges <= kRecordsMax, "records, objects, edges");
      c.check(m.graph_pages <= kRecordsMax, "graph_pages");
      return c.descriptors(0);
    }
    case Type::kReady:
    case Type::kAwake:
    case Type::kGoodbye:
    case Type::kResumed:
    case Type::kCurrent:
    case Type::kRollCall:
    case Type::kRollCallEnd:
    case Type::kWake:
    case Type::kReclaim:
    case Type::kRestored:
      return c.descriptors(0);
    case Type::kResume:
      c.check(p.as<Resume>().daemon_pid > 0, "daemon_pid");
      return c.descriptors(0);
    case Type::kRestore:
    case Type::kCopyDrop:
      return check_extent(c, p.as<Extent>());
    case Type::kMade:
      return check_made(c);
    case Type::kMake: {
      const auto& m = p.as<Make>();
      c.check(m.how == static_cast<uint32_t>(MakeHow::kYou) ||
                  m.how == static_cast<uint32_t>(MakeHow::kOther),
              "how");
      c.check(m.reserved == 0, "reserved");
      return c.descriptors(0);
    }
    case Type::kEvent:
      return check_event(c);
    case Type::kSubscribe: {
      const auto& m = p.as<Subscribe>();
      c.check((m.mask & ~kSubscribable) == 0, "mask");
      c.check(m.reserved == 0, "reserved");
      return c.descriptors(0);
    }
    case Type::kLogAsk: {
      c.check(p.as<LogAsk>().reserved == 0, "reserved");
      return c.descriptors(0);
    }
    case Type::kLog: {
      const auto& m = p.as<Log>();
      c.check(m.size <= kSizeMax, "size");
      c.check(m.reserved == 0, "reserved");
      return c.descriptors(m.size == 0 ? 0 : 1);
    }
    case Type::kTraceAsk: {
      const auto& m = p.as<TraceAsk>();
      c.check(m.events_log2 <= kTraceEventsLog2Max, "events_log2");
      c.check(m.for_ns >= 0, "for_ns");
      return c.descriptors(0);
    }
    case Type::kTrace: {
      const auto& m = p.as<Trace>();
      c.check(m.board_size > 0 && m.board_size <= kSizeMax, "board_size");
      c.check(m.events_log2 <= kTraceEventsLog2Max, "events_log2");
      c.check(m.reserved == 0, "reserved");
      return c.descriptors(1);
    }
    case Type::kOutputBegin:
      return check_output_begin(c);
    case Type::kOutputWorker:
    case Type::kOutputEnd:
      return check_output_worker(c);
    case Type::kQuery: {
      const auto& m = p.as<Query>();
      c.check(ends_inside(m.what), "what");
      c.check(m.reserved == 0, "reserved");
      return c.descriptors(0);
    }
    case Type::kTaskNames: {
      const auto& m = p.as<TaskNames>();
      if (c.check(m.names_size > 0 && m.names_size <= kTaskNamesSizeMax, "names_size"))
        c.tail(m.names_size);
      if (c.why == nullptr) c.check(is_strings(p.tail), "names");
      c.check(m.reserved == 0, "reserved");
      return c.descriptors(0);
    }
    case Type::kReply: {
      const auto& m = p.as<Reply>();
      c.check(m.more <= 1, "more");
      if (c.check(m.text_size <= kReplyTextMax, "text_size")) c.tail(m.text_size);
      return c.descriptors(0);
    }
    case Type::kRefused: {
      const auto& m = p.as<Refused>();
      c.check(is_error(m.code), "code");
      c.check(ends_inside(m.text), "text");
      return c.descriptors(0);
    }
    case Type::kSlabRefused: {
      const auto& m = p.as<SlabRefused>();
      c.check(is_error(m.code), "code");
      c.check(m.reserved == 0, "reserved");
      c.check(ends_inside(m.text), "text");
      return c.descriptors(0);
    }
    case Type::kSessionBroken: {
      const auto& m = p.as<Broken>();
      c.check(m.code == 0 || is_error(m.code), "code");
      c.check(m.reserved == 0, "reserved");
      c.check(ends_inside(m.text), "text");
      return c.descriptors(0);
    }
    case Type::kKill: {
      const auto& m = p.as<Kill>();
      c.check(m.ticket != 0, "ticket");
      c.check(m.signal > 0 && is_signal(m.signal), "signal");
      c.check(m.reserved == 0, "reserved");
      return c.descriptors(0);
    }
    case Type::kWeigh: {
      const auto& m = p.as<Weigh>();
      c.check(m.ticket != 0, "ticket");
      c.check(m.nice <= kNiceMax, "nice");
      c.check(m.reserved == 0, "reserved");
      return c.descriptors(0);
    }
    case Type::kSpawned: {
      const auto& m = p.as<Spawned>();
      c.check(m.ticket != 0, "ticket");
      c.check(m.pid > 0, "pid");
      c.check(m.reserved == 0, "reserved");
      return c.descriptors(1);
    }
    case Type::kSpawnFailed: {
      const auto& m = p.as<SpawnFailed>();
      c.check(m.ticket != 0, "ticket");
      c.check(m.error > 0, "error");
      c.check(ends_inside(m.text), "text");
      return c.descriptors(0);
    }
    case Type::kExited:
    case Type::kStopped: {
      const auto& m = p.as<Exited>();
      c.check(m.ticket != 0, "ticket");
      c.check(m.pid > 0, "pid");
      c.check(is_signal(m.signal), "signal");
      c.check(is_exit_status(m.exit_status), "exit_status");
      c.check(m.stopped <= (p.type == Type::kStopped ? 1u : 0u), "stopped");
      return c.descriptors(0);
    }
  }
}

struct Shape {
  Type type;
  From from;
  size_t body_size;
  bool has_tail;
  const char* name;
};

constexpr Shape kShapes[] = {
    {Type::kHello, From::kMember, sizeof(Hello), true, "HELLO"},
    {Type::kSlabRequest, From::kMember, sizeof(SlabRequest), false, "SLAB_REQUEST"},
    {Type::kFileShare, From::kMember, sizeof(SlabInfo), false, "FILE_SHARE"},
    {Type::kGrow, From::kMember, sizeof(Grow), false, "GROW"},
    {Type::kRecovered, From::kMember, sizeof(MemberInfo), false, "RECOVERED"},
    {Type::kReady, From::kMember, 0, false, "READY"},
    {Type::kSlabDrop, From::kMember, sizeof(SlabId), false, "SLAB_DROP"},
    {Type::kQuery, From::kMember, sizeof(Query), false, "QUERY"},
    {Type::kGoodbye, From::kMember, 0, false, "GOODBYE"},
    {Type::kTaskNames, From::kMember, sizeof(TaskNames), true, "TASK_NAMES"},
    {Type::kRestore, From::kMember, sizeof(Extent), false, "RESTORE"},
    {Type::kCopyDrop, From::kMember, sizeof(Extent), false, "COPY_DROP"},
    {Type::kSubscribe, From::kMember, sizeof(Subscribe), false, "SUBSCRIBE"},
    {Type::kEndRun, From::kMember, sizeof(EndRun), false, "END_RUN"},
    {Type::kResumed, From::kMember, 0, false, "RESUMED"},
    {Type::kStandIn, From::kMember, sizeof(StandIn), false, "STAND_IN"},
    {Type::kResourceWish, From::kMember, sizeof(ResourceWish), false, "RESOURCE_WISH"},
    {Type::kLogAsk, From::kMember, sizeof(LogAsk), false, "LOG_ASK"},
    {Type::kTraceAsk, From::kMember, sizeof(TraceAsk), false, "TRACE_ASK"},
    {Type::kAwake, From::kMember, 0, false, "AWAKE"},
    {Type::kMade, From::kMember, sizeof(Made), false, "MADE"},
    {Type::kWelcome, From::kDaemon, sizeof(Welcome), false, "WELCOME"},
    {Type::kRefused, From::kDaemon, sizeof(Refused), false, "REFUSED"},
    {Type::kMemberAdded, From::kDaemon, sizeof(MemberInfo), false, "MEMBER_ADDED"},
    {Type::kMemberDied, From::kDaemon, sizeof(MemberInfo), false, "MEMBER_DIED"},
    {Type::kMemberGone, From::kDaemon, sizeof(MemberInfo), false, "MEMBER_GONE"},
    {Type::kSlabGranted, From::kDaemon, sizeof(SlabInfo), false, "SLAB_GRANTED"},
    {Type::kSlabAdded, From::kDaemon, sizeof(SlabInfo), false, "SLAB_ADDED"},
    {Type::kSlabReady, From::kDaemon, sizeof(SlabId), false, "SLAB_READY"},
    {Type::kSlabDropped, From::kDaemon, sizeof(SlabId), false, "SLAB_DROPPED"},
    {Type::kSlabRefused, From::kDaemon, sizeof(SlabRefused), false, "SLAB_REFUSED"},
    {Type::kGrown, From::kDaemon, sizeof(Grow), false, "GROWN"},
    {Type::kSessionBroken, From::kDaemon, sizeof(Broken), false, "SESSION_BROKEN"},
    {Type::kReply, From::kDaemon, sizeof(Reply), true, "REPLY"},
    {Type::kWake, From::kDaemon, 0, false, "WAKE"},
    {Type::kReclaim, From::kDaemon, 0, false, "RECLAIM"},
    {Type::kRestored, From::kDaemon, 0, false, "RESTORED"},
    {Type::kEvent, From::kDaemon, sizeof(Event), false, "EVENT"},
    {Type::kSlabComing, From::kDaemon, sizeof(SlabInfo), false, "SLAB_COMING"},
    {Type::kSlabWarm, From::kDaemon, sizeof(SlabWarm), false, "SLAB_WARM"},
    {Type::kResume, From::kDaemon, sizeof(Resume), false, "RESUME"},
    {Type::kCurrent, From::kDaemon, 0, false, "CURRENT"},
    {Type::kLog, From::kDaemon, sizeof(Log), false, "LOG"},
    {Type::kTrace, From::kDaemon, sizeof(Trace), false, "TRACE"},
    {Type::kMake, From::kDaemon, sizeof(Make), false, "MAKE"},
    {Type::kSpawn, From::kDaemonToSpawn, sizeof(Spawn), true, "SPAWN"},
    {Type::kKill, From::kDaemonToSpawn, sizeof(Kill), false, "KILL"},
    {Type::kWeigh, From::kDaemonToSpawn, sizeof(Weigh), false, "WEIGH"},
    {Type::kRollCall, From::kDaemonToSpawn, 0, false, "ROLL_CALL"},
    {Type::kSpawned, From::kSpawn, sizeof(Spawned), false, "SPAWNED"},
    {Type::kSpawnFailed, From::kSpawn, sizeof(SpawnFailed), false, "SPAWN_FAILED"},
    {Type::kExited, From::kSpawn, sizeof(Exited), false, "EXITED"},
    {Type::kStopped, From::kSpawn, sizeof(Exited), false, "STOPPED"},
    {Type::kRollCallEnd, From::kSpawn, 0, false, "ROLL_CALL_END"},
    {Type::kOutputBegin, From::kDaemonToOutput, sizeof(OutputBegin), true, "OUTPUT_BEGIN"},
    {Type::kOutputWorker, From::kDaemonToOutput, sizeof(OutputWorker), false, "OUTPUT_WORKER"},
    {Type::kOutputEnd, From::kDaemonToOutput, sizeof(OutputWorker), false, "OUTPUT_END"},
};

const Shape* find_shape(uint16_t type) {
  for (const Shape& shape : kShapes)
    if (static_cast<uint16_t>(shape.type) == type) return &shape;
  return nullptr;
}

}  // namespace

int parse(std::span<const std::byte> bytes, size_t descriptor_count, From from, Packet& out) {
  TARN_ASSERT(reinterpret_cast<uintptr_t>(bytes.data()) % 8 == 0);
  Header header;
  if (bytes.size() < sizeof header)
    return fail(TARN_E_PROTOCOL, "a message of %zu bytes is shorter than its header", bytes.size());
  memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic) return fail(TARN_E_PROTOCOL, "a message does not begin with Tarn's magic number");
  if (header.version != kVersion)
    return fail(TARN_E_VERSION, "the other side speaks version %u of the protocol, this one version %u",
                header.version, kVersion);
  const Shape* shape = find_shape(header.type);
  if (shape == nullptr || shape->from != from)
    return fail(TARN_E_PROTOCOL, "message type %u is not one that the other side may send", header.type);
  if (header.size != bytes.size() || bytes.size() < sizeof header + shape->body_size ||
      (!shape->has_tail && bytes.size() != sizeof header + shape->body_size))
    return fail(TARN_E_PROTOCOL, "%s: a message of %zu bytes has the wrong size", shape->name, bytes.size());

  Packet packet;
  packet.type = shape->type;
  packet.serial = header.serial;
  packet.body = bytes.data() + sizeof header;
  packet.body_size = shape->body_size;
  packet.tail = bytes.subspan(sizeof header + shape->body_size);
  Candidate candidate{packet, descriptor_count};
  check_body(candidate);
  if (candidate.why != nullptr) return fail(TARN_E_PROTOCOL, "%s: wrong %s", shape->name, candidate.why);
  out = packet;
  return 0;
}

const char* type_name(Type type) {
  const Shape* shape = find_shape(static_cast<uint16_t>(type));
  return shape == nullptr ? "?" : shape->name;
}

}  // namespace tarn::wire
