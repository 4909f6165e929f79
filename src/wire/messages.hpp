// Messages: what tarnd says to clients, workers and the spawn service, and they to it.
//
// One message is one SOCK_SEQPACKET packet: a Header, the struct of its type, and a tail whose length
// the struct tells. Descriptors travel beside it (SCM_RIGHTS) in the order that the comment names.
// docs/formats/wire.md has the grammar, the order of messages and an example.
//
// Every field of every message is hostile until wire/validate.hpp has accepted it: the packet is
// received into private memory once, checked there, and used from there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tarn::wire {

inline constexpr uint32_t kMagic = 0x4e524154;  // "TARN"
inline constexpr uint16_t kVersion = 1;
inline constexpr size_t kMessageSizeMax = 128 * 1024;
inline constexpr size_t kToMemberSizeMax = 1024;  // of what tarnd sends to clients and workers (not tools)
inline constexpr size_t kArgumentsSizeMax = 120 * 1024;  // argv and environment of a worker together
inline constexpr size_t kTaskNamesSizeMax = 64 * 1024;   // of all that a client tells
inline constexpr size_t kReplyTextMax = 32 * 1024;
inline constexpr size_t kDescriptorsMax = 8;
inline constexpr uint32_t kGroupsMax = 1024;  // supplementary groups of a user
inline constexpr uint32_t kMemberIndexMax = 255;
inline constexpr uint32_t kRanksMax = 4;     // workers of a slot: one, and its stand-ins
inline constexpr uint32_t kSlabNumberMax = (1u << 16) - 2;  // of the slabs and files that one member owns; the last means none
inline constexpr uint64_t kSizeMax = uint64_t{1} << 46;     // of a slab or file
inline constexpr size_t kNameSizeMax = 64;
inline constexpr size_t kBuildIdSize = 20;

enum class Type : uint16_t {
  // Member (client or worker) to tarnd.
  kHello = 1,        // descriptors: client: executable, working directory, stdout, stderr, eventfd
  kSlabRequest = 2,  //
  kFileShare = 4,    // descriptors: the file, opened read-only
  kGrow = 5,         // more of the own member segment, please
  kRecovered = 6,    // worker: the records of a dead member are settled
  kReady = 7,        // worker: serving from now on
  kSlabDrop = 8,  // owner: nothing in this slab is alive; or client: a dead member's slab is empty
  kQuery = 9,     // tools: answered by kReply, in pieces
  kGoodbye = 10,  // client: closing on purpose
  kTaskNames = 11,  // client: what its tasks are called, for the tools
  kRestore = 12,    // an object that is away shall come back; whoever asks has pinned it
  kCopyDrop = 13,   // owner: an object that is away was freed
  kSubscribe = 14,  // client: which events it wants to be sent
  kEndRun = 15,     // the process that runs a doomed task shall end
  kResumed = 16,    // the answer to kResume: from here on all that is said counts
  kLogAsk = 17,     // member: the log of its session's output; tools: that of any
  kStandIn = 18,    // worker: its slot is to have another one, which serves while it waits in a task
  kTraceAsk = 19,   // tools: the board of a session, and its members shall write events for a while
  kResourceWish = 20,  // worker: its session wants more of the host's resources than is lent to it (shm/resources.hpp)
  kAwake = 24,      // worker: woken up while its session was not watched (Board::unwatched)
  kMade = 25,       // worker: an object that was dropped is made again, and shall be copied to its place; or it could not
  // tarnd to member.
  kWelcome = 32,      // descriptors: board, own member segment
  kRefused = 33,      // instead of kWelcome; the connection ends
  kMemberAdded = 34,  // descriptors: its member segment; for member kClientMember also its eventfd
  kMemberDied = 35,   // no descriptor; to a worker this is an order to recover, if `recover` is set
  kMemberGone = 36,   // it was recovered; its index may be used again, its segment be unmapped
  kSlabGranted = 37,  // descriptors: the slab, for the owner to map read-write; the others have been told
  kSlabAdded = 38,    // descriptors: the slab or file, for all others to map read-only
  kSlabReady = 39,    // the answer to kFileShare: announced to all others
  kSlabDropped = 40,  // unmap it
  kSlabRefused = 41,  // no memory, quota, ...
  kGrown = 42,        //
  kSessionBroken = 43,  // workers cannot be started; tail: the reason
  kReply = 44,          // tail: a piece of JSON text
  kWake = 45,     // to the client: somebody died or was stopped who may have been about to wake it
  kReclaim = 46,  // somebody needs memory: drop the slabs in which nothing is alive
  kRestored = 47,  // the answer to kRestore and kMade; or kSlabRefused,
  kEvent = 48,     // to a client that asked for it
  kSlabComing = 49,  // before kSlabGranted of a large one: as that, but nothing may be touched beyond what kSlabWarm tells
  kSlabWarm = 50,    // how much of it has its pages
  kResume = 51,   // this is another tarnd than before: what it was asked and has not answered shall be asked again. What
                  // there is follows (kMemberAdded, kSlabAdded, kSlabGranted, kMemberDied), known to the receiver or not,
  kCurrent = 52,  // and that was all: what was not among it is gone
  kLog = 53,      // the answer to kLogAsk; descriptors: the log, for reading, if there is one
  kTrace = 54,    // the answer to kTraceAsk; descriptors: the board's file, for reading
  kMake = 55,     // or this: the object was dropped
  // tarnd to the spawn service and back.
  kSpawn =
      64,  // descriptors: executable, working directory, stdout, stderr, control socket; tail: argv and environment
  kKill = 65,     // ends one process that the service started
  kWeigh = 76,    // gives a process, and all that it started, a nice value
  kRollCall = 70,     // tells again of all that are alive: kSpawned, kStopped for one that is, and then kRollCallEnd
  kSpawned = 66,  // descriptors: pidfd
  kSpawnFailed = 67,
  kExited = 68,
  kStopped = 69,  // stopped or continued by a signal
  kRollCallEnd = 71,
  // tarnd to the tarn-output of a session, which says nothing.
  kOutputBegin = 80,   // descriptors: board, and the log if there is room for one; tail: names of tasks
  kOutputWorker = 81,  // descriptors: what the worker's stdout and stderr are read from
  kOutputEnd = 82,     // the worker is dead: what is there now is all that it wrote
};

struct Header {
  uint32_t magic;    // kMagic
  uint16_t version;  // kVersion
  uint16_t type;     // Type
  uint32_t size;     // of the whole packet
  uint32_t serial;   // of a request; an answer repeats it; 0 when nothing is answered
};
static_assert(sizeof(Header) == 16);

enum class Role : uint32_t { kClient = 0, kWorker = 1, kTool = 2 };

struct Hello {
  uint32_t role;          // Role
  uint32_t workers;       // client: how many; 0: one per slot
  uint32_t flags;         // TARN_INIT_*
  int32_t pid;            // as the member sees it, for messages only: tarnd trusts SO_PEERCRED
  uint32_t build_id_size; // of `build_id`, which identifies the executable
  uint32_t argv_size;     // tail: argv as NUL-terminated strings (client only), then
  uint32_t environment_size;  // the environment in the same form
  uint32_t output;            // client: OutputMode
  uint8_t build_id[kBuildIdSize];
  uint8_t padding[4];
  char name[kNameSizeMax];  // NUL-terminated
};

struct Welcome {
  uint64_t board_size;
  uint64_t segment_size;
  uint32_t session;        // as the tools show it
  uint32_t host_epoch;     // changes when tarnd starts
  uint32_t member;         // own index
  uint32_t workers;        // worker processes of this session when complete
  uint32_t slot;           // worker: its slot
  int32_t core;            // worker: first core
  int32_t node;            // worker: NUMA node
  uint32_t spin_budget_ns; // 0: park at once
  int32_t daemon_pid;
  uint32_t is_private;
  uint32_t records_ready;  // records of the own segment that are backed by memory, from the first
  uint32_t keep_free_mib;  // so much memory in empty slabs may be kept for later
  uint32_t output_is_read; // worker: tarn-output reads its stdout and stderr
  uint16_t seat;           // worker: which of the slots of its session (shm/seat.hpp),
  uint16_t rank;           // and its rank there
};

struct Refused {
  int32_t code;  // TARN_E_*
  char text[764];
};

// In place of the number of a NUMA node.
inline constexpr int32_t kOwnNode = -1;   // of a request: the slot's or caller's own; of an answer: none is known
inline constexpr int32_t kAllNodes = -2;  // interleaved over all that tarnd may use

enum SlabHow : uint32_t {
  kSlabNow = 0,       // or a refusal: who asks has other ways
  kSlabMayWait = 1,   // if there is no room, others are asked to drop what they keep, and objects leave memory
  kSlabGenerous = 2,  // more than is needed now: as kSlabNow, and not more than an eighth of what is left
};

struct Resume {
  int32_t daemon_pid;
  uint32_t host_epoch;
};

struct SlabRequest {
  uint64_t size;  // rounded up to whole pages by tarnd
  int32_t node;   // NUMA node, kOwnNode or kAllNodes
  uint32_t how;   // SlabHow
};

struct SlabId {       // kSlabReady, kSlabDrop, kSlabDropped
  uint32_t member;    // owner
  uint32_t slab;      // number among the owner's slabs and files
};

struct EndRun {
  uint32_t member;      // the worker
  uint32_t record;      // index in the segment of its owner
  uint32_t generation;  // of the record
  uint32_t owner;       // the sender, or a dead member whose records it settles
};

struct ResourceWish {
  uint32_t counts[16];  // of each kind, for one task
};

struct StandIn {
  uint32_t rank;      // of the one to be started, from 1
  uint32_t reserved;
};

struct Extent {       // kRestore, kCopyDrop: where an object lies that may be away
  uint32_t member;    // owner
  uint32_t slab;
  uint64_t offset;    // in bytes
};

struct Made {
  Extent place;       // of the object
  uint32_t slab;      // of the sender, where its bytes are now
  int32_t code;       // 0; or TARN_E_*: it was not made, and the rest is zero
  uint64_t offset;    // in that slab
  uint64_t size;
};

enum class MakeHow : uint32_t {
  kYou = 1,    // the receiver makes it: a worker itself, a client has a worker do it
  kOther = 2,  // somebody has been at it for a while: ask again
};

struct Make {
  uint32_t how;       // MakeHow
  uint32_t reserved;
};

struct Subscribe {
  uint32_t mask;      // TARN_EVENT_*, without those of which tarnd knows nothing
  uint32_t reserved;
};

struct Event {         // about an object, or about memory: then id and generation are 0
  uint32_t kind;       // TARN_EVENT_*, one of them
  uint32_t is_over;    // of a shortage
  uint32_t id;
  uint32_t generation;
  uint64_t bytes;
  uint64_t lost;       // events before this one that there was no room for
};

struct SlabInfo {     // kSlabComing, kSlabGranted, kSlabAdded; kFileShare (member and slab are tarnd's to give: zero)
  uint32_t member;
  uint32_t slab;
  uint64_t size;
  int32_t node;      // NUMA node, kOwnNode, or kAllNodes unless it is a file
  uint32_t is_file;
};

struct SlabWarm {
  uint64_t bytes;  // from the beginning
};

struct SlabRefused {
  int32_t code;
  uint32_t reserved;
  char text[760];
};

struct Grow {          // kGrow asks, kGrown answers with what is ready now
  uint32_t records;    // task records backed by memory, from the first
  uint32_t objects;    // object records
  uint32_t edges;
  uint32_t graph_pages;  // of the arena for graphs
};

struct MemberInfo {    // kMemberAdded, kMemberDied, kMemberGone, kRecovered
  uint32_t member;
  int32_t pid;
  int32_t signal;      // kMemberDied: that killed it
  int32_t exit_status; // kMemberDied: if it exited
  uint32_t recover;    // kMemberDied to a worker: 1 = settle its records, then kRecovered
  uint32_t reserved;
  uint64_t segment_size;  // kMemberAdded
  uint64_t number;        // kMemberAdded: as shm::Members has it
};

struct Broken {
  int32_t code;  // 0: it is not any more
  uint32_t reserved;
  char text[504];
};

struct TaskNames {
  uint32_t names_size;  // tail: names as NUL-terminated strings
  uint32_t reserved;
};

struct LogAsk {
  uint32_t session;  // of a tool; a member asks for its own: 0
  uint32_t reserved;
};

struct Log {
  uint64_t size;     // of the file (shm/output_log.hpp); 0: nothing was printed, and there is none
  uint32_t session;
  uint32_t reserved;
};

inline constexpr uint32_t kTraceEventsLog2Max = 31;

struct TraceAsk {
  uint32_t session;
  uint32_t events_log2;  // how many events of each member to keep, if nobody traces yet; with 0 nothing is to be written
  int64_t for_ns;        // from now on; 0: the asker wants no more
};

struct Trace {
  uint64_t board_size;   // of the file (trace/trace_area.hpp)
  uint32_t session;
  uint32_t events_log2;  // that are kept; 0: nobody traces
  uint32_t lanes;        // that have memory for them
  uint32_t reserved;
};

enum class OutputMode : uint32_t { kDefault = 0, kPrefixed = 1, kPlain = 2, kRaw = 3, kNone = 4 };  // enum tarn_output

struct OutputBegin {
  uint64_t board_size;
  uint64_t log_size;    // 0: there was no room for one
  uint32_t mode;        // OutputMode: kPrefixed, kPlain or kNone
  uint32_t names_size;  // tail: names of tasks as NUL-terminated strings
};

struct OutputWorker {   // kOutputWorker, kOutputEnd
  uint32_t member;
  uint32_t lane;        // of the log
  uint32_t slot;
  int32_t pid;
};

struct Query {
  char what[32];  // "status", "slots", "workers", "tasks", "objects", "memory", "sessions"
  uint32_t limit; // rows, 0: all
  uint32_t reserved;
};

struct Reply {
  uint32_t more;  // 1: another piece follows
  uint32_t text_size;
};

struct Spawn {
  uint64_t ticket;      // tarnd's name for the process, in every later message about it
  uint32_t uid;
  uint32_t gid;
  uint32_t group_count; // tail: group_count gids (uint32_t), then argv, then environment
  uint32_t argv_size;
  uint32_t environment_size;
  uint32_t cpu_count;   // CPUs set in `cpus`; 0: not pinned
  uint64_t cpus[16];    // bit mask, 1024 CPUs
};

struct Spawned {
  uint64_t ticket;
  int32_t pid;
  uint32_t reserved;
};

struct SpawnFailed {
  uint64_t ticket;
  int32_t error;  // errno
  char text[244];
};

struct Exited {
  uint64_t ticket;
  int32_t pid;
  int32_t signal;
  int32_t exit_status;
  uint32_t stopped;  // kStopped: 1 stopped, 0 continued
};

struct Kill {
  uint64_t ticket;
  int32_t signal;
  uint32_t reserved;
};

inline constexpr uint32_t kNiceMax = 19;

struct Weigh {
  uint64_t ticket;
  uint32_t nice;  // above that of the spawn service; up to kNiceMax
  uint32_t reserved;
};

}  // namespace tarn::wire
