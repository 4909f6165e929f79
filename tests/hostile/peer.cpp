#include "peer.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cstdlib>

#include "os/clock.hpp"
#include "os/socket.hpp"
#include "tarn/tarn.h"

namespace tarn::hostile {

Peer::Peer(const std::string& path) : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (os::socket_connect(path, socket_) < 0) socket_.reset();
}

bool Peer::say_hello(const Options& options) {
  Fd executable{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  Fd directory{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  std::vector<std::string> argv = {"hostile", "--worker"};
  argv.insert(argv.end(), options.worker_arguments.begin(), options.worker_arguments.end());
  std::string text;
  for (const std::string& each : argv) text += each + '\0';
  const char* libraries = getenv("LD_LIBRARY_PATH");
  std::string environment = std::string("LD_LIBRARY_PATH=") + (libraries != nullptr ? libraries : "") + '\0';
  std::vector<uint64_t> buffer(wire::kMessageSizeMax / 8);
  wire::Builder message(std::as_writable_bytes(std::span(buffer)), wire::Type::kHello, 1);
  auto& hello = message.body<wire::Hello>();
  hello.workers = options.workers;
  hello.flags = options.workers == 0 ? TARN_INIT_NO_WORKERS : 0;
  hello.pid = getpid();
  hello.build_id_size = static_cast<uint32_t>(strlen(kBuildId));
  memcpy(hello.build_id, kBuildId, strlen(kBuildId));
  hello.argv_size = static_cast<uint32_t>(text.size());
  hello.environment_size = static_cast<uint32_t>(environment.size());
  wire::set_text(hello.name, options.name);
  if (!message.append(text.data(), text.size()) || !message.append(environment.data(), environment.size())) return false;
  std::vector<int> descriptors = options.descriptors;
  if (descriptors.empty())
    descriptors = {executable.get(), directory.get(), STDERR_FILENO, STDERR_FILENO, event_.get()};
  return send_raw(message.finish(), descriptors);
}

bool Peer::open(const Options& options) {
  if (!connected() || !say_hello(options)) return false;
  auto message = answer(1);
  if (!message || message->type != wire::Type::kWelcome || message->descriptors.size() != 2) return false;
  welcome_ = message->as<wire::Welcome>();
  board_file_ = std::move(message->descriptors[0]);
  segment_file_ = std::move(message->descriptors[1]);
  return true;
}

namespace {

// More than src/os sends, up to what the kernel takes.
bool send_with_many(const Fd& socket, std::span<const std::byte> bytes, const std::vector<int>& descriptors) {
  std::vector<char> control(CMSG_SPACE(descriptors.size() * sizeof(int)));
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
  memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size() * sizeof(int));
  return sendmsg(socket.get(), &message, MSG_NOSIGNAL) >= 0;
}

}  // namespace

bool Peer::send_raw(std::span<const std::byte> bytes, std::vector<int> descriptors, bool wait) {
  if (connected() && descriptors.size() > os::kSocketDescriptorsMax) return send_with_many(socket_, bytes, descriptors);
  return connected() && os::socket_send(socket_, bytes, descriptors, wait ? os::deadline_after(kPatienceNs) : 0) == 0;
}

std::optional<Message> Peer::next(int64_t patience_ns) {
  static wire::Buffer<wire::kMessageSizeMax> buffer;
  if (ended_ || !connected()) return std::nullopt;
  os::Received received;
  int r = os::socket_receive(socket_, buffer.bytes, received, os::deadline_after(patience_ns));
  if (r == TARN_E_TIMED_OUT || r == os::kWouldBlock) return std::nullopt;
  if (r != 0 || received.size == 0) {
    ended_ = true;
    return std::nullopt;
  }
  wire::Packet packet;
  if (wire::parse({buffer.bytes, received.size}, received.descriptor_count, wire::From::kDaemon, packet) < 0) {
    protocol_broken_ = true;
    return std::nullopt;
  }
  Message message;
  message.type = packet.type;
  message.serial = packet.serial;
  message.body.assign(packet.body, packet.body + packet.body_size);
  message.tail.assign(reinterpret_cast<const char*>(packet.tail.data()), packet.tail.size());
  for (size_t i = 0; i < received.descriptor_count; ++i) message.descriptors.push_back(std::move(received.descriptors[i]));
  if (message.type == wire::Type::kRefused) refusal_ = message.as<wire::Refused>().code;
  return message;
}

std::optional<Message> Peer::expect(wire::Type type, int64_t patience_ns) {
  int64_t deadline = os::deadline_after(patience_ns);
  while (os::now_ns() < deadline) {
    auto message = next(deadline - os::now_ns());
    if (!message || message->type == type) return message;
  }
  return std::nullopt;
}

std::optional<Message> Peer::answer(uint32_t serial) {
  int64_t deadline = os::deadline_after(patience_ns_);
  while (os::now_ns() < deadline) {
    auto message = next(deadline - os::now_ns());
    if (message && (message->type == wire::Type::kSlabComing || message->type == wire::Type::kSlabWarm)) continue;
    if (!message || message->serial == serial || message->type == wire::Type::kRefused) return message;
  }
  return std::nullopt;
}

bool Peer::wait_for_end(int64_t patience_ns) {
  int64_t deadline = os::deadline_after(patience_ns);
  while (!ended_ && os::now_ns() < deadline) (void)next(deadline - os::now_ns());
  return ended_ || !connected();
}

std::optional<Message> Peer::request_slab(uint64_t size, int32_t node) {
  uint32_t serial = ++serial_;
  if (!send(wire::Type::kSlabRequest, serial, wire::SlabRequest{size, node, 0})) return std::nullopt;
  auto message = answer(serial);
  code_ = 0;
  if (message && message->type == wire::Type::kSlabRefused) code_ = message->as<wire::SlabRefused>().code;
  if (!message || message->type != wire::Type::kSlabGranted || message->descriptors.size() != 1) return std::nullopt;
  return message;
}

bool Peer::is_served() {
  auto granted = request_slab(os::kPageSize);
  if (!granted) return false;
  auto info = granted->as<wire::SlabInfo>();
  return send(wire::Type::kSlabDrop, 0, wire::SlabId{info.member, info.slab});
}

}  // namespace tarn::hostile
