// Daemons: finding the tarnds of this host, and asking them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "os/memory.hpp"
#include "wire/messages.hpp"

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

// A connection to `daemon` by which the sessions that it was asked for are traced, for as long as it is open.
class TraceLink {
 public:
  // Throws CliError.
  TraceLink(const Daemon& daemon, int64_t timeout_ns);
  // Has the members of `session` write events for `for_ns` from now on; with `events_log2` 0 only `board`, the file of its board, is
  // wanted. Throws CliError, kNotFound for a session that there is not (any more): then this connection is over.
  [[nodiscard]] wire::Trace ask(uint32_t session, uint32_t events_log2, int64_t for_ns, Fd& board);

 private:
  Daemon daemon_;
  int64_t timeout_ns_;
  Fd socket_;
  uint32_t serial_ = 0;
};

// The log of what is printed in a session of `daemon` (shm/output_log.hpp); not valid if nothing was printed. Throws CliError.
[[nodiscard]] os::Mapping ask_for_log(const Daemon& daemon, uint32_t session, int64_t timeout_ns);

}  // namespace tarn::cli
