// tarn-spawn: starts worker processes for tarnd, which itself never forks.
//
//   tarn-spawn --private FD --client PID [--tarnd PATH]   started by libtarn: brings up a private tarnd
//   tarn-spawn --supervise -- tarnd ARGUMENTS...          brings up that tarnd, with one argument pair more
//   tarn-spawn --service [--listen PATH] [--allow UID]    the host's service; without --listen the socket
//                                                         comes from systemd (LISTEN_FDS)
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/kill_point.hpp"
#include "os/process.hpp"
#include "os/service_manager.hpp"
#include "os/socket.hpp"
#include "service.hpp"
#include "tarn/tarn.h"
#include "tarn_build_config.h"

namespace tarn::spawn {
namespace {

constexpr int kExitUsage = 2;

struct Options {
  enum class Life { kNone, kPrivate, kSupervise, kHost } life = Life::kNone;
  int client_fd = -1;
  pid_t client = -1;
  std::string tarnd;
  std::string listen;
  uid_t allowed = 0;
  char** command = nullptr;  // --supervise
  int command_count = 0;
};

bool parse_number(const char* text, int& out) {
  char* end;
  errno = 0;
  long value = strtol(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || value < 0 || value > INT_MAX) return false;
  out = static_cast<int>(value);
  return true;
}

bool parse_user(const char* text, uid_t& out) {
  int number;
  if (parse_number(text, number)) {
    out = static_cast<uid_t>(number);
    return true;
  }
  const passwd* user = getpwnam(text);
  if (user == nullptr) return false;
  out = user->pw_uid;
  return true;
}

bool parse_options(int argc, char** argv, Options& out) {
  out.allowed = geteuid();
  for (int i = 1; i < argc; ++i) {
    std::string_view option = argv[i];
    if (option == "--supervise") {
      out.life = Options::Life::kSupervise;
    } else if (option == "--service") {
      out.life = Options::Life::kHost;
    } else if (option == "--" && out.life == Options::Life::kSupervise) {
      out.command = argv + i + 1;
      out.command_count = argc - i - 1;
      break;
    } else if (i + 1 == argc) {
      return false;
    } else if (option == "--private") {
      out.life = Options::Life::kPrivate;
      if (!parse_number(argv[++i], out.client_fd)) return false;
    } else if (option == "--client") {
      if (!parse_number(argv[++i], out.client)) return false;
    } else if (option == "--tarnd") {
      out.tarnd = argv[++i];
    } else if (option == "--listen") {
      out.listen = argv[++i];
    } else if (option == "--allow") {
      if (!parse_user(argv[++i], out.allowed)) return false;
    } else {
      return false;
    }
  }
  switch (out.life) {
    case Options::Life::kPrivate:
      return out.client > 0;
    case Options::Life::kSupervise:
      return out.command_count > 0;
    default:
      return out.life == Options::Life::kHost;
  }
}

// The tarnd that belongs to this program: beside it in a build tree, where it was installed (also when
// the tree was moved), or where the build said.
std::string find_tarnd() {
  char self[PATH_MAX];
  ssize_t size = readlink("/proc/self/exe", self, sizeof self);
  if (size > 0 && size < static_cast<ssize_t>(sizeof self)) {
    std::string folder(self, static_cast<size_t>(size));
    folder.erase(folder.rfind('/'));
    for (const char* relative : {"/../tarnd", "/tarnd", "/../../sbin/tarnd"}) {
      std::string path = folder + relative;
      if (access(path.c_str(), X_OK) == 0) return path;
    }
  }
  return TARN_SBINDIR "/tarnd";
}

// Keeps nothing of the client's but its socket and standard error: a pipe must end, and a folder or a file system be
// free, when the program is done with it.
int leave_what_is_the_clients(int client_fd) {
  if (client_fd <= STDERR_FILENO) return fail(TARN_E_ARGUMENT, "--private %d is a standard stream", client_fd);
  unsigned first = STDERR_FILENO + 1;
  unsigned socket = static_cast<unsigned>(client_fd);
  if (socket > first) syscall(SYS_close_range, first, socket - 1, 0);
  syscall(SYS_close_range, socket + 1, ~0u, 0);
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return fail_errno(TARN_E_SYSTEM, "cannot open /dev/null");
  for (int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (stream == STDERR_FILENO && (null == stream || fcntl(stream, F_GETFD) >= 0)) continue;
    if (null == stream) {
      fcntl(stream, F_SETFD, 0);
    } else if (dup2(null, stream) < 0) {
      return fail_errno(TARN_E_SYSTEM, "cannot use /dev/null");
    }
  }
  if (null > STDERR_FILENO) close(null);
  if (chdir("/") < 0) return fail_errno(TARN_E_SYSTEM, "cannot go to /");
  return 0;
}

int run_private(const Options& options) {
  // Out of the client's session and process group: what its terminal sends is for the client.
  setsid();
  // Before the folder changes: it may be relative.
  std::string path = options.tarnd.empty() ? find_tarnd() : std::filesystem::absolute(options.tarnd).string();
  if (int r = leave_what_is_the_clients(options.client_fd); r < 0) return r;
  Fd client_socket{options.client_fd};
  fcntl(options.client_fd, F_SETFD, FD_CLOEXEC);
  Fd client;
  Service service;
  if (int r = service.prepare(true); r < 0) return r;
  if (int r = os::pidfd_open(options.client, client); r < 0) return r;
  // The client holds the other end: if that is still open now, the number was still the client's.
  pollfd entry{client_socket.get(), 0, 0};
  if (poll(&entry, 1, 0) > 0 && (entry.revents & POLLHUP) != 0) return 0;
  service.end_with(std::move(client));

  Service::Daemon daemon{path, {"tarnd", "--private", "--client", std::to_string(options.client)}, true};
  if (int r = service.start_daemon(std::move(daemon), client_socket); r < 0) return r;
  service.plug(std::move(client_socket));
  return service.run();
}

int run_supervise(const Options& options) {
  Service service;
  if (int r = service.prepare(true); r < 0) return r;
  Service::Daemon daemon{options.command[0], {options.command, options.command + options.command_count}, false};
  if (int r = service.start_daemon(std::move(daemon), Fd{}); r < 0) return r;
  return service.run();
}

int run_host(const Options& options) {
  Service service;
  // No adoption: what a user's program leaves behind on purpose is the unit's cgroup to hold.
  if (int r = service.prepare(false); r < 0) return r;
  Fd listener;
  if (!options.listen.empty()) {
    if (int r = os::socket_listen(options.listen, 0600, listener); r < 0) return r;
    if (options.listen[0] != '@' && options.allowed != geteuid() &&
        chown(options.listen.c_str(), options.allowed, static_cast<gid_t>(-1)) < 0)
      return fail_errno(TARN_E_DENIED, "cannot give %s to user %u", options.listen.c_str(), options.allowed);
  } else {
    auto passed = os::take_passed_descriptors();
    if (!passed.empty()) listener = std::move(passed.front().fd);
    for (auto& each : passed) service.plug(std::move(each.fd));
    if (!listener.valid())
      return fail(TARN_E_ARGUMENT,
                  "no socket: give --listen PATH, or start it by tarn-spawn.socket");
  }
  service.listen(std::move(listener), options.allowed);
  os::notify_manager("READY=1");
  int status = service.run();
  os::notify_manager("STOPPING=1");
  return status;
}

int run(const Options& options) {
  switch (options.life) {
    case Options::Life::kPrivate:
      return run_private(options);
    case Options::Life::kSupervise:
      return run_supervise(options);
    default:
      return run_host(options);
  }
}

}  // namespace
}  // namespace tarn::spawn

int main(int argc, char** argv) {
  tarn::set_kill_role("spawn");
  tarn::spawn::Options options;
  if (!tarn::spawn::parse_options(argc, argv, options)) {
    fprintf(stderr,
            "usage: tarn-spawn --private FD --client PID [--tarnd PATH]\n"
            "       tarn-spawn --supervise -- COMMAND...\n"
            "       tarn-spawn --service [--listen PATH] [--allow USER]\n");
    return tarn::spawn::kExitUsage;
  }
  int status = tarn::spawn::run(options);
  if (status >= 0) return status;
  fprintf(stderr, "tarn-spawn: %s\n", tarn::last_error());
  return 1;
}
