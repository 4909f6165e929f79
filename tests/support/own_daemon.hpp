// OwnDaemon: a tarnd of the test's own, with a configuration of its own, in a folder that goes with it.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tarn/tarn.h"

namespace tarn::test {

class OwnDaemon {
 public:
  static constexpr int64_t kLong = 20'000'000'000;

  // `config`: sections beside [daemon].
  explicit OwnDaemon(const std::string& config) {
    static int count = 0;
    folder_ = std::filesystem::temp_directory_path() /
              ("tarn-daemon-" + std::to_string(getpid()) + "-" + std::to_string(++count));
    std::filesystem::create_directory(folder_);
    std::ofstream(folder_ / "tarnd.toml") << "[daemon]\nsocket = \"" << (folder_ / "socket").string()
                                          << "\"\nspawn_socket = \"" << (folder_ / "spawn").string() << "\"\n"
                                          << config << "\n";
    const std::string path = folder_ / "tarnd.toml";
    daemon_ = fork();
    if (daemon_ == 0) {
      execl(getenv("TARN_TEST_TARND"), "tarnd", "--config", path.c_str(), nullptr);
      _exit(127);
    }
    address_ = "unix:" + (folder_ / "socket").string();
    for (int i = 0; i < 2000 && !exists(folder_ / "socket"); ++i) usleep(5000);
  }
  OwnDaemon(const OwnDaemon&) = delete;
  OwnDaemon& operator=(const OwnDaemon&) = delete;

  ~OwnDaemon() {
    kill(daemon_, SIGTERM);
    int status = 0;
    waitpid(daemon_, &status, 0);
    EXPECT_EQ(0, status);
    std::filesystem::remove_all(folder_);
  }

  // A client with so many workers; nullptr, and the test has failed, if there is none.
  [[nodiscard]] tarn_client* connect(uint32_t workers, uint32_t flags = 0) const {
    tarn_options options{};
    options.size = sizeof options;
    options.address = address_.c_str();
    options.workers = workers;
    options.flags = flags;
    options.timeout_ns = kLong;
    tarn_client* client = nullptr;
    EXPECT_EQ(0, tarn_init(&client, nullptr, nullptr, &options)) << tarn_last_error();
    return client;
  }

  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] pid_t pid() const { return daemon_; }

 private:
  std::filesystem::path folder_;
  std::string address_;
  pid_t daemon_ = -1;
};

}  // namespace tarn::test
