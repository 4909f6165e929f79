// squares: adds the squares of 1 to 10000, a thousand numbers a task.

#include <tarn/tarn.hpp>

#include <cstdint>
#include <cstdio>
#include <exception>
#include <numeric>
#include <span>
#include <vector>

namespace {

std::int64_t sum_of_squares(std::span<const std::int64_t> numbers) {
  return std::inner_product(numbers.begin(), numbers.end(), numbers.begin(), std::int64_t{0});
}
TARN_TASK(sum_of_squares);

}  // namespace

int main(int argc, char** argv) try {
  tarn::client tarn = tarn::init(argc, argv);

  std::vector<std::int64_t> numbers(10'000);
  std::iota(numbers.begin(), numbers.end(), 1);

  std::vector<tarn::future<std::int64_t>> sums;
  for (std::size_t at = 0; at < numbers.size(); at += 1000) {
    sums.push_back(tarn.submit(sum_of_squares, std::span(numbers).subspan(at, 1000)));
  }

  std::int64_t total = 0;
  for (const std::int64_t sum : tarn::when_all(sums)) total += sum;
  std::printf("The sum of the squares of 1 to 10000 is %lld.\n", static_cast<long long>(total));
} catch (const std::exception& e) {
  std::fprintf(stderr, "squares: %s\n", e.what());
  return 1;
}
