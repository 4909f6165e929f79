#include "inspect.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "base/fd.hpp"
#include "os/memory.hpp"
#include "shm/member_segment.hpp"
#include "store/object_record.hpp"
#include "task/task_record.hpp"

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

}  // namespace

std::string wait_until_quiet(pid_t daemon, uint32_t workers, std::chrono::milliseconds limit,
                             const std::function<void()>& nudge) {
  auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    nudge();
    Left left = look(daemon);
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

}  // namespace tarn::fault
