#include "manager.hpp"

#include <fcntl.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include "os/service_manager.hpp"

namespace tarn::testing {
namespace {

bool is_same_file(const Fd& a, const Fd& b) {
  return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a.get(), b.get()) == 0;
}

}  // namespace

Manager::Manager(size_t most) : most_(most), socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  bind(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address.sun_family);
  socklen_t size = sizeof address;
  getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  address_ = "@" + std::string(address.sun_path + 1, size - offsetof(sockaddr_un, sun_path) - 1);
  thread_ = std::thread([this] { serve(); });
}

Manager::~Manager() {
  stop_ = true;
  thread_.join();
}

void Manager::serve() {
  while (!stop_) {
    pollfd entry{socket_.get(), POLLIN, 0};
    if (poll(&entry, 1, 10) <= 0) continue;
    std::lock_guard lock(mutex_);
    std::string state;
    for (Fd fd; os::receive_state(socket_, state, fd);) take_in(state, std::move(fd));
  }
}

void Manager::take_in(const std::string& state, Fd fd) {
  std::string name(os::value_in_state(state, "FDNAME="));
  if (os::value_in_state(state, "FDSTOREREMOVE=") == "1") {
    kept_.erase(name);
  } else if (os::value_in_state(state, "FDSTORE=") == "1" && fd.valid() && kept_.size() < most_) {
    for (auto& [other, kept] : kept_)
      if (is_same_file(kept, fd)) return;
    kept_[name] = std::move(fd);
  }
}

pid_t Manager::start(const std::vector<std::string>& command) {
  // What the one before said is taken in first.
  usleep(30'000);
  std::lock_guard lock(mutex_);
  std::string names;
  std::vector<int> fds;
  for (auto& [name, fd] : kept_) {
    names += names.empty() ? name : ":" + name;
    fds.push_back(fd.get());
  }
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::string count = std::to_string(fds.size());
  std::string most = std::to_string(most_);
  pid_t pid = fork();
  if (pid != 0) return pid;
  int first = 3 + static_cast<int>(fds.size());
  for (int& fd : fds) fd = fcntl(fd, F_DUPFD_CLOEXEC, first);
  for (size_t i = 0; i < fds.size(); ++i) dup2(fds[i], 3 + static_cast<int>(i));
  setenv("NOTIFY_SOCKET", address_.c_str(), 1);
  setenv("FDSTORE", most.c_str(), 1);
  setenv("LISTEN_PID", std::to_string(getpid()).c_str(), 1);
  setenv("LISTEN_FDS", count.c_str(), 1);
  setenv("LISTEN_FDNAMES", names.c_str(), 1);
  execv(argv[0], argv.data());
  _exit(127);
}

std::vector<std::string> Manager::names() {
  std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (auto& [name, fd] : kept_) names.push_back(name);
  return names;
}

size_t Manager::lose(const std::string& end) {
  std::lock_guard lock(mutex_);
  return std::erase_if(kept_, [&](const auto& entry) { return entry.first.ends_with(end); });
}

}  // namespace tarn::testing
