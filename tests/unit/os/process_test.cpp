// A process is watched by descriptor because its number may come to mean another process. Watch one
// through its life: running, killed and not yet reaped (a zombie has ended), reaped.

#include "os/process.hpp"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "tarn/tarn.h"

namespace tarn::os {
namespace {

TEST(ProcessTest, sees_the_end_of_a_process_before_and_after_it_is_reaped) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  Fd watch;
  ASSERT_EQ(pidfd_open(child, watch), 0);
  EXPECT_FALSE(pidfd_ended(watch));

  pidfd_kill(watch, SIGKILL);
  pollfd entry{watch.get(), POLLIN, 0};
  ASSERT_EQ(::poll(&entry, 1, 10'000), 1);
  EXPECT_TRUE(pidfd_ended(watch));

  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(pidfd_ended(watch));
  pidfd_kill(watch, SIGKILL);  // nothing happens
}

TEST(ProcessTest, refuses_to_watch_a_process_that_is_gone) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  Fd watch;
  EXPECT_EQ(pidfd_open(child, watch), TARN_E_SYSTEM);
  EXPECT_FALSE(watch.valid());
}

TEST(ProcessTest, resets_what_a_parent_ignored_and_blocked) {
  const pid_t child = ::fork();
  if (child == 0) {
    signal(SIGCHLD, SIG_IGN);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, nullptr);
    reset_signals();
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, nullptr, &blocked);
    struct sigaction action {};
    sigaction(SIGCHLD, nullptr, &action);
    ::_exit(action.sa_handler == SIG_DFL && sigismember(&blocked, SIGTERM) == 0 ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ProcessTest, a_registered_process_can_issue_the_barrier) {
  if (!membarrier_register()) GTEST_SKIP() << "this kernel has no membarrier";
  membarrier();
}

}  // namespace
}  // namespace tarn::os
