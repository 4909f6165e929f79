// log_search: counts the lines of a file that contain a pattern, on every core.
//
// The file is mapped, not read: it becomes an object, the object becomes slices cut at line ends,
// and each slice is the argument of one task. The workers search it where it lies, and return what
// they found.

#include <tarn/tarn.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "grep.hpp"
#include "line_count.hpp"
#include "options.hpp"
#include "report.hpp"
#include "sample_log.hpp"

namespace log_search {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// ---- What a worker does -------------------------------------------------------------------------

struct Query {
  std::string_view pattern;
};

struct Found {
  std::int64_t matches;
  std::uint64_t bytes;
  tarn::slot worker;
};

Found search(std::string_view slice, Query query) {
  return {count_matching_lines(slice, query.pattern), slice.size(), tarn::this_task::slot()};
}
TARN_TASK(search);

// ---- What the client does -----------------------------------------------------------------------

void add(Outcome& outcome, const Found& found) {
  outcome.matches += found.matches;
  auto& shares = outcome.shares;
  auto share = std::ranges::find(shares, found.worker.number, &Share::slot);
  if (share == shares.end()) {
    share = shares.insert(shares.end(),
                          {found.worker.number, found.worker.core, found.worker.node, 0, 0});
  }
  share->slices += 1;
  share->bytes += found.bytes;
}

// Searches `slices` parts of the file at once.
Outcome search_file(tarn::client& tarn, const std::string& path, Query query, std::size_t slices) {
  Outcome outcome;
  const auto start = Clock::now();

  tarn::object file = tarn.from_file(path);
  std::vector<tarn::future<Found>> parts;
  for (const tarn::object& slice : tarn::split_lines(file, slices)) {
    parts.push_back(tarn.submit(search, slice, query));
  }

  Progress progress("searching", parts.size());
  for (std::size_t done = 0; done < parts.size(); progress.show(done)) {
    done = tarn::wait(parts, parts.size(), 50ms).size();
  }
  for (const Found& found : tarn::when_all(parts)) add(outcome, found);

  outcome.time = Clock::now() - start;
  std::ranges::sort(outcome.shares, {}, &Share::slot);
  return outcome;
}

// The workers start while the client goes on; wait for them, so that the time is that of the
// search.
void wait_for_workers(const tarn::client& tarn) {
  const auto deadline = Clock::now() + 2s;
  while (tarn.slots().size() < tarn.info().workers && Clock::now() < deadline) {
    std::this_thread::sleep_for(1ms);
  }
}

// Enough slices that no worker waits long for the last one, and not so many that they cost more
// than they save.
std::size_t choose_slices(std::uint64_t bytes, std::size_t workers) {
  constexpr std::uint64_t kSliceSize = 1 << 20;
  constexpr std::uint64_t kSlicesMax = 1000;
  return std::clamp<std::uint64_t>(bytes / kSliceSize, workers,
                                   std::max<std::uint64_t>(workers, kSlicesMax));
}

int run(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  tarn::client tarn = tarn::init(argc, argv, {.workers = options.workers});
  wait_for_workers(tarn);

  Report report;
  report.file = options.file.empty() ? sample_log() : options.file;
  report.pattern = options.pattern;
  report.bytes = tarn.from_file(report.file).size();
  report.workers = tarn.info().workers;

  const Query query{options.pattern};
  const std::size_t slices =
      options.slices != 0 ? options.slices : choose_slices(report.bytes, report.workers);
  // The log may just have been made: the first to read it would wait for the disk, and the others not.
  if (options.file.empty()) (void)search_file(tarn, report.file, query, slices);
  report.all_cores = search_file(tarn, report.file, query, slices);
  report.one_core = search_file(tarn, report.file, query, 1);
  {
    const Progress progress("grep -acF");
    report.grep = run_grep(report.file, report.pattern);
  }

  options.json ? print_json(report) : print_table(report);
  if (report.agrees()) return 0;
  std::fprintf(stderr, "log_search: the counts differ: did %s change meanwhile?\n",
               report.file.c_str());
  return 1;
}

}  // namespace
}  // namespace log_search

int main(int argc, char** argv) {
  try {
    return log_search::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "log_search: %s\n", e.what());
    return 1;
  }
}
