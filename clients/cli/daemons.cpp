#include "daemons.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/socket.hpp"
#include "tarn/tarn.h"
#include "text.hpp"
#include "wire/validate.hpp"

namespace tarn::cli {
namespace {

constexpr const char* kHostSocket = "/run/tarn/tarnd.sock";
constexpr size_t kAnswerSizeMax = 64 << 20;

[[noreturn]] void give_up(int code, const std::string& message) {
  switch (code) {
    case TARN_E_NO_DAEMON:
    case TARN_E_DAEMON_GONE: throw CliError(kNoDaemon, message);
    case TARN_E_DENIED: throw CliError(kDenied, message);
    case TARN_E_TIMED_OUT: throw CliError(kTimedOut, message);
    default: throw CliError(kFailed, message);
  }
}

[[noreturn]] void give_up(const Daemon& daemon, int code, const std::string& text) {
  give_up(code, daemon.address + ": " + escape(text));
}

bool parse_pid(std::string_view text, pid_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out > 0;
}

// "@tarn/UID/PID" as the kernel shows an abstract name.
bool parse_name(std::string_view name, Daemon& out, pid_t& pid) {
  constexpr std::string_view kStart = "@tarn/";
  if (!name.starts_with(kStart)) return false;
  std::string_view rest = name.substr(kStart.size());
  size_t slash = rest.find('/');
  if (slash == std::string_view::npos || !parse_pid(rest.substr(slash + 1), pid)) return false;
  auto [end, error] = std::from_chars(rest.data(), rest.data() + slash, out.owner);
  if (error != std::errc() || end != rest.data() + slash) return false;
  out = {"private:" + std::to_string(pid), std::string(name), true, out.owner};
  return true;
}

std::vector<Daemon> private_daemons() {
  std::ifstream file("/proc/net/unix");
  return private_daemons_in({std::istreambuf_iterator<char>(file), {}}, geteuid());
}

std::vector<Daemon> find_private(const std::string& pid_text) {
  pid_t wanted = 0;
  if (!parse_pid(pid_text, wanted)) throw CliError(kUsage, "--address private:PID needs a process number, not " + escape(pid_text));
  std::vector<Daemon> found = private_daemons();
  std::erase_if(found, [&](const Daemon& daemon) { return daemon.address != "private:" + std::to_string(wanted); });
  if (found.empty()) throw CliError(kNoDaemon, "process " + std::to_string(wanted) + " has no private tarnd, or not one of yours");
  return found;
}

void send(const Daemon& daemon, const Fd& socket, wire::Builder& message, int64_t deadline) {
  if (int code = os::socket_send(socket, message.finish(), {}, deadline); code < 0) give_up(daemon, code, last_error());
}

void send_hello(const Daemon& daemon, const Fd& socket, int64_t deadline) {
  wire::Buffer<1024> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kHello, 0);
  auto& hello = message.body<wire::Hello>();
  hello.role = static_cast<uint32_t>(wire::Role::kTool);
  hello.pid = getpid();
  wire::set_text(hello.name, "tarn");
  send(daemon, socket, message, deadline);
}

// A name in the abstract namespace is free for everybody to take.
void check_owner(const Daemon& daemon, const Fd& socket) {
  if (!daemon.is_private) return;
  os::PeerCredentials peer{};
  if (int code = os::socket_peer(socket, peer); code < 0) give_up(daemon, code, last_error());
  if (peer.uid != daemon.owner)
    throw CliError(kDenied, daemon.address + ": answered by user " + std::to_string(peer.uid) + ", not by its owner");
}

// Connected to `daemon`, which knows that a tool asks.
Fd connect(const Daemon& daemon, int64_t deadline) {
  Fd socket;
  if (int code = os::socket_connect(daemon.socket, socket); code < 0) give_up(daemon, code, last_error());
  check_owner(daemon, socket);
  send_hello(daemon, socket, deadline);
  return socket;
}

std::string receive_answer(const Daemon& daemon, const Fd& socket, int64_t deadline) {
  std::vector<uint64_t> buffer(wire::kMessageSizeMax / sizeof(uint64_t));
  auto bytes = std::as_writable_bytes(std::span(buffer));
  std::string text;
  for (bool more = true; more;) {
    os::Received received;
    int code = os::socket_receive(socket, bytes, received, deadline);
    if (code == 0 && received.size == 0) code = fail(TARN_E_DAEMON_GONE, "tarnd left before it answered");
    wire::Packet packet;
    if (code == 0) code = wire::parse(bytes.first(received.size), received.descriptor_count, wire::From::kDaemon, packet);
    if (code < 0) give_up(daemon, code, last_error());
    if (packet.type == wire::Type::kRefused) give_up(daemon, packet.as<wire::Refused>().code, packet.as<wire::Refused>().text);
    if (packet.type != wire::Type::kReply) continue;
    more = packet.as<wire::Reply>().more != 0;
    text.append(reinterpret_cast<const char*>(packet.tail.data()), packet.tail.size());
    if (text.size() > kAnswerSizeMax) throw CliError(kFailed, daemon.address + ": the answer does not end; is this a tarnd?");
  }
  return text;
}

}  // namespace

std::vector<Daemon> private_daemons_in(const std::string& proc_net_unix, uid_t uid) {
  constexpr unsigned kListening = 0x10000;  // __SO_ACCEPTCON
  std::vector<std::pair<pid_t, Daemon>> found;
  std::istringstream lines(proc_net_unix);
  for (std::string line; std::getline(lines, line);) {
    // Num RefCount Protocol Flags Type St Inode Path
    std::istringstream fields(line);
    std::string number, references, protocol, flags, type, state, inode, name;
    if (!(fields >> number >> references >> protocol >> flags >> type >> state >> inode >> name)) continue;
    if ((std::strtoul(flags.c_str(), nullptr, 16) & kListening) == 0) continue;
    Daemon daemon{};
    pid_t pid = 0;
    if (!parse_name(name, daemon, pid) || (uid != 0 && daemon.owner != uid)) continue;
    found.emplace_back(pid, std::move(daemon));
  }
  std::ranges::stable_sort(found, {}, [](const auto& entry) { return entry.first; });
  std::vector<Daemon> daemons;
  for (auto& [pid, daemon] : found)
    if (daemons.empty() || daemons.back().socket != daemon.socket) daemons.push_back(std::move(daemon));
  return daemons;
}

std::vector<Daemon> find_daemons(const std::string& address) {
  if (address.starts_with("unix:")) return {{address, address.substr(5), false, 0}};
  if (address.starts_with("private:")) return find_private(address.substr(8));
  if (address.empty() || address == "auto") {
    const char* set = getenv("TARN_ADDRESS");
    if (set != nullptr && *set != '\0' && std::string(set) != "auto") return find_daemons(set);
    if (access(kHostSocket, F_OK) == 0) return {{std::string("unix:") + kHostSocket, kHostSocket, false, 0}};
  } else if (address != "private") {
    throw CliError(kUsage, "the address " + escape(address) + " is none of auto, private, private:PID, unix:PATH");
  }
  std::vector<Daemon> found = private_daemons();
  if (found.empty()) {
    throw CliError(kNoDaemon, address == "private" ? "no program of yours has a private tarnd now"
                                                   : std::string("no tarnd: nothing at ") + kHostSocket +
                                                         ", and no program of yours has a private one now; "
                                                         "--address or TARN_ADDRESS says where another one listens");
  }
  return found;
}

Json ask(const Daemon& daemon, const std::string& what, uint32_t limit, int64_t timeout_ns) {
  int64_t deadline = os::deadline_after(timeout_ns);
  Fd socket = connect(daemon, deadline);
  wire::Buffer<256> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kQuery, 1);
  auto& query = message.body<wire::Query>();
  wire::set_text(query.what, what);
  query.limit = limit;
  send(daemon, socket, message, deadline);
  Json answer = Json::parse(receive_answer(daemon, socket, deadline), nullptr, false);
  if (!answer.is_object()) throw CliError(kFailed, daemon.address + ": the answer is not JSON; is this a tarnd of another release?");
  if (answer.value("schema", "") == "tarn.error/1")
    give_up(daemon, answer.value("code", TARN_E_PROTOCOL), answer.value("error", "an error without a text"));
  return answer;
}

TraceLink::TraceLink(const Daemon& daemon, int64_t timeout_ns)
    : daemon_(daemon), timeout_ns_(timeout_ns), socket_(connect(daemon, os::deadline_after(timeout_ns))) {}

wire::Trace TraceLink::ask(uint32_t session, uint32_t events_log2, int64_t for_ns, Fd& board) {
  int64_t deadline = os::deadline_after(timeout_ns_);
  wire::Buffer<64> question;
  wire::Builder message(question.bytes, wire::Type::kTraceAsk, ++serial_);
  message.body<wire::TraceAsk>() = {session, events_log2, for_ns};
  send(daemon_, socket_, message, deadline);
  for (;;) {
    wire::Buffer<wire::kToMemberSizeMax> buffer;
    os::Received received;
    int code = os::socket_receive(socket_, buffer.bytes, received, deadline);
    if (code == 0 && received.size == 0) code = fail(TARN_E_DAEMON_GONE, "tarnd left before it answered");
    wire::Packet packet;
    if (code == 0) code = wire::parse(std::span(buffer.bytes).first(received.size), received.descriptor_count, wire::From::kDaemon, packet);
    if (code < 0) give_up(daemon_, code, last_error());
    if (packet.type == wire::Type::kRefused) {
      const auto& refused = packet.as<wire::Refused>();
      if (refused.code == TARN_E_ARGUMENT) throw CliError(kNotFound, daemon_.address + ": " + escape(refused.text));
      give_up(daemon_, refused.code, refused.text);
    }
    if (packet.type != wire::Type::kTrace || packet.serial != serial_) continue;
    board = std::move(received.descriptors[0]);
    return packet.as<wire::Trace>();
  }
}

os::Mapping ask_for_log(const Daemon& daemon, uint32_t session, int64_t timeout_ns) {
  int64_t deadline = os::deadline_after(timeout_ns);
  Fd socket = connect(daemon, deadline);
  wire::Buffer<64> question;
  wire::Builder message(question.bytes, wire::Type::kLogAsk, 1);
  message.body<wire::LogAsk>().session = session;
  send(daemon, socket, message, deadline);
  os::Mapping log;
  for (;;) {
    wire::Buffer<wire::kToMemberSizeMax> buffer;
    os::Received received;
    int code = os::socket_receive(socket, buffer.bytes, received, deadline);
    if (code == 0 && received.size == 0) code = fail(TARN_E_DAEMON_GONE, "tarnd left before it answered");
    wire::Packet packet;
    if (code == 0) code = wire::parse(std::span(buffer.bytes).first(received.size), received.descriptor_count, wire::From::kDaemon, packet);
    if (code < 0) give_up(daemon, code, last_error());
    if (packet.type == wire::Type::kRefused && packet.as<wire::Refused>().code == TARN_E_ARGUMENT) return log;  // it has ended
    if (packet.type == wire::Type::kRefused) give_up(daemon, packet.as<wire::Refused>().code, packet.as<wire::Refused>().text);
    if (packet.type != wire::Type::kLog) continue;
    uint64_t size = packet.as<wire::Log>().size;
    if (size != 0 && (code = os::Mapping::map(received.descriptors[0], size, os::Access::kRead, log)) < 0) give_up(daemon, code, last_error());
    return log;
  }
}

}  // namespace tarn::cli
