// The bytes of a pipe come in pieces of any size. Whatever the pieces are, the same lines must come out, each with the task that
// printed it, and a mark must never be seen in them.
#include "output/line_splitter.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "shm/output_log.hpp"

namespace tarn::output {
namespace {

constexpr TaskRun kNobody{0, 0};
constexpr TaskRun kFirst{1, 11};
constexpr TaskRun kSecond{2, 22};

std::string mark_of(TaskRun run) {
  shm::OutputMark mark{shm::OutputMark::kMagic, run.id, run.task, 0, ~run.id};
  return {reinterpret_cast<const char*>(&mark), sizeof mark};
}

struct Line {
  std::string text;
  TaskRun run;
  bool is_cut;
  bool operator==(const Line&) const = default;
};

void PrintTo(const Line& line, std::ostream* out) {
  *out << '"' << line.text.substr(0, 40) << "\" of " << line.run.id << (line.is_cut ? ", cut" : "");
}

class LineSplitterTest : public testing::Test {
 protected:
  std::vector<Line> take() { return std::exchange(lines_, {}); }

  std::vector<Line> lines_;
  LineSplitter splitter_{[this](std::string_view text, TaskRun run, bool is_cut) { lines_.push_back({std::string(text), run, is_cut}); }};
};

TEST_F(LineSplitterTest, AMarkSaysWhoseTheBytesBeforeItAre) {
  splitter_.add("a\nb\n" + mark_of(kFirst) + "c\n" + mark_of(kSecond), kNobody);
  EXPECT_EQ((std::vector<Line>{{"a", kFirst, false}, {"b", kFirst, false}, {"c", kSecond, false}}), take());
}

TEST_F(LineSplitterTest, WithoutAMarkTheyAreOfTheRunThatIsUnderWay) {
  splitter_.add("a\nb", kNobody);
  EXPECT_TRUE(lines_.empty()) << "a mark may follow";
  splitter_.settle(kFirst);
  EXPECT_EQ((std::vector<Line>{{"a", kFirst, false}}), take());
  splitter_.add("c\n", kNobody);
  splitter_.settle(kFirst);
  EXPECT_EQ((std::vector<Line>{{"bc", kFirst, false}}), take());
}

TEST_F(LineSplitterTest, ALineEndsWithItsTask) {
  splitter_.add("half" + mark_of(kFirst) + "other half\n" + mark_of(kSecond), kNobody);
  EXPECT_EQ((std::vector<Line>{{"half", kFirst, true}, {"other half", kSecond, false}}), take());
}

TEST_F(LineSplitterTest, AnEmptyLineIsALine) {
  splitter_.add("\n\na\n" + mark_of(kFirst), kNobody);
  EXPECT_EQ((std::vector<Line>{{"", kFirst, false}, {"", kFirst, false}, {"a", kFirst, false}}), take());
}

TEST_F(LineSplitterTest, WhatOnlyLooksLikeAMarkIsText) {
  std::string mark = mark_of(kFirst);
  std::string begun = mark.substr(0, 20);
  splitter_.add(begun, kNobody);
  splitter_.settle(kSecond);
  splitter_.finish_line();
  EXPECT_EQ((std::vector<Line>{{begun, kSecond, true}}), take());
  mark[30] = static_cast<char>(mark[30] ^ 1);
  splitter_.add(mark + "\n", kNobody);
  splitter_.settle(kSecond);
  EXPECT_EQ((std::vector<Line>{{mark, kSecond, false}}), take());
}

TEST_F(LineSplitterTest, LongLinesAreCut) {
  std::string text(shm::kOutputTextMax * 2 + 5, 'x');
  splitter_.add(text + "\n" + mark_of(kFirst), kNobody);
  std::vector<Line> lines = take();
  ASSERT_EQ(3u, lines.size());
  EXPECT_TRUE(lines[0].is_cut && lines[1].is_cut && !lines[2].is_cut);
  EXPECT_EQ(text, lines[0].text + lines[1].text + lines[2].text);
}

TEST_F(LineSplitterTest, AFloodIsNotHeldBack) {
  std::string text;
  while (text.size() < 100'000) text += "a line of a flood\n";
  splitter_.add(text, kFirst);
  EXPECT_EQ(text.size() / 18, lines_.size());
  EXPECT_EQ(kFirst, lines_.back().run);
}

// The same, in pieces of any size, with binary text that has the beginnings of marks in it.
TEST_F(LineSplitterTest, PiecesMakeNoDifference) {
  std::mt19937 random(7);
  std::string bytes;
  for (uint32_t i = 1; i <= 400; ++i) {
    TaskRun run{i, i * 3};
    for (uint32_t line = random() % 4; line > 0; --line) bytes += mark_of(run).substr(0, random() % 24) + "text " + std::to_string(i) + "\n";
    bytes += mark_of(run);
  }
  splitter_.add(bytes.substr(0, 60'000), kNobody);
  splitter_.settle(kNobody);
  std::vector<Line> whole = take();
  LineSplitter pieces([this](std::string_view text, TaskRun run, bool is_cut) { lines_.push_back({std::string(text), run, is_cut}); });
  std::string_view rest = std::string_view(bytes).substr(0, 60'000);
  while (!rest.empty()) {
    size_t size = std::min<size_t>(rest.size(), 1 + random() % 60);
    pieces.add(rest.substr(0, size), kNobody);
    rest.remove_prefix(size);
  }
  pieces.settle(kNobody);
  EXPECT_EQ(whole, take());
  EXPECT_GT(whole.size(), 300u);
}

}  // namespace
}  // namespace tarn::output
