// DescriptorStore: keeps descriptors for a tarnd, so that the next one can go on with the sessions of one that was killed.
//
// Speaks what systemd speaks with its services: datagrams with FDSTORE=1, FDSTOREREMOVE=1 and FDNAME=
// (sd_pid_notify_with_fds(3)), but over a pair of sockets of which tarnd inherits one; the rest of what a daemon says is passed
// on to who manages us. Under systemd itself, where tarnd is a unit of its own, this is not used.
//
// A name that ends with @UID is of something that came from that user, and whose close may hang.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <string_view>

#include "base/fd.hpp"
#include "os/closer.hpp"

namespace tarn::spawn {

class DescriptorStore {
 public:
  static constexpr size_t kMost = 8192;  // names of so many fit into one variable of the environment; docs/limits.md

  // What is dropped is closed by `closer`: in the lane of its user, or in `lane` what is tarnd's own.
  DescriptorStore(os::Closer& closer, os::Closer::Lane lane) : closer_(closer), lane_(lane) {}
  DescriptorStore(const DescriptorStore&) = delete;
  DescriptorStore& operator=(const DescriptorStore&) = delete;

  // Makes a pair of sockets for the next tarnd, which is to inherit `theirs`.
  [[nodiscard]] int open(Fd& theirs);
  [[nodiscard]] const Fd& socket() const { return socket_; }
  // Takes in what there is.
  void serve();

  [[nodiscard]] bool has(const std::string& name) const { return kept_.contains(name); }
  [[nodiscard]] const std::map<std::string, Fd>& kept() const { return kept_; }

 private:
  void take_in(std::string_view state, Fd fd);
  void drop(std::map<std::string, Fd>::iterator entry);
  void close(const std::string& name, Fd fd);

  os::Closer& closer_;
  os::Closer::Lane lane_;
  Fd socket_;
  std::map<std::string, Fd> kept_;
};

}  // namespace tarn::spawn
