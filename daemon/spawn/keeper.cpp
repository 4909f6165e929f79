#include "keeper.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/error.hpp"
#include "os/service_manager.hpp"
#include "tarn/tarn.h"

namespace tarn::spawn {
namespace {

constexpr size_t kStateMax = 4096;
constexpr size_t kNameMax = 255;

// The value of `key` ("FDNAME=") in a message of lines; "" if it has none.
std::string_view value_of(std::string_view state, std::string_view key) {
  while (!state.empty()) {
    std::string_view line = state.substr(0, state.find('\n'));
    state.remove_prefix(std::min(state.size(), line.size() + 1));
    if (line.starts_with(key)) return line.substr(key.size());
  }
  return "";
}

}  // namespace

int Keeper::open(os::Closer& closer, os::Closer::Lane lane) {
  closer_ = &closer;
  lane_ = lane;
  socket_ = Fd{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // Without a name the kernel gives one that nobody has.
  socklen_t size = sizeof address.sun_family;
  int on = 1;
  if (!socket_.valid() || bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), size) < 0 ||
      setsockopt(socket_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
    return fail_errno(TARN_E_SYSTEM, "cannot open a socket for what is kept for tarnd");
  size = sizeof address;
  if (getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) < 0)
    return fail_errno(TARN_E_SYSTEM, "cannot learn the name of a socket");
  address_.assign(address.sun_path, size - offsetof(sockaddr_un, sun_path));
  address_[0] = '@';
  return 0;
}

void Keeper::serve(pid_t daemon) {
  for (;;) {
    char text[kStateMax];
    iovec part{text, sizeof text};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t received = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return;
    Fd fd;
    pid_t sender = 0;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET) continue;
      if (header->cmsg_type == SCM_RIGHTS) {
        int number;
        memcpy(&number, CMSG_DATA(header), sizeof number);
        fd = Fd{number};
      } else if (header->cmsg_type == SCM_CREDENTIALS) {
        ucred credentials;
        memcpy(&credentials, CMSG_DATA(header), sizeof credentials);
        sender = credentials.pid;
      }
    }
    // Whoever finds the socket may send to it.
    if (sender == daemon) {
      take_in({text, static_cast<size_t>(received)}, std::move(fd));
    } else if (fd.valid()) {
      closer_->close(lane_, std::move(fd));
    }
  }
}

void Keeper::take_in(std::string_view state, Fd fd) {
  std::string name(value_of(state, "FDNAME="));
  if (value_of(state, "FDSTOREREMOVE=") == "1") {
    if (auto found = kept_.find(name); found != kept_.end()) drop(found);
  } else if (value_of(state, "FDSTORE=") == "1") {
    bool is_name = !name.empty() && name.size() <= kNameMax && name.find(':') == std::string::npos;
    if (!fd.valid() || !is_name || kept_.size() >= kMost) {
      fprintf(stderr, "tarn-spawn: tarnd wants '%s' kept, which cannot be (%zu are)\n", name.c_str(), kept_.size());
    } else {
      if (auto before = kept_.find(name); before != kept_.end()) drop(before);
      kept_.emplace(std::move(name), std::move(fd));
      return;
    }
  } else {
    os::notify_manager(std::string(state).c_str());
  }
  if (fd.valid()) closer_->close(lane_, std::move(fd));
}

void Keeper::drop(std::map<std::string, Fd>::iterator entry) {
  closer_->close(lane_, std::move(entry->second));
  kept_.erase(entry);
}

}  // namespace tarn::spawn
