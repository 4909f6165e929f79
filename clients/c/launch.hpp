// Launch: starts a private daemon for this process.
#pragma once

#include <cstdint>

#include "base/fd.hpp"

namespace tarn::client {

// Starts the spawn service, which starts tarnd; `socket` becomes the control socket to that tarnd and
// `process` the pidfd of the spawn service. Both end when this process does. Neither is a child of this
// process: a program that waits for all of its children, or handles SIGCHLD, does not meet them.
[[nodiscard]] int launch_private_daemon(Fd& socket, Fd& process);

// Waits until the spawn service has ended, after which nothing of that daemon is left. At `deadline_ns` it is killed, for
// somebody may have stopped it.
void await_private_daemon(const Fd& process, int64_t deadline_ns);

}  // namespace tarn::client
