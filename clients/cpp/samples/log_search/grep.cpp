#include "grep.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <vector>

namespace log_search {
namespace {

std::vector<char*> c_locale_environment() {
  std::vector<char*> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const bool decides =
        std::strncmp(*variable, "LC_ALL=", 7) == 0 || std::strncmp(*variable, "GREP_", 5) == 0;
    if (!decides) environment.push_back(*variable);
  }
  static char c_locale[] = "LC_ALL=C";
  environment.push_back(c_locale);
  environment.push_back(nullptr);
  return environment;
}

// Starts grep with its output in `output`; nothing if that is impossible.
std::optional<pid_t> start_grep(std::string file, std::string pattern, int output) {
  std::string words[] = {"grep", "-acF", "-e", std::move(pattern), "--", std::move(file)};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid;
  const int error = posix_spawnp(&pid, "grep", &actions, nullptr, arguments.data(),
                                 c_locale_environment().data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return std::nullopt;
  return pid;
}

}  // namespace

std::optional<Grep> run_grep(const std::string& file, const std::string& pattern) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return std::nullopt;
  const auto start = std::chrono::steady_clock::now();
  const std::optional<pid_t> pid = start_grep(file, pattern, ends[1]);
  close(ends[1]);
  char text[32];
  ssize_t size = 0;
  if (pid) {
    size = read(ends[0], text, sizeof text);  // one short line
    int status;
    waitpid(*pid, &status, 0);
    const bool was_read = WIFEXITED(status) && WEXITSTATUS(status) <= 1;  // 1: nothing found
    if (!was_read) size = 0;
  }
  close(ends[0]);
  const auto time = std::chrono::steady_clock::now() - start;

  std::int64_t matches;
  if (size <= 0 || std::from_chars(text, text + size, matches).ec != std::errc())
    return std::nullopt;
  return Grep{matches, time};
}

}  // namespace log_search
