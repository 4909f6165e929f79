// The test plays the service manager: it owns the socket, sets the variables, and looks at what arrives.

#include "os/service_manager.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace tarn::os {
namespace {

class ServiceManagerTest : public testing::Test {
 protected:
  void TearDown() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "FDSTORE"})
      ::unsetenv(name);
  }

  static void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }
  static std::string own_pid() { return std::to_string(::getpid()); }
};

// A manager's socket at `path`, which begins with @ if it is none of the file system's.
Fd bind_to(const std::string& path) {
  Fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path.front() == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return {};
  return socket;
}

std::string next_datagram(const Fd& socket) {
  char text[64];
  const ssize_t size = ::recv(socket.get(), text, sizeof text, 0);
  return size < 0 ? std::string() : std::string(text, static_cast<std::size_t>(size));
}

TEST_F(ServiceManagerTest, tells_the_manager_on_a_file_or_an_abstract_address) {
  const std::string file = testing::TempDir() + "tarn-manager-" + own_pid();
  for (const std::string& path : {file, "@tarn-manager-" + own_pid()}) {
    const Fd manager = bind_to(path);
    ASSERT_TRUE(manager.valid()) << path;
    set("NOTIFY_SOCKET", path);
    notify_manager("READY=1");
    EXPECT_EQ(next_datagram(manager), "READY=1") << path;
  }
  ::unlink(file.c_str());
}

TEST_F(ServiceManagerTest, nothing_happens_without_a_manager_that_listens) {
  notify_manager("READY=1");
  for (const std::string& path : {std::string("/nonexistent/socket"), std::string(300, 'x'), std::string()}) {
    set("NOTIFY_SOCKET", path);
    notify_manager("READY=1");
  }
}

TEST_F(ServiceManagerTest, the_watchdog_is_fed_twice_per_interval_if_it_is_ours) {
  EXPECT_EQ(watchdog_interval_ns(), 0);
  set("WATCHDOG_USEC", "3000000");
  EXPECT_EQ(watchdog_interval_ns(), 1'500'000'000);
  set("WATCHDOG_PID", own_pid());
  EXPECT_EQ(watchdog_interval_ns(), 1'500'000'000);
  set("WATCHDOG_PID", "1");
  EXPECT_EQ(watchdog_interval_ns(), 0) << "somebody else's";
  ::unsetenv("WATCHDOG_PID");
  for (const char* wrong : {"", "0", "-5", "soon", "5s"}) {
    set("WATCHDOG_USEC", wrong);
    EXPECT_EQ(watchdog_interval_ns(), 0) << wrong;
  }
}

TEST_F(ServiceManagerTest, takes_what_is_passed_only_if_it_is_for_us) {
  EXPECT_TRUE(take_passed_descriptors().empty());
  set("LISTEN_FDS", "1");
  set("LISTEN_PID", "1");
  EXPECT_TRUE(take_passed_descriptors().empty()) << "left over from a parent";
  set("LISTEN_PID", own_pid());
  set("LISTEN_FDS", "0");
  EXPECT_TRUE(take_passed_descriptors().empty());

  // Descriptors 3 to 5 may be anybody's here: they are put back as they were.
  Fd before[3];
  const Fd stand_in{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  for (int i = 0; i < 3; ++i) {
    before[i] = Fd{::fcntl(3 + i, F_DUPFD_CLOEXEC, 100)};
    if (stand_in.get() != 3 + i) {
      ASSERT_EQ(::dup2(stand_in.get(), 3 + i), 3 + i);
    }
  }
  set("LISTEN_PID", own_pid());
  set("LISTEN_FDS", "3");
  set("LISTEN_FDNAMES", "tarnd.socket:k.7.3s");
  {
    const std::vector<PassedDescriptor> passed = take_passed_descriptors();
    ASSERT_EQ(passed.size(), 3u);
    const char* names[] = {"tarnd.socket", "k.7.3s", ""};
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(passed[static_cast<size_t>(i)].fd.get(), 3 + i);
      EXPECT_EQ(passed[static_cast<size_t>(i)].name, names[i]);
      EXPECT_EQ(::fcntl(3 + i, F_GETFD), FD_CLOEXEC) << "workers must not inherit it";
    }
  }
  EXPECT_TRUE(take_passed_descriptors().empty()) << "once";
  for (int i = 0; i < 3; ++i)
    if (before[i].valid()) {
      ASSERT_EQ(::dup3(before[i].get(), 3 + i, O_CLOEXEC), 3 + i);
    }
}

TEST_F(ServiceManagerTest, has_descriptors_kept_by_a_manager_that_can) {
  EXPECT_EQ(descriptors_kept_at_most(), 0u);
  set("FDSTORE", "17");
  EXPECT_EQ(descriptors_kept_at_most(), 0u) << "nobody is there to keep them";
  const std::string path = "@tarn-keeper-" + own_pid();
  const Fd manager = bind_to(path);
  set("NOTIFY_SOCKET", path);
  EXPECT_EQ(descriptors_kept_at_most(), 17u);
  const Fd link = connect_manager();
  Fd file{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  ASSERT_TRUE(keep_descriptor(link, "k.1", file, 1'000'000'000));

  std::string state;
  Fd received;
  ASSERT_TRUE(receive_state(manager, state, received));
  EXPECT_EQ(state, "FDSTORE=1\nFDPOLL=0\nFDNAME=k.1");
  EXPECT_EQ(value_in_state(state, "FDNAME="), "k.1");
  EXPECT_EQ(value_in_state(state, "NAME="), "") << "no part of a line";
  ASSERT_TRUE(received.valid());
  EXPECT_FALSE(receive_state(manager, state, received)) << "nothing is left";
  struct stat a;
  struct stat b;
  ASSERT_EQ(::fstat(file.get(), &a), 0);
  ASSERT_EQ(::fstat(received.get(), &b), 0);
  EXPECT_EQ(a.st_ino, b.st_ino);

  ASSERT_TRUE(drop_descriptor(link, "k.1", 1'000'000'000));
  EXPECT_EQ(next_datagram(manager), "FDSTOREREMOVE=1\nFDNAME=k.1");

  // One that does not read: it ends, and says so.
  bool was_taken = true;
  for (int i = 0; was_taken && i < 10'000; ++i) was_taken = drop_descriptor(link, "k.1", 1'000'000);
  EXPECT_FALSE(was_taken);
}

}  // namespace
}  // namespace tarn::os
