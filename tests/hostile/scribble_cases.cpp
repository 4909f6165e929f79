// Scribbling: every page that the hostile user may write, with random and with crafted values, while tarnd works with it
// and answers the tools.
#include <sys/mman.h>
#include <sys/wait.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>

#include "cases.hpp"
#include "os/clock.hpp"
#include "shm/board.hpp"
#include "store/object_record.hpp"
#include "tarn/tarn.h"
#include "task/task_record.hpp"

namespace tarn::hostile {
namespace {

constexpr int64_t kScribbleNs = 800'000'000;
constexpr uint32_t kRecords = 60'000;  // asked for, so that there is something to look through

struct Ground {
  Peer* peer = nullptr;
  os::Mapping board;
  os::Mapping segment;
  pid_t worker = 0;

  [[nodiscard]] shm::Board& board_words() const { return *reinterpret_cast<shm::Board*>(board.data()); }
  [[nodiscard]] shm::MemberSegment& words() const { return *reinterpret_cast<shm::MemberSegment*>(segment.data()); }
};

// A session with a worker, all of it mapped for writing.
bool prepare(Context& context, Ground& out) {
  out.peer = &context.peer();
  if (!out.peer->open({.workers = 1, .worker_arguments = {"slab"}, .descriptors = {}})) return false;
  auto member = out.peer->expect(wire::Type::kMemberAdded);
  if (!member || !out.peer->expect(wire::Type::kSlabAdded)) return false;
  out.worker = member->as<wire::MemberInfo>().pid;
  if (!out.peer->send(wire::Type::kGrow, 2, wire::Grow{kRecords, kRecords, kRecords, 0})) return false;
  auto grown = out.peer->answer(2);
  if (!grown || grown->type != wire::Type::kGrown || !out.peer->request_slab(1 << 20)) return false;
  if (os::Mapping::map(out.peer->board_file(), sizeof(shm::Board), os::Access::kReadWrite, out.board) < 0) return false;
  if (os::Mapping::map(out.peer->segment_file(), sizeof(shm::MemberSegment), os::Access::kReadWrite, out.segment) < 0) return false;
  return true;
}

// Scribbles for a while; in between has tarnd work with what lies there: its worker dies, slabs come and go.
Outcome scribble(Context& context, const std::function<void(Ground&, std::mt19937_64&)>& write) {
  auto ground = std::make_shared<Ground>();
  context.kept.push_back(ground);
  HOSTILE_NEEDS(prepare(context, *ground));
  std::mt19937_64 random(20261125);
  int64_t end = os::deadline_after(kScribbleNs);
  for (int round = 0; os::now_ns() < end; ++round) {
    write(*ground, random);
    if (round % 8 != 0) continue;
    // Its own session may suffer; what tarnd says must stay what it may say.
    if (!ground->peer->ended()) ground->peer->send(wire::Type::kSlabRequest, 0, wire::SlabRequest{4096, -1, 0}, {}, false);
    if (ground->peer->protocol_broken()) return failed("tarnd broke the protocol");
  }
  write(*ground, random);
  return harmless();
}

void write_random(Ground& ground, std::mt19937_64& random) {
  auto fill = [&random](std::byte* data, size_t size) {
    for (size_t at = 0; at + 8 <= size; at += 8) {
      uint64_t word = random();
      memcpy(data + at, &word, sizeof word);
    }
  };
  fill(ground.board.data(), sizeof(shm::Board));
  fill(ground.segment.data(), shm::kSegmentFixedSize);
  size_t records = size_t{4096} * shm::kRecordSize;
  fill(ground.words().task_records, records);
  fill(ground.words().object_records, records);
  fill(ground.words().edges, 65536);
}

void write_ones(Ground& ground, std::mt19937_64& random) {
  int byte = random() % 2 == 0 ? 0xff : 0;
  memset(ground.board.data(), byte, sizeof(shm::Board));
  memset(ground.segment.data(), byte, shm::kSegmentFixedSize);
  memset(ground.words().task_records, byte, size_t{kRecords} * shm::kRecordSize);
  memset(ground.words().object_records, byte, size_t{kRecords} * shm::kRecordSize);
}

// Object records that are right but for one thing.
void write_objects(Ground& ground, std::mt19937_64& random) {
  constexpr uint64_t kSizes[] = {0, 1, 4096, uint64_t{1} << 40, uint64_t{1} << 63, UINT64_MAX, UINT64_MAX - 63};
  constexpr uint64_t kBits[] = {0, 2, 6, ~uint64_t{0}, store::kDead, store::kDead | 255, store::kDead | 0xffffffff,
                                store::kDaemonHolder, uint64_t{1} << 61};
  constexpr uint32_t kSlabs[] = {0, 1, 2, 4095, 65534, store::kNoSlab};
  auto* objects = reinterpret_cast<store::ObjectRecord*>(ground.words().object_records);
  for (uint32_t i = 0; i < kRecords; ++i) {
    store::ObjectRecord& record = objects[i];
    auto phase = static_cast<store::Phase>(random() % 6);
    record.life.bits.store(kBits[random() % std::size(kBits)], shm::kRelease);
    record.size = kSizes[random() % std::size(kSizes)];
    record.place = random() % 2 == 0
                       ? store::ObjectPlace{kSlabs[random() % std::size(kSlabs)], random() % 2 == 0, random() % (1 << 21)}.pack()
                       : random();
    // Chains of returned objects that run in a circle, to themselves, and out of the records.
    record.link.store(i % 3 == 0 ? i + 1 : i % 3 == 1 ? i : static_cast<uint32_t>(random()), shm::kRelease);
    record.life.state.store(store::ObjectState{static_cast<uint32_t>(random()), phase, static_cast<uint16_t>(random())}.pack(),
                            shm::kRelease);
  }
  ground.words().returned_objects.store(1 + static_cast<uint32_t>(random() % kRecords), shm::kRelease);
  ground.words().objects_used.store(random() % 2 == 0 ? UINT32_MAX : kRecords, shm::kRelease);
}

void write_tasks(Ground& ground, std::mt19937_64& random) {
  auto* tasks = reinterpret_cast<task::TaskRecord*>(ground.words().task_records);
  for (uint32_t i = 0; i < kRecords; ++i) {
    task::TaskRecord& record = tasks[i];
    record.task = static_cast<uint32_t>(random());
    record.kind.store(static_cast<uint32_t>(random()), shm::kRelease);
    record.attempts = static_cast<uint8_t>(random());
    record.edges.store(static_cast<uint32_t>(random()), shm::kRelease);
    record.state.store(task::State{static_cast<uint32_t>(random()), static_cast<uint16_t>(random()),
                                   static_cast<task::Phase>(random() % 8), static_cast<uint8_t>(random())}
                           .pack(),
                       shm::kRelease);
  }
  ground.words().records_used.store(random() % 2 == 0 ? UINT32_MAX : kRecords, shm::kRelease);
  ground.words().usual.unhinted.store(UINT32_MAX, shm::kRelease);
  ground.words().usual.scan_cursor.store(UINT32_MAX, shm::kRelease);
  for (auto& lane : ground.words().unusual) {
    lane.unhinted.store(UINT32_MAX, shm::kRelease);
    lane.scan_cursor.store(UINT32_MAX, shm::kRelease);
  }
}

// Other sessions' numbers, strangers' pids, everybody asleep, everybody serving.
void write_board(Ground& ground, std::mt19937_64& random) {
  shm::Board& board = ground.board_words();
  board.magic = random();
  board.session = 1;
  board.membership.store(static_cast<uint32_t>(random()), shm::kRelease);
  board.spin_budget_ns.store(UINT32_MAX, shm::kRelease);
  board.spinner.store(static_cast<uint32_t>(random() % 512), shm::kRelease);
  board.client_cpu.store(UINT32_MAX, shm::kRelease);
  memset(static_cast<void*>(&board.doorbell), random() % 2 == 0 ? 0xff : 0, sizeof board.doorbell);
  for (shm::WorkerLine& line : board.workers) {
    line.pid.store(1 + static_cast<uint32_t>(random() % 32768), shm::kRelease);
    line.slot.store(UINT32_MAX, shm::kRelease);
    line.tasks_done.store(random(), shm::kRelease);
    for (auto& hint : line.batch) hint.store(static_cast<uint32_t>(random()), shm::kRelease);
  }
  memset(static_cast<void*>(&ground.words().waiters), random() % 2 == 0 ? 0xff : 0, sizeof ground.words().waiters);
}

Outcome random_values(Context& context) { return scribble(context, write_random); }
Outcome all_ones(Context& context) { return scribble(context, write_ones); }
Outcome objects(Context& context) { return scribble(context, write_objects); }
Outcome tasks(Context& context) { return scribble(context, write_tasks); }
Outcome board(Context& context) { return scribble(context, write_board); }

// Its workers die and are stopped meanwhile, so that tarnd rings, wakes and gives orders to recover what lies there.
Outcome everything_while_workers_die(Context& context) {
  int deaths = 0;
  Outcome outcome = scribble(context, [&deaths, last = int64_t{0}](Ground& ground, std::mt19937_64& random) mutable {
    while (auto message = ground.peer->next(0)) {
      if (message->type == wire::Type::kMemberDied) ++deaths;
      if (message->type == wire::Type::kMemberAdded) ground.worker = message->as<wire::MemberInfo>().pid;
    }
    write_random(ground, random);
    write_board(ground, random);
    if (os::now_ns() - last < 20'000'000) return;
    last = os::now_ns();
    kill(ground.worker, random() % 3 == 0 ? SIGSTOP : random() % 2 == 0 ? SIGCONT : SIGKILL);
  });
  HOSTILE_NEEDS(deaths > 2);
  outcome.text = std::to_string(deaths) + " died";
  return outcome;
}

// Beyond what is backed: pages of its own that nobody charges (docs/service.md), and that go with it.
Outcome pages_that_nobody_asked_for(Context& context) {
  auto ground = std::make_shared<Ground>();
  context.kept.push_back(ground);
  HOSTILE_NEEDS(prepare(context, *ground));
  memset(ground->segment.data() + ground->segment.size() - (16 << 20), 0xff, 16 << 20);
  HOSTILE_NEEDS(ground->peer->is_served());
  return harmless("16 MiB, until it ends");
}

// A session by the real library, that runs tasks; then its segments and slabs turn to noise under it.
void scribble_under_libtarn(const Context& context) {
  std::string address = "unix:" + context.socket;
  char name[] = "hostile";
  char role[] = "--libtarn";
  char* words[] = {name, role, nullptr};
  char** argv = words;
  int argc = 2;
  tarn_options options{};
  options.size = sizeof options;
  options.address = address.c_str();
  options.workers = 1;
  tarn_client* client;
  if (tarn_init(&client, &argc, &argv, &options) < 0) _exit(1);
  std::vector<char> bytes(1 << 20);
  std::vector<std::pair<char*, size_t>> maps;
  if (FILE* file = fopen("/proc/self/maps", "r"); file != nullptr) {
    char line[512];
    while (fgets(line, sizeof line, file) != nullptr) {
      unsigned long begin;
      unsigned long end;
      char rights[5];
      if (strstr(line, "memfd:tarn-") == nullptr || sscanf(line, "%lx-%lx %4s", &begin, &end, rights) != 3) continue;
      if (rights[1] == 'w') maps.emplace_back(reinterpret_cast<char*>(begin), std::min<size_t>(end - begin, 2 << 20));
    }
    fclose(file);
  }
  if (maps.empty()) _exit(2);
  std::mt19937_64 random(static_cast<uint64_t>(getpid()));
  for (int i = 0; i < 10'000; ++i) {
    tarn_object object;
    if (tarn_put(client, bytes.data(), bytes.size() >> random() % 12, &object) == 0) {
      tarn_arg arguments[] = {tarn_arg_object(object)};
      tarn_future future;
      tarn_bytes result;
      if (tarn_submit(client, tarn_task_id("hostile"), arguments, 1, nullptr, &future) == 0) {
        (void)tarn_result(client, future, 1'000'000, &result);
        (void)tarn_future_release(client, future);
      }
      (void)tarn_release(client, object);
    }
    for (auto& [data, size] : maps)
      for (int j = 0; j < 64; ++j) data[random() % size] = static_cast<char>(random());
  }
  _exit(0);
}

Outcome under_the_real_library(Context& context) {
  for (int i = 0; i < 4; ++i) {
    pid_t child = fork();
    if (child == 0) scribble_under_libtarn(context);
    int64_t end = os::deadline_after(300'000'000);
    int status = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
      if (os::now_ns() > end) kill(child, SIGKILL);
      timespec pause{0, 2'000'000};
      nanosleep(&pause, nullptr);
    }
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 1 || WEXITSTATUS(status) == 2))
      return failed("cannot begin: " + std::string(WEXITSTATUS(status) == 1 ? "no session" : "nothing to scribble over"));
  }
  return harmless("its own processes crash or hang");
}

constexpr Case kCases[] = {
    {"scribble: random values everywhere", random_values},
    {"scribble: all ones, all zeros", all_ones},
    {"scribble: object records", objects},
    {"scribble: task records", tasks},
    {"scribble: board and waiters", board},
    {"scribble: everything, while workers die", everything_while_workers_die},
    {"scribble: pages that nobody asked for", pages_that_nobody_asked_for},
    {"scribble: under the real library", under_the_real_library},
};

}  // namespace

std::span<const Case> scribble_cases() { return kCases; }

}  // namespace tarn::hostile
