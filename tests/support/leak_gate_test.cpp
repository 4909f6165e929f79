// A gate that never closes would let every leak through in silence. Leave one thing of each kind behind and expect the
// gate to name it; take it away and expect no complaint.

#include "support/leak_gate.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>

namespace tarn::testing {
namespace {

class LeakGateTest : public ::testing::Test {
 protected:
  std::string growth() const { return describe_growth(before_, Footprint::take()); }

 private:
  Footprint before_ = Footprint::take();
};

TEST_F(LeakGateTest, finds_nothing_when_nothing_was_left) {
  EXPECT_EQ(growth(), "");
}

TEST_F(LeakGateTest, names_a_forgotten_descriptor) {
  const int fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  EXPECT_NE(growth().find("-> /dev/null"), std::string::npos);
  ::close(fd);
  EXPECT_EQ(growth(), "");
}

TEST_F(LeakGateTest, names_a_mapping_whose_descriptor_is_closed) {
  const int fd = ::memfd_create("forgotten", MFD_CLOEXEC);
  ASSERT_EQ(::ftruncate(fd, 4096), 0);
  void* map = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  EXPECT_NE(growth().find("mapping of /memfd:forgotten"), std::string::npos);
  ::munmap(map, 4096);
  EXPECT_EQ(growth(), "");
}

TEST_F(LeakGateTest, names_a_file_in_dev_shm) {
  const std::string name = "/tarn-leak-gate-" + std::to_string(::getpid());
  const int fd = ::shm_open(name.c_str(), O_CREAT | O_RDWR, 0600);
  ::close(fd);
  EXPECT_NE(growth().find("file /dev/shm" + name), std::string::npos);
  ::shm_unlink(name.c_str());
  EXPECT_EQ(growth(), "");
}

TEST_F(LeakGateTest, names_a_running_child_and_a_zombie) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::pause();
    ::_exit(0);
  }
  EXPECT_NE(growth().find("process " + std::to_string(child)), std::string::npos);
  // Kill it but do not wait for it. Expect: still named.
  ::kill(child, SIGKILL);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_NE(growth().find("(Z)"), std::string::npos);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(growth(), "");
}

TEST_F(LeakGateTest, names_a_grandchild_whose_parent_has_died) {
  int to_parent[2];
  ASSERT_EQ(::pipe2(to_parent, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const pid_t grandchild = ::fork();
    if (grandchild == 0) {
      ::pause();
      ::_exit(0);
    }
    ::_exit(::write(to_parent[1], &grandchild, sizeof grandchild) == sizeof grandchild ? 0 : 1);
  }
  pid_t grandchild = 0;
  ASSERT_EQ(::read(to_parent[0], &grandchild, sizeof grandchild),
            static_cast<ssize_t>(sizeof grandchild));
  ::waitpid(child, nullptr, 0);
  ::close(to_parent[0]);
  ::close(to_parent[1]);
  EXPECT_NE(growth().find("process " + std::to_string(grandchild)), std::string::npos);
  // Kill it; the guardian reaps it, and the gate after this test waits for that.
  ::kill(grandchild, SIGKILL);
}

}  // namespace
}  // namespace tarn::testing
