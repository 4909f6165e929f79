// Whoever reads tarnd's lines may stop to read: tarnd would stand still, and all its users with it.
#include "log.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/fd.hpp"

namespace tarn::daemon {
namespace {

// Standard error is a pipe for the time being.
class LogTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    reader_ = Fd{ends[0]};
    Fd writer{ends[1]};
    before_ = Fd{fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)};
    ASSERT_GE(dup2(writer.get(), STDERR_FILENO), 0);
    set_log_level(Level::kInfo);
  }
  void TearDown() override { dup2(before_.get(), STDERR_FILENO); }

  std::string read_all() {
    std::string text(1 << 20, '\0');
    EXPECT_EQ(fcntl(reader_.get(), F_SETFL, O_NONBLOCK), 0);
    size_t size = 0;
    for (ssize_t got; (got = read(reader_.get(), &text[size], text.size() - size)) > 0;) size += static_cast<size_t>(got);
    text.resize(size);
    return text;
  }

  Fd reader_;
  Fd before_;
};

TEST_F(LogTest, nobody_who_does_not_read_is_waited_for_and_what_is_lost_is_counted) {
  constexpr int kLines = 10'000;  // of some hundred bytes: ten times what a pipe takes
  for (int i = 0; i < kLines; ++i) log(Level::kInfo, "line %d %s", i, std::string(80, 'x').c_str());
  std::string told = read_all();
  EXPECT_TRUE(told.ends_with("x\n")) << "a line is whole or lost";
  auto lines = std::ranges::count(told, '\n');
  EXPECT_GT(lines, 100);
  log(Level::kInfo, "the next");
  std::string then = read_all();
  EXPECT_NE(then.find(std::to_string(kLines - lines) + " lines before this one were lost\n"), std::string::npos) << then;
  EXPECT_NE(then.find("the next\n"), std::string::npos) << then;
}

}  // namespace
}  // namespace tarn::daemon
