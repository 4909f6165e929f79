// Manager: what systemd does for a service that has it keep descriptors: FDSTORE=1, FDSTOREREMOVE=1 and FDNAME= in datagrams
// (sd_pid_notify_with_fds(3)), $LISTEN_FDS and $LISTEN_FDNAMES for the next process. Of two that are the same open file one is
// kept, as there.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"

namespace tarn::testing {

class Manager {
 public:
  // Keeps `most`.
  explicit Manager(size_t most = 8192);
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;
  ~Manager();

  // Starts `command` with what is kept.
  pid_t start(const std::vector<std::string>& command);

  [[nodiscard]] std::vector<std::string> names();
  // Forgets what has a name that ends like that, as if there had been no room for it; returns how many did.
  size_t lose(const std::string& end);

 private:
  void serve();
  void take_in(const std::string& state, Fd fd);

  size_t most_;
  Fd socket_;
  std::string address_;
  std::mutex mutex_;
  std::map<std::string, Fd> kept_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace tarn::testing
