// The test plays the service manager: it owns the socket, sets the variables, and looks at what arrives.

#include "os/service_manager.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <string>

namespace tarn::os {
namespace {

class ServiceManagerTest : public testing::Test {
 protected:
  void TearDown() override {
    for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS"})
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

TEST_F(ServiceManagerTest, takes_the_first_socket_only_if_it_was_opened_for_us) {
  EXPECT_FALSE(socket_from_manager().valid());
  set("LISTEN_FDS", "1");
  set("LISTEN_PID", "1");
  EXPECT_FALSE(socket_from_manager().valid()) << "left over from a parent";
  set("LISTEN_PID", own_pid());
  set("LISTEN_FDS", "0");
  EXPECT_FALSE(socket_from_manager().valid());

  // Descriptor 3 may be anybody's here: it is put back as it was.
  const Fd before{::fcntl(3, F_DUPFD_CLOEXEC, 100)};
  const Fd stand_in{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
  ASSERT_EQ(::dup2(stand_in.get(), 3), 3);
  set("LISTEN_FDS", "1");
  {
    const Fd socket = socket_from_manager();
    EXPECT_EQ(socket.get(), 3);
    EXPECT_EQ(::fcntl(3, F_GETFD), FD_CLOEXEC) << "workers must not inherit it";
  }
  if (before.valid()) {
    ASSERT_EQ(::dup3(before.get(), 3, O_CLOEXEC), 3);
  }
}

}  // namespace
}  // namespace tarn::os
