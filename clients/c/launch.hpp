// Launch: starts a private daemon for this process.
#pragma once

#include <sys/types.h>

#include "base/fd.hpp"

namespace tarn::client {

// Starts the spawn service, which starts tarnd; `socket` becomes the control socket to that tarnd and
// `pid` the spawn service's. Both end when this process does. The spawn service is a child of this
// process like any other: a program that waits for all of its children may see it end, with SIGCHLD.
[[nodiscard]] int launch_private_daemon(Fd& socket, pid_t& pid);

// After both have ended, or are about to: takes the exit status of `pid`, so that no zombie stays.
void reap_private_daemon(pid_t pid);

}  // namespace tarn::client
