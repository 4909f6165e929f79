// Host: tarnd and tarn-spawn as an administrator starts them, with the files of a folder of their own.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "fake_client.hpp"
#include "manager.hpp"
#include "os/socket.hpp"

namespace tarn::testing {

// tarnd as an administrator starts it, in a directory of its own.
class Host {
 public:
  explicit Host(const std::string& configuration = "") {
    char name[] = "/tmp/tarn_host_XXXXXX";
    directory_ = mkdtemp(name);
    chmod(directory_.c_str(), 0755);
    // A copy that every user can read.
    worker_ = directory_ + "/worker";
    std::filesystem::copy_file(worker_path(), worker_);
    chmod(worker_.c_str(), 0755);
    configure(configuration);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  ~Host() {
    for (pid_t pid : {daemon_, service_})
      if (pid > 0) stop(pid, SIGKILL);
    std::filesystem::remove_all(directory_);
  }

  void start_service() {
    service_ = run({spawn_path(), "--service", "--listen", spawn_socket_path()});
    ASSERT_TRUE(eventually([&] { return answers(spawn_socket_path()); }));
  }
  void start_daemon() {
    daemon_ = run(daemon_command());
    ASSERT_TRUE(eventually([&] { return answers(socket_path()); }));
  }
  // By `manager`, with what it keeps.
  void start_daemon(Manager& manager) {
    daemon_ = manager.start(daemon_command());
    ASSERT_TRUE(eventually([&] { return answers(socket_path()); }));
  }

  void signal_service(int signal) { ASSERT_EQ(kill(service_, signal), 0); }

  // The exit status, or 128 and the signal.
  int stop_daemon(int signal) { return stop(std::exchange(daemon_, -1), signal); }
  int stop_service(int signal) { return stop(std::exchange(service_, -1), signal); }

  [[nodiscard]] FakeClient::Options options(std::vector<std::string> arguments = {}) const {
    FakeClient::Options options;
    options.worker = worker_;
    options.worker_arguments = std::move(arguments);
    return options;
  }
  [[nodiscard]] std::string socket_path() const { return directory_ + "/tarnd.sock"; }
  [[nodiscard]] std::string spawn_socket_path() const { return directory_ + "/spawn.sock"; }
  // Another configuration, for the next tarnd.
  void configure(const std::string& configuration) {
    std::ofstream(directory_ + "/tarnd.toml") << "[daemon]\nsocket = \"" << socket_path() << "\"\nspawn_socket = \""
                                              << spawn_socket_path() << "\"\nlog_level = \"error\"\n"
                                              << configuration;
  }
  [[nodiscard]] std::string file(const std::string& name) const { return directory_ + "/" + name; }

 private:
  static bool answers(const std::string& path) {
    Fd probe;
    return os::socket_connect(path, probe) == 0;
  }

  static pid_t run(std::vector<std::string> words) {
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t pid = fork();
    if (pid == 0) {
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    return pid;
  }

  std::vector<std::string> daemon_command() { return {getenv("TARN_TEST_TARND"), "--config", directory_ + "/tarnd.toml"}; }

  static int stop(pid_t pid, int signal) {
    kill(pid, signal);
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  std::string directory_;
  std::string worker_;
  pid_t daemon_ = -1;
  pid_t service_ = -1;
};

}  // namespace tarn::testing
