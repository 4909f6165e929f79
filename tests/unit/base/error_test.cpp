// An error's text is all that a user gets to see: it must be this thread's own, must not be cut in
// the wrong place, and must survive being built from itself on its way up.

#include "base/error.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <thread>

#include "base/assert.hpp"
#include "tarn/tarn.h"

namespace tarn {
namespace {

TEST(ErrorTest, keeps_code_and_text) {
  EXPECT_EQ(fail(TARN_E_FILE, "no such file: %s", "app.log"), TARN_E_FILE);
  EXPECT_STREQ(last_error(), "no such file: app.log");
}

// A worker asks whether what it was told last is of the task at hand.
TEST(ErrorTest, knows_whether_it_is_of_what_is_done_now) {
  uint64_t tasks = 5;
  (void)fail(TARN_E_FILE, "before anybody counts");
  EXPECT_FALSE(is_last_error(TARN_E_FILE));
  count_errors_by(&tasks);
  (void)fail(TARN_E_FILE, "in this task");
  EXPECT_TRUE(is_last_error(TARN_E_FILE));
  EXPECT_FALSE(is_last_error(TARN_E_STATE));
  {
    ErrorGuard guard;
    (void)fail(TARN_E_STATE, "that did not matter");
    EXPECT_EQ(guard.end(0), 0);
  }
  EXPECT_TRUE(is_last_error(TARN_E_FILE));
  ++tasks;
  EXPECT_FALSE(is_last_error(TARN_E_FILE));
  count_errors_by(nullptr);
}

// What fails on the way to success is not told; what fails in the end is.
TEST(ErrorTest, a_guard_hides_what_did_not_matter) {
  (void)fail(TARN_E_FILE, "before");
  {
    ErrorGuard guard;
    EXPECT_EQ(guard.end(0), 0);
    EXPECT_STREQ(last_error(), "before");
    (void)fail(TARN_E_STATE, "first");
    {
      ErrorGuard inner;
      (void)fail(TARN_E_STATE, "second");
      EXPECT_EQ(inner.end(7), 7);
      EXPECT_STREQ(last_error(), "first");
    }
    (void)fail(TARN_E_STATE, "third: %s", last_error());
    EXPECT_STREQ(last_error(), "third: first");
    guard.exchange();
    EXPECT_STREQ(last_error(), "before");
    guard.exchange();
    EXPECT_EQ(guard.end(TARN_E_STATE), TARN_E_STATE);
    EXPECT_STREQ(last_error(), "third: first");
    EXPECT_EQ(guard.end(0), 0);
    EXPECT_STREQ(last_error(), "before");
  }
  ErrorGuard outer;
  {
    ErrorGuard inner;
    (void)fail(TARN_E_STATE, "of both");
  }
  EXPECT_STREQ(last_error(), "of both");
  EXPECT_EQ(outer.end(0), 0);
  EXPECT_STREQ(last_error(), "before");
}

TEST(ErrorTest, adds_to_the_text_that_it_was_told) {
  (void)fail(TARN_E_SYSTEM, "the disk is full");
  (void)fail(TARN_E_SYSTEM, "cannot spill: %s", last_error());
  EXPECT_STREQ(last_error(), "cannot spill: the disk is full");
}

TEST(ErrorTest, appends_the_reason_of_the_system) {
  errno = ENOENT;
  EXPECT_EQ(fail_errno(TARN_E_FILE, "cannot open %s", "x"), TARN_E_FILE);
  EXPECT_STREQ(last_error(), "cannot open x: No such file or directory");
}

TEST(ErrorTest, cuts_a_long_text_and_stays_a_string) {
  const std::string longer(5000, 'x');
  (void)fail(TARN_E_SYSTEM, "%s", longer.c_str());
  EXPECT_EQ(std::string(last_error()), std::string(1023, 'x'));
}

TEST(ErrorTest, belongs_to_one_thread) {
  (void)fail(TARN_E_SYSTEM, "mine");
  std::thread([] {
    EXPECT_STREQ(last_error(), "");
    (void)fail(TARN_E_SYSTEM, "another's");
  }).join();
  EXPECT_STREQ(last_error(), "mine");
}

TEST(ErrorTest, sorts_errno_by_what_the_user_can_do) {
  EXPECT_EQ(code_of_errno(ENOSPC), TARN_E_NO_MEMORY);
  EXPECT_EQ(code_of_errno(EPERM), TARN_E_DENIED);
  EXPECT_EQ(code_of_errno(EMFILE), TARN_E_LIMIT);
  EXPECT_EQ(code_of_errno(EIO), TARN_E_SYSTEM);
}

TEST(ErrorDeathTest, is_never_a_success) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH((void)fail(0, "all is well"), "code < 0");
}

TEST(AssertDeathTest, names_expression_and_place) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(TARN_ASSERT(1 + 1 == 3),
               "1 \\+ 1 == 3.*error_test.cpp|error_test.cpp.*1 \\+ 1 == 3");
}

}  // namespace
}  // namespace tarn
