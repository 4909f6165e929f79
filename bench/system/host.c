#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { kStartMs = 10000, kAnswerSize = 65536 };

extern char **environ;

static Host *running; /* for the end of this process */

static void stop_running(void)
{
  if (running != NULL) host_stop(running);
}

/* The path of a program of this build, `relative` to the folder of this one. */
static void find_program(const char *relative, char *path, size_t size)
{
  char self[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
  if (length <= 0) measure_die("/proc/self/exe");
  self[length] = '\0';
  *strrchr(self, '/') = '\0';
  if ((size_t)snprintf(path, size, "%s/%s", self, relative) >= size)
    measure_die("a longer path than expected");
  if (access(path, X_OK) != 0) measure_die(path);
}

static void write_config(const Host *host, const char *path, int64_t memory_limit, int64_t per_client)
{
  FILE *file = fopen(path, "we");
  if (file == NULL) measure_die(path);
  fprintf(file, "[daemon]\nlog_level = \"error\"\nsocket = \"%s/tarnd.sock\"\n", host->folder);
  fprintf(file, "spawn_socket = \"%s/spawn.sock\"\n", host->folder);
  fprintf(file, "[memory]\nlimit = %lld\n", (long long)memory_limit);
  if (per_client != 0) fprintf(file, "per_client = %lld\n", (long long)per_client);
  if (host->heavy_uid != 0) fprintf(file, "[tenants.\"%u\"]\nweight = %u\n", host->heavy_uid, host->heavy_weight);
  if (fclose(file) != 0) measure_die(path);
}

/* Runs `tarn status --json` and returns what it printed, or NULL when it failed. */
static const char *ask_status(const Host *host)
{
  static char answer[kAnswerSize];
  static char tarn[PATH_MAX];
  int ends[2], status;
  pid_t pid;
  posix_spawn_file_actions_t actions;
  if (tarn[0] == '\0') find_program("../../clients/cli/tarn", tarn, sizeof tarn);
  const char *argv[] = {tarn, "--address", host->address, "status", "--json", NULL};
  if (pipe2(ends, O_CLOEXEC) != 0) measure_die("pipe");
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  /* Says nothing of a tarnd that does not answer yet. */
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  errno = posix_spawn(&pid, tarn, &actions, NULL, (char **)argv, environ);
  if (errno != 0) measure_die(tarn);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  size_t size = 0;
  for (ssize_t got; (got = read(ends[0], answer + size, sizeof answer - 1 - size)) > 0;)
    size += (size_t)got;
  answer[size] = '\0';
  close(ends[0]);
  if (waitpid(pid, &status, 0) < 0) measure_die("waitpid");
  return status == 0 ? answer : NULL;
}

/* The first number called `name`: that of the whole host. */
static int64_t number_of(const char *answer, const char *name)
{
  const char *found = strstr(answer, name);
  if (found == NULL) measure_die(name);
  return strtoll(found + strlen(name), NULL, 10);
}

HostStatus host_status(const Host *host)
{
  const char *answer = ask_status(host);
  if (answer == NULL) measure_die("tarn status");
  HostStatus status = {number_of(answer, "\"sessions\":"), number_of(answer, "\"memory_used\":")};
  return status;
}

void host_start(Host *host, int64_t memory_limit, int64_t per_client)
{
  char tarnd[PATH_MAX], config[PATH_MAX];
  const char *parent = getenv("TMPDIR");
  find_program("../../daemon/tarnd", tarnd, sizeof tarnd);
  snprintf(host->folder, sizeof host->folder, "%s/tarn-bench-XXXXXX",
           parent != NULL && strlen(parent) < 40 ? parent : "/tmp");
  if (mkdtemp(host->folder) == NULL) measure_die(host->folder);
  if (host->heavy_uid != 0 && chmod(host->folder, 0755) != 0) measure_die(host->folder);
  snprintf(host->address, sizeof host->address, "unix:%s/tarnd.sock", host->folder);
  snprintf(config, sizeof config, "%s/tarnd.toml", host->folder);
  write_config(host, config, memory_limit, per_client);
  host->pid = fork();
  if (host->pid < 0) measure_die("fork");
  if (host->pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execl(tarnd, "tarnd", "--config", config, (char *)NULL);
    _exit(1);
  }
  running = host;
  atexit(stop_running);
  int64_t deadline_ns = measure_now_ns() + (int64_t)kStartMs * 1000000;
  while (ask_status(host) == NULL) {
    if (measure_now_ns() > deadline_ns || waitpid(host->pid, NULL, WNOHANG) != 0) {
      fprintf(stderr, "tarn_bench: tarnd did not start\n");
      exit(1);
    }
    usleep(1000);
  }
}

void host_stop(Host *host)
{
  static const char *const files[] = {"tarnd.toml", "tarnd.sock", "spawn.sock"};
  if (running != host) return;
  running = NULL;
  kill(host->pid, SIGTERM);
  waitpid(host->pid, NULL, 0);
  for (size_t i = 0; i < sizeof files / sizeof *files; ++i) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", host->folder, files[i]);
    unlink(path);
  }
  rmdir(host->folder);
}
