// A map is cut into chunks that are cut again while it runs: an element may get lost on the way, run twice, or stand at
// another's place. Map inputs of every kind and size, whose elements cost nothing, the same, or all the same but one;
// let elements throw, crash and be cancelled. Expect the results of a plain loop, or the index of what failed.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <tarn/tarn.hpp>

namespace tarn::testing {
namespace {

using ::testing::HasSubstr;
using namespace std::chrono_literals;

// ---- Tasks --------------------------------------------------------------------------------------

std::uint64_t square(std::uint64_t number) {
  return number * number;
}
TARN_TASK(square);

double half(const double& number) {
  return number / 2;
}
TARN_TASK(half);

double sum(std::span<const double> numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0);
}
TARN_TASK(sum);

std::int64_t count_x(std::string_view text) {
  return std::count(text.begin(), text.end(), 'x');
}
TARN_TASK(count_x);

struct Word {
  std::string text;
  std::optional<int> number;
  bool operator==(const Word&) const = default;
};

Word repeat(const Word& word, int times, std::string_view between) {
  Word result{"", word.number};
  for (int i = 0; i < times; ++i) result.text += (i != 0 ? std::string(between) : "") + word.text;
  return result;
}
TARN_TASK(repeat);

bool is_even(int number) {
  return number % 2 == 0;
}
TARN_TASK(is_even);

double dot(std::span<const double> row, const tarn::object& vector) {
  const auto other = vector.view<double>();
  return std::inner_product(row.begin(), row.end(), other.begin(), 0.0);
}
TARN_TASK(dot);

std::size_t size_of(const tarn::object& slice) {
  return slice.size();
}
TARN_TASK(size_of);

void touch(std::uint64_t number, std::string_view directory) {
  const std::string path = std::string(directory) + "/" + std::to_string(number);
  const int fd = open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0 || write(fd, "x", 1) != 1) throw std::runtime_error(path);
  close(fd);
}
TARN_TASK(touch);

std::string large(std::uint64_t number) {
  return std::string(std::size_t{1} << 20, static_cast<char>('a' + number % 26));
}
TARN_TASK(large);

std::uint64_t throw_at(std::uint64_t number, std::uint64_t at) {
  if (number == at) throw std::out_of_range("no " + std::to_string(number));
  return number;
}
TARN_TASK(throw_at);

std::uint64_t crash_at(std::uint64_t number, std::uint64_t at) {
  if (number == at) raise(SIGKILL);
  return number;
}
TARN_TASK(crash_at);

std::uint64_t crash_once(std::uint64_t number, std::uint64_t at, std::string_view marker) {
  if (number == at && open(std::string(marker).c_str(), O_CREAT | O_EXCL | O_CLOEXEC, 0600) >= 0)
    raise(SIGKILL);
  return number + 1;
}
TARN_TASK(crash_once);

void spin_for(std::chrono::microseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < end) {
  }
}

// Nearly all of the work is in the last tenth.
std::uint64_t skewed(std::uint64_t number, std::uint64_t count) {
  spin_for(number < count - count / 10 ? 1us : 200us);
  return number;
}
TARN_TASK(skewed);

std::uint64_t wait_ms(std::uint64_t number, int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  return number;
}
TARN_TASK(wait_ms);

int worker_pid(std::uint64_t) {
  spin_for(100us);
  return getpid();
}
TARN_TASK(worker_pid);

std::uint64_t sum_of_squares(std::uint64_t count) {
  const auto squares = this_task::client().map(square, indices(count));
  return std::accumulate(squares.begin(), squares.end(), std::uint64_t{0});
}
TARN_TASK(sum_of_squares);

// A map in each element of a map.
std::uint64_t nested(std::uint64_t count) {
  return sum_of_squares(count);
}
TARN_TASK(nested);

double sum_of_slices(const tarn::object& numbers, std::size_t each) {
  const auto sums = this_task::client().map(sum, slices(numbers, each));
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}
TARN_TASK(sum_of_slices);

std::uint64_t fail_inside(std::uint64_t at) {
  try {
    static_cast<void>(this_task::client().map(throw_at, indices(1000), at));
  } catch (const map_error& e) {
    return e.index();
  }
  return 0;
}
TARN_TASK(fail_inside);

std::uint64_t map_for_ever(std::uint64_t) {
  for (;;) static_cast<void>(this_task::client().map(wait_ms, indices(100), 1));
}
TARN_TASK(map_for_ever);

// Last of the tasks, so that they are defined by now.
[[maybe_unused]] const bool is_client = [] {
  if (std::getenv("TARN_WORKER_FD") != nullptr) static_cast<void>(init(0, nullptr));
  return true;
}();

// ---- Tests --------------------------------------------------------------------------------------

template <class Map>
map_error failure_of(Map map) {
  try {
    static_cast<void>(map());
  } catch (const map_error& failure) {
    return failure;
  }
  throw std::logic_error("it did not fail");
}

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    if (mkdtemp(path_) == nullptr) throw std::runtime_error("mkdtemp");
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/tarn_map.XXXXXX";
};

class MapTest : public ::testing::TestWithParam<unsigned> {
 protected:
  client tarn = init(0, nullptr, {.address = "private", .workers = GetParam()});
};

INSTANTIATE_TEST_SUITE_P(Workers, MapTest, ::testing::Values(1u, 2u));

TEST_P(MapTest, gives_the_results_in_the_order_of_the_indices) {
  for (const std::uint64_t count : {0u, 1u, 2u, 3u, 7u, 8u, 9u, 100u, 4097u, 100'000u}) {
    const std::vector<std::uint64_t> squares = tarn.map(square, indices(count));
    ASSERT_EQ(squares.size(), count);
    for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(squares[i], i * i) << "of " << count;
  }
  EXPECT_EQ(tarn.map(square, indices(3, 6)), (std::vector<std::uint64_t>{9, 16, 25}));
  EXPECT_TRUE(tarn.map(square, indices(6, 3)).empty());
}

TEST_P(MapTest, maps_a_million_elements) {
  constexpr std::uint64_t kCount = 1'000'000;
  const std::vector<std::uint64_t> squares = tarn.map(square, indices(kCount));
  ASSERT_EQ(squares.size(), kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(squares[i], i * i);
  std::vector<double> numbers(kCount);
  std::iota(numbers.begin(), numbers.end(), 0.0);
  const std::vector<double> halves = tarn.map(half, numbers);
  ASSERT_EQ(halves.size(), kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) ASSERT_EQ(halves[i], static_cast<double>(i) / 2);
}

TEST_P(MapTest, takes_containers_of_values) {
  EXPECT_EQ(tarn.map(half, std::vector<int>{1, 2, 3}), (std::vector<double>{0.5, 1, 1.5}));
  EXPECT_TRUE(tarn.map(half, std::vector<double>()).empty());
  EXPECT_EQ(tarn.map(is_even, std::vector<int>{1, 2}), (std::vector<bool>{false, true}));
  EXPECT_EQ(tarn.map(is_even, std::vector<bool>{false}), (std::vector<bool>{true}));
  const std::vector<Word> words{{"a", 1}, {"", {}}, {"a longer word", -1}};
  const std::vector<Word> twice{{"a, a", 1}, {", ", {}}, {"a longer word, a longer word", -1}};
  EXPECT_EQ(tarn.map(repeat, words, 2, ", "), twice);
  EXPECT_TRUE(tarn.map(repeat, std::vector<Word>(), 2, ", ").empty());
  const std::vector<std::string> texts{"x", "", "xx", "no"};
  EXPECT_EQ(tarn.map(count_x, texts), (std::vector<std::int64_t>{1, 0, 2, 0}));
  EXPECT_EQ(tarn.map(sum, std::vector<std::vector<double>>{{1, 2}, {}, {3}}),
            (std::vector<double>{3, 0, 3}));
}

TEST_P(MapTest, takes_objects_by_elements_slices_and_rows) {
  std::vector<double> numbers(1000);
  std::iota(numbers.begin(), numbers.end(), 0.0);
  const object stored = tarn.put(numbers);
  const std::vector<double> halves = tarn.map(half, stored);
  ASSERT_EQ(halves.size(), 1000u);
  EXPECT_EQ(halves[999], 499.5);
  // Slices of three: the last has one.
  const std::vector<double> sums = tarn.map(sum, slices(stored, 3));
  ASSERT_EQ(sums.size(), 334u);
  EXPECT_EQ(sums[0], 0.0 + 1 + 2);
  EXPECT_EQ(sums[333], 999.0);
  EXPECT_EQ(tarn.map(sum, slices(stored, 5000)).size(), 1u);
  EXPECT_EQ(tarn.map(size_of, slices(stored, 3000)), (std::vector<std::size_t>{3000, 3000, 2000}));
  const object text = tarn.put("xx.x.");
  EXPECT_EQ(tarn.map(count_x, slices(text, 2)), (std::vector<std::int64_t>{2, 1, 0}));
  const object nothing = tarn.put("");
  EXPECT_TRUE(tarn.map(count_x, slices(nothing, 2)).empty());
  EXPECT_TRUE(tarn.map(half, nothing).empty());
  // A slice of an object.
  EXPECT_EQ(tarn.map(half, stored.slice(8, 16)), (std::vector<double>{0.5, 1}));

  const object matrix = tarn.create_array<double>({3, 2})
                            .fill([](array_span<double> cells) {
                              for (std::size_t i = 0; i < 3; ++i)
                                for (std::size_t j = 0; j < 2; ++j)
                                  cells(i, j) = static_cast<double>(10 * i + j);
                            })
                            .seal();
  const object vector = tarn.put(std::vector<double>{1, 100});
  EXPECT_EQ(tarn.map(dot, rows<double>(matrix), vector), (std::vector<double>{100, 1110, 2120}));
  const object empty = tarn.create_array<double>({0, 2}).fill(0).seal();
  EXPECT_TRUE(tarn.map(sum, rows<double>(empty)).empty());
}

TEST_P(MapTest, runs_each_element_once) {
  const TemporaryDirectory directory;
  tarn.map(touch, indices(500), directory.path());
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(std::filesystem::file_size(directory.path() + "/" + std::to_string(i)), 1u) << i;
  }
}

TEST_P(MapTest, gives_results_that_are_large) {
  const std::vector<std::string> texts = tarn.map(large, indices(60));
  ASSERT_EQ(texts.size(), 60u);
  for (std::size_t i = 0; i < texts.size(); ++i)
    ASSERT_TRUE(texts[i] == std::string(std::size_t{1} << 20, static_cast<char>('a' + i % 26)))
        << i;
}

TEST_P(MapTest, says_which_element_threw) {
  for (const std::uint64_t at : {0u, 1u, 499u, 999u}) {
    const map_error failure = failure_of([&] { return tarn.map(throw_at, indices(1000), at); });
    EXPECT_EQ(failure.index(), at);
    EXPECT_EQ(failure.code(), TARN_E_TASK_FAILED);
    EXPECT_EQ(failure.type(), "std::out_of_range");
    EXPECT_EQ(failure.message(), "no " + std::to_string(at));
    EXPECT_EQ(failure.task(), "throw_at");
    EXPECT_THAT(failure.what(), HasSubstr("element " + std::to_string(at)));
  }
  EXPECT_EQ(tarn.map(throw_at, indices(10), 10u).size(), 10u);  // the session goes on
}

TEST_P(MapTest, does_not_begin_the_rest_when_an_element_failed) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(static_cast<void>(tarn.map(throw_at, indices(100'000'000), 0u)), map_error);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_EQ(tarn.map(square, indices(2)).size(), 2u);
}

TEST_P(MapTest, says_which_element_crashes) {
  const map_error failure =
      failure_of([&] { return tarn.map({.retries = 1}, crash_at, indices(40), 17u); });
  EXPECT_EQ(failure.index(), 17u);
  EXPECT_EQ(failure.code(), TARN_E_WORKER_CRASHED);
  EXPECT_EQ(failure.signal(), SIGKILL);
  EXPECT_EQ(failure.task(), "crash_at");
  EXPECT_EQ(failure.attempts(), 2u);
  // Not run again: the chunk is known.
  const map_error once =
      failure_of([&] { return tarn.map({.retries = -1}, crash_at, indices(40), 17u); });
  EXPECT_LE(once.index(), 17u);
  EXPECT_THAT(once.what(), HasSubstr("one of the elements"));
}

TEST_P(MapTest, goes_on_after_a_worker_was_killed) {
  const TemporaryDirectory directory;
  const std::vector<std::uint64_t> numbers =
      tarn.map(crash_once, indices(20'000), 15'000u, directory.path() + "/marker");
  ASSERT_EQ(numbers.size(), 20'000u);
  for (std::uint64_t i = 0; i < 20'000; ++i) ASSERT_EQ(numbers[i], i + 1);
}

TEST_P(MapTest, gives_up_at_its_deadline) {
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(static_cast<void>(tarn.map({.deadline = 100ms}, wait_ms, indices(10'000), 1)),
               deadline_passed);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_EQ(tarn.map({.deadline = 60s}, square, indices(3)).size(), 3u);
}

TEST_P(MapTest, refuses_wrong_use) {
  EXPECT_THROW(static_cast<void>(tarn.map({.timeout = 1s}, square, indices(1))), bad_argument);
  EXPECT_THROW(static_cast<void>(tarn.map({.repeatable = true}, square, indices(1))), bad_argument);
  EXPECT_THROW(static_cast<void>(tarn.map({.retries = 1000}, square, indices(1))), bad_argument);
  const object text = tarn.put("12345");
  EXPECT_THROW(static_cast<void>(tarn.map(half, text)), type_error);
  EXPECT_THROW(static_cast<void>(slices(text, 0)), bad_argument);
  EXPECT_THROW(static_cast<void>(rows<double>(text)), type_error);
  const object one = tarn.create_array<double>({}).fill(1).seal();
  EXPECT_THROW(static_cast<void>(rows<double>(one)), type_error);
}

TEST_P(MapTest, runs_inside_of_tasks) {
  const auto expected = [](std::uint64_t n) { return n == 0 ? 0 : (n - 1) * n * (2 * n - 1) / 6; };
  for (const std::uint64_t count : {0u, 1u, 2u, 1000u, 200'000u})
    EXPECT_EQ(tarn.submit(sum_of_squares, count).get(), expected(count));
  const std::vector<std::uint64_t> sums = tarn.map(nested, indices(50));
  for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(sums[i], expected(i));
  std::vector<double> numbers(10'000, 0.5);
  EXPECT_EQ(tarn.submit(sum_of_slices, tarn.put(numbers), 7u).get(), 5000);
  EXPECT_EQ(tarn.submit(fail_inside, 321u).get(), 321u);
}

TEST_P(MapTest, inside_of_a_task_that_is_cancelled_ends) {
  const auto mapping = tarn.submit(map_for_ever, 0u);
  std::this_thread::sleep_for(50ms);
  EXPECT_TRUE(mapping.cancel());
  EXPECT_THROW(static_cast<void>(mapping.get(20s)), cancelled);
  EXPECT_EQ(tarn.map(square, indices(3)).size(), 3u);
}

TEST(Map, keeps_all_workers_busy_when_the_work_is_at_one_end) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "needs two processors";
  client tarn = init(0, nullptr, {.address = "private", .workers = 2});
  static_cast<void>(tarn.map(worker_pid, indices(1000)));  // both are up
  const std::uint64_t count = 5000;
  const std::vector<std::uint64_t> numbers = tarn.map(skewed, indices(count), count);
  for (std::uint64_t i = 0; i < count; ++i) ASSERT_EQ(numbers[i], i);
  // Of the work that is left when one worker has nothing more to do, the other must not have much alone: the elements
  // of the heavy end ran in both. (How long it took, bench map.skewed says.)
  std::vector<int> pids = tarn.map(worker_pid, indices(2000));
  std::sort(pids.begin(), pids.end());
  pids.erase(std::unique(pids.begin(), pids.end()), pids.end());
  EXPECT_EQ(pids.size(), 2u);
}

}  // namespace
}  // namespace tarn::testing
