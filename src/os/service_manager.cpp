// Spoken by hand: the protocol is one datagram and two variables, and loading libsystemd for it would
// cost a private tarnd a millisecond at every start. See sd_notify(3) and sd_listen_fds(3).
#include "os/service_manager.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

namespace tarn::os {
namespace {

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

}  // namespace

void notify_manager(const char* state) {
  const char* path = getenv("NOTIFY_SOCKET");
  if (path == nullptr) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  size_t length = strlen(path);
  if (length >= sizeof address.sun_path) return;
  memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  Fd socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket.valid()) return;
  sendto(socket.get(), state, strlen(state), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address),
         static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

int64_t watchdog_interval_ns() {
  int64_t usec = number_in("WATCHDOG_USEC");
  if (usec <= 0 || (getenv("WATCHDOG_PID") != nullptr && !is_for_us("WATCHDOG_PID"))) return 0;
  return usec * 1000 / 2;
}

Fd socket_from_manager() {
  if (!is_for_us("LISTEN_PID") || number_in("LISTEN_FDS") < 1) return {};
  constexpr int kFirst = 3;
  fcntl(kFirst, F_SETFD, FD_CLOEXEC);
  return Fd{kFirst};
}

}  // namespace tarn::os
