#include "inspect.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/fd.hpp"
#include "os/clock.hpp"
#include "os/memory.hpp"
#include "os/socket.hpp"
#include "shm/member_segment.hpp"
#include "store/object_record.hpp"
#include "support/processes.hpp"
#include "task/task_record.hpp"
#include "wire/validate.hpp"

namespace tarn::fault {
namespace {

struct Left {
  uint32_t segments = 0;
  uint32_t slabs = 0;
  uint64_t slab_bytes = 0;
  uint64_t objects = 0;  // held by somebody
  uint64_t tasks = 0;    // submitted and not done
  std::string details;   // of the first few objects
};

void count_in_segment(const Fd& file, Left& left) {
  os::Mapping map;
  if (os::Mapping::map(file, sizeof(shm::MemberSegment), os::Access::kRead, map) < 0) return;
  auto& segment = *reinterpret_cast<const shm::MemberSegment*>(map.data());
  auto* objects = reinterpret_cast<const store::ObjectRecord*>(segment.object_records);
  for (uint32_t i = 0; i < segment.objects_used.load(shm::kAcquire); ++i) {
    uint64_t bits = objects[i].life.bits.load(shm::kAcquire);
    auto phase = objects[i].life.state_now().phase;
    if (phase == store::Phase::kFree || (bits & store::kDead) != 0) continue;
    if (++left.objects > 5) continue;
    char text[160];
    snprintf(text, sizeof text, "; member %u object %u: phase %d bits %llx size %llu", segment.member, i,
             static_cast<int>(phase), static_cast<unsigned long long>(bits),
             static_cast<unsigned long long>(objects[i].size));
    left.details += text;
  }
  auto* tasks = reinterpret_cast<const task::TaskRecord*>(segment.task_records);
  for (uint32_t i = 0; i < segment.records_used.load(shm::kAcquire); ++i) {
    task::Phase phase = task::State::unpack(tasks[i].state.load(shm::kAcquire)).phase;
    if (phase != task::Phase::kFree && phase != task::Phase::kDone) ++left.tasks;
  }
}

Left look(pid_t daemon) {
  Left left;
  std::string folder = "/proc/" + std::to_string(daemon) + "/fd";
  DIR* directory = opendir(folder.c_str());
  if (directory == nullptr) return left;
  while (const dirent* entry = readdir(directory)) {
    std::string path = folder + "/" + entry->d_name;
    char target[256] = "";
    if (readlink(path.c_str(), target, sizeof target - 1) < 0) continue;
    if (strncmp(target, "/memfd:tarn-segment", 19) == 0) {
      ++left.segments;
      count_in_segment(Fd{open(path.c_str(), O_RDWR | O_CLOEXEC)}, left);
    } else if (strncmp(target, "/memfd:tarn-slab", 16) == 0) {
      struct stat status;
      ++left.slabs;
      if (stat(path.c_str(), &status) == 0) left.slab_bytes += static_cast<uint64_t>(status.st_size);
    }
  }
  closedir(directory);
  return left;
}

// Its workers, with their stand-ins: of the same executable as this process, and started by the tarn-spawn that started tarnd.
uint32_t count_workers(pid_t daemon) {
  std::string own = test::name_of(getpid());
  auto children = test::children_of(test::parent_of(daemon));
  return static_cast<uint32_t>(std::ranges::count_if(children, [&](pid_t pid) { return test::name_of(pid) == own; }));
}

}  // namespace

std::string wait_until_quiet(const std::function<pid_t()>& daemon, std::chrono::milliseconds limit,
                             const std::function<void()>& nudge) {
  auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    nudge();
    pid_t pid = daemon();
    Left left = look(pid);
    uint32_t workers = count_workers(pid);
    // Each process has some slabs of its own; what a fixed load needs does not grow with the kills.
    uint64_t bytes_max = (1 + workers) * uint64_t{128} << 20;
    if (left.segments <= 1 + workers && left.objects == 0 && left.tasks == 0 && left.slab_bytes <= bytes_max) return "";
    if (std::chrono::steady_clock::now() > end)
      return std::to_string(left.segments) + " segments for " + std::to_string(workers) + " workers, " +
             std::to_string(left.objects) + " objects, " + std::to_string(left.tasks) + " tasks, " +
             std::to_string(left.slabs) + " slabs of " + std::to_string(left.slab_bytes) + " bytes" + left.details;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

namespace {

constexpr int64_t kAnswerNs = 20'000'000'000;

// The daemon's answer to a tool, or "" if it has gone.
std::string ask(const std::string& path, const char* what) {
  Fd socket;
  if (os::socket_connect(path, socket) < 0) return "";
  wire::Buffer<wire::kMessageSizeMax> buffer;
  wire::Builder greeting(buffer.bytes, wire::Type::kHello, 1);
  auto& hello = greeting.body<wire::Hello>();
  hello.role = static_cast<uint32_t>(wire::Role::kTool);
  hello.pid = getpid();
  int64_t deadline = os::deadline_after(kAnswerNs);
  if (os::socket_send(socket, greeting.finish(), {}, deadline) != 0) return "";
  wire::Builder question(buffer.bytes, wire::Type::kQuery, 2);
  wire::set_text(question.body<wire::Query>().what, what);
  if (os::socket_send(socket, question.finish(), {}, deadline) != 0) return "";
  std::string text;
  for (;;) {
    os::Received received;
    wire::Packet packet;
    if (os::socket_receive(socket, buffer.bytes, received, deadline) != 0 || received.size == 0 ||
        wire::parse({buffer.bytes, received.size}, received.descriptor_count, wire::From::kDaemon, packet) < 0 ||
        packet.type != wire::Type::kReply)
      return "";
    text.append(reinterpret_cast<const char*>(packet.tail.data()), packet.tail.size());
    if (packet.as<wire::Reply>().more == 0) return text;
  }
}

}  // namespace

std::string wait_until_released(const std::string& path, uint32_t session, std::chrono::milliseconds limit,
                                const std::function<bool()>& nudge, std::chrono::microseconds& took) {
  auto begin = std::chrono::steady_clock::now();
  for (;;) {
    std::string left;
    std::string text = ask(path, "memory");
    if (text.empty()) return "";  // gone, as the caller finds out by himself
    const auto answer = nlohmann::json::parse(text);
    for (const auto& row : answer.at("memory")) {
      if (row["session"] != session) continue;
      if (row["objects"] != 0 || row["bytes"] != 0 || row["state"] == "dead") left += (left.empty() ? "" : "; ") + row.dump();
    }
    took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
    if (left.empty()) return "";
    if (took > limit) return left;
    if (!nudge()) return "";
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

}  // namespace tarn::fault
