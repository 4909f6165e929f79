// The demo compares runs of different days on its sample log, so that must be the same each time, and whole. Write a
// small one twice and expect the same lines, numbered, with all three types; write over a file and expect a refusal.

#include "clients/cpp/samples/log_search/sample_log.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace log_search {
namespace {

class SampleLogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/sample_log_test.XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    directory_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string write(const std::string& name, std::int64_t lines) const {
    const std::string path = directory_ / name;
    write_sample_log(path, lines);
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::filesystem::path directory_;
};

TEST_F(SampleLogTest, is_the_same_each_time) {
  const std::string text = write("first", 100'000);
  EXPECT_EQ(text, write("second", 100'000));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 100'000);
  EXPECT_TRUE(text.ends_with(": Log message 99999\n"));
}

TEST_F(SampleLogTest, has_each_type_in_one_line_of_three) {
  const std::string text = write("log", 30'000);
  for (const char* type : {"INFO: ", "WARNING: ", "ERROR: "}) {
    int count = 0;
    for (std::size_t at = 0; (at = text.find(type, at)) != std::string::npos; ++at) ++count;
    EXPECT_NEAR(count, 10'000, 500) << type;
  }
}

TEST_F(SampleLogTest, does_not_write_over_a_file) {
  write("log", 1);
  EXPECT_THROW(write("log", 1), std::system_error);
  EXPECT_THROW(write("missing/log", 1), std::system_error);
}

}  // namespace
}  // namespace log_search
