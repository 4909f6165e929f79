#include "support/leak_gate.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string_view>
#include <thread>
#include <utility>

namespace tarn::testing {
namespace {

constexpr const char* kSharedMemoryDir = "/dev/shm";

pid_t guardian = 0;  // of this process; 0 without one
pid_t guarded = 0;   // in the guardian: the process that runs the tests

using Directory = std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })>;

std::vector<std::string> names_in(DIR* dir) {
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

std::map<int, std::string> open_descriptors() {
  const Directory dir{::opendir("/proc/self/fd")};
  std::map<int, std::string> descriptors;
  if (!dir) return descriptors;
  for (const std::string& name : names_in(dir.get())) {
    const int fd = std::atoi(name.c_str());
    if (fd == ::dirfd(dir.get())) continue;
    std::array<char, 512> target{};
    const ssize_t length =
        ::readlinkat(::dirfd(dir.get()), name.c_str(), target.data(), target.size());
    descriptors[fd] =
        length < 0 ? "?" : std::string(target.data(), static_cast<std::size_t>(length));
  }
  return descriptors;
}

std::multiset<std::string> mapped_memory_files() {
  std::ifstream maps("/proc/self/maps");
  std::multiset<std::string> mappings;
  for (std::string line; std::getline(maps, line);) {
    const std::size_t name_at = line.find('/');
    if (name_at == std::string::npos) continue;
    const std::string_view name = std::string_view(line).substr(name_at);
    if (name.starts_with("/memfd:") || name.starts_with("/dev/shm/")) mappings.emplace(name);
  }
  return mappings;
}

std::set<std::string> own_shared_memory_files() {
  const Directory dir{::opendir(kSharedMemoryDir)};
  std::set<std::string> own;
  if (!dir) return own;
  for (std::string& name : names_in(dir.get())) {
    struct stat status {};
    if (::fstatat(::dirfd(dir.get()), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        status.st_uid == ::geteuid()) {
      own.insert(std::move(name));
    }
  }
  return own;
}

struct Process {
  pid_t parent;
  std::string label;
};

// Reads /proc/PID/stat: "pid (name) state ppid ...". The name may itself hold spaces and brackets.
bool read_process(const std::string& pid, Process* process) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string stat;
  std::getline(file, stat, '\0');  // a process that ends meanwhile fails the read, which iterators would throw for
  const std::size_t name_at = stat.find('(');
  const std::size_t name_end = stat.rfind(')');
  if (name_at == std::string::npos || name_end == std::string::npos) return false;
  std::istringstream rest(stat.substr(name_end + 1));
  char state = '?';
  if (!(rest >> state >> process->parent)) return false;
  process->label = stat.substr(name_at + 1, name_end - name_at - 1) + " (" + state + ")";
  return true;
}

// The guardian's descendants: ours, and the orphans that it has adopted. Zombies count, for whoever started them must wait.
std::map<pid_t, std::string> processes_of_test() {
  const Directory dir{::opendir("/proc")};
  std::map<pid_t, Process> processes;
  if (!dir) return {};
  for (const std::string& name : names_in(dir.get())) {
    Process process{};
    if (name.front() >= '0' && name.front() <= '9' && read_process(name, &process)) {
      processes.emplace(std::atoi(name.c_str()), std::move(process));
    }
  }
  std::map<pid_t, std::string> descendants;
  std::vector<pid_t> parents{guardian == 0 ? ::getpid() : guardian};
  while (!parents.empty()) {
    const pid_t parent = parents.back();
    parents.pop_back();
    for (const auto& [pid, process] : processes) {
      const bool is_new =
          process.parent == parent && descendants.emplace(pid, process.label).second;
      if (is_new) parents.push_back(pid);
    }
  }
  descendants.erase(::getpid());
  return descendants;
}

}  // namespace

Footprint Footprint::take() {
  return Footprint{
      .descriptors = open_descriptors(),
      .memory_file_mappings = mapped_memory_files(),
      .shared_memory_files = own_shared_memory_files(),
      .descendants = processes_of_test(),
  };
}

std::string describe_growth(const Footprint& before, const Footprint& after) {
  std::ostringstream growth;
  for (const auto& [fd, target] : after.descriptors) {
    if (!before.descriptors.contains(fd))
      growth << "  descriptor " << fd << " -> " << target << '\n';
  }
  std::vector<std::string> mappings;
  std::ranges::set_difference(after.memory_file_mappings, before.memory_file_mappings,
                              std::back_inserter(mappings));
  for (const std::string& name : mappings) growth << "  mapping of " << name << '\n';
  for (const std::string& name : after.shared_memory_files) {
    if (!before.shared_memory_files.contains(name)) {
      growth << "  file " << kSharedMemoryDir << '/' << name << '\n';
    }
  }
  for (const auto& [pid, label] : after.descendants) {
    if (!before.descendants.contains(pid)) growth << "  process " << pid << ' ' << label << '\n';
  }
  return growth.str();
}

namespace {

// Kills what the dead test process left, children of children too: each dead parent hands its children to us.
void kill_leftovers() {
  for (;;) {
    for (const auto& [pid, label] : processes_of_test()) ::kill(pid, SIGKILL);
    if (::waitpid(-1, nullptr, 0) < 0 && errno == ECHILD) return;
  }
}

}  // namespace

void start_guardian() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  const pid_t self = ::getpid();
  const pid_t runner = ::fork();
  if (runner < 0) std::abort();
  if (runner == 0) {
    guardian = self;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    return;
  }
  // Whoever ends us, a harness or a terminal, ends the runner; we stay to clean up after it.
  guarded = runner;
  for (const int signal : {SIGTERM, SIGINT})
    std::signal(signal, [](int number) { ::kill(guarded, number); });
  int status = 0;
  for (pid_t dead = 0; dead != runner;) dead = ::waitpid(-1, &status, 0);
  kill_leftovers();
  if (WIFEXITED(status)) std::_Exit(WEXITSTATUS(status));
  // Die as the runner died, without a second core file, so that the harness reports the signal.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  std::signal(WTERMSIG(status), SIG_DFL);
  ::raise(WTERMSIG(status));
  std::_Exit(1);
}

void LeakGate::OnTestStart(const ::testing::TestInfo&) {
  before_ = Footprint::take();
}

void LeakGate::OnTestEnd(const ::testing::TestInfo& test) {
  const auto deadline = std::chrono::steady_clock::now() + kSettlingTimeMax;
  std::string growth;
  while (!(growth = describe_growth(before_, Footprint::take())).empty() &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  if (!growth.empty()) {
    ADD_FAILURE() << test.test_suite_name() << '.' << test.name() << " left behind:\n" << growth;
  }
}

}  // namespace tarn::testing
