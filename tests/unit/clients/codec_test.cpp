// A value that changes on its way, or bytes that are read beyond their end, would show up far from here. Send values of
// every kind of type through their bytes and expect them unchanged; cut the bytes short everywhere and expect a
// type_error each time. Types that must not travel are asked about one by one.

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tarn/codec.hpp>
#include <utility>
#include <variant>
#include <vector>

namespace {

struct Point {
  double x, y;
  char name[8];
  bool operator==(const Point& other) const {
    return x == other.x && y == other.y && std::strcmp(name, other.name) == 0;
  }
};

struct Everything {
  std::string text;
  int number;
  std::optional<std::string> perhaps;
  std::vector<std::string> words;
  std::pair<char, std::string> pair;
  std::tuple<int, std::vector<double>> tuple;
  std::array<std::string, 2> array;
  Point point;
  std::vector<std::vector<bool>> flags;
  bool operator==(const Everything&) const = default;
};

// No default constructor, not an aggregate, and its bytes are not its value.
class Polynomial {
 public:
  explicit Polynomial(std::vector<double> coefficients) : coefficients_(std::move(coefficients)) {}
  virtual ~Polynomial() = default;
  const std::vector<double>& coefficients() const { return coefficients_; }
  bool operator==(const Polynomial& other) const { return coefficients_ == other.coefficients_; }

 private:
  std::vector<double> coefficients_;
};

class Money {
 public:
  explicit Money(long cents) : cents_(cents) {}
  bool operator==(const Money&) const = default;

 private:
  long cents_;
};

// Its bytes could be copied, but are not what should travel.
struct Handle {
  int number;
  bool operator==(const Handle&) const = default;
};

struct View {
  std::string_view text;
  int number;
};
struct OptionalView {
  std::optional<std::string_view> text;
  int number;
};
struct Pointer {
  const int* to;
};
struct HoldsHandle {
  Handle handle;
  int number;
  bool operator==(const HoldsHandle&) const = default;
};

enum class Colour : unsigned char { red, green };

}  // namespace

template <>
struct tarn::codec<Polynomial> {
  static void encode(tarn::encoder& out, const Polynomial& value) {
    out.write(value.coefficients());
  }
  static Polynomial decode(tarn::decoder& in) { return Polynomial(in.read<std::vector<double>>()); }
};

template <>
struct tarn::codec<Handle> {
  static void encode(tarn::encoder& out, const Handle& value) { out.write(value.number + 1000); }
  static Handle decode(tarn::decoder& in) { return {in.read<int>() - 1000}; }
};

namespace tarn {
namespace {

// The bytes as an argument has them: aligned to 8, and no byte behind them can be read unseen.
class Bytes {
 public:
  template <class T>
  static Bytes of(const T& value) {
    if constexpr (detail::raw<T>) {
      const tarn_bytes raw = detail::bytes_of(value);
      Bytes bytes(raw.size);
      if (raw.size != 0) std::memcpy(bytes.data_.get(), raw.data, raw.size);
      return bytes;
    } else {
      Bytes bytes(detail::encoded_size(value));
      encoder out(bytes.data_.get());
      out.write(value);
      EXPECT_EQ(out.size(), bytes.size_);
      return bytes;
    }
  }

  tarn_bytes get() const { return {data_.get(), size_}; }
  std::size_t size() const { return size_; }

  Bytes cut(std::size_t size) const {
    Bytes bytes(size);
    if (size != 0) std::memcpy(bytes.data_.get(), data_.get(), size);
    return bytes;
  }

 private:
  explicit Bytes(std::size_t size) : data_(new std::byte[size]), size_(size) {}

  std::unique_ptr<std::byte[]> data_;
  std::size_t size_;
};

template <class T>
void expect_round_trip(const T& value) {
  const Bytes bytes = Bytes::of(value);
  EXPECT_EQ(detail::decode_whole<T>(bytes.get()), value);
}

Everything everything() {
  return {"text with a \0 in it",
          -7,
          "perhaps",
          {"", "b", std::string(300, 'c')},
          {'x', "y"},
          {1, {0.5, -0.5}},
          {"first", "second"},
          {1, 2, "point"},
          {{true, false, true}, {}}};
}

TEST(Codec, leaves_values_as_they_are) {
  expect_round_trip(42);
  expect_round_trip(true);
  expect_round_trip(2.5L);
  expect_round_trip(Colour::green);
  expect_round_trip(std::chrono::milliseconds(7));
  expect_round_trip(Point{1, 2, "p"});
  expect_round_trip(Money(100));
  expect_round_trip(std::string("hello"));
  expect_round_trip(std::string());
  expect_round_trip(std::u16string(u"hello"));
  expect_round_trip(std::vector<double>{1, 2, 3});
  expect_round_trip(std::vector<Money>{Money(1), Money(2)});
  expect_round_trip(std::vector<Point>{});
  expect_round_trip(std::vector<bool>{true, false, true});
  expect_round_trip(std::vector<std::string>{"a", "", "c"});
  expect_round_trip(std::vector<std::pair<int, double>>{{1, 0.5}, {2, 1.5}});
  expect_round_trip(std::pair<char, double>('c', 0.5));
  expect_round_trip(std::tuple<>());
  expect_round_trip(std::optional<int>());
  expect_round_trip(std::optional<std::string>("there"));
  expect_round_trip(std::array<std::string, 2>{"a", "b"});
  expect_round_trip(std::variant<int, double>(0.5));
  expect_round_trip(Polynomial({1, 2, 3}));
  expect_round_trip(std::vector<std::optional<Polynomial>>{Polynomial({1}), std::nullopt});
  expect_round_trip(everything());
}

TEST(Codec, uses_the_hook_wherever_the_type_appears) {
  expect_round_trip(HoldsHandle{{1}, 2});
  const Bytes bytes = Bytes::of(HoldsHandle{{1}, 2});
  EXPECT_EQ(decoder(bytes.get()).read<int>(), 1001);
}

TEST(Codec, refuses_bytes_that_end_early_or_late) {
  const Bytes bytes = Bytes::of(everything());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const Bytes cut = bytes.cut(size);
    EXPECT_THROW(static_cast<void>(detail::decode_whole<Everything>(cut.get())), type_error)
        << size;
  }
  EXPECT_THROW(static_cast<void>(detail::decode_whole<int>(Bytes::of(1.0).get())), type_error);
  EXPECT_THROW(static_cast<void>(detail::decode_whole<std::optional<int>>(
                   Bytes::of(std::tuple<std::optional<int>, std::string>(1, "x")).get())),
               type_error);
  EXPECT_THROW(static_cast<void>(
                   detail::decode_whole<std::vector<double>>(Bytes::of(std::string("123")).get())),
               type_error);
}

TEST(Codec, refuses_a_length_that_the_bytes_cannot_have) {
  for (const std::uint64_t length : {std::uint64_t{1}, std::uint64_t{1} << 61, ~std::uint64_t{0}}) {
    const Bytes bytes = Bytes::of(length);
    EXPECT_THROW(static_cast<void>(decoder(bytes.get()).read<std::vector<double>>()), type_error);
    EXPECT_THROW(static_cast<void>(decoder(bytes.get()).read<std::vector<std::string>>()),
                 type_error);
  }
}

TEST(Codec, gives_views_into_the_bytes_themselves) {
  const Bytes text = Bytes::of(std::string("hello"));
  EXPECT_EQ(detail::decode_whole<std::string_view>(text.get()).data(), text.get().data);
  const Bytes numbers = Bytes::of(std::vector<double>{1, 2});
  EXPECT_EQ(detail::decode_whole<std::span<const double>>(numbers.get()).data(),
            numbers.get().data);

  const Bytes view = Bytes::of(View{"inside", 1});
  const auto inside = detail::decode_whole<View>(view.get()).text;
  EXPECT_EQ(inside, "inside");
  EXPECT_GE(static_cast<const void*>(inside.data()), view.get().data);
  EXPECT_LE(static_cast<const void*>(inside.data()),
            static_cast<const std::byte*>(view.get().data) + view.size());
}

TEST(Codec, refuses_elements_at_an_address_that_does_not_suit_them_but_copies_them) {
  const Bytes bytes = Bytes::of(std::string("0123456789abcdef0"));
  const tarn_bytes odd{static_cast<const std::byte*>(bytes.get().data) + 1, 16};
  EXPECT_THROW(static_cast<void>(detail::decode_whole<std::span<const double>>(odd)), type_error);
  EXPECT_EQ(detail::decode_whole<std::vector<double>>(odd).size(), 2u);
}

TEST(Codec, knows_what_cannot_travel) {
  static_assert(!serializable<int*>);
  static_assert(!serializable<const char*>);
  static_assert(!serializable<std::nullptr_t>);
  static_assert(!serializable<int Point::*>);
  static_assert(!serializable<Pointer>);
  static_assert(!serializable<std::vector<Pointer>>);
  static_assert(!serializable<std::optional<int*>>);
  static_assert(!serializable<std::variant<int, std::string_view>>);
  static_assert(!serializable<std::reference_wrapper<int>>);
  static_assert(!serializable<std::initializer_list<int>>);
  static_assert(!serializable<std::unique_ptr<int>>);
  static_assert(!serializable<std::map<int, int>>);
  static_assert(!serializable<std::deque<int>>);
}

TEST(Codec, does_not_take_a_view_for_a_plain_value) {
  static_assert(detail::plain<Point> && detail::plain<Money> &&
                detail::plain<std::chrono::seconds>);
  static_assert(!detail::plain<std::string_view> && !detail::plain<View>);
  static_assert(!detail::plain<OptionalView> && !detail::plain<HoldsHandle>);
  static_assert(serializable<View> && serializable<OptionalView>);
  static_assert(detail::borrows<View>() && detail::borrows<OptionalView>());
  static_assert(!detail::borrows<Everything>() && !detail::borrows<Point>());
}

TEST(Signature, tells_types_apart_but_not_a_view_from_its_owner) {
  using detail::signature_of;
  static_assert(signature_of<int, std::string>() == signature_of<int, std::string_view>());
  static_assert(signature_of<int, const std::string&>() == signature_of<int, std::string>());
  static_assert(signature_of<int, std::span<const double>>() ==
                signature_of<int, std::vector<double>>());
  static_assert(signature_of<int, int>() != signature_of<int, unsigned>());
  static_assert(signature_of<int, int>() != signature_of<int, long>());
  static_assert(signature_of<int, float>() != signature_of<int, int>());
  static_assert(signature_of<int, int>() != signature_of<long, int>());
  static_assert(signature_of<int>() != signature_of<void>());
  static_assert(signature_of<int, int>() != signature_of<int, int, int>());
  static_assert(signature_of<int, std::vector<double>>() !=
                signature_of<int, std::vector<float>>());
  static_assert(signature_of<int, std::tuple<int, int>>() != signature_of<int, int, int>());
  static_assert(signature_of<int, std::optional<int>>() != signature_of<int, int>());
}

}  // namespace
}  // namespace tarn
