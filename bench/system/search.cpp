// demo.search: what the demo does, measured: a file becomes an object, the object slices cut at line ends,
// each slice one task for two workers.
//
//   tarn_search --file FILE [--pattern TEXT] [--ms N] [--workers N]
#include "../measure.h"

#include <tarn/tarn.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "clients/cpp/samples/log_search/line_count.hpp"

namespace {

std::int64_t count_lines(std::string_view slice, std::string_view pattern) {
  return log_search::count_matching_lines(slice, pattern);
}
TARN_TASK(count_lines);

std::int64_t search(tarn::client& tarn, const char* path, std::string_view pattern) {
  constexpr std::uint64_t kSliceSize = 4 << 20;
  tarn::object file = tarn.from_file(path);
  std::vector<tarn::future<std::int64_t>> parts;
  for (const tarn::object& slice : tarn::split_lines(file, std::max<std::uint64_t>(file.size() / kSliceSize, 2)))
    parts.push_back(tarn.submit(count_lines, slice, pattern));
  std::int64_t count = 0;
  for (std::int64_t part : tarn::when_all(parts)) count += part;
  return count;
}

void run(int argc, char** argv) {
  static Measure measure;
  const auto workers = static_cast<unsigned>(measure_option_int(argc, argv, "--workers", 2));
  tarn::client tarn = tarn::init(argc, argv, {.address = "private", .workers = workers});
  while (tarn.slots().size() < workers) std::this_thread::sleep_for(std::chrono::milliseconds(1));

  const char* path = measure_option(argc, argv, "--file", "");
  const char* pattern = measure_option(argc, argv, "--pattern", "ERROR");
  const auto size = static_cast<double>(tarn.from_file(path).size());
  std::int64_t count = search(tarn, path, pattern);
  measure_start(&measure, argc, argv);
  while (measure_more(&measure)) {
    measure_begin(&measure);
    count = search(tarn, path, pattern);
    measure_end(&measure, size);
  }
  char note[96];
  snprintf(note, sizeof note, "%lld lines match, %u workers, %.0f MB", static_cast<long long>(count), workers,
           size / 1e6);
  measure_print("demo.search", 1e9 / measure_median_ns(&measure), "B/s", note);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
    return 0;
  } catch (const std::exception& e) {
    fprintf(stderr, "tarn_search: %s\n", e.what());
    return 1;
  }
}
