// trace.event: what a member pays to write one event while somebody traces it; beside it, what the clock in it takes (`bare`).
// trace.event.off: the look at the word while nobody does.
#include <cstdio>
#include <string_view>

#include "../measure.h"
#include "os/clock.hpp"
#include "trace/tracer.hpp"

namespace tarn {
namespace {

constexpr int kAtATime = 1000;
constexpr int64_t kLongNs = 3'600'000'000'000;

template <class Fn>
double measure(int argc, char** argv, Fn fn) {
  Measure m;
  measure_start(&m, argc, argv);
  while (measure_more(&m)) {
    measure_begin(&m);
    for (int i = 0; i < kAtATime; ++i) fn();
    measure_end(&m, kAtATime);
  }
  return measure_median_ns(&m);
}

int run(int argc, char** argv) {
  std::string_view what = argc > 1 && argv[1][0] != '-' ? argv[1] : "trace.event";
  constexpr uint32_t kMember = shm::kClientMember;
  Fd file;
  os::Mapping map;
  static trace::Tracer tracer;
  if (os::memfd_create("board", trace::kBoardFileSize, file) < 0) measure_die("memfd");
  if (os::memfd_reserve(file, trace::lane_at(kMember), trace::lane_size(uint32_t{1} << 16)) < 0) measure_die("memory");
  if (os::Mapping::map(file, sizeof(shm::Board), os::Access::kReadWrite, map) < 0) measure_die("map");
  auto& board = *reinterpret_cast<shm::Board*>(map.data());
  if (tracer.open(board, file, kMember) < 0) measure_die("tracer");
  board.trace_lanes[0].fetch_or(uint64_t{1} << kMember);
  auto look_and_write = [&] {
    if (trace::Tracer::is_on(board)) tracer.write(trace::Kind::kRunEnd, 1);
  };
  if (what == "clock") {
    int64_t sum = 0;
    double ns = measure(argc, argv, [&] { sum += os::now_ns(); });
    measure_print("clock", ns, "ns", sum == 0 ? "?" : "one look at the clock");
    return 0;
  }
  if (what == "trace.event.off") {
    measure_print("trace.event.off", measure(argc, argv, look_and_write), "ns", "nobody traces");
    return 0;
  }
  board.trace.store(trace::pack_trace(os::now_ns() + kLongNs, 16), shm::kRelease);
  measure_print("trace.event", measure(argc, argv, look_and_write), "ns", "into a warm lane of 65536, one thread");
  return 0;
}

}  // namespace
}  // namespace tarn

int main(int argc, char** argv) { return tarn::run(argc, argv); }
