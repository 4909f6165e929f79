// Spoken by hand: the protocol is one datagram and two variables, and loading libsystemd for it would
// cost a private tarnd a millisecond at every start. See sd_notify(3) and sd_listen_fds(3).
#include "os/service_manager.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "tarn/tarn.h"

namespace tarn::os {
namespace {

constexpr size_t kStateMax = 4096;

// The number in a variable of the environment, -1 if there is none.
int64_t number_in(const char* variable) {
  const char* text = getenv(variable);
  if (text == nullptr || *text == '\0') return -1;
  char* end;
  long long number = strtoll(text, &end, 10);
  return *end == '\0' ? number : -1;
}

bool is_for_us(const char* pid_variable) {
  return number_in(pid_variable) == getpid();
}

bool send_with(const Fd& manager, std::string_view state, const Fd* fd, int64_t patience_ns) {
  iovec part{const_cast<char*>(state.data()), state.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd != nullptr) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    int number = fd->get();
    memcpy(CMSG_DATA(header), &number, sizeof number);
  }
  int64_t deadline = deadline_after(patience_ns);
  while (sendmsg(manager.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    int64_t left = deadline - now_ns();
    if (errno == EINTR) continue;
    // ETOOMANYREFS: more descriptors on their way than this process may have; the manager is about to take them.
    if ((errno != EAGAIN && errno != ENOBUFS && errno != ETOOMANYREFS) || left <= 0) {
      (void)fail_errno(TARN_E_SYSTEM, "the service manager takes no descriptor");
      return false;
    }
    pollfd entry{manager.get(), POLLOUT, 0};
    if (errno == EAGAIN) {
      (void)poll(&entry, 1, static_cast<int>(left / 1'000'000) + 1);
    } else {
      (void)poll(nullptr, 0, 1);
    }
  }
  return true;
}

}  // namespace

Fd connect_manager() {
  if (int64_t number = number_in(kManagerVariable); number >= 0) return Fd{fcntl(static_cast<int>(number), F_DUPFD_CLOEXEC, 3)};
  const char* path = getenv("NOTIFY_SOCKET");
  if (path == nullptr) return {};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  size_t length = strlen(path);
  if (length >= sizeof address.sun_path) return {};
  memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  Fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket.valid()) return {};
  auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (connect(socket.get(), reinterpret_cast<sockaddr*>(&address), size) < 0) return {};
  return socket;
}

void notify_manager(const char* state) {
  Fd manager = connect_manager();
  if (manager.valid()) (void)send(manager.get(), state, strlen(state), MSG_NOSIGNAL);
}

size_t descriptors_kept_at_most() {
  int64_t most = number_in("FDSTORE");
  bool is_there = getenv("NOTIFY_SOCKET") != nullptr || getenv(kManagerVariable) != nullptr;
  return most > 0 && is_there ? static_cast<size_t>(most) : 0;
}

bool keep_descriptor(const Fd& manager, std::string_view name, const Fd& fd, int64_t patience_ns) {
  // Not polled for hang-ups by the manager: who has gone is for us to see.
  std::string state = "FDSTORE=1\nFDPOLL=0\nFDNAME=";
  return send_with(manager, state.append(name), &fd, patience_ns);
}

bool drop_descriptor(const Fd& manager, std::string_view name, int64_t patience_ns) {
  std::string state = "FDSTOREREMOVE=1\nFDNAME=";
  return send_with(manager, state.append(name), nullptr, patience_ns);
}

int64_t watchdog_interval_ns() {
  int64_t usec = number_in("WATCHDOG_USEC");
  if (usec <= 0 || (getenv("WATCHDOG_PID") != nullptr && !is_for_us("WATCHDOG_PID"))) return 0;
  return usec * 1000 / 2;
}

bool receive_state(const Fd& socket, std::string& state, Fd& fd) {
  state.resize(kStateMax);
  iovec part{state.data(), state.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t size;
  do {
    size = recvmsg(socket.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (size < 0 && errno == EINTR);
  if (size < 0) return false;
  state.resize(static_cast<size_t>(size));
  fd.reset();
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    int number;
    memcpy(&number, CMSG_DATA(header), sizeof number);
    fd = Fd{number};
  }
  return true;
}

std::string_view value_in_state(std::string_view state, std::string_view key) {
  while (!state.empty()) {
    std::string_view line = state.substr(0, state.find('\n'));
    state.remove_prefix(std::min(state.size(), line.size() + 1));
    if (line.starts_with(key)) return line.substr(key.size());
  }
  return "";
}

std::vector<PassedDescriptor> take_passed_descriptors() {
  std::vector<PassedDescriptor> passed;
  int64_t count = is_for_us("LISTEN_PID") ? number_in("LISTEN_FDS") : 0;
  const char* variable = getenv("LISTEN_FDNAMES");
  std::string_view names = variable == nullptr ? "" : variable;
  constexpr int kFirst = 3;
  for (int i = 0; i < count; ++i) {
    size_t end = names.find(':');
    std::string_view name = names.substr(0, end);
    names = end == std::string_view::npos ? "" : names.substr(end + 1);
    fcntl(kFirst + i, F_SETFD, FD_CLOEXEC);
    passed.push_back({std::string(name), Fd{kFirst + i}});
  }
  for (const char* each : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) unsetenv(each);
  return passed;
}

}  // namespace tarn::os
