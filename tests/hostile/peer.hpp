// Peer: one connection of the hostile program to tarnd, which sends what it likes.
//
// It speaks the control protocol with src/wire, so that what it forges is wrong in one place and right in all others. What
// arrives is checked with wire::parse: tarnd keeps to the protocol towards anybody. Nothing here waits for longer than
// kPatienceNs. One thread.
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "os/memory.hpp"
#include "wire/validate.hpp"

namespace tarn::hostile {

inline constexpr int64_t kPatienceNs = 5'000'000'000;
inline constexpr const char* kBuildId = "hostile";

struct Message {
  wire::Type type{};
  uint32_t serial = 0;
  std::vector<std::byte> body;
  std::string tail;
  std::vector<Fd> descriptors;

  template <class Body>
  [[nodiscard]] Body as() const {
    Body out{};
    if (body.size() == sizeof out) memcpy(&out, body.data(), sizeof out);
    return out;
  }
};

class Peer {
 public:
  struct Options {
    uint32_t workers = 0;
    std::vector<std::string> worker_arguments;  // behind "--worker", see worker.cpp
    std::vector<int> descriptors;               // of HELLO; empty: good ones
    std::string name = "hostile";
  };

  explicit Peer(const std::string& path);
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  [[nodiscard]] bool connected() const { return socket_.valid(); }
  bool say_hello(const Options& options);
  // HELLO and WELCOME; false if it was refused, with the code in refusal().
  bool open(const Options& options);
  bool open() { return open(Options{}); }
  [[nodiscard]] int refusal() const { return refusal_; }

  // False if the packet could not be sent at once (not, if `wait`, within the patience).
  bool send_raw(std::span<const std::byte> bytes, std::vector<int> descriptors = {}, bool wait = true);
  template <class Body>
  bool send(wire::Type type, uint32_t serial, const Body& body, std::vector<int> descriptors = {}, bool wait = true) {
    wire::Buffer<1024> buffer;
    wire::Builder message(buffer.bytes, type, serial);
    message.body<Body>() = body;
    return send_raw(message.finish(), std::move(descriptors), wait);
  }

  // The next packet; nothing if the connection ended or the time passed (see ended()).
  std::optional<Message> next(int64_t patience_ns = kPatienceNs);
  // The next one of `type`; those before it are dropped.
  std::optional<Message> expect(wire::Type type, int64_t patience_ns = kPatienceNs);
  // The answer to the request with that serial.
  std::optional<Message> answer(uint32_t serial);
  // Reads until tarnd has closed the connection; false if it does not.
  bool wait_for_end(int64_t patience_ns = kPatienceNs);
  [[nodiscard]] bool ended() const { return ended_; }
  // Whether tarnd said something that is no message, or of a kind that it does not send.
  [[nodiscard]] bool protocol_broken() const { return protocol_broken_; }

  // A slab of its own, or nothing; a negative `code` says why.
  std::optional<Message> request_slab(uint64_t size, int32_t node = -1);
  // Whether the session still does what an honest one may ask for.
  bool is_served();
  [[nodiscard]] int code() const { return code_; }
  // How long an answer may take from now on.
  void set_patience(int64_t patience_ns) { patience_ns_ = patience_ns; }

  [[nodiscard]] const wire::Welcome& welcome() const { return welcome_; }
  [[nodiscard]] const Fd& board_file() const { return board_file_; }
  [[nodiscard]] const Fd& segment_file() const { return segment_file_; }
  [[nodiscard]] const Fd& socket() const { return socket_; }

 private:
  Fd socket_;
  Fd event_;
  wire::Welcome welcome_{};
  Fd board_file_;
  Fd segment_file_;
  int refusal_ = 0;
  int code_ = 0;
  int64_t patience_ns_ = kPatienceNs;
  uint32_t serial_ = 1'000'000;
  bool ended_ = false;
  bool protocol_broken_ = false;
};

// What the hostile program does where it was started as a worker; does not return.
[[noreturn]] void run_worker(int argc, char** argv);

}  // namespace tarn::hostile
