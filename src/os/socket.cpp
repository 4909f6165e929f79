#include "os/socket.hpp"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.hpp"
#include "base/kill_point.hpp"
#include "os/clock.hpp"
#include "tarn/tarn.h"

namespace tarn::os {
namespace {

constexpr int kTriesForRoom = 3;               // other threads close and open descriptors meanwhile
constexpr size_t kKernelDescriptorsMax = 253;  // SCM_MAX_FD

int make_address(std::string_view path, sockaddr_un& address, socklen_t& length) {
  address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(TARN_E_ARGUMENT, "the socket path '%.*s' must have 1 to %zu bytes",
                static_cast<int>(path.size()), path.data(), sizeof address.sun_path - 1);
  memcpy(address.sun_path, path.data(), path.size());
  length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  if (path[0] == '@') {
    address.sun_path[0] = '\0';
    length -= 1;  // the length of an abstract name ends it, not a NUL
  }
  return 0;
}

int make_socket(Fd& out) {
  Fd fd{socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
  if (!fd.valid()) return fail_errno(code_of_errno(errno), "cannot make a socket");
  out = std::move(fd);
  return 0;
}

// Waits for `events`; 0 when they are there, TARN_E_TIMED_OUT, or kWouldBlock for a deadline of 0.
int wait_for(const Fd& socket, short events, int64_t deadline_ns) {
  if (deadline_ns == 0) return kWouldBlock;
  for (;;) {
    timespec left{};
    timespec* limit = nullptr;
    if (deadline_ns != kForever) {
      int64_t ns = deadline_ns - now_ns();
      if (ns < 0) return fail(TARN_E_TIMED_OUT, "no answer from the daemon in the time given");
      left = {ns / 1'000'000'000, ns % 1'000'000'000};
      limit = &left;
    }
    pollfd entry{socket.get(), events, 0};
    int r = ppoll(&entry, 1, limit, nullptr);
    if (r > 0) return 0;
    if (r < 0 && errno != EINTR) return fail_errno(TARN_E_SYSTEM, "cannot wait for a socket");
  }
}

// Takes the descriptors out of a received message; false if some were cut off or too many.
bool take_descriptors(msghdr& message, Received& out) {
  bool complete = (message.msg_flags & MSG_CTRUNC) == 0;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      if (out.descriptor_count < kSocketDescriptorsMax) {
        out.descriptors[out.descriptor_count++] = Fd{fd};
      } else {
        out.excess.emplace_back(fd);
        complete = false;
      }
    }
  }
  return complete;
}

// Whether a descriptor is what this process cannot have now.
bool at_descriptor_limit(const Fd& any) {
  Fd another{fcntl(any.get(), F_DUPFD_CLOEXEC, 0)};
  return !another.valid() && (errno == EMFILE || errno == ENFILE);
}

}  // namespace

int socket_pair(Fd& left, Fd& right) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
    return fail_errno(code_of_errno(errno), "cannot make a pair of sockets");
  left = Fd{fds[0]};
  right = Fd{fds[1]};
  return 0;
}

int socket_connect(std::string_view path, Fd& out) {
  sockaddr_un address;
  socklen_t length = 0;
  if (int r = make_address(path, address, length); r < 0) return r;
  Fd fd;
  if (int r = make_socket(fd); r < 0) return r;
  int r;
  do {
    r = connect(fd.get(), reinterpret_cast<sockaddr*>(&address), length);
  } while (r < 0 && errno == EINTR);
  if (r < 0) {
    int code = errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR ? TARN_E_NO_DAEMON
                                                                            : code_of_errno(errno);
    return fail_errno(code, "cannot connect to %.*s", static_cast<int>(path.size()), path.data());
  }
  out = std::move(fd);
  return 0;
}

int socket_listen(std::string_view path, unsigned mode, Fd& out) {
  sockaddr_un address;
  socklen_t length = 0;
  if (int r = make_address(path, address, length); r < 0) return r;
  bool is_file = address.sun_path[0] != '\0';
  if (is_file) {
    // A socket file that nobody answers on was left by a daemon that was killed.
    Fd probe;
    if (socket_connect(path, probe) == 0)
      return fail(TARN_E_STATE, "another daemon listens at %s; stop it or choose another socket",
                  address.sun_path);
    struct stat status;
    if (lstat(address.sun_path, &status) == 0 && S_ISSOCK(status.st_mode)) unlink(address.sun_path);
  }
  // A file gets its name when its mode is right and somebody listens: who finds it is served. Only a name to which nothing can be
  // added comes at once.
  sockaddr_un early = address;
  socklen_t early_length = length;
  if (is_file) {
    char name[sizeof early.sun_path + 16];
    int size = snprintf(name, sizeof name, "%s-%d", address.sun_path, getpid());
    if (static_cast<size_t>(size) < sizeof early.sun_path)
      if (int r = make_address(name, early, early_length); r < 0) return r;
  }
  Fd fd;
  if (int r = make_socket(fd); r < 0) return r;
  if (bind(fd.get(), reinterpret_cast<sockaddr*>(&early), early_length) < 0)
    return fail_errno(code_of_errno(errno), "cannot bind %.*s", static_cast<int>(path.size()), path.data());
  if (is_file && chmod(early.sun_path, mode) < 0)
    return fail_errno(code_of_errno(errno), "cannot set the mode of %s", early.sun_path);
  if (listen(fd.get(), 128) < 0) return fail_errno(TARN_E_SYSTEM, "cannot listen");
  if (early_length != length) {
    int r = link(early.sun_path, address.sun_path);
    if (r < 0) r = fail_errno(code_of_errno(errno), "cannot bind %s", address.sun_path);
    unlink(early.sun_path);
    if (r < 0) return r;
  }
  out = std::move(fd);
  return 0;
}

int socket_send(const Fd& socket, std::span<const std::byte> packet, std::span<const int> descriptors,
                int64_t deadline_ns) {
  iovec part{const_cast<std::byte*>(packet.data()), packet.size()};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * kSocketDescriptorsMax)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    if (descriptors.size() > kSocketDescriptorsMax)
      return fail(TARN_E_ARGUMENT, "%zu descriptors in one message", descriptors.size());
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    memcpy(CMSG_DATA(c), descriptors.data(), descriptors.size_bytes());
  }
  for (;;) {
    TARN_KILL_POINT();
    ssize_t sent = sendmsg(socket.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      TARN_KILL_POINT();
      return 0;
    }
    if (errno == EINTR) continue;
    // ETOOMANYREFS: too many descriptors are in flight; they go once the other side takes some.
    if (errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS) {
      if (int r = wait_for(socket, POLLOUT, deadline_ns); r != 0) return r;
      continue;
    }
    int code = errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN ? TARN_E_DAEMON_GONE
                                                                          : code_of_errno(errno);
    return fail_errno(code, "cannot send a message of %zu bytes", packet.size());
  }
}

void SpareDescriptors::keep() {
  for (Fd& spare : spares_)
    if (!spare.valid()) spare = Fd{open("/dev/null", O_RDONLY | O_CLOEXEC)};
}

void SpareDescriptors::give_up() {
  for (Fd& spare : spares_) spare.reset();
}

int socket_receive(const Fd& socket, std::span<std::byte> buffer, Received& out,
                   int64_t deadline_ns, SpareDescriptors* spares) {
  bool was_reset = false;
  int tries = 0;
  // The kernel throws away what it cannot hand over, and the packet with it. So it is only looked at first, which makes
  // the descriptors too, and taken away when it is complete.
  int flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC | (spares != nullptr ? MSG_PEEK : 0);
  for (;;) {
    out = Received{};
    iovec part{buffer.data(), buffer.size()};
    // Room for as many as the kernel lets anybody send: those without room it would close here and now.
    alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * kKernelDescriptorsMax)];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t size = recvmsg(socket.get(), &message, flags);
    if (size >= 0) {
      bool complete = take_descriptors(message, out);
      if (spares != nullptr) {
        if (!complete && out.descriptor_count < kSocketDescriptorsMax && tries++ < kTriesForRoom) {
          out = Received{};
          spares->give_up();
          if (tries == 1 || !at_descriptor_limit(socket)) continue;
          return fail(
              TARN_E_LIMIT,
              "the daemon sent memory, and this process has no descriptor left for it; close some, "
              "or raise its limit (RLIMIT_NOFILE)");
        }
        spares->keep();
        if (size > 0) (void)recv(socket.get(), nullptr, 0, MSG_DONTWAIT);
      }
      if (!complete || (message.msg_flags & MSG_TRUNC) != 0)
        return fail(TARN_E_PROTOCOL, "a message was too long, or brought too many descriptors");
      out.size = static_cast<size_t>(size);
      TARN_KILL_POINT();
      return 0;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      if (int r = wait_for(socket, POLLIN, deadline_ns); r != 0) return r;
      continue;
    }
    if (errno == ECONNRESET) {
      // The other side left without reading all that we sent. The error is told once; what it had sent
      // before, its reason perhaps, is still there to be received, and then the end.
      if (was_reset) return 0;
      was_reset = true;
      continue;
    }
    return fail_errno(code_of_errno(errno), "cannot receive a message");
  }
}

uint64_t socket_unreceived(const Fd& socket) {
  int bytes = 0;
  return ioctl(socket.get(), SIOCOUTQ, &bytes) == 0 && bytes > 0 ? static_cast<uint64_t>(bytes) : 0;
}

bool socket_has_room(const Fd& socket) {
  pollfd look{socket.get(), POLLOUT, 0};  // Linux says so of a unix socket while that is the case
  return ::poll(&look, 1, 0) == 1 && (look.revents & POLLOUT) != 0;
}

void socket_shut_down(const Fd& socket) { shutdown(socket.get(), SHUT_RDWR); }

int socket_peer(const Fd& socket, PeerCredentials& out) {
  ucred credentials;
  socklen_t size = sizeof credentials;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
    return fail_errno(TARN_E_SYSTEM, "cannot learn who is at the other end of a socket");
  out = {credentials.pid, credentials.uid, credentials.gid};
  return 0;
}

}  // namespace tarn::os
