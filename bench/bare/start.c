/* The least that starting costs: four processes of this trivial program (as many as a client, its daemon and
 * two workers), each started by the one before, until the last has said that it is there.
 *
 *   start [--ms N]
 */
#include "../measure.h"

#include <signal.h>
#include <sys/wait.h>

enum { kProcesses = 4 };

static void start_next(int fd, int left)
{
  char fd_text[16], left_text[16];
  snprintf(fd_text, sizeof fd_text, "%d", fd);
  snprintf(left_text, sizeof left_text, "%d", left);
  pid_t child = fork();
  if (child < 0) measure_die("fork");
  if (child == 0) {
    execl("/proc/self/exe", "bare_start", "--child", fd_text, "--left", left_text, (char *)NULL);
    _exit(1);
  }
  if (waitpid(child, NULL, 0) < 0) measure_die("waitpid");
}

int main(int argc, char **argv)
{
  static Measure measure;
  int fd = (int)measure_option_int(argc, argv, "--child", -1);
  if (fd >= 0) {
    int left = (int)measure_option_int(argc, argv, "--left", 0);
    if (left > 0) {
      start_next(fd, left - 1);
    } else if (write(fd, "", 1) != 1) {
      return 1;
    }
    return 0;
  }
  int ends[2];
  if (pipe(ends) != 0) measure_die("pipe");
  measure_start(&measure, argc, argv);
  while (measure_more(&measure)) {
    char byte;
    measure_begin(&measure);
    start_next(ends[1], kProcesses - 1);
    if (read(ends[0], &byte, 1) != 1) measure_die("read");
    measure_end(&measure, 1);
  }
  measure_print("start", measure_median_ns(&measure), "ns", "4 processes, one after the other");
  return 0;
}
