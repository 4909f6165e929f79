// The kernels work on blocks and bits, so an error would sit where a block, a line or a match ends. Compare each of them
// with a search that goes line by line, on random texts of few letters, where matches overlap and lines are short, and on
// long lines; and compare with grep on texts of many shapes.

#include "clients/cpp/samples/log_search/line_count.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <string_view>

namespace log_search {
namespace {

std::int64_t count_line_by_line(std::string_view text, std::string_view pattern) {
  std::int64_t count = 0;
  while (!text.empty()) {
    const std::size_t newline = text.find('\n');
    if (text.substr(0, newline).find(pattern) != std::string_view::npos) ++count;
    if (newline == std::string_view::npos) break;
    text.remove_prefix(newline + 1);
  }
  return count;
}

// Without spare bytes around, so that AddressSanitizer sees a read beyond the text.
void expect_count(std::string_view text, std::string_view pattern) {
  const std::unique_ptr<char[]> exact(new char[text.size()]);
  text.copy(exact.get(), text.size());
  for (const LineCounter& counter : line_counters()) {
    ASSERT_EQ(counter.count({exact.get(), text.size()}, pattern), count_line_by_line(text, pattern))
        << counter.name << ", " << text.size() << " bytes, pattern of " << pattern.size();
  }
}

TEST(LineCount, is_right_for_random_texts_of_few_letters) {
  std::mt19937 random(20240611);
  const std::string_view letters("\nab\0c", 5);
  const auto pick = [&](std::size_t from, std::size_t to) {
    return letters[from + random() % (to - from)];
  };
  for (int round = 0; round < 20'000; ++round) {
    const std::size_t kinds = 2 + random() % 4;
    std::string text(random() % 400, '\0');
    for (char& c : text) c = pick(0, kinds);
    std::string pattern(random() % 12, '\0');
    for (char& c : pattern) c = pick(1, kinds);
    expect_count(text, pattern);
    if (HasFatalFailure()) return;
  }
}

TEST(LineCount, is_right_wherever_a_match_or_a_line_end_lies_in_a_block) {
  for (const std::string pattern :
       {"x", "xy", "xyz", "pattern!", "a longer pattern", "a pattern beyond a block"}) {
    for (std::size_t at = 0; at < 200; ++at) {
      std::string text(200, '.');
      text.insert(at, pattern);
      expect_count(text, pattern);
      expect_count(text + "\n", pattern);
      for (const std::size_t newline : {at, at + 1, at + pattern.size(), at + 64}) {
        std::string two_lines = text + text;
        two_lines.insert(newline, "\n");
        expect_count(two_lines, pattern);
      }
      if (HasFatalFailure()) return;
    }
  }
}

TEST(LineCount, takes_patterns_longer_than_a_block_and_than_the_text) {
  std::string pattern(150, 'p');
  pattern += 'q';
  expect_count(std::string(500, 'p') + "q\n" + std::string(149, 'p') + "q\n" + pattern, pattern);
  expect_count("p", pattern);
  expect_count("", pattern);
}

TEST(LineCount, counts_all_lines_for_the_empty_pattern) {
  EXPECT_EQ(count_matching_lines("", ""), 0);
  EXPECT_EQ(count_matching_lines("\n", ""), 1);
  EXPECT_EQ(count_matching_lines("\n\n", ""), 2);
  EXPECT_EQ(count_matching_lines("a", ""), 1);
  EXPECT_EQ(count_matching_lines("a\nb", ""), 2);
  EXPECT_EQ(count_matching_lines("a\nb\n", ""), 2);
}

// What grep says, or -1 if it cannot be run.
std::int64_t grep_count(const std::string& text, const std::string& pattern) {
  char path[] = "/tmp/line_count_test.XXXXXX";
  const int fd = mkstemp(path);
  if (fd < 0) return -1;
  close(fd);
  std::ofstream(path, std::ios::binary) << text;
  const std::string command = "LC_ALL=C grep -acF -e '" + pattern + "' -- " + path;
  long long count = -1;
  if (std::FILE* output = popen(command.c_str(), "re")) {
    if (std::fscanf(output, "%lld", &count) != 1) count = -1;
    pclose(output);
  }
  unlink(path);
  return count;
}

TEST(LineCount, agrees_with_grep) {
  std::string many;
  for (int i = 0; i < 2000; ++i) {
    many += (i % 3 == 0 ? "ERROR: line " : "INFO: line ") + std::to_string(i) + '\n';
  }
  const std::string nuls("a\0ERROR\n\0\0\nERROR\0b\nplain", 24);
  const std::string shapes[] = {
      "",
      "\n",
      "ERROR",
      "ERROR\n",
      "\n\nERROR\n\n",
      many,
      many + "ERROR without an end",
      std::string(100'000, 'x') + "ERROR",
      nuls,
      "ERRORERROR ERROR\nERRO\nR\n",
      "\xff\xfe ERROR \x80\nERR\xc3\xa9"
      "OR\n",
      "ERROR\r\nline\r\n",
  };
  if (grep_count("x\n", "x") != 1) GTEST_SKIP() << "no grep";
  for (const std::string& shape : shapes) {
    for (const char* pattern : {"ERROR", "line 1", "", "\xc3\xa9", "R", "*."}) {
      EXPECT_EQ(count_matching_lines(shape, pattern), grep_count(shape, pattern))
          << "pattern '" << pattern << "' in " << shape.size() << " bytes: " << shape.substr(0, 40);
    }
  }
}

}  // namespace
}  // namespace log_search
