#include "keeper.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
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

int Keeper::open(Fd& theirs) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(code_of_errno(errno), "cannot make sockets for what is kept for tarnd");
  socket_ = Fd{ends[0]};
  theirs = Fd{ends[1]};
  return 0;
}

void Keeper::serve() {
  for (;;) {
    char text[kStateMax];
    iovec part{text, sizeof text};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t received = recvmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) return;
    Fd fd;
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
      int number;
      memcpy(&number, CMSG_DATA(header), sizeof number);
      fd = Fd{number};
    }
    take_in({text, static_cast<size_t>(received)}, std::move(fd));
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
  if (fd.valid()) close(name, std::move(fd));
}

void Keeper::drop(std::map<std::string, Fd>::iterator entry) {
  close(entry->first, std::move(entry->second));
  kept_.erase(entry);
}

void Keeper::close(const std::string& name, Fd fd) {
  size_t at = name.find('@');
  closer_.close(at == std::string::npos ? lane_ : strtoul(name.c_str() + at + 1, nullptr, 10), std::move(fd));
}

}  // namespace tarn::spawn
