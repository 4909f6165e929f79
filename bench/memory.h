/* memory.h: all the memory that a session costs: what its processes have for themselves, and the
 * pages of what they share, whether anybody has them mapped or not. */
#ifndef TARN_BENCH_MEMORY_H
#define TARN_BENCH_MEMORY_H

#include "resident.h"

#include <sys/stat.h>

enum { kMemfdsMax = 8192 };

/* Bytes in the memfds of which process PID has a descriptor, each counted once. tarnd has one of
 * each slab, segment and board of its sessions. */
static inline int64_t memfd_bytes(int pid)
{
  static ino_t seen[kMemfdsMax];
  int count = 0;
  char path[sizeof "/proc//fd/" + 300], target[64];
  snprintf(path, sizeof path, "/proc/%d/fd", pid);
  DIR *files = opendir(path);
  if (files == NULL) measure_die(path);
  int64_t sum = 0;
  for (struct dirent *entry; (entry = readdir(files)) != NULL;) {
    struct stat status;
    snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, entry->d_name);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) continue;
    target[length] = '\0';
    if (strncmp(target, "/memfd:", 7) != 0 || stat(path, &status) != 0) continue;
    int at = 0;
    while (at < count && seen[at] != status.st_ino) ++at;
    if (at < count) continue;
    if (count == kMemfdsMax) measure_die("more memfds than expected");
    seen[count++] = status.st_ino;
    sum += (int64_t)status.st_blocks * 512;
  }
  closedir(files);
  return sum;
}

/* Anonymous pages and page tables. */
static inline int64_t private_bytes(int pid)
{
  return (int64_t)(status_number(pid, "RssAnon:") + status_number(pid, "VmPTE:")) * 1024;
}

#endif
