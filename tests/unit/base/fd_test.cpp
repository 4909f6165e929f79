// A descriptor closed twice closes a stranger's file; one never closed is a leak. Move Fd in every
// way and expect exactly one close.

#include "base/fd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <utility>

namespace tarn {
namespace {

Fd open_null() {
  return Fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
}

bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

TEST(FdTest, holds_nothing_at_first) {
  const Fd fd;
  EXPECT_FALSE(fd.valid());
}

TEST(FdTest, closes_at_the_end_of_its_life) {
  int number = -1;
  {
    const Fd fd = open_null();
    number = fd.get();
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(FdTest, moves_without_closing) {
  Fd first = open_null();
  const int number = first.get();
  Fd second = std::move(first);
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(second.get(), number);
  EXPECT_TRUE(is_open(number));
}

TEST(FdTest, closes_what_it_held_when_it_is_given_another) {
  Fd first = open_null(), second = open_null();
  const int closed = first.get(), kept = second.get();
  first = std::move(second);
  EXPECT_FALSE(is_open(closed));
  EXPECT_EQ(first.get(), kept);
  EXPECT_TRUE(is_open(kept));
}

TEST(FdTest, survives_being_given_itself) {
  Fd fd = open_null();
  Fd& same = fd;
  fd = std::move(same);
  EXPECT_TRUE(is_open(fd.get()));
}

TEST(FdTest, releases_to_somebody_else) {
  Fd fd = open_null();
  const int number = fd.release();
  EXPECT_FALSE(fd.valid());
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

}  // namespace
}  // namespace tarn
