#include <linux/magic.h>
#include <sys/statfs.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "checks.hpp"
#include "text.hpp"

namespace tarn::cli {
namespace {

constexpr const char* kPrivateDirectory = "/var/tmp";  // daemon/config.hpp spill_directory
constexpr uint64_t kRoomWanted = uint64_t{1} << 30;  // of a disk that nobody has a limit on yet

Finding not_used(const std::string& why) {
  return {"disk", Verdict::kWarn, "not used: " + escape(why),
          "objects that nobody pins cannot leave memory when it is short: a store that is full refuses more",
          "set memory.spill_directory to a directory on a disk (docs/configuration.md)"};
}

constexpr const char* kMoreRoom = "free the disk, or choose another with memory.spill_directory, or raise memory.spill_limit";

Finding ok(const std::string& found) { return {"disk", Verdict::kOk, found, "", ""}; }

Finding short_of_room(const std::string& found, const std::string& advice = kMoreRoom) {
  return {"disk", Verdict::kWarn, found, "few objects, or none, can leave memory when it is short", advice};
}

// What tarnd looks at when it has none of the daemon's own words.
Finding check_private(const Host& host) {
  std::string path = host.root() + kPrivateDirectory;
  struct statfs status;
  if (statfs(path.c_str(), &status) < 0) return not_used(std::string(kPrivateDirectory) + ": " + strerror(errno));
  if (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC)
    return not_used(std::string(kPrivateDirectory) + " lies in memory itself");
  uint64_t room = static_cast<uint64_t>(status.f_bavail) * static_cast<uint64_t>(status.f_bsize);
  std::string found = std::string(kPrivateDirectory) + ", " + show_bytes(room) + " free";
  return room >= kRoomWanted ? ok(found) : short_of_room(found);
}

// What is free on the disk itself, where others write, too; as we see it, which is as the daemon does unless it has a
// directory of its own in that place, and then that usually lies on the same disk. UINT64_MAX if we cannot see it.
uint64_t free_on_disk(const Host& host, const std::string& directory) {
  struct statfs status;
  if (directory.empty() || statfs((host.root() + directory).c_str(), &status) < 0) return UINT64_MAX;
  return static_cast<uint64_t>(status.f_bavail) * static_cast<uint64_t>(status.f_bsize);
}

Finding check_daemon(const Host& host, const DiskUse& disk) {
  if (!disk.off.empty()) return not_used(disk.off);
  std::string directory = escape(disk.directory);
  if (disk.limit == 0)
    return short_of_room(directory + ", 0 B may be used: nothing was free there when tarnd started",
                         "free the disk and start tarnd again, or set memory.spill_limit to a size");
  std::string found = directory + ", " + show_bytes(disk.used) + " of " + show_bytes(disk.limit) + " used";
  if (!disk.refused.empty()) {
    auto age_ns = static_cast<int64_t>(std::min<uint64_t>(disk.refused_s, 86'400)) * 1'000'000'000;
    return short_of_room(found + "; it refused an object " + show_duration(age_ns) + " ago: " + escape(disk.refused),
                         std::string(kMoreRoom) + " and memory.spill_per_tenant; or release objects");
  }
  if (!disk.full.empty())
    return short_of_room(found + "; " + escape(disk.full) + " may have no more",
                         "release objects, or raise memory.spill_limit or memory.spill_per_tenant");
  uint64_t left = disk.limit - std::min(disk.used, disk.limit);
  if (left <= disk.limit / 10) return short_of_room(found);
  uint64_t free = free_on_disk(host, disk.directory);
  if (free <= left / 10) return short_of_room(found + ", but only " + show_bytes(free) + " are free there");
  return ok(found);
}

}  // namespace

Findings check_disk(const Host& host, const std::vector<DiskUse>& daemons) {
  if (daemons.empty()) return {check_private(host)};
  // One line: of the one that is worst off. One whose objects cannot leave at all is worse than one with little room.
  auto left = [](const DiskUse& one) { return one.off.empty() ? one.limit - std::min(one.used, one.limit) : 0; };
  const DiskUse* worst = nullptr;
  Finding worst_finding{};
  for (const DiskUse& one : daemons) {
    Finding finding = check_daemon(host, one);
    if (!one.off.empty()) return {finding};
    bool is_worse = worst == nullptr || finding.verdict > worst_finding.verdict ||
                    (finding.verdict == worst_finding.verdict && left(one) < left(*worst));
    if (!is_worse) continue;
    worst = &one;
    worst_finding = finding;
  }
  return {worst_finding};
}

}  // namespace tarn::cli
