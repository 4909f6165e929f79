// A futex must work between processes that map one word at different addresses, end at its deadline,
// and not sleep at all when the word has changed already: a sleeper that misses its wake hangs.

#include "os/futex.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "os/clock.hpp"
#include "os/memory.hpp"

namespace tarn::os {
namespace {

constexpr int64_t kLong = 10'000'000'000;

std::atomic_ref<uint32_t> word_of(const Mapping& mapping) {
  return std::atomic_ref{*reinterpret_cast<uint32_t*>(mapping.data())};
}

TEST(FutexTest, does_not_sleep_when_the_word_has_changed) {
  uint32_t word = 1;
  const int64_t start = now_ns();
  futex_wait(&word, 0, start + kLong);
  EXPECT_LT(now_ns() - start, kLong);
}

TEST(FutexTest, ends_at_its_deadline) {
  uint32_t word = 0;
  const int64_t deadline = now_ns() + 20'000'000;
  while (now_ns() < deadline) futex_wait(&word, 0, deadline);  // may return for no reason
  EXPECT_LT(now_ns() - deadline, kLong);
}

TEST(FutexTest, a_deadline_in_the_past_does_not_sleep) {
  uint32_t word = 0;
  const int64_t start = now_ns();
  futex_wait(&word, 0, start - 1);
  EXPECT_LT(now_ns() - start, kLong);
}

TEST(FutexTest, wakes_another_process_that_has_its_own_mapping) {
  Fd file;
  ASSERT_EQ(memfd_create("futex_test", kPageSize, file), 0);
  Mapping ours;
  ASSERT_EQ(Mapping::map(file, kPageSize, Access::kReadWrite, ours), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    Mapping theirs;  // beside the inherited one, so at another address
    if (Mapping::map(file, kPageSize, Access::kReadWrite, theirs) < 0) ::_exit(2);
    const int64_t deadline = now_ns() + kLong;
    while (word_of(theirs).load() == 0 && now_ns() < deadline) {
      futex_wait(reinterpret_cast<uint32_t*>(theirs.data()), 0, deadline);
    }
    ::_exit(word_of(theirs).load() == 1 ? 0 : 1);
  }
  ::usleep(20'000);  // so that it mostly sleeps; the outcome does not depend on it
  word_of(ours).store(1);
  futex_wake(reinterpret_cast<uint32_t*>(ours.data()), 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace tarn::os
