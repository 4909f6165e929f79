// Daemons: finding the tarnds of this host, and asking them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "os/memory.hpp"

namespace tarn::cli {

using Json = nlohmann::ordered_json;

// How the program ends; docs/man has the list.
enum Exit { kOk = 0, kFailed = 1, kUsage = 2, kNoDaemon = 3, kNotFound = 4, kDenied = 5, kTimedOut = 124 };

// Ends the verb with a message and an exit status.
class CliError : public std::runtime_error {
 public:
  CliError(Exit exit_status, const std::string& message) : std::runtime_error(message), status(exit_status) {}
  const Exit status;
};

struct Daemon {
  std::string address;  // "private:PID" or "unix:PATH", as --address takes it
  std::string socket;   // as os::socket_connect takes it
  bool is_private;
  uid_t owner;          // of a private one, by its name
};

// The private daemons that the text of /proc/net/unix shows, those of `uid` only unless that is root;
// ordered by pid.
[[nodiscard]] std::vector<Daemon> private_daemons_in(const std::string& proc_net_unix, uid_t uid);

// The daemons that `address` means: "auto" (also "") is $TARN_ADDRESS, or else the host's if its socket
// is there, or else all private ones of this user; "private", "private:PID", "unix:PATH".
// Throws CliError: kUsage for another form, kNoDaemon if there is none.
[[nodiscard]] std::vector<Daemon> find_daemons(const std::string& address);

// Asks `daemon` one query. Throws CliError.
[[nodiscard]] Json ask(const Daemon& daemon, const std::string& what, uint32_t limit, int64_t timeout_ns);

// The log of what is printed in a session of `daemon` (shm/output_log.hpp); not valid if nothing was printed. Throws CliError.
[[nodiscard]] os::Mapping ask_for_log(const Daemon& daemon, uint32_t session, int64_t timeout_ns);

}  // namespace tarn::cli
