// A worker that speaks the control protocol and nothing else. Started by tarn-spawn in the tests of tarnd.
//
//   fake_worker [WHAT]...   each WHAT changes one thing:
//     check         verifies how it was started, and exits with the line of what is wrong
//     exit-first    exits with status 3 instead of saying HELLO
//     other-build   says HELLO with another build id, and a name that would be a line of its own
//     garbage       sends bytes that are no message, once
//     child         starts a child of its own that sleeps
//     die-on-order  is killed when it gets its first order to recover, once: the file named by
//                   $TARN_TEST_ONCE tells whether it happened
//     slab          asks for a slab, maps and seals it
//     deaf          reads nothing any more once it is ready
//     busy          uses its core while the file named by $TARN_TEST_BUSY is there, and says AWAKE when it begins to
//     threads       with eight threads
//     says          prints a line once the file named by $TARN_TEST_SAY is there
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"
#include "os/memory.hpp"
#include "os/socket.hpp"
#include "os/clock.hpp"
#include "wire/validate.hpp"

namespace tarn {
namespace {

constexpr const char* kBuildId = "the same build";

struct Worker {
  std::set<std::string> wanted;
  Fd socket;
  wire::Buffer<wire::kMessageSizeMax> buffer{};
  wire::Welcome welcome{};

  [[nodiscard]] bool is(const char* what) const { return wanted.contains(what); }

  template <class Body>
  void send(wire::Type type, uint32_t serial, const Body& body) {
    wire::Buffer<1024> out;
    wire::Builder message(out.bytes, type, serial);
    message.body<Body>() = body;
    send(message);
  }
  void send(wire::Builder& message) {
    if (os::socket_send(socket, message.finish(), {}, os::kForever) < 0) exit(0);
  }

  wire::Packet receive(os::Received& received) {
    if (os::socket_receive(socket, buffer.bytes, received, os::kForever) != 0 || received.size == 0) exit(0);
    wire::Packet packet;
    if (wire::parse({buffer.bytes, received.size}, received.descriptor_count, wire::From::kDaemon, packet) < 0) exit(90);
    return packet;
  }

  void say_hello() {
    wire::Hello hello{};
    hello.role = static_cast<uint32_t>(wire::Role::kWorker);
    hello.pid = getpid();
    const char* id = is("other-build") ? "quite another" : kBuildId;
    hello.build_id_size = static_cast<uint32_t>(strlen(id));
    memcpy(hello.build_id, id, strlen(id));
    wire::set_text(hello.name, is("other-build") ? "fake worker\n<3>forged" : "fake worker");
    send(wire::Type::kHello, 1, hello);
  }

  // The order to recover is answered at once; with WELCOME come all that are pending, then READY is due.
  void handle(const wire::Packet& packet) {
    if (packet.type != wire::Type::kMemberDied) return;
    const auto& died = packet.as<wire::MemberInfo>();
    if (died.recover == 0) return;
    if (is("die-on-order")) {
      const char* once = getenv("TARN_TEST_ONCE");
      int fd = open(once, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
      if (fd >= 0) raise(SIGKILL);
    }
    wire::MemberInfo done{};
    done.member = died.member;
    send(wire::Type::kRecovered, 0, done);
  }

  void ask_for_slab() {
    send(wire::Type::kSlabRequest, 5, wire::SlabRequest{1 << 20, -1, 0});
    for (;;) {
      os::Received received;
      wire::Packet packet = receive(received);
      handle(packet);
      if (packet.type != wire::Type::kSlabGranted) continue;
      static os::Mapping slab;
      if (os::Mapping::map(received.descriptors[0], 1 << 20, os::Access::kReadWrite, slab) < 0) exit(91);
      return;
    }
  }

  // 0, or the line of what is wrong.
  int check_surroundings() {
    if (getenv("COLOUR") == nullptr || strcmp(getenv("COLOUR"), "red") != 0) return __LINE__;
    char directory[64];
    if (getcwd(directory, sizeof directory) == nullptr || strcmp(directory, "/") != 0) return __LINE__;
    if (getpgrp() != getpid()) return __LINE__;
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) < 0 || CPU_COUNT(&set) != 1) return __LINE__;
    int signal = 0;
    if (prctl(PR_GET_PDEATHSIG, &signal) < 0 || signal != SIGKILL) return __LINE__;
    sigset_t mask;
    sigprocmask(SIG_BLOCK, nullptr, &mask);
    for (int each = 1; each < NSIG; ++each) {
      if (sigismember(&mask, each) == 1) return __LINE__;
      struct sigaction action {};
      if (sigaction(each, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) return __LINE__;
    }
    struct stat input {};
    struct stat null {};
    if (fstat(0, &input) < 0 || stat("/dev/null", &null) < 0 || input.st_rdev != null.st_rdev) return __LINE__;
    // 0, 1, 2, the control socket, and the directory that we read here.
    int count = 0;
    DIR* open_files = opendir("/proc/self/fd");
    while (readdir(open_files) != nullptr) ++count;
    closedir(open_files);
    return count == 2 + 5 ? 0 : __LINE__;
  }

  void work_while_told() {
    const char* told = getenv("TARN_TEST_BUSY");
    while (access(told, F_OK) != 0) usleep(50'000);
    wire::Buffer<64> out;
    wire::Builder awake(out.bytes, wire::Type::kAwake, 0);
    send(awake);
    auto work = [told] {
      while (access(told, F_OK) == 0)
        for (int i = 0; i < 1000; ++i) os::pause();
    };
    std::vector<std::thread> others;
    for (int i = 1; is("threads") && i < 8; ++i) others.emplace_back(work);
    work();
    for (std::thread& each : others) each.join();
  }

  [[noreturn]] void run() {
    if (is("exit-first")) exit(3);
    while (is("asleep")) pause();
    if (is("check"))
      if (int line = check_surroundings(); line != 0) exit(line & 0xff);
    if (is("child") && fork() == 0) {
      for (;;) pause();
    }
    if (is("garbage") && access(getenv("TARN_TEST_ONCE"), F_OK) != 0) {
      Fd{open(getenv("TARN_TEST_ONCE"), O_CREAT | O_RDWR | O_CLOEXEC, 0600)}.reset();
      std::byte bytes[40]{};
      (void)os::socket_send(socket, bytes, {}, os::kForever);
      for (;;) pause();
    }
    say_hello();
    os::Received received;
    wire::Packet packet = receive(received);
    if (packet.type != wire::Type::kWelcome) exit(92);
    welcome = packet.as<wire::Welcome>();
    if (is("slab")) ask_for_slab();
    // What belongs to WELCOME is in the socket already.
    while (os::socket_receive(socket, buffer.bytes, received, 0) == 0 && received.size != 0)
      if (wire::parse({buffer.bytes, received.size}, received.descriptor_count, wire::From::kDaemon, packet) == 0)
        handle(packet);
    wire::Buffer<64> out;
    wire::Builder ready(out.bytes, wire::Type::kReady, 0);
    send(ready);
    while (is("deaf")) pause();
    while (is("busy")) work_while_told();
    if (is("says")) {
      while (access(getenv("TARN_TEST_SAY"), F_OK) != 0) usleep(1000);
      puts("something");
      fflush(stdout);
    }
    for (;;) {
      os::Received more;
      handle(receive(more));
    }
  }
};

}  // namespace
}  // namespace tarn

int main(int argc, char** argv) {
  static tarn::Worker worker;
  for (int i = 1; i < argc; ++i) worker.wanted.insert(argv[i]);
  const char* fd = getenv("TARN_WORKER_FD");
  if (fd == nullptr) return 2;
  worker.socket = tarn::Fd{atoi(fd)};
  fcntl(worker.socket.get(), F_SETFD, FD_CLOEXEC);
  worker.run();
}
