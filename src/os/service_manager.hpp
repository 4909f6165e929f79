// What a daemon tells the service manager (systemd, or who speaks like it), and what it gets from it. Nothing happens
// without one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/fd.hpp"

namespace tarn::os {

// Sends `state`, such as "READY=1".
void notify_manager(const char* state);

// How often the manager wants to hear WATCHDOG=1, in ns; 0: not at all.
[[nodiscard]] int64_t watchdog_interval_ns();

// How many descriptors the manager keeps for us while we are dead ($FDSTORE); 0: none.
[[nodiscard]] size_t descriptors_kept_at_most();

// The variable with the number of a descriptor that leads to the manager. tarn-spawn gives it instead of an address in
// NOTIFY_SOCKET, where anybody could write.
inline constexpr const char* kManagerVariable = "TARN_MANAGER_FD";

// The socket to the manager; invalid if there is none.
[[nodiscard]] Fd connect_manager();

// Has the manager keep a copy of `fd` under `name` (no ':' in it, at most 255 characters) until it is dropped or the service
// ends for good: when this process has died the next one inherits it. Sent when this returns, so that it is kept whatever
// becomes of us. Waits up to `patience_ns` for a manager that does not read; false, with last_error(), if it was not sent.
[[nodiscard]] bool keep_descriptor(const Fd& manager, std::string_view name, const Fd& fd, int64_t patience_ns);
[[nodiscard]] bool drop_descriptor(const Fd& manager, std::string_view name, int64_t patience_ns);

// The other side, of who keeps descriptors for a service: what lies in `socket` next, and the descriptor that came with it.
// False if there is nothing. Does not wait. A message longer than 4 KiB is cut.
[[nodiscard]] bool receive_state(const Fd& socket, std::string& state, Fd& fd);
// The value of `key` ("FDNAME=") in such a message; "" if it has none.
[[nodiscard]] std::string_view value_in_state(std::string_view state, std::string_view key);

// What the manager passes us, in order, each with its name: sockets that it listens at for us ("" or as its unit says), and what
// was kept for who came before us. Once; close-on-exec from then on.
struct PassedDescriptor {
  std::string name;
  Fd fd;
};
[[nodiscard]] std::vector<PassedDescriptor> take_passed_descriptors();

}  // namespace tarn::os
