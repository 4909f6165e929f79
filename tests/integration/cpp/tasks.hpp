// tasks: what the tests of tarn.hpp run in workers. Defined in worker_entry.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tarn/tarn.hpp>
#include <tuple>
#include <utility>
#include <vector>

namespace tarn::testing {

// One of every kind of member.
struct Order {
  std::string customer;
  std::int64_t number;
  std::optional<std::string> note;
  std::vector<std::string> lines;
  std::pair<char, double> pair;
  bool operator==(const Order&) const = default;
};

// Travels by a codec.
class Fraction {
 public:
  Fraction(int numerator, int denominator) : numerator_(numerator), denominator_(denominator) {}
  int numerator() const { return numerator_; }
  int denominator() const { return denominator_; }

 private:
  int numerator_, denominator_;
};

class OddError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Query {
  std::string_view text;
  int times;
};

// clang-format off
Order echo_order(const Order& order);
Fraction invert(Fraction fraction);
int add(int a, const int& b) noexcept;
std::string join(std::string a, const std::string& b);
std::string repeat(const Query& query);
std::int64_t count_lines(std::string_view text);
double sum(std::span<const double> numbers);
std::vector<double> count_up(std::size_t count);
std::string_view middle(std::string_view text);  // the third in the middle
std::size_t object_size(tarn::object object);
double trace(int before, const tarn::object& matrix);  // of an array, whose label must be "matrix"
std::string told(const tarn::object& object);          // its label and metadata
std::uint32_t type_of(const tarn::object& object);
std::uint32_t references_of(const tarn::object& object);  // which info() does not say of an argument
std::uint64_t address_of(std::string_view text);
void do_nothing();
void throw_out_of_range(int value);
void throw_odd();
void throw_words(bool as_string);
int throw_number(int number);
std::uint64_t take_memory(std::uint64_t bytes);
void throw_library_error();
void sleep_ms(int ms);
void sleep_until_cancelled();
int die(int signal);                             // by a signal, or without one by exit(3)
int die_once(std::string_view marker, int value);  // by SIGKILL, if it makes the file `marker`
std::uint32_t attempt();
int core();
int sum_as_completed(int count);  // of twice 0 to count - 1, by tasks of its own
void yield_numbers(yielder<int>& yield, int count);
void yield_words(yielder<std::string>& yield, std::string_view text);
void yield_orders(yielder<Order>& yield, int count);
void yield_rows(yielder<std::vector<double>>& yield, int count, int size);
void yield_and_throw(yielder<int>& yield, int count);
void yield_after(yielder<int>& yield, int ms);
void yield_slowly(yielder<int>& yield, int count, int ms);
int sum_stream(int count);  // of a task of its own
results<int, int> divide(int dividend, int divisor);
results<std::span<const double>, std::span<const double>> cut_in_two(std::span<const double> numbers, std::size_t at);
results<Order, std::vector<std::string>, int> describe(std::string_view words);
int not_a_task(int value);
template <class T> T twice(T value) { return value + value; }
// clang-format on

}  // namespace tarn::testing

template <>
struct tarn::codec<tarn::testing::Fraction> {
  static void encode(tarn::encoder& out, const tarn::testing::Fraction& f) {
    out.write(f.numerator());
    out.write(f.denominator());
  }
  static tarn::testing::Fraction decode(tarn::decoder& in) {
    const int numerator = in.read<int>();
    return {numerator, in.read<int>()};
  }
};
