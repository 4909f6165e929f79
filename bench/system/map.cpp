// map.skewed: tarn.map over elements of which the second half costs 19 times the first, on two workers; and the same
// in two chunks of as many elements each.
//
//   tarn_map [--elements N] [--ms N]
#include "../measure.h"
#include "../skewed.h"

#include <tarn/tarn.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>
#include <thread>
#include <vector>

namespace {

std::uint64_t element(std::uint64_t index, std::uint64_t count) { return skewed_element(index, count); }
TARN_TASK(element);

std::uint64_t sum_of(std::uint64_t first, std::uint64_t last, std::uint64_t count) {
  std::uint64_t sum = 0;
  for (; first < last; ++first) sum += skewed_element(first, count);
  return sum;
}
TARN_TASK(sum_of);

std::uint64_t sum(const std::vector<std::uint64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::uint64_t{0});
}

void run(int argc, char** argv) {
  static Measure mapped, cut;
  constexpr unsigned kWorkers = 2;
  const auto count = static_cast<std::uint64_t>(measure_option_int(argc, argv, "--elements", kSkewedElements));
  tarn::client tarn = tarn::init(argc, argv, {.address = "private", .workers = kWorkers});
  while (tarn.slots().size() < kWorkers) std::this_thread::sleep_for(std::chrono::milliseconds(1));

  std::uint64_t sum_mapped = 0;
  std::uint64_t sum_cut = 0;
  measure_start(&mapped, argc, argv);
  while (measure_more(&mapped)) {
    measure_begin(&mapped);
    sum_mapped = sum(tarn.map(element, tarn::indices(count), count));
    measure_end(&mapped, 1);
    measure_begin(&cut);
    const auto first = tarn.submit(sum_of, 0u, count / 2, count);
    const auto second = tarn.submit(sum_of, count / 2, count, count);
    sum_cut = first.get() + second.get();
    measure_end(&cut, 1);
  }
  if (sum_mapped != sum_cut) {
    fprintf(stderr, "tarn_map: a result is wrong\n");
    exit(1);
  }
  char note[96];
  snprintf(note, sizeof note, "%llu elements, %u workers", static_cast<unsigned long long>(count), kWorkers);
  measure_print("map.skewed", measure_median_ns(&mapped), "ns", note);
  measure_print("map.skewed.static", measure_median_ns(&cut), "ns", "half of the elements in each of two tasks");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(argc, argv);
    return 0;
  } catch (const std::exception& e) {
    fprintf(stderr, "tarn_map: %s\n", e.what());
    return 1;
  }
}
