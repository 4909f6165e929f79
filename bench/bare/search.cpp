// The demo's kernel without a runtime, over the same file: mapped, searched, unmapped. On one core, and on as
// many as are named, each a process with its own equal part: what this machine's memory allows.
//
//   search --file FILE [--pattern TEXT] [--ms N] [--cores N]
#include "../measure.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <new>

#include "clients/cpp/samples/log_search/line_count.hpp"

namespace {

// What the processes of one measurement share. Every round the first one asks, the others answer.
struct Shared {
  std::atomic<int> round;
  std::atomic<int> answers;
  std::atomic<int64_t> count;
};

struct Part {
  int fd;
  size_t begin;
  size_t end;
  const char* pattern;
};

int64_t count_lines(const Part& part) {
  const size_t at = part.begin & ~size_t{4095};  // mappings begin on a page
  void* data = mmap(nullptr, part.end - at, PROT_READ, MAP_SHARED, part.fd, static_cast<off_t>(at));
  if (data == MAP_FAILED) measure_die("mmap");
  const char* text = static_cast<const char*>(data) + (part.begin - at);
  const int64_t count = log_search::count_matching_lines({text, part.end - part.begin}, part.pattern);
  munmap(data, part.end - at);
  return count;
}

[[noreturn]] void serve(Shared& shared, const Part& part, int core) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  measure_pin(core);
  for (int done = 0;; ++done) {
    while (shared.round.load(std::memory_order_acquire) == done) measure_pause();
    shared.count += count_lines(part);
    shared.answers.fetch_add(1, std::memory_order_release);
  }
}

}  // namespace

int main(int argc, char** argv) {
  static Measure measure;
  const char* path = measure_option(argc, argv, "--file", nullptr);
  const char* pattern = measure_option(argc, argv, "--pattern", "ERROR");
  const int cores = std::clamp(static_cast<int>(measure_option_int(argc, argv, "--cores", 1)), 1, CPU_SETSIZE);
  const int fd = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  struct stat stat = {};
  if (fd < 0 || fstat(fd, &stat) != 0) measure_die("search: --file");
  const auto size = static_cast<size_t>(stat.st_size);
  auto& shared = *new (measure_shared(sizeof(Shared))) Shared{};
  const auto part = [&](int core) {
    const auto share = size / static_cast<size_t>(cores);
    return Part{fd, share * static_cast<size_t>(core), core + 1 == cores ? size : share * static_cast<size_t>(core + 1),
                pattern};
  };
  pid_t others[CPU_SETSIZE];
  for (int core = 1; core < cores; ++core) {
    others[core] = fork();
    if (others[core] < 0) measure_die("fork");
    if (others[core] == 0) serve(shared, part(core), core);
  }
  measure_pin(0);

  int64_t count = 0;
  for (int round = 1;; ++round) {
    if (round > 1 && !measure_more(&measure)) break;
    measure_begin(&measure);
    shared.count = 0;
    shared.answers = 0;
    shared.round.store(round, std::memory_order_release);
    count = count_lines(part(0));
    while (shared.answers.load(std::memory_order_acquire) != cores - 1) measure_pause();
    count += shared.count;
    if (round > 1) {
      measure_end(&measure, static_cast<double>(size));
    } else {
      measure_start(&measure, argc, argv);  // the first round was to warm up
    }
  }
  for (int core = 1; core < cores; ++core) {
    kill(others[core], SIGKILL);
    waitpid(others[core], nullptr, 0);
  }
  char name[32], note[96];
  snprintf(name, sizeof name, cores == 1 ? "search" : "search.%d", cores);
  snprintf(note, sizeof note, "%lld lines match, %d cores", static_cast<long long>(count), cores);
  measure_print(name, 1e9 / measure_median_ns(&measure), "B/s", note);
  return 0;
}
