// A log is a ring that its writer fills while others read it. What could go wrong: a reader gets half an entry, or one twice, when
// the ring goes round; a writer that was killed, or a hostile one, leaves sizes that lead readers, or the next writer, astray.
#include "shm/output_log.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace tarn::shm {
namespace {

std::string line_of(uint64_t number) { return std::to_string(number) + std::string(number * 37 % 900, 'x'); }

void write_lines(OutputWriter& writer, uint64_t from, uint64_t to) {
  for (uint64_t number = from; number < to; ++number) {
    OutputEntry head{};
    head.run = number;
    head.stream = static_cast<uint8_t>(OutputStream::kErr);
    writer.append(head, "name" + std::to_string(number % 10), line_of(number));
  }
}

// The numbers of the lines of a copy, each of which is whole.
std::vector<uint64_t> numbers_in(OutputCopy& copy) {
  std::vector<uint64_t> numbers;
  for (const OutputEntry* entry; (entry = copy.next()) != nullptr;) {
    EXPECT_EQ(line_of(entry->run), entry->text());
    EXPECT_EQ("name" + std::to_string(entry->run % 10), entry->name());
    EXPECT_EQ(static_cast<uint8_t>(OutputStream::kErr), entry->stream);
    numbers.push_back(entry->run);
  }
  return numbers;
}

class OutputLogTest : public testing::Test {
 protected:
  std::unique_ptr<OutputLane> lane_ = std::make_unique<OutputLane>();
  OutputCopy copy_;
};

TEST_F(OutputLogTest, LinesComeOnceAndInOrder) {
  OutputWriter writer(*lane_);
  uint64_t position = 0;
  copy_.read(*lane_, position);
  EXPECT_TRUE(numbers_in(copy_).empty());
  uint64_t next = 0;
  for (uint64_t to : {1u, 2u, 50u, 51u, 120u, 300u, 400u}) {
    write_lines(writer, next, to);
    copy_.read(*lane_, position);
    std::vector<uint64_t> numbers = numbers_in(copy_);
    ASSERT_EQ(to - next, numbers.size());
    for (uint64_t number : numbers) EXPECT_EQ(next++, number);
  }
}

TEST_F(OutputLogTest, TheLastOnesStay) {
  OutputWriter writer(*lane_);
  write_lines(writer, 0, 10'000);
  uint64_t position = 0;
  copy_.read(*lane_, position);
  std::vector<uint64_t> numbers = numbers_in(copy_);
  ASSERT_GT(numbers.size(), kOutputRingSize / 1024);
  EXPECT_EQ(9'999u, numbers.back());
  for (size_t i = 1; i < numbers.size(); ++i) EXPECT_EQ(numbers[i - 1] + 1, numbers[i]);
}

TEST_F(OutputLogTest, TheNextWriterGoesOn) {
  for (uint64_t i = 0; i < 40; ++i) {
    OutputWriter writer(*lane_);
    write_lines(writer, i * 50, i * 50 + 50);
  }
  uint64_t position = 0;
  copy_.read(*lane_, position);
  EXPECT_EQ(1'999u, numbers_in(copy_).back());
}

TEST_F(OutputLogTest, AReaderBesideTheWriterGetsWholeLines) {
  std::thread thread([&] {
    OutputWriter writer(*lane_);
    write_lines(writer, 0, 60'000);
  });
  uint64_t position = 0;
  uint64_t last = 0;
  size_t count = 0;
  do {
    copy_.read(*lane_, position);
    for (uint64_t number : numbers_in(copy_)) {
      EXPECT_TRUE(count++ == 0 || number > last) << number << " after " << last;
      last = number;
    }
  } while (last != 59'999);
  thread.join();
  EXPECT_GT(count, 100u);
}

TEST_F(OutputLogTest, NonsenseLeadsNobodyAstray) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 3000; ++round) {
    OutputWriter writer(*lane_);
    for (int i = 0; i < 5; ++i) {
      OutputEntry head{};
      writer.append(head, "", std::string(random() % 5000, 'y'));
    }
    uint64_t scribble = random() % 3 == 0 ? random() : random() % 64;
    memcpy(lane_->ring + random() % (kOutputRingSize - 8), &scribble, 8);
    if (round % 50 == 0) lane_->begin.store(random() % 2 == 0 ? random() : lane_->begin.load(kAcquire) + 8, kRelease);
    if (round % 70 == 0) lane_->end.store(random(), kRelease);
    uint64_t position = random() % 2 == 0 ? 0 : random();
    copy_.read(*lane_, position);
    size_t bytes = 0;
    for (const OutputEntry* entry; (entry = copy_.next()) != nullptr;) bytes += entry->text().size() + entry->name().size();
    EXPECT_LE(bytes, kOutputRingSize);
  }
}

}  // namespace
}  // namespace tarn::shm
