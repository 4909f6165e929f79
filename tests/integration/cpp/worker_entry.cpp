// The tasks, and the way into a worker: before main(), so that a worker is neither a test run nor under the guardian.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <new>
#include <numeric>
#include <thread>

#include "tasks.hpp"

namespace tarn::testing {

Order echo_order(const Order& order) {
  return order;
}
TARN_TASK(echo_order);

Fraction invert(Fraction fraction) {
  return {fraction.denominator(), fraction.numerator()};
}
TARN_TASK(invert);

int add(int a, const int& b) noexcept {
  return a + b;
}
TARN_TASK(add);

std::string join(std::string a, const std::string& b) {
  return a + b;
}
TARN_TASK(join);

std::string repeat(const Query& query) {
  std::string text;
  for (int i = 0; i < query.times; ++i) text += query.text;
  return text;
}
TARN_TASK(repeat);

std::int64_t count_lines(std::string_view text) {
  return std::count(text.begin(), text.end(), '\n');
}
TARN_TASK(count_lines);

double sum(std::span<const double> numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 0.0);
}
TARN_TASK(sum);

std::vector<double> count_up(std::size_t count) {
  std::vector<double> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0.0);
  return numbers;
}
TARN_TASK(count_up);

std::string_view middle(std::string_view text) {
  return text.substr(text.size() / 3, text.size() / 3);
}
TARN_TASK(middle);

std::size_t object_size(tarn::object object) {
  const tarn::object rest = object.slice(1);
  return rest.view().size() + 1;
}
TARN_TASK(object_size);

double trace(int before, const tarn::object& matrix) {
  if (matrix.label() != "matrix") throw std::invalid_argument(std::string(matrix.label()));
  const array_view<double> cells(matrix);
  double sum = before;
  for (std::size_t i = 0; i < cells.shape()[0]; ++i) sum += cells.at(i, i);
  return sum;
}
TARN_TASK(trace);

std::string told(const tarn::object& object) {
  return std::string(object.label()) + "/" + std::string(object.metadata());
}
TARN_TASK(told);

std::uint32_t type_of(const tarn::object& object) {
  return object.type();
}
TARN_TASK(type_of);

std::uint32_t references_of(const tarn::object& object) {
  return object.info().references;
}
TARN_TASK(references_of);

std::uint64_t address_of(std::string_view text) {
  return reinterpret_cast<std::uintptr_t>(text.data());
}
TARN_TASK(address_of);

void do_nothing() {}
TARN_TASK(do_nothing);

void throw_out_of_range(int value) {
  throw std::out_of_range("no " + std::to_string(value));
}
TARN_TASK(throw_out_of_range);

void throw_odd() {
  throw OddError("100% odd: %s");
}
TARN_TASK(throw_odd);

void throw_words(bool as_string) {
  if (as_string) throw std::string("a string");
  throw "plain words";
}
TARN_TASK(throw_words);

int throw_number(int number) {
  throw number;
}
TARN_TASK(throw_number);

// Not by new, at which a sanitizer ends the process.
std::uint64_t take_memory(std::uint64_t bytes) {
  void* room = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) throw std::bad_alloc();
  munmap(room, bytes);
  return bytes;
}
TARN_TASK(take_memory);

void throw_library_error() {
  throw store_full(TARN_E_STORE_FULL, "no room for it");
}
TARN_TASK(throw_library_error);

void sleep_ms(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}
TARN_TASK(sleep_ms);

void sleep_until_cancelled() {
  for (;;) {
    this_task::end_if_cancelled();
    sleep_ms(1);
  }
}
TARN_TASK(sleep_until_cancelled);

int die(int signal) {
  if (signal == 0) _exit(3);
  return raise(signal);
}
TARN_TASK(die);

int die_once(std::string_view marker, int value) {
  if (open(std::string(marker).c_str(), O_CREAT | O_EXCL | O_CLOEXEC, 0600) >= 0) raise(SIGKILL);
  return value;
}
TARN_TASK(die_once);

std::uint32_t attempt() {
  return this_task::attempt();
}
TARN_TASK(attempt);

int core() {
  return this_task::slot().core;
}
TARN_TASK(core);

TARN_TASK(twice<double>);

TARN_TASK(twice<int>);

int sum_as_completed(int count) {
  std::vector<future<int>> futures;
  for (int i = 0; i < count; ++i) futures.push_back(this_task::client().submit(twice<int>, i));
  int sum = 0;
  for (auto [index, future] : as_completed(futures)) sum += future.get();
  return sum;
}
TARN_TASK(sum_as_completed);

void yield_numbers(yielder<int>& yield, int count) {
  for (int i = 0; i < count; ++i) yield(i);
}
TARN_TASK(yield_numbers);

void yield_words(yielder<std::string>& yield, std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    yield(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}
TARN_TASK(yield_words);

void yield_orders(yielder<Order>& yield, int count) {
  for (int i = 0; i < count; ++i) {
    Order order{"customer " + std::to_string(i), i, std::nullopt, {}, {'x', 0.5}};
    order.lines.assign(static_cast<std::size_t>(i), "a line");
    yield(order);
  }
}
TARN_TASK(yield_orders);

void yield_rows(yielder<std::vector<double>>& yield, int count, int size) {
  for (int i = 0; i < count; ++i) yield(std::vector<double>(static_cast<std::size_t>(size), i));
}
TARN_TASK(yield_rows);

void yield_and_throw(yielder<int>& yield, int count) {
  for (int i = 0; i < count; ++i) yield(i);
  throw std::out_of_range("no more than " + std::to_string(count));
}
TARN_TASK(yield_and_throw);

void yield_after(yielder<int>& yield, int ms) {
  for (int i = 0; i < ms && !this_task::is_cancelled(); ++i) sleep_ms(1);
  yield(ms);
}
TARN_TASK(yield_after);

void yield_slowly(yielder<int>& yield, int count, int ms) {
  for (int i = 0; i < count; ++i) {
    sleep_ms(ms);
    yield(i);
  }
}
TARN_TASK(yield_slowly);

int sum_stream(int count) {
  int total = 0;
  for (int number : this_task::client().submit(yield_numbers, count)) total += number;
  return total;
}
TARN_TASK(sum_stream);

results<int, int> divide(int dividend, int divisor) {
  if (divisor == 0) throw std::domain_error("division by 0");
  return {dividend / divisor, dividend % divisor};
}
TARN_TASK(divide);

results<std::span<const double>, std::span<const double>> cut_in_two(
    std::span<const double> numbers, std::size_t at) {
  return {numbers.first(at), numbers.subspan(at)};
}
TARN_TASK(cut_in_two);

results<Order, std::vector<std::string>, int> describe(std::string_view words) {
  std::vector<std::string> all;
  for (std::string_view left = words; !left.empty();) {
    const std::size_t end = std::min(left.find(' '), left.size());
    all.emplace_back(left.substr(0, end));
    left.remove_prefix(std::min(end + 1, left.size()));
  }
  const int count = static_cast<int>(all.size());
  return {Order{std::string(words), count, std::nullopt, all, {'x', 0.5}}, std::move(all), count};
}
TARN_TASK(describe);

int not_a_task(int value) {
  return value;
}

// Last in the file that defines the tasks, so that they are defined by now.
[[maybe_unused]] const bool is_client = [] {
  if (std::getenv("TARN_WORKER_FD") != nullptr) static_cast<void>(init(0, nullptr));
  return true;
}();

}  // namespace tarn::testing
