/* resident.h: what a process holds resident without shared memory, and the processor time it has used. */
#ifndef TARN_BENCH_RESIDENT_H
#define TARN_BENCH_RESIDENT_H

#include "measure.h"

#include <dirent.h>

/* Reads the number behind `label` in /proc/PID/status, or -1. */
static inline long status_number(int pid, const char *label)
{
  char path[64], line[256];
  snprintf(path, sizeof path, "/proc/%d/status", pid);
  FILE *file = fopen(path, "re");
  if (file == NULL) return -1;
  long number = -1;
  while (number < 0 && fgets(line, sizeof line, file) != NULL)
    if (strncmp(line, label, strlen(label)) == 0) number = strtol(line + strlen(label), NULL, 10);
  fclose(file);
  return number;
}

/* Anonymous and file pages: not the slabs, queues and records, which are shared memory. */
static inline long resident_bytes(int pid)
{
  return (status_number(pid, "RssAnon:") + status_number(pid, "RssFile:")) * 1024;
}

/* Nanoseconds on a processor, of all threads; finer than the ticks of /proc/PID/stat. */
static inline int64_t cpu_time_ns(int pid)
{
  char path[sizeof "/proc//task//schedstat" + 300];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *tasks = opendir(path);
  if (tasks == NULL) return 0;
  int64_t sum = 0;
  for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, entry->d_name);
    FILE *file = fopen(path, "re");
    char line[128];
    if (file != NULL && fgets(line, sizeof line, file) != NULL) sum += strtoll(line, NULL, 10);
    if (file != NULL) fclose(file);
  }
  closedir(tasks);
  return sum;
}

#endif
