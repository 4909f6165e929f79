// sim: runs histories from seeds, some in each child process: what killed fibers leave behind goes with it.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "workload.hpp"

namespace {

constexpr uint64_t kSeedsOfChild = 50;

uint64_t number_of(const char* text) {
  char* end;
  uint64_t value = strtoull(text, &end, 10);
  if (*text == '\0' || *end != '\0') {
    fprintf(stderr, "sim: '%s' is no number\n", text);
    exit(2);
  }
  return value;
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t seeds = 200;
  uint64_t first = 1;
  for (int i = 1; i < argc; i += 2) {
    bool has_value = i + 1 < argc;
    if (has_value && strcmp(argv[i], "--seeds") == 0) {
      seeds = number_of(argv[i + 1]);
    } else if (has_value && strcmp(argv[i], "--seed") == 0) {
      first = number_of(argv[i + 1]);
    } else {
      fprintf(stderr, "usage: sim [--seeds N] [--seed FIRST]\n");
      return 2;
    }
  }
  auto* tally = static_cast<tarn::sim::Tally*>(
      mmap(nullptr, sizeof(tarn::sim::Tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (tally == MAP_FAILED) return perror("mmap"), 1;
  for (uint64_t at = 0; at < seeds; at += kSeedsOfChild) {
    pid_t child = fork();
    if (child < 0) return perror("fork"), 1;
    if (child == 0) {
      for (uint64_t i = at; i < std::min(seeds, at + kSeedsOfChild); ++i) tarn::sim::simulate(first + i, *tally);
      fflush(nullptr);
      _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) < 0) return perror("waitpid"), 1;
    if (status != 0) {
      fprintf(stderr, "sim: a history of the seeds from %llu on %s; repeat one with --seeds 1 --seed N\n",
              static_cast<unsigned long long>(first + at), WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "broke a rule");
      return 1;
    }
  }
  printf("seeds=%llu steps=%llu tasks=%llu kills=%llu broken=0\n", static_cast<unsigned long long>(seeds),
         static_cast<unsigned long long>(tally->steps), static_cast<unsigned long long>(tally->tasks),
         static_cast<unsigned long long>(tally->kills));
  return 0;
}
