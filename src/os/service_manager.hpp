// What a daemon tells the service manager (systemd, or who speaks like it), and what it gets from it. Nothing happens
// without one.
#pragma once

#include <cstdint>

#include "base/fd.hpp"

namespace tarn::os {

// Sends `state`, such as "READY=1".
void notify_manager(const char* state);

// How often the manager wants to hear WATCHDOG=1, in ns; 0: not at all.
[[nodiscard]] int64_t watchdog_interval_ns();

// The listening socket that the manager opened for us; invalid if it did not.
[[nodiscard]] Fd socket_from_manager();

}  // namespace tarn::os
