// tarnd: the arbiter of one host, or of one client.
//
//   tarnd --private --client-fd N --spawn-fd M --client PID   started by tarn-spawn for one client
//   tarnd [--config FILE] [--spawn-fd N] [--verbose]          the host's daemon
//   tarnd --check [--config FILE]                             says whether it would start with that file
//
// One that is started again after it was killed finds what it needs in what its manager passes (keeper.hpp): descriptors that
// arguments tell of are those of the first.
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <signal.h>
#include <string>
#include <string_view>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/error.hpp"
#include "base/kill_point.hpp"
#include "config_file.hpp"
#include "config_warnings.hpp"
#include "host_book.hpp"
#include "keeper.hpp"
#include "ledger.hpp"
#include "log.hpp"
#include "loop.hpp"
#include "os/clock.hpp"
#include "os/process.hpp"
#include "os/service_manager.hpp"
#include "os/socket.hpp"
#include "tarn/tarn.h"
#include "shm/word.hpp"
#include "spill.hpp"
#include "tarn_build_config.h"
#include "tarnd.hpp"

namespace tarn::daemon {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr int64_t kReconnectDelay = 200'000'000;

struct Options {
  bool is_private = false;
  bool verbose = false;
  bool check = false;
  bool help = false;
  bool version = false;
  int client_fd = -1;
  int spawn_fd = -1;
  pid_t client = -1;
  std::string config_path;
};

bool parse_number(const char* text, int& out) {
  char* end;
  long value = strtol(text, &end, 10);
  if (end == text || *end != '\0' || value < 0 || value > INT_MAX) return false;
  out = static_cast<int>(value);
  return true;
}

constexpr const char* kConfigPath = TARN_SYSCONFDIR "/tarnd.toml";
constexpr const char* kUsage =
    "usage: tarnd [--config FILE] [--check] [--spawn-fd FD] [--verbose]\n"
    "       tarnd --private --client-fd FD --spawn-fd FD --client PID\n"
    "       tarnd --help | --version\n"
    "Without --config it reads " TARN_SYSCONFDIR "/tarnd.toml, if that is there.\n";

// False, and last_error() says why, for what is not understood.
bool parse_options(int argc, char** argv, Options& out) {
  auto refuse = [](const char* what, const char* why) {
    (void)fail(TARN_E_ARGUMENT, "%s: %s", printable(what).c_str(), why);
    return false;
  };
  for (int i = 1; i < argc; ++i) {
    const char* given = argv[i];
    std::string_view option = given;
    if (option == "--help" || option == "-h") {
      out.help = true;
    } else if (option == "--version") {
      out.version = true;
    } else if (option == "--private") {
      out.is_private = true;
    } else if (option == "--verbose") {
      out.verbose = true;
    } else if (option == "--check") {
      out.check = true;
    } else if (option == "--config") {
      if (++i == argc) return refuse(given, "a file must follow");
      out.config_path = argv[i];
    } else if (option == "--client-fd" || option == "--spawn-fd" || option == "--client") {
      int& number = option == "--client" ? out.client : option == "--client-fd" ? out.client_fd : out.spawn_fd;
      if (++i == argc || !parse_number(argv[i], number)) return refuse(given, "a number must follow");
    } else {
      return refuse(given, "there is no such option");
    }
  }
  if (out.is_private && ((out.client_fd < 0) != (out.spawn_fd < 0) || out.client <= 0))
    return refuse("--private", "--client-fd, --spawn-fd and --client are needed, too");
  return true;
}

Fd inherited(int fd) {
  if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
  return Fd{fd};
}

// A descriptor per slab and per connection: as many as we may have.
void raise_descriptor_limit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

// SIGTERM and SIGINT end the daemon in order.
class EndSignals {
 public:
  EndSignals(Loop& loop, Tarnd& daemon) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, nullptr);
    signals_ = Fd{signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
    watch_ = loop.watch(signals_.get(), EPOLLIN, [this, &daemon](uint32_t) {
      signalfd_siginfo info;
      [[maybe_unused]] ssize_t size = read(signals_.get(), &info, sizeof info);
      os::notify_manager("STOPPING=1");
      daemon.shut_down();
    });
    if (!watch_.active()) throw std::runtime_error(last_error());
  }

 private:
  Fd signals_;
  Loop::Watch watch_;
};

// What is free for us is looked up once: the budget and the slots share out the same bytes.
void set_memory(Config& config) {
  if (config.memory_max == 0) config.memory_max = memory_for_us(config.memory_share);
  config.slots.memory = config.memory_max;
}

// What the manager passes: what the tarnd before had it keep, and its own sockets.
struct Passed {
  Passed() {
    for (os::PassedDescriptor& each : os::take_passed_descriptors()) {
      if (!each.name.starts_with(kKeptPrefix)) {
        listeners.push_back(std::move(each.fd));
        continue;
      }
      count += 1;
      kept.emplace(std::move(each.name), std::move(each.fd));
    }
  }
  Fd take(const char* name) {
    auto found = kept.find(name);
    return found == kept.end() ? Fd{} : std::move(kept.extract(found).mapped());
  }
  KeptDescriptors kept;
  size_t count = 0;
  std::vector<Fd> listeners;
};

void keep(Keeper& keeper, const char* name, const Fd& fd) {
  if (keeper.is_on() && !keeper.keep(name, fd)) log(Level::kWarning, "%s is not kept: %s", name, last_error());
}

int run_private(const Options& options) {
  Passed passed;
  if (passed.kept.empty() && options.client_fd < 0) throw std::runtime_error("--private: --client-fd and --spawn-fd are needed");
  Keeper keeper(os::descriptors_kept_at_most());
  keeper.count(passed.count);
  Loop loop;
  Config config;
  config.memory_max = planned_memory();
  Fd book = passed.take(kKeptHost);
  read_host_book(book, config);
  set_memory(config);
  // hwloc would cost more than the rest of the start.
  Tarnd daemon(loop, config, SlotTable::discover(config.slots, topo::Source::kSysfs), keeper, true);
  EndSignals signals(loop, daemon);
  Fd link = passed.take(kKeptSpawn);
  if (!link.valid()) {
    link = inherited(options.spawn_fd);
    keep(keeper, kKeptSpawn, link);
  }
  daemon.use_spawn_service(std::move(link), [&daemon] { daemon.shut_down(); });
  if (book.valid()) {
    daemon.take_over(passed.kept);
  } else {
    keep_host_book(keeper, config.memory_max, daemon.disk().limit());
    daemon.serve_client(inherited(options.client_fd));
  }
  // Where the tools find it. Tarn works without.
  std::string name = "@tarn/" + std::to_string(geteuid()) + "/" + std::to_string(options.client);
  Fd listener;
  if (os::socket_listen(name, 0, listener) == 0) daemon.listen(std::move(listener), true);
  loop.run();
  return 0;
}

// Becomes tarn-spawn, which starts this program again with a link to it: tarnd itself never forks.
[[noreturn]] void run_under_spawn(int argc, char** argv) {
  char self[PATH_MAX];
  ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
  if (size <= 0) throw std::runtime_error("cannot find my own executable");
  self[size] = '\0';
  std::string folder(self, static_cast<size_t>(size));
  folder.erase(folder.rfind('/'));
  std::vector<char*> arguments;
  std::string words[] = {"tarn-spawn", "--supervise", "--"};
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(self);
  for (int i = 1; i < argc; ++i) arguments.push_back(argv[i]);
  arguments.push_back(nullptr);
  for (const std::string& path :
       {folder + "/spawn/tarn-spawn", folder + "/../libexec/tarn/tarn-spawn", std::string(TARN_LIBEXECDIR "/tarn-spawn")})
    execv(path.c_str(), arguments.data());
  throw std::runtime_error("cannot start tarn-spawn: is it installed in " TARN_LIBEXECDIR "?");
}

// The link to a tarn-spawn that is a service of its own, and may be started again.
struct ServiceLink {
  Loop& loop;
  Tarnd& daemon;
  Keeper& keeper;
  const Config& config;
  Loop::Timer again;

  void lose() {
    keeper.drop(kKeptService);
    connect();
  }
  void connect() {
    if (daemon.is_ending()) return;
    Fd socket;
    if (os::socket_connect(config.spawn_socket_path, socket) < 0) {
      again = loop.call_at(os::now_ns() + kReconnectDelay, [this] { connect(); });
      return;
    }
    keep(keeper, kKeptService, socket);
    daemon.use_spawn_service(std::move(socket), [this] { lose(); });
  }
};

Config host_config(const Options& options) {
  if (!options.config_path.empty()) return read_config(options.config_path);
  if (access(kConfigPath, F_OK) == 0) return read_config(kConfigPath);
  Config defaults;
  return defaults;
}

int check_config(const Options& options) {
  Config config = host_config(options);
  set_memory(config);
  SlotTable slots = SlotTable::discover(config.slots, topo::Source::kHwloc);
  Loop loop;
  Keeper none(0);
  Spill spill(loop, config.spill_directory, none);
  const char* why_off = spill.why_off();
  ConfigHost host{why_off == nullptr ? "" : why_off, Spill::disk_free(config.spill_directory)};
  for (const std::string& warning : config_warnings(config, host)) fprintf(stderr, "tarnd: warning: %s\n", warning.c_str());
  printf("tarnd: the configuration is valid; %u slots\n", slots.size());
  return 0;
}

// What whoever starts it wants to know, in one line; and what of the configuration will not be as it was meant.
void say_hello(const Config& config, const Tarnd& daemon, bool is_ours) {
  std::string off = daemon.why_disk_is_off();
  for (const std::string& warning : config_warnings(config, {off, Spill::disk_free(config.spill_directory)}))
    log(Level::kWarning, "%s", warning.c_str());
  std::string disk = off.empty() ? size_text(daemon.disk().limit()) + " of disk in " + config.spill_directory : "no disk: " + off;
  log(Level::kInfo, "listening at %s: %u slots, %s of memory, %s", is_ours ? config.socket_path.c_str() : "the service manager's socket",
      daemon.slots().size(), size_text(daemon.budget().limit()).c_str(), disk.c_str());
}

int run_host(const Options& options, int argc, char** argv) {
  Passed passed;
  Config config = host_config(options);
  Fd book = passed.take(kKeptHost);
  read_host_book(book, config);
  set_memory(config);
  set_log_level(options.verbose ? Level::kDebug : config.log_level);
  bool is_supervised = options.spawn_fd >= 0 || passed.kept.contains(kKeptSpawn);
  const char* link_name = is_supervised ? kKeptSpawn : kKeptService;
  bool is_link_kept = passed.kept.contains(link_name);
  Fd link = is_link_kept ? passed.take(link_name) : inherited(options.spawn_fd);
  if (!link.valid() && os::socket_connect(config.spawn_socket_path, link) < 0) run_under_spawn(argc, argv);

  bool is_ours = passed.listeners.empty();
  Fd listener = is_ours ? passed.take(kKeptListener) : std::move(passed.listeners.front());
  bool is_listener_kept = is_ours && listener.valid();

  Keeper keeper(os::descriptors_kept_at_most());
  keeper.count(passed.count);
  Loop loop;
  Tarnd daemon(loop, config, SlotTable::discover(config.slots, topo::Source::kHwloc), keeper, false);
  EndSignals signals(loop, daemon);
  ServiceLink service{loop, daemon, keeper, config, {}};
  if (!is_link_kept) keep(keeper, link_name, link);
  if (is_supervised) {
    daemon.use_spawn_service(std::move(link), [&daemon] { daemon.shut_down(); });
  } else {
    daemon.use_spawn_service(std::move(link), [&service] { service.lose(); });
  }
  if (book.valid()) {
    daemon.take_over(passed.kept);
  } else {
    keep_host_book(keeper, config.memory_max, daemon.disk().limit());
  }
  if (is_ours && !listener.valid() && os::socket_listen(config.socket_path, config.socket_mode, listener) < 0)
    throw std::runtime_error(last_error());
  // Who connects while there is no tarnd waits for the next.
  if (is_ours && !is_listener_kept) keep(keeper, kKeptListener, listener);
  daemon.listen(std::move(listener), false);
  say_hello(config, daemon, is_ours);

  Loop::Timer watchdog;
  std::function<void()> pat = [&] {
    int64_t interval = os::watchdog_interval_ns();
    if (interval == 0) return;
    os::notify_manager("WATCHDOG=1");
    watchdog = loop.call_at(os::now_ns() + interval, pat);
  };
  pat();
  os::notify_manager("READY=1");
  loop.run();
  if (is_ours) unlink(config.socket_path.c_str());
  return 0;
}

}  // namespace
}  // namespace tarn::daemon

int main(int argc, char** argv) {
  using namespace tarn::daemon;
  tarn::set_kill_role("tarnd");
  Options options;
  if (!parse_options(argc, argv, options)) {
    fprintf(stderr, "tarnd: %s\n%s", tarn::last_error(), kUsage);
    return kExitUsage;
  }
  if (options.help || options.version) {
    fputs(options.help ? kUsage : "tarnd " TARN_VERSION "\n", stdout);
    return fflush(stdout) == 0 ? 0 : kExitFailure;
  }
  // tarn-spawn ends tarnd when their link is closed, and what went wrong is told after that of the Tarnd that is being
  // destroyed. So this end stays open until it has been told.
  tarn::Fd link{options.spawn_fd < 0 ? -1 : fcntl(options.spawn_fd, F_DUPFD_CLOEXEC, 0)};
  try {
    set_log_level(options.verbose || !options.is_private ? Level::kInfo : Level::kWarning);
    if (options.check) return check_config(options);
    // The signals that end it may have been sent before it can take them (EndSignals).
    tarn::os::reset_signals({SIGTERM, SIGINT});
    // Nobody may be reading our standard error any more, and a client asks for more than `ulimit -f`: EPIPE and EFBIG.
    for (int number : {SIGPIPE, SIGXFSZ}) signal(number, SIG_IGN);
    prctl(PR_SET_NAME, "tarnd");
    raise_descriptor_limit();
    // So that its fences reach those who read a board, as theirs do.
    if (tarn::os::membarrier_register()) tarn::shm::fences_are_symmetric = false;
    return options.is_private ? run_private(options) : run_host(options, argc, argv);
  } catch (const std::exception& error) {
    log(Level::kError, "%s", error.what());
    return kExitFailure;
  }
}
