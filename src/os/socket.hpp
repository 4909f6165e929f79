// Sockets of the control protocol: whole packets with descriptors beside them.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/fd.hpp"

namespace tarn::os {

inline constexpr size_t kSocketDescriptorsMax = 8;

// A connected pair of SOCK_SEQPACKET sockets, close-on-exec.
[[nodiscard]] int socket_pair(Fd& left, Fd& right);

// Connects to the unix socket at `path`; one that begins with '@' is abstract.
// TARN_E_NO_DAEMON if nobody listens there.
[[nodiscard]] int socket_connect(std::string_view path, Fd& out);

// Listens at `path` with `mode` (ignored for abstract ones); replaces a dead socket file there.
[[nodiscard]] int socket_listen(std::string_view path, unsigned mode, Fd& out);

// Sends one packet with `descriptors`. Waits until `deadline_ns` for room; 0 does not wait and
// returns kWouldBlock. TARN_E_DAEMON_GONE if the other side has left.
inline constexpr int kWouldBlock = 1;
[[nodiscard]] int socket_send(const Fd& socket, std::span<const std::byte> packet,
                              std::span<const int> descriptors, int64_t deadline_ns);

struct Received {
  size_t size = 0;  // of the packet; 0: the other side has left
  size_t descriptor_count = 0;
  Fd descriptors[kSocketDescriptorsMax];
  std::vector<Fd> excess;  // those beyond, of a packet that is refused for them
};

// Descriptors that a process keeps so that it can give them up when it is at its limit (RLIMIT_NOFILE) and a packet
// brings some.
class SpareDescriptors {
 public:
  void keep();  // as many as it can get, for a start or again
  void give_up();

 private:
  Fd spares_[2];
};

// Receives one packet into `buffer`. Waits until `deadline_ns`; 0 does not wait and returns
// kWouldBlock; TARN_E_TIMED_OUT. A packet that is larger than `buffer`, or that brings more
// descriptors than fit, is TARN_E_PROTOCOL; its descriptors are in `out` all the same, because
// closing them is for the caller, who may not be able to wait for it (os/closer.hpp).
// With `spares`, a packet whose descriptors this process has no room for, even without its spares, stays where it is,
// to be received later, and the result is TARN_E_LIMIT; without, what it brought is lost. One thread at a time then.
[[nodiscard]] int socket_receive(const Fd& socket, std::span<std::byte> buffer, Received& out,
                                 int64_t deadline_ns, SpareDescriptors* spares = nullptr);

// Bytes that were sent and that the other side has not received; 0 once it has closed its end.
[[nodiscard]] uint64_t socket_unreceived(const Fd& socket);

// Whether at most a quarter of what may lie unreceived in the socket does.
[[nodiscard]] bool socket_has_room(const Fd& socket);

// The other side finds the end behind what it has not received yet, and nothing more is sent or received here.
void socket_shut_down(const Fd& socket);

struct PeerCredentials {
  pid_t pid;
  uid_t uid;
  gid_t gid;
};
[[nodiscard]] int socket_peer(const Fd& socket, PeerCredentials& out);

}  // namespace tarn::os
