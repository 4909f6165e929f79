#include "os/affinity.hpp"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

namespace tarn::os {
namespace {

bool get_of(pid_t thread, Cpus& out) {
  out = {};
  // The bare call: the C library's wants the size of a cpu_set_t, which is not that of the kernel.
  return syscall(SYS_sched_getaffinity, thread, sizeof out.words, out.words) > 0;
}

bool set_of(pid_t thread, const Cpus& cpus) { return syscall(SYS_sched_setaffinity, thread, sizeof cpus.words, cpus.words) == 0; }

}  // namespace

bool get_affinity(Cpus& out) { return get_of(0, out); }

bool move_threads(const Cpus& to) {
  Cpus from;
  // The caller first: threads that are made from now on are there.
  if (!get_of(0, from) || !set_of(0, to)) return false;
  DIR* threads = opendir("/proc/self/task");
  if (threads == nullptr) return true;
  while (const dirent* entry = readdir(threads)) {
    auto thread = static_cast<pid_t>(atoi(entry->d_name));
    Cpus own;
    if (thread > 0 && get_of(thread, own) && own == from) (void)set_of(thread, to);  // it may just have ended
  }
  closedir(threads);
  return true;
}

}  // namespace tarn::os
