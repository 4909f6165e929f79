#include <linux/magic.h>
#include <sys/statfs.h>

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

Finding check_room(const std::string& directory, bool has_room, const std::string& found) {
  std::string text = escape(directory) + ", " + found;
  if (has_room) return {"disk", Verdict::kOk, text, "", ""};
  return {"disk", Verdict::kWarn, text, "few objects can leave memory when it is short",
          "free the disk, or choose another with memory.spill_directory, or raise memory.spill_limit"};
}

// What tarnd looks at when it has none of the daemon's own words.
Finding check_private(const Host& host) {
  std::string path = host.root() + kPrivateDirectory;
  struct statfs status;
  if (statfs(path.c_str(), &status) < 0) return not_used(std::string(kPrivateDirectory) + ": " + strerror(errno));
  if (status.f_type == TMPFS_MAGIC || status.f_type == RAMFS_MAGIC)
    return not_used(std::string(kPrivateDirectory) + " lies in memory itself");
  uint64_t room = static_cast<uint64_t>(status.f_bavail) * static_cast<uint64_t>(status.f_bsize);
  return check_room(kPrivateDirectory, room >= kRoomWanted, show_bytes(room) + " free");
}

}  // namespace

Findings check_disk(const Host& host, const std::vector<DiskUse>& daemons) {
  if (daemons.empty()) return {check_private(host)};
  // One line: of the one that is worst off.
  const DiskUse* least = &daemons.front();
  for (const DiskUse& one : daemons) {
    if (!one.off.empty()) return {not_used(one.off)};
    if (one.limit - one.used < least->limit - least->used) least = &one;
  }
  bool has_room = least->limit - least->used > least->limit / 10;
  std::string found = show_bytes(least->used) + " of " + show_bytes(least->limit) + " used";
  return {check_room(least->directory, has_room, found)};
}

}  // namespace tarn::cli
