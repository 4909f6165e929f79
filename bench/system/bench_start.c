/* start.first_result: a new process of this program starts a private daemon with two workers and calls a task;
 * measured from before the fork to the byte that it writes when the result is there. */
#include "bench.h"

#include <sys/wait.h>

void bench_start(Bench *bench)
{
  int ends[2];
  char fd_text[16];
  if (pipe(ends) != 0) measure_die("pipe");
  snprintf(fd_text, sizeof fd_text, "%d", ends[1]);
  measure_start(bench->measure, bench->argc, bench->argv);
  while (measure_more(bench->measure)) {
    char byte;
    int status;
    measure_begin(bench->measure);
    pid_t child = fork();
    if (child < 0) measure_die("fork");
    if (child == 0) {
      execl("/proc/self/exe", bench->argv[0], "first_result", "--fd", fd_text, (char *)NULL);
      _exit(1);
    }
    if (read(ends[0], &byte, 1) != 1) measure_die("read");
    measure_end(bench->measure, 1);
    if (waitpid(child, &status, 0) < 0 || status != 0) {
      fprintf(stderr, "tarn_bench: the started process failed\n");
      exit(1);
    }
  }
  measure_print(bench->name, measure_median_ns(bench->measure), "ns", "private daemon, 2 workers");
}

void bench_first_result(Bench *bench)
{
  tarn_options options;
  memset(&options, 0, sizeof options);
  options.size = sizeof options;
  options.address = "private";
  options.workers = 2;
  bench_check(tarn_init(&bench->client, &bench->argc, &bench->argv, &options), "tarn_init");
  bench_call(bench->client, 1);
  int fd = (int)measure_option_int(bench->argc, bench->argv, "--fd", 1);
  if (write(fd, "", 1) != 1) measure_die("write");
}
