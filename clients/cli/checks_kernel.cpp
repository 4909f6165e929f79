#include <fcntl.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/fd.hpp"
#include "checks.hpp"
#include "tarn_build_config.h"

namespace tarn::cli {
namespace {

Finding check_version() {
  utsname name{};
  uname(&name);
  int major = 0;
  int minor = 0;
  if (sscanf(name.release, "%d.%d", &major, &minor) != 2) return {"kernel", Verdict::kWarn, name.release, "not a release number", ""};
  int version = major * 1000 + minor;
  if (version >= 5014) return {"kernel", Verdict::kOk, name.release, "", ""};
  if (version >= 5003)
    return {"kernel", Verdict::kWarn, name.release, "memory cannot be made ready ahead of need in one call (5.14)", "use a newer kernel"};
  return {"kernel", Verdict::kFail, name.release, "Tarn needs pidfd_open (5.3)", "use a newer kernel"};
}

Finding check_seals() {
  Fd file{memfd_create("tarn-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (file.valid() && fcntl(file.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
    return {"memfd_seals", Verdict::kOk, "yes", "", ""};
  return {"memfd_seals", Verdict::kFail, "refused", "shared memory could be taken away from those who read it, so Tarn does not start",
          "allow memfd_create and fcntl where system calls are filtered"};
}

Finding check_pidfd() {
  Fd self{static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0))};
  if (self.valid()) return {"pidfd", Verdict::kOk, "yes", "", ""};
  return {"pidfd", Verdict::kFail, "refused", "tarnd could not tell when a process ends",
          "use a kernel of 5.3 or later, and allow pidfd_open where system calls are filtered"};
}

Finding check_membarrier() {
  long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
  if (commands > 0 && (commands & MEMBARRIER_CMD_GLOBAL_EXPEDITED) != 0) return {"membarrier", Verdict::kOk, "yes", "", ""};
  return {"membarrier", Verdict::kWarn, "no", "every submission pays for a full memory fence",
          "allow membarrier where system calls are filtered; kernels since 4.16 have it"};
}

Finding check_proc(const Host& host) {
  if (host.has("/proc/self/exe") && host.has("/proc/net/unix")) return {"proc", Verdict::kOk, "mounted", "", ""};
  return {"proc", Verdict::kFail, "not there", "workers are started from /proc/self/exe", "mount /proc"};
}

Finding check_program(const char* check, const std::string& path, const char* meaning) {
  if (access(path.c_str(), X_OK) == 0) return {check, Verdict::kOk, path, "", ""};
  return {check, Verdict::kWarn, path + " is not there", meaning, "install Tarn, or use the programs of one build tree together"};
}

}  // namespace

Findings check_kernel(const Host& host) {
  return {check_version(), check_seals(), check_pidfd(), check_membarrier(), check_proc(host)};
}

Findings check_versions(const std::vector<std::string>& daemon_versions) {
  Findings findings;
  std::string found = "tarn " TARN_VERSION;
  bool differ = false;
  for (const std::string& version : daemon_versions) {
    found += ", tarnd " + version;
    differ = differ || version != TARN_VERSION;
  }
  if (daemon_versions.empty()) found += ", no tarnd running";
  if (differ) {
    findings.push_back({"versions", Verdict::kWarn, found, "daemon and tools are of different releases", "restart the daemon, or its client"});
  } else {
    findings.push_back({"versions", Verdict::kOk, found, "", ""});
  }
  findings.push_back(check_program("tarnd", TARN_SBINDIR "/tarnd", "libtarn looks for it there"));
  findings.push_back(check_program("tarn_spawn", TARN_LIBEXECDIR "/tarn-spawn", "libtarn looks for it there"));
  std::string library = TARN_LIBDIR "/libtarn.so.0";
  char target[256];
  ssize_t size = readlink(library.c_str(), target, sizeof target);
  if (size > 0) {
    findings.push_back({"libtarn", Verdict::kOk, library + " -> " + std::string(target, static_cast<size_t>(size)), "", ""});
  } else {
    findings.push_back({"libtarn", Verdict::kWarn, library + " is not there", "programs find another libtarn, or none", "install Tarn"});
  }
  return findings;
}

}  // namespace tarn::cli
