// A process is started with what it should have and nothing else. What could go wrong: it gets a copy of a descriptor that we
// are closing, and closing that takes a minute; a descriptor lands where another one is wanted; nobody hears that it could not begin.
#include "../../../daemon/spawn/start.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "support/lingering_socket.hpp"
#include "tarn/tarn.h"

namespace tarn::spawn {
namespace {

using Clock = std::chrono::steady_clock;

class Start : public testing::Test {
 protected:
  Start() { EXPECT_EQ(0, starter_.prepare()) << last_error(); }

  // Of a shell that prints to a memory file.
  StartRequest shell(const char* script) {
    arguments_ = {const_cast<char*>("sh"), const_cast<char*>("-c"), const_cast<char*>(script), nullptr};
    StartRequest request;
    request.path = "/bin/sh";
    request.argv = arguments_.data();
    request.environment = environ;
    request.standard_output = output_.get();
    return request;
  }

  // Its exit status. Within ten seconds.
  int status_of(const Started& started) {
    for (auto end = Clock::now() + std::chrono::seconds(10); Clock::now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(1))) {
      int status = 0;
      if (waitpid(started.pid, &status, WNOHANG) == started.pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    }
    kill(started.pid, SIGKILL);
    waitpid(started.pid, nullptr, 0);
    return -1000;
  }

  std::string printed() const {
    std::string text(4096, '\0');
    text.resize(static_cast<size_t>(std::max<ssize_t>(0, pread(output_.get(), text.data(), text.size(), 0))));
    return text;
  }

  Starter starter_;
  Fd output_{memfd_create("output", MFD_CLOEXEC)};
  std::vector<char*> arguments_;
};

TEST_F(Start, HasWhatItIsGivenAndNothingElse) {
  Fd first{memfd_create("first", MFD_CLOEXEC)};
  Fd second{memfd_create("second", MFD_CLOEXEC)};
  Fd others[8];
  for (Fd& other : others) other = Fd{memfd_create("other", 0)};  // not closed by exec
  int inherited[] = {second.get(), first.get()};
  StartRequest request = shell("exec readlink /proc/self/fd/0 /proc/self/fd/3 /proc/self/fd/4 /proc/self/fd/5 /proc/self/fd/40");
  request.inherited = inherited;
  Started started;
  ASSERT_EQ(0, starter_.start(request, started)) << last_error();
  EXPECT_EQ(1, status_of(started));  // readlink finds no 5 and no 40
  EXPECT_EQ("/dev/null\n/memfd:second (deleted)\n/memfd:first (deleted)\n", printed());
}

// More than fit in one message.
TEST_F(Start, Has700Descriptors) {
  std::vector<int> inherited;
  for (int i = 0; i < 700; ++i) inherited.push_back(i % 2 == 0 ? output_.get() : STDIN_FILENO);
  StartRequest request = shell("exec readlink /proc/self/fd/3 /proc/self/fd/701 /proc/self/fd/703");
  request.inherited = inherited;
  Started started;
  ASSERT_EQ(0, starter_.start(request, started)) << last_error();
  EXPECT_EQ(1, status_of(started));  // the last is 702
  EXPECT_EQ("/memfd:output (deleted)\n/memfd:output (deleted)\n", printed());
}

TEST_F(Start, ClosesNothingOfOthers) {
  for (int i = 0; i < 5; ++i) {
    Fd peer;
    Fd lingering = test::lingering_socket(peer);
    Started started;
    ASSERT_EQ(0, starter_.start(shell("exit 7"), started)) << last_error();
    // Were there a copy in the child, this would not be the last one, and take no time; the child's exec would.
    std::thread closer([&lingering] { lingering.reset(); });
    EXPECT_EQ(7, status_of(started));
    shutdown(peer.get(), SHUT_RDWR);
    peer.reset();  // ends the other close
    closer.join();
  }
}

TEST_F(Start, SaysThatThereAreNoDescriptorsLeft) {
  rlimit before;
  ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &before));
  int next = dup(STDIN_FILENO);
  close(next);
  for (int room = 0; room < 4; ++room) {  // a pipe, two sockets, one of which is closed before the process begins
    rlimit few{static_cast<rlim_t>(next + room), before.rlim_max};
    ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
    Started started;
    int r = starter_.start(shell("exit 3"), started);
    ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &before));
    EXPECT_LT(r, 0) << room;
    EXPECT_EQ(TARN_E_LIMIT, r);
    EXPECT_EQ(-1, started.pid) << "nothing was started";
  }
  Started started;
  ASSERT_EQ(0, starter_.start(shell("exit 3"), started)) << last_error();
  EXPECT_EQ(3, status_of(started));
}

TEST_F(Start, ThatFailsIsToldWithTheStep) {
  StartRequest request = shell("exit 0");
  request.path = "/nowhere/sh";
  Started started;
  ASSERT_EQ(0, starter_.start(request, started)) << last_error();
  EXPECT_EQ(127, status_of(started));
  const char* step = "";
  EXPECT_EQ(ENOENT, read_outcome(started.outcome, step));
  EXPECT_STREQ("starting the executable", step);
}

}  // namespace
}  // namespace tarn::spawn
