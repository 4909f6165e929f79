// FakeClient: a client that speaks the control protocol and nothing else, to drive a real private tarnd.
//
// Every packet that arrives is checked with wire::parse, so each test is also a test that tarnd keeps to
// the protocol. One thread.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "os/memory.hpp"
#include "shm/board.hpp"
#include "wire/validate.hpp"

namespace tarn::testing {

inline constexpr int64_t kPatience = 10'000'000'000;

// A packet that arrived, with what came beside it.
struct Message {
  wire::Type type{};
  uint32_t serial = 0;
  std::vector<std::byte> body;
  std::string tail;
  std::vector<Fd> descriptors;

  template <class Body>
  [[nodiscard]] Body as() const {
    Body out;
    check_size(sizeof(Body), body.size());
    memcpy(&out, body.data(), sizeof out);
    return out;
  }

 private:
  static void check_size(size_t expected, size_t found);
};

// Paths of the programs under test, from the environment that Meson sets.
std::string spawn_path();
std::string worker_path();

class FakeClient {
 public:
  struct Options {
    std::vector<std::string> worker_arguments;  // behind the worker's path, see fake_worker.cpp
    std::vector<std::string> environment = {"COLOUR=red"};
    uint32_t workers = 2;
    uint32_t flags = 0;
    std::string build_id = "the same build";
    std::string worker;  // its path; "": worker_path()
    int standard_output = STDOUT_FILENO;
  };

  // Starts a private tarnd as libtarn does, without saying HELLO yet.
  FakeClient();
  // Connects to the tarnd that listens at `path`.
  explicit FakeClient(const std::string& path);
  FakeClient(const FakeClient&) = delete;
  FakeClient& operator=(const FakeClient&) = delete;
  ~FakeClient();

  void say_hello(const Options& options);
  void say_hello() { say_hello(Options{}); }
  // HELLO, WELCOME, and all workers known.
  void open(const Options& options);
  void open() { open(Options{}); }

  void send(wire::Builder& message, std::vector<int> descriptors = {});
  template <class Body>
  void send(wire::Type type, uint32_t serial, const Body& body, std::vector<int> descriptors = {}) {
    wire::Buffer<1024> buffer;
    wire::Builder message(buffer.bytes, type, serial);
    message.body<Body>() = body;
    send(message, std::move(descriptors));
  }
  void send_raw(std::span<const std::byte> bytes, std::vector<int> descriptors = {});

  // The next packet of `type`; packets before it are kept for later calls. Fails the test, and returns
  // an empty message, if it does not come.
  Message expect(wire::Type type);
  Message expect(wire::Type type, const std::function<bool(const Message&)>& matches);
  // The next packet whatever it is; nothing if the other side has closed the connection.
  std::optional<Message> next(int64_t patience_ns = kPatience);
  // Reads until the other side closes the connection; false if it does not.
  bool wait_for_end();

  // Slabs.
  Message request_slab(uint64_t size, uint32_t serial);  // SLAB_GRANTED or SLAB_REFUSED
  Message share_file(const Fd& file, uint64_t size, uint32_t serial);  // SLAB_READY or SLAB_REFUSED

  // GOODBYE, and wait until everything has gone.
  void close();
  void hang_up() { socket_.reset(); }

  [[nodiscard]] const wire::Welcome& welcome() const { return welcome_; }
  [[nodiscard]] shm::Board& board() { return *reinterpret_cast<shm::Board*>(board_.data()); }
  [[nodiscard]] bool is_serving(uint32_t member);
  [[nodiscard]] pid_t daemon_pid() const { return welcome_.daemon_pid; }
  [[nodiscard]] const std::vector<wire::MemberInfo>& workers() const { return workers_; }
  [[nodiscard]] const Fd& socket() const { return socket_; }
  [[nodiscard]] const Fd& segment_file() const { return segment_file_; }

 private:
  Fd socket_;
  Fd event_;
  wire::Welcome welcome_{};
  os::Mapping board_;
  Fd segment_file_;
  std::vector<wire::MemberInfo> workers_;
  std::deque<Message> kept_;
};

// True as soon as `condition` is, within the patience of a test.
bool eventually(const std::function<bool()>& condition);

// Whether `pid` is there, a zombie included.
bool process_exists(pid_t pid);

}  // namespace tarn::testing
