// Inspect: looks into a session from outside, by the memory files that its daemon holds.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

namespace tarn::fault {

// Waits until nothing is left of what a session had to do: no live object, no task on its way, no memory
// of dead workers. Returns what is left when the time has passed, or "".
// `nudge` is called before each look: a client gives back what it need not hold when it next does something.
std::string wait_until_quiet(const std::function<pid_t()>& daemon, std::chrono::milliseconds limit,
                             const std::function<void()>& nudge);

// Asks the daemon at the socket `path` until it shows nothing of `session` but memory that is kept empty for later: no object,
// no member that is dead. Returns what is left when the time has passed, or "". `took` is how long it needed.
std::string wait_until_released(const std::string& path, uint32_t session, std::chrono::milliseconds limit,
                                const std::function<bool()>& nudge, std::chrono::microseconds& took);

}  // namespace tarn::fault
