// The demo's kernel on one core, over the same file: mapped, searched, unmapped.
//
//   search --file FILE [--pattern TEXT] [--ms N]
#include "../measure.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "clients/cpp/samples/log_search/line_count.hpp"

int main(int argc, char** argv) {
  static Measure measure;
  const char* path = measure_option(argc, argv, "--file", nullptr);
  const char* pattern = measure_option(argc, argv, "--pattern", "ERROR");
  int fd = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  struct stat stat = {};
  if (fd < 0 || fstat(fd, &stat) != 0) measure_die("search: --file");
  auto size = static_cast<size_t>(stat.st_size);
  int core = measure_pin(0);
  int64_t count = 0;
  for (bool warm = false;; warm = true) {
    if (warm && !measure_more(&measure)) break;
    measure_begin(&measure);
    void* data = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) measure_die("mmap");
    count = log_search::count_matching_lines({static_cast<const char*>(data), size}, pattern);
    munmap(data, size);
    if (warm) {
      measure_end(&measure, static_cast<double>(size));
    } else {
      measure_start(&measure, argc, argv);
    }
  }
  char note[96];
  snprintf(note, sizeof note, "%lld lines match, core %d", static_cast<long long>(count), core);
  measure_print("search", 1e9 / measure_median_ns(&measure), "B/s", note);
  return 0;
}
