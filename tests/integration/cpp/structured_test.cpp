// A structured object that is read as what it is not gives wild pointers, and one that can be changed gives other processes
// half a change. Build objects of every shape, use them in workers, and expect the same content at another address; give
// the wrong type, other bytes, slices and too little room, and expect an error that says so; write through one, and expect
// the writer to die.

#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <tarn/structured.hpp>
#include <tarn/tarn.hpp>

#include "refusal.hpp"

namespace tarn::testing {
namespace {

using boost::interprocess::offset_ptr;
using structure::map;
using structure::set;
using structure::string;
using structure::text;
using structure::vector;

using Words = map<string, vector<int>>;

// With members of every kind, made member by member.
struct Library {
  vector<string> names;
  map<string, map<int, string>> shelves;
  set<int> numbers;
  std::array<double, 3> values;
  std::int64_t count;
  offset_ptr<const string> favourite;
};

// With a constructor of its own.
class Tree {
 public:
  using allocator_type = structure::allocator<char>;

  explicit Tree(const allocator_type& allocator) : name_(allocator), children_(allocator) {}
  Tree(std::string_view name, const allocator_type& allocator)
      : name_(name, allocator), children_(allocator) {}
  Tree(Tree&&) = default;
  Tree(Tree&& other, const allocator_type& allocator)
      : name_(std::move(other.name_), allocator),
        children_(std::move(other.children_), allocator) {}
  Tree& operator=(Tree&&) = default;

  Tree& add(std::string_view name) { return children_.emplace_back(name); }
  [[nodiscard]] std::string path_of_last() const {
    return "/" + std::string(text(name_)) +
           (children_.empty() ? "" : children_.back().path_of_last());
  }

 private:
  string name_;
  vector<Tree> children_;
};

// What maps and vectors are made of: aggregates, which cannot be given an allocator by themselves.
struct Entry {
  vector<string> lines;
  map<string, vector<int>> places;
  int count;
};
struct Chapter {
  map<string, Entry> entries;
  vector<Entry> others;
};

struct alignas(64) Line {
  std::uint64_t words[8];
};

// ---- Tasks --------------------------------------------------------------------------------------

std::int64_t sum_of(const object& argument, std::string_view word) {
  const Words& words = view_structured<Words>(argument);
  const auto found = words.find(word);
  if (found == words.end()) return -1;
  std::int64_t sum = 0;
  for (const int number : found->second) sum += number;
  return sum;
}
TARN_TASK(sum_of);

std::string describe(object argument) {
  const auto& library = view_structured<Library>(argument);
  std::string all;
  for (const string& name : library.names) all += std::string(text(name)) + ";";
  for (const auto& [name, shelf] : library.shelves) {
    for (const auto& [number, title] : shelf) {
      all += std::string(text(name)) + std::to_string(number) + std::string(text(title)) + ";";
    }
  }
  for (const int number : library.numbers) all += std::to_string(number) + ";";
  return all + std::to_string(library.count) + ";" + std::string(text(*library.favourite));
}
TARN_TASK(describe);

std::string describe_chapters(object argument) {
  std::string all;
  for (const auto& [name, chapter] : view_structured<map<string, Chapter>>(argument)) {
    all += std::string(text(name)) + ":";
    for (const auto& [word, entry] : chapter.entries) {
      all += std::string(text(word)) + std::to_string(entry.count);
      for (const string& line : entry.lines) all += "," + std::string(text(line));
      all += ";";
    }
    for (const Entry& entry : chapter.others) all += std::to_string(entry.lines.size()) + std::to_string(entry.count) + ";";
  }
  return all;
}
TARN_TASK(describe_chapters);

std::string path_of_last(object argument) {
  return view_structured<Tree>(argument).path_of_last();
}
TARN_TASK(path_of_last);

std::uint64_t address_of(object argument) {
  return reinterpret_cast<std::uintptr_t>(&view_structured<Words>(argument));
}
TARN_TASK(address_of);

std::string copy_of_first(object argument) {
  const Words& words = view_structured<Words>(argument);
  const vector<int> copy = words.begin()->second;  // has no room
  return std::to_string(copy.size());
}
TARN_TASK(copy_of_first);

enum class part { value, element, head };

int write_into(object argument, part what) {
  std::signal(SIGSEGV, SIG_DFL);  // sanitizers take it
  const Words& words = view_structured<Words>(argument);
  switch (what) {
    case part::value:
      const_cast<Words&>(words).clear();
      break;
    case part::element:
      const_cast<int&>(words.begin()->second.front()) = 1;
      break;
    case part::head:
      const_cast<char&>(argument.view().front()) = 'x';
      break;
  }
  return 0;
}
TARN_TASK(write_into);

// ---- Tests --------------------------------------------------------------------------------------

constexpr std::size_t kCapacity = 256 << 10;

class StructuredTest : public ::testing::Test {
 protected:
  object make_words() {
    return structured<Words>(tarn, kCapacity, [](Words& words) {
      for (int i = 0; i < 1000; ++i) {
        const std::string key = "the word number " + std::to_string(i % 100);
        const std::string_view word = key;
        auto found = words.find(word);
        if (found == words.end()) {
          found = words.try_emplace(string(word, words.get_allocator())).first;
        }
        found->second.push_back(i);
      }
    });
  }

  client tarn = init(0, nullptr, {.address = "private", .workers = 2});
};

void expect_refusal(const Refusal& refused, int code, std::string_view words) {
  EXPECT_EQ(refused.code, code) << refused.text;
  EXPECT_NE(refused.text.find(words), std::string::npos) << refused.text;
}

TEST_F(StructuredTest, is_the_same_in_every_process) {
  const object words = make_words();
  EXPECT_EQ(words.size(), kCapacity);
  EXPECT_EQ(view_structured<Words>(words).size(), 100u);
  EXPECT_EQ(sum_of(words, "the word number 7"), 10 * 7 + 100 * 45);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(tarn.submit(sum_of, words, "the word number " + std::to_string(i)).get(),
              10 * i + 100 * 45);
  }
  EXPECT_EQ(tarn.submit(sum_of, words, "the word number 100").get(), -1);
  EXPECT_EQ(tarn.submit(address_of, words).get() % 64, 0u);
}

TEST_F(StructuredTest, can_be_copied_as_bytes) {
  const object words = make_words();
  const object copy = tarn.put(words.view());
  EXPECT_NE(words.view().data(), copy.view().data());
  EXPECT_EQ(tarn.submit(sum_of, copy, "the word number 7").get(), 10 * 7 + 100 * 45);
}

TEST_F(StructuredTest, holds_aggregates_and_classes) {
  const object library = structured<Library>(tarn, kCapacity, [](Library& made) {
    made.names.emplace_back("a name that is too long to lie in the string itself");
    made.names.emplace_back("short");
    auto& shelves = made.shelves;
    auto& shelf = shelves[string("shelf", shelves.get_allocator())];
    shelf.try_emplace(3).first->second = "a title that is too long to lie in the string itself";
    shelf.try_emplace(1).first->second = "title";
    made.numbers.insert({3, 1, 2});
    made.count = 42;
    made.favourite = &made.names.back();
  });
  const std::string expected =
      "a name that is too long to lie in the string itself;short;shelf1title;"
      "shelf3a title that is too long to lie in the string itself;1;2;3;42;short";
  EXPECT_EQ(describe(library), expected);
  EXPECT_EQ(tarn.submit(describe, library).get(), expected);

  const object tree = structured<Tree>(tarn, kCapacity, [](Tree& root) {
    for (int i = 0; i < 20; ++i) root.add("child").add("grandchild with a long, long name");
  });
  EXPECT_EQ(tarn.submit(path_of_last, tree).get(), "//child/grandchild with a long, long name");
}

// Their containers would lie in no object, which shows only when they grow.
TEST_F(StructuredTest, aggregates_in_containers_use_the_object) {
  constexpr std::string_view line = "a line that is too long to lie in the string itself";
  const object chapters = structured<map<string, Chapter>>(tarn, kCapacity, [&](auto& made) {
    const auto allocator = made.get_allocator();
    Chapter& chapter = made[string("a chapter whose name is long, too", allocator)];
    Entry& entry = chapter.entries[string("b", allocator)];
    for (int i = 0; i < 10; ++i) entry.lines.emplace_back(line);
    entry.places[string(line, allocator)].push_back(7);
    ++entry.count;
    chapter.entries.try_emplace(string("a", allocator)).first->second.lines.emplace_back(line);
    chapter.others.emplace_back().lines.emplace_back(line);
    chapter.others.resize(20);
    chapter.others.back().lines.emplace_back(line);
    // Given as a value, with the allocator.
    chapter.others.push_back(Entry{vector<string>(allocator), map<string, vector<int>>(allocator), 5});
    chapter.others.back().lines.emplace_back(line);
    chapter.others.erase(chapter.others.begin() + 1, chapter.others.begin() + 19);
  });
  std::string expected = "a chapter whose name is long, too:a0," + std::string(line) + ";b1";
  for (int i = 0; i < 10; ++i) expected += "," + std::string(line);
  expected += ";10;10;15;";
  EXPECT_EQ(describe_chapters(chapters), expected);
  EXPECT_EQ(tarn.submit(describe_chapters, chapters).get(), expected);

  const auto without = [](map<int, Entry>& made) { made.emplace(1, Entry{}).first->second.lines.emplace_back("x"); };
  expect_refusal(refusal([&] { static_cast<void>(structured<map<int, Entry>>(tarn, kCapacity, without)); }), TARN_E_STATE,
                 "lies in no object");
}

TEST_F(StructuredTest, holds_plain_values_and_nothing) {
  const object number = structured<int>(tarn, 4096, [](int& n) { n = 42; });
  EXPECT_EQ(view_structured<int>(number), 42);
  const object empty = structured<Words>(tarn, 4096, [](Words&) {});
  EXPECT_TRUE(view_structured<Words>(empty).empty());
  EXPECT_EQ(tarn.submit(sum_of, empty, "word").get(), -1);
}

TEST_F(StructuredTest, aligns_what_it_holds) {
  const object lines = structured<vector<Line>>(tarn, kCapacity, [](vector<Line>& made) {
    for (std::uint64_t i = 0; i < 100; ++i) made.push_back({{i}});
  });
  const auto& seen = view_structured<vector<Line>>(lines);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(seen.data()) % 64, 0u);
  EXPECT_EQ(seen[99].words[0], 99u);
}

TEST_F(StructuredTest, refuses_another_type) {
  const object words = make_words();
  const auto as_library = [&] { static_cast<void>(view_structured<Library>(words)); };
  EXPECT_THROW(as_library(), type_error);
  expect_refusal(refusal(as_library), TARN_E_TYPE, "this structured object is no ");
  expect_refusal(refusal(as_library), TARN_E_TYPE, "Library");
  // The same size and alignment, another name.
  EXPECT_THROW((static_cast<void>(view_structured<map<string, vector<unsigned>>>(words))),
               type_error);
  const future<std::string> in_task = tarn.submit(describe, words);
  expect_refusal(refusal([&] { in_task.get(); }), TARN_E_TYPE, "this structured object is no ");
}

TEST_F(StructuredTest, refuses_other_bytes) {
  const auto view = [](const object& bytes) {
    return refusal([&] { static_cast<void>(view_structured<Words>(bytes)); });
  };
  expect_refusal(view(tarn.put("")), TARN_E_TYPE, "these 0 bytes are no structured object");
  expect_refusal(view(tarn.put("text")), TARN_E_TYPE, "these 4 bytes are no structured object");
  expect_refusal(view(tarn.put(std::string(4096, 'x'))), TARN_E_TYPE, "are no structured object");
  expect_refusal(view(object()), TARN_E_NO_OBJECT, "this object is empty");
}

TEST_F(StructuredTest, refuses_slices) {
  const object words = make_words();
  for (const std::size_t size : {std::size_t{64}, std::size_t{100}, kCapacity - 1}) {
    const object slice = words.slice(0, size);
    const auto view = [&] { static_cast<void>(view_structured<Words>(slice)); };
    expect_refusal(refusal(view), TARN_E_TYPE, "a slice of a structured object of 262144 bytes");
    EXPECT_THROW(static_cast<void>(tarn.submit(sum_of, slice, "word").get()), error);
  }
  for (const std::size_t offset : {1u, 63u, 64u, 4096u}) {
    const object slice = words.slice(offset);
    const auto view = [&] { static_cast<void>(view_structured<Words>(slice)); };
    expect_refusal(refusal(view), TARN_E_TYPE, "are no structured object");
  }
  EXPECT_EQ(sum_of(words.slice(0), "the word number 7"), 10 * 7 + 100 * 45);
}

TEST_F(StructuredTest, says_how_much_room_there_was) {
  const auto fill = [](vector<int>& numbers) {
    for (int i = 0; i < 100'000; ++i) numbers.push_back(i);
  };
  const auto build = [&](std::size_t capacity) {
    return refusal([&] { static_cast<void>(structured<vector<int>>(tarn, capacity, fill)); });
  };
  EXPECT_THROW(static_cast<void>(structured<vector<int>>(tarn, 4096, fill)), over_limit);
  expect_refusal(build(65536), TARN_E_TOO_LARGE, " of 65536 bytes are free, in pieces");
  expect_refusal(build(65536), TARN_E_TOO_LARGE, "ask for a larger capacity");
  expect_refusal(build(0), TARN_E_TOO_LARGE, "0 bytes have no room for an empty ");
  expect_refusal(build(64), TARN_E_TOO_LARGE, "ask for a capacity of at least ");
  EXPECT_EQ(build(4 << 20).code, 0);
  const auto reserve = [](vector<int>& numbers) { numbers.reserve(SIZE_MAX / 16); };
  EXPECT_EQ(refusal([&] { static_cast<void>(structured<vector<int>>(tarn, 65536, reserve)); }).code,
            TARN_E_TOO_LARGE);
}

// Every capacity up to one that suffices: an empty value fits or is refused, and nothing else happens.
TEST_F(StructuredTest, never_overruns_a_small_capacity) {
  std::size_t least = 0;
  for (std::size_t capacity = 0; capacity < 1024; ++capacity) {
    const Refusal refused = refusal(
        [&] { static_cast<void>(structured<vector<char>>(tarn, capacity, [](vector<char>&) {})); });
    if (refused.code == 0 && least == 0) least = capacity;
    EXPECT_EQ(refused.code, least == 0 ? TARN_E_TOO_LARGE : 0) << capacity;
  }
  EXPECT_GT(least, 64u);
}

TEST_F(StructuredTest, is_dropped_if_fill_throws) {
  for (int i = 0; i < 50; ++i) {
    EXPECT_THROW(static_cast<void>(structured<Words>(
                     tarn, 1 << 20, [](Words&) { throw std::runtime_error("no"); })),
                 std::runtime_error);
  }
  EXPECT_EQ(tarn.submit(sum_of, make_words(), "the word number 0").get(), 100 * 45);
}

TEST_F(StructuredTest, has_no_room_once_it_is_sealed) {
  const object words = make_words();
  const future<std::string> copied = tarn.submit(copy_of_first, words);
  expect_refusal(refusal([&] { copied.get(); }), TARN_E_STATE, "this object is sealed");
  vector<int> in_no_object;
  expect_refusal(refusal([&] { in_no_object.push_back(1); }), TARN_E_STATE, "lies in no object");
}

TEST_F(StructuredTest, kills_who_writes_into_it) {
  const object words = make_words();
  for (const part what : {part::value, part::element, part::head}) {
    const auto killed = tarn.submit(task_options{.retries = -1}, write_into, words, what);
    try {
      static_cast<void>(killed.get());
      ADD_FAILURE() << "it was written";
    } catch (const task_error& e) {
      EXPECT_EQ(e.code(), TARN_E_WORKER_CRASHED);
      EXPECT_EQ(e.signal(), SIGSEGV);
    }
  }
  EXPECT_EQ(sum_of(words, "the word number 7"), 10 * 7 + 100 * 45);
  EXPECT_EQ(tarn.submit(sum_of, words, "the word number 7").get(), 10 * 7 + 100 * 45);
}

// Last in the file that defines the tasks, so that they are defined by now.
[[maybe_unused]] const bool is_client = [] {
  if (std::getenv("TARN_WORKER_FD") != nullptr) static_cast<void>(init(0, nullptr));
  return true;
}();

}  // namespace
}  // namespace tarn::testing
