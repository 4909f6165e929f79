#include "descriptor_store.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/error.hpp"
#include "os/service_manager.hpp"
#include "tarn/tarn.h"

namespace tarn::spawn {
namespace {

constexpr size_t kNameMax = 255;

}  // namespace

int DescriptorStore::open(Fd& theirs) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) < 0)
    return fail_errno(code_of_errno(errno), "cannot make sockets for what is kept for tarnd");
  socket_ = Fd{ends[0]};
  theirs = Fd{ends[1]};
  return 0;
}

void DescriptorStore::serve() {
  std::string state;
  for (Fd fd; os::receive_state(socket_, state, fd);) take_in(state, std::move(fd));
}

void DescriptorStore::take_in(std::string_view state, Fd fd) {
  std::string name(os::value_in_state(state, "FDNAME="));
  if (os::value_in_state(state, "FDSTOREREMOVE=") == "1") {
    if (auto found = kept_.find(name); found != kept_.end()) drop(found);
  } else if (os::value_in_state(state, "FDSTORE=") == "1") {
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

void DescriptorStore::drop(std::map<std::string, Fd>::iterator entry) {
  close(entry->first, std::move(entry->second));
  kept_.erase(entry);
}

void DescriptorStore::close(const std::string& name, Fd fd) {
  size_t at = name.find('@');
  closer_.close(at == std::string::npos ? lane_ : strtoul(name.c_str() + at + 1, nullptr, 10), std::move(fd));
}

}  // namespace tarn::spawn
