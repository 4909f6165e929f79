// recursive_sort: sorts a million numbers by merging, each half by a task of its own.
//
// A task submits tasks and waits for them: it has its worker's client, this_task::client(). What nobody
// has begun by the time it is wanted, the waiting worker runs itself, so one worker sorts as well. The
// halves go as slices of one object, and the sorted ones come back as objects: read where they lie.

#include <tarn/tarn.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <random>
#include <span>
#include <vector>

namespace {

constexpr std::size_t kSmall = 20'000;  // numbers; they are sorted sooner than handed to another

std::vector<std::int64_t> sort_numbers(const tarn::object& object) {
  const auto numbers = object.view<std::int64_t>();
  std::vector<std::int64_t> sorted(numbers.size());
  if (numbers.size() <= kSmall) {
    std::ranges::partial_sort_copy(numbers, sorted);
    return sorted;
  }
  tarn::client& tarn = tarn::this_task::client();
  const std::size_t middle = numbers.size() / 2 * sizeof(std::int64_t);
  const auto left = tarn.submit(sort_numbers, object.slice(0, middle));
  const auto right = tarn.submit(sort_numbers, object.slice(middle));
  std::ranges::merge(left.get_view(), right.get_view(), sorted.begin());
  return sorted;
}
TARN_TASK(sort_numbers);

}  // namespace

int main(int argc, char** argv) try {
  tarn::client tarn = tarn::init(argc, argv);

  std::vector<std::int64_t> numbers(1'000'000);
  std::mt19937_64 random;
  for (std::int64_t& number : numbers) number = static_cast<std::int64_t>(random() >> 1);

  const auto sorted = tarn.submit(sort_numbers, tarn.put(numbers));
  const auto found = sorted.get_view();

  std::ranges::sort(numbers);
  const bool is_right = std::ranges::equal(found, numbers);
  std::printf("%zu numbers are %s.\n", found.size(), is_right ? "sorted" : "not sorted");
  return is_right ? 0 : 1;
} catch (const std::exception& e) {
  std::fprintf(stderr, "recursive_sort: %s\n", e.what());
  return 1;
}
