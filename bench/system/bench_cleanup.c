/* cleanup.kill: a client of a host's tarnd is killed while it holds 10 000 objects; measured from
 * the signal to the answer of tarnd that nothing is in use any more. */
#include "bench.h"
#include "host.h"

#include <signal.h>
#include <sys/wait.h>

enum { kPatienceMs = 10000 };

/* The client: puts its objects, says so, and waits for its end. */
void bench_holder(Bench *bench)
{
  int64_t count = measure_option_int(bench->argc, bench->argv, "--objects", 0);
  int64_t size = measure_option_int(bench->argc, bench->argv, "--size", 0);
  int fd = (int)measure_option_int(bench->argc, bench->argv, "--fd", -1);
  char *data = (char *)calloc(1, (size_t)size);
  tarn_object object; /* nobody uses the handles, and the client holds the objects all the same */
  if (data == NULL) measure_die("memory");
  bench_open_at(bench, measure_option(bench->argc, bench->argv, "--address", ""), 1);
  for (int64_t i = 0; i < count; ++i)
    bench_check(tarn_put(bench->client, data, (size_t)size, &object), "tarn_put");
  if (write(fd, "", 1) != 1) measure_die("write");
  for (;;) pause();
}

static pid_t start_holder(const Bench *bench, const Host *host, int64_t count, int64_t size)
{
  char byte, count_text[24], size_text[24], fd_text[16];
  int ends[2];
  if (pipe(ends) != 0) measure_die("pipe");
  snprintf(count_text, sizeof count_text, "%lld", (long long)count);
  snprintf(size_text, sizeof size_text, "%lld", (long long)size);
  snprintf(fd_text, sizeof fd_text, "%d", ends[1]);
  pid_t child = fork();
  if (child < 0) measure_die("fork");
  if (child == 0) {
    close(ends[0]);
    execl("/proc/self/exe", bench->argv[0], "holder", "--address", host->address, "--objects",
          count_text, "--size", size_text, "--fd", fd_text, (char *)NULL);
    _exit(1);
  }
  close(ends[1]);
  if (read(ends[0], &byte, 1) != 1) {
    fprintf(stderr, "tarn_bench: the client that is to be killed failed\n");
    exit(1);
  }
  close(ends[0]);
  return child;
}

void bench_cleanup(Bench *bench)
{
  static Host host;
  char note[192];
  int64_t count = measure_option_int(bench->argc, bench->argv, "--objects", 10000);
  int64_t size = measure_option_int(bench->argc, bench->argv, "--size", 4096);
  int64_t looks_ns = 0, used = 0;
  int looks = 0;
  host_start(&host, 2 * count * size + ((int64_t)256 << 20), 0);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    pid_t child = start_holder(bench, &host, count, size);
    used = host_status(&host).memory_used;
    if (used < count * size) {
      fprintf(stderr, "tarn_bench: tarnd does not know of the objects\n");
      exit(1);
    }
    measure_begin(bench->measure);
    kill(child, SIGKILL);
    HostStatus status;
    do {
      int64_t begin_ns = measure_now_ns();
      status = host_status(&host);
      looks_ns += measure_now_ns() - begin_ns;
      ++looks;
      if (begin_ns > bench->measure->begin_ns + (int64_t)kPatienceMs * 1000000) {
        fprintf(stderr, "tarn_bench: %lld bytes still in use\n", (long long)status.memory_used);
        exit(1);
      }
    } while (status.memory_used != 0 || status.sessions != 0);
    measure_end(bench->measure, 1);
    waitpid(child, NULL, 0);
  }
  snprintf(note, sizeof note,
           "%lld objects of %lld B, %lld MB in use with its worker; a look (tarn status): %.2g ms",
           (long long)count, (long long)size, (long long)(used / 1000000),
           (double)looks_ns / looks / 1e6);
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", note);
  host_stop(&host);
}
