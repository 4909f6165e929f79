// Counting the members of an aggregate leans on corners of initialisation, on which compilers differ. List structs
// with every kind of member that fools a simple count, and expect the right number, or that it is known to be unknown.

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <complex>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tarn/members.hpp>
#include <tuple>
#include <variant>
#include <vector>

namespace tarn::detail {
namespace {

constexpr std::size_t kUnknown = kMembersMax + 1;

// clang-format off
struct Empty {};
struct One { int a; };
struct OneString { std::string a; };
struct OneVector { std::vector<int> a; };
struct OneOptional { std::optional<std::string> a; };
struct Optionals { std::optional<int> a; std::optional<std::string_view> b; std::optional<std::string> c; };
struct Containers { std::vector<int> a; std::string_view b; std::span<const double> c; std::vector<std::string> d; };
struct Composites { std::variant<int, double> a; std::tuple<int, std::string> b; std::pair<int, int> c; std::array<int, 3> d; };
struct Owner { std::unique_ptr<int> a; std::function<void()> b; };
enum class Colour { red };
struct Scalars { Colour a; bool b; double c; const char* d; std::chrono::seconds e; std::complex<double> f; };
struct Constants { const int a; const std::string b; };
struct Defaults { int a = 3; std::string b = "x"; std::vector<double> c{}; };
struct OnlyArray { int a[5]; };
struct ArrayFirst { char a[8]; int b; };
struct ArrayOfOne { int a[1]; int b; };
struct ArrayOfArrays { double a[3][3]; int b; char c[2]; };
struct ArrayOfStrings { std::string a[3]; int b; };
struct LongArray { char a[256]; int b; };
struct Nested { One a; ArrayFirst b; OneString c; Empty d; };
struct NestedDeeper { Nested a; std::optional<OneString> b; ArrayOfArrays c; };
struct Derived : One { int b; };
struct DerivedFromEmpty : Empty { int b; };
struct Sixteen { int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p; };
struct Seventeen { int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q; };
// clang-format on

TEST(Members, are_counted_at_compile_time) {
  EXPECT_EQ(member_count_v<Empty>, 0u);
  EXPECT_EQ(member_count_v<One>, 1u);
  EXPECT_EQ(member_count_v<OneString>, 1u);
  EXPECT_EQ(member_count_v<OneVector>, 1u);
  EXPECT_EQ(member_count_v<OneOptional>, 1u);
  EXPECT_EQ(member_count_v<Optionals>, 3u);
  EXPECT_EQ(member_count_v<Containers>, 4u);
  EXPECT_EQ(member_count_v<Composites>, 4u);
  EXPECT_EQ(member_count_v<Owner>, 2u);
  EXPECT_EQ(member_count_v<Scalars>, 6u);
  EXPECT_EQ(member_count_v<Constants>, 2u);
  EXPECT_EQ(member_count_v<Defaults>, 3u);
}

TEST(Members, that_are_arrays_count_once) {
  EXPECT_EQ(member_count_v<OnlyArray>, 1u);
  EXPECT_EQ(member_count_v<ArrayFirst>, 2u);
  EXPECT_EQ(member_count_v<ArrayOfOne>, 2u);
  EXPECT_EQ(member_count_v<ArrayOfArrays>, 3u);
  EXPECT_EQ(member_count_v<ArrayOfStrings>, 2u);
}

TEST(Members, that_are_aggregates_count_once) {
  EXPECT_EQ(member_count_v<Nested>, 4u);
  EXPECT_EQ(member_count_v<NestedDeeper>, 3u);
}

TEST(Members, are_known_to_be_unknown_beyond_the_limits) {
  EXPECT_EQ(member_count_v<Sixteen>, 16u);
  EXPECT_EQ(member_count_v<Seventeen>, kUnknown);
  EXPECT_EQ(member_count_v<LongArray>, kUnknown);
  EXPECT_EQ(member_count_v<Derived>, kUnknown);
  EXPECT_EQ(member_count_v<DerivedFromEmpty>, kUnknown);
}

TEST(Members, are_listed_by_reference_and_in_order) {
  ArrayFirst value{"name", 7};
  auto [name, number] = members_of(value);
  EXPECT_STREQ(name, "name");
  number = 8;
  EXPECT_EQ(value.b, 8);
  static_assert(std::is_same_v<member_types_t<ArrayFirst>, std::tuple<char(&)[8], int&>>);

  const Sixteen all{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
  EXPECT_EQ(std::get<15>(members_of(all)), 16);
}

}  // namespace
}  // namespace tarn::detail
