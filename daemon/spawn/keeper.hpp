// Keeper: keeps descriptors for a tarnd, so that the next one can go on with the sessions of one that was killed.
//
// Speaks what systemd speaks with its services: datagrams with FDSTORE=1, FDSTOREREMOVE=1 and FDNAME=
// (sd_pid_notify_with_fds(3)); the rest of what a daemon says is passed on to who manages us. Under systemd itself, where
// tarnd is a unit of its own, this is not used.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>

#include "base/fd.hpp"
#include "os/closer.hpp"

namespace tarn::spawn {

class Keeper {
 public:
  static constexpr size_t kMost = 8192;  // names of so many fit into one variable of the environment; docs/limits.md

  // Opens the socket. What is dropped is closed by `closer`, in `lane`: it is users' and may hang.
  [[nodiscard]] int open(os::Closer& closer, os::Closer::Lane lane);

  [[nodiscard]] bool is_open() const { return socket_.valid(); }
  [[nodiscard]] const Fd& socket() const { return socket_; }
  // For NOTIFY_SOCKET.
  [[nodiscard]] const std::string& address() const { return address_; }

  // Takes in what there is, of process `daemon` alone.
  void serve(pid_t daemon);

  [[nodiscard]] bool has(const std::string& name) const { return kept_.contains(name); }
  [[nodiscard]] const std::map<std::string, Fd>& kept() const { return kept_; }

 private:
  void take_in(std::string_view state, Fd fd);
  void drop(std::map<std::string, Fd>::iterator entry);

  os::Closer* closer_ = nullptr;
  os::Closer::Lane lane_ = 0;
  Fd socket_;
  std::string address_;
  std::map<std::string, Fd> kept_;
};

}  // namespace tarn::spawn
