// The hostile program as a worker of its own session, that tarn-spawn started: hostile --worker [WHAT].
//
//   slab       asks for a slab, writes to it, and serves
//   recovered  says RECOVERED about its living client
//   exit       ends at once
//   stop       stops itself with a request outstanding
//   deaf       reads nothing any more
//   unread     asks for slabs without end and reads nothing
#include <sys/mman.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "os/clock.hpp"
#include "os/socket.hpp"
#include "peer.hpp"

namespace tarn::hostile {
namespace {

template <class Body>
void send(const Fd& socket, wire::Type type, uint32_t serial, const Body& body) {
  wire::Buffer<1024> out;
  wire::Builder message(out.bytes, type, serial);
  message.body<Body>() = body;
  if (os::socket_send(socket, message.finish(), {}, os::kForever) < 0) _exit(0);
}

wire::Packet receive(const Fd& socket, os::Received& received) {
  static wire::Buffer<wire::kMessageSizeMax> buffer;
  received = {};
  wire::Packet packet;
  if (os::socket_receive(socket, buffer.bytes, received, os::kForever) != 0 || received.size == 0) _exit(0);
  if (wire::parse({buffer.bytes, received.size}, received.descriptor_count, wire::From::kDaemon, packet) < 0) _exit(9);
  return packet;
}

}  // namespace

void run_worker(int argc, char** argv) {
  std::string_view what = argc > 2 ? argv[2] : "";
  const char* number = getenv("TARN_WORKER_FD");
  if (number == nullptr || what == "exit") _exit(3);
  Fd socket{atoi(number)};
  wire::Hello hello{};
  hello.role = static_cast<uint32_t>(wire::Role::kWorker);
  hello.pid = getpid();
  hello.build_id_size = static_cast<uint32_t>(strlen(kBuildId));
  memcpy(hello.build_id, kBuildId, strlen(kBuildId));
  wire::set_text(hello.name, "hostile");
  send(socket, wire::Type::kHello, 1, hello);
  os::Received received;
  while (receive(socket, received).type != wire::Type::kWelcome) {
  }
  wire::Buffer<64> out;
  wire::Builder ready(out.bytes, wire::Type::kReady, 0);
  if (os::socket_send(socket, ready.finish(), {}, os::kForever) < 0) _exit(0);
  if (what == "slab" || what == "stop") send(socket, wire::Type::kSlabRequest, 5, wire::SlabRequest{1 << 20, -1, 0});
  if (what == "stop") raise(SIGSTOP);
  while (what == "deaf") pause();
  if (what == "recovered") {
    wire::MemberInfo info{};
    info.member = 1;
    send(socket, wire::Type::kRecovered, 0, info);
  }
  while (what == "unread") send(socket, wire::Type::kSlabRequest, 6, wire::SlabRequest{4096, -1, 0});
  for (;;) {
    wire::Packet packet = receive(socket, received);
    if (packet.type != wire::Type::kSlabGranted) continue;
    static os::Mapping slab;
    if (os::Mapping::map(received.descriptors[0], 1 << 20, os::Access::kReadWrite, slab) < 0) _exit(10);
    memset(slab.data(), 0x5a, slab.size());
  }
}

}  // namespace tarn::hostile
