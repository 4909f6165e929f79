#include "fake_client.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <thread>

#include "base/error.hpp"
#include "os/clock.hpp"
#include "os/socket.hpp"

namespace tarn::testing {
namespace {

std::string from_environment(const char* variable) {
  const char* value = getenv(variable);
  if (value == nullptr) {
    ADD_FAILURE() << variable << " is not set: run this test by meson test";
    return {};
  }
  return value;
}

std::string joined(const std::vector<std::string>& strings) {
  std::string out;
  for (const std::string& each : strings) out += each + '\0';
  return out;
}

}  // namespace

std::string spawn_path() { return from_environment("TARN_TEST_SPAWN"); }
std::string worker_path() { return from_environment("TARN_TEST_WORKER"); }

void Message::check_size(size_t expected, size_t found) { ASSERT_EQ(expected, found); }

FakeClient::FakeClient() : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  Fd theirs;
  EXPECT_EQ(os::socket_pair(socket_, theirs), 0) << last_error();
  std::string path = spawn_path();
  std::string fd = std::to_string(theirs.get());
  std::string pid = std::to_string(getpid());
  // Twice, so that the spawn service is nobody's child whom the program would have to wait for.
  pid_t middle = fork();
  if (middle == 0) {
    fcntl(theirs.get(), F_SETFD, 0);
    if (fork() == 0)
      execl(path.c_str(), "tarn-spawn", "--private", fd.c_str(), "--client", pid.c_str(), nullptr);
    _exit(0);
  }
  waitpid(middle, nullptr, 0);
}

FakeClient::FakeClient(const std::string& path) : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  EXPECT_EQ(os::socket_connect(path, socket_), 0) << last_error();
}

FakeClient::~FakeClient() { hang_up(); }

void FakeClient::say_hello(const Options& options) {
  std::string worker = options.worker.empty() ? worker_path() : options.worker;
  Fd executable{::open(worker.c_str(), O_RDONLY | O_CLOEXEC)};
  Fd directory{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  std::vector<std::string> argv = {worker};
  argv.insert(argv.end(), options.worker_arguments.begin(), options.worker_arguments.end());
  std::string argv_text = joined(argv);
  std::string environment_text = joined(options.environment);
  std::vector<uint64_t> buffer(wire::kMessageSizeMax / 8);
  wire::Builder message(std::as_writable_bytes(std::span(buffer)), wire::Type::kHello, 77);
  auto& hello = message.body<wire::Hello>();
  hello.role = static_cast<uint32_t>(wire::Role::kClient);
  hello.workers = options.workers;
  hello.flags = options.flags;
  hello.pid = getpid();
  hello.build_id_size = static_cast<uint32_t>(options.build_id.size());
  memcpy(hello.build_id, options.build_id.data(), options.build_id.size());
  hello.argv_size = static_cast<uint32_t>(argv_text.size());
  hello.environment_size = static_cast<uint32_t>(environment_text.size());
  wire::set_text(hello.name, "fake client");
  ASSERT_TRUE(message.append(argv_text.data(), argv_text.size()));
  ASSERT_TRUE(message.append(environment_text.data(), environment_text.size()));
  send(message, {executable.get(), directory.get(), options.standard_output, STDERR_FILENO, event_.get()});
}

void FakeClient::open(const Options& options) {
  say_hello(options);
  Message message = expect(wire::Type::kWelcome);
  if (message.body.empty()) return;
  ASSERT_EQ(message.serial, 77u);
  welcome_ = message.as<wire::Welcome>();
  ASSERT_EQ(os::Mapping::map(message.descriptors[0], welcome_.board_size, os::Access::kReadWrite, board_), 0);
  segment_file_ = std::move(message.descriptors[1]);
  while (workers_.size() < welcome_.workers) {
    Message added = expect(wire::Type::kMemberAdded);
    if (added.body.empty()) return;
    workers_.push_back(added.as<wire::MemberInfo>());
  }
  for (auto& worker : workers_) EXPECT_TRUE(eventually([&] { return is_serving(worker.member); }));
}

void FakeClient::send(wire::Builder& message, std::vector<int> descriptors) {
  send_raw(message.finish(), std::move(descriptors));
}

void FakeClient::send_raw(std::span<const std::byte> bytes, std::vector<int> descriptors) {
  // The other side may be gone already, which is for the caller to find out by reading.
  (void)os::socket_send(socket_, bytes, descriptors, os::deadline_after(kPatience));
}

std::optional<Message> FakeClient::next(int64_t patience_ns) {
  if (!kept_.empty()) {
    Message message = std::move(kept_.front());
    kept_.pop_front();
    return message;
  }
  static wire::Buffer<wire::kMessageSizeMax> buffer;
  os::Received received;
  if (os::socket_receive(socket_, buffer.bytes, received, os::deadline_after(patience_ns)) != 0 || received.size == 0)
    return std::nullopt;
  wire::Packet packet;
  int r = wire::parse({buffer.bytes, received.size}, received.descriptor_count, wire::From::kDaemon, packet);
  EXPECT_EQ(r, 0) << "tarnd broke the protocol: " << last_error();
  if (r != 0) return std::nullopt;
  Message message;
  message.type = packet.type;
  message.serial = packet.serial;
  message.body.assign(packet.body, packet.body + packet.body_size);
  message.tail.assign(reinterpret_cast<const char*>(packet.tail.data()), packet.tail.size());
  for (size_t i = 0; i < received.descriptor_count; ++i)
    message.descriptors.push_back(std::move(received.descriptors[i]));
  return message;
}

Message FakeClient::expect(wire::Type type) {
  return expect(type, [](const Message&) { return true; });
}

Message FakeClient::expect(wire::Type type, const std::function<bool(const Message&)>& matches) {
  std::deque<Message> passed;
  for (;;) {
    std::optional<Message> message = next();
    bool found = message && message->type == type && matches(*message);
    if (message && !found) {
      passed.push_back(std::move(*message));
      continue;
    }
    kept_.insert(kept_.begin(), std::make_move_iterator(passed.begin()), std::make_move_iterator(passed.end()));
    if (found) return std::move(*message);
    ADD_FAILURE() << wire::type_name(type) << " did not come; " << kept_.size() << " other messages did";
    return {};
  }
}

bool FakeClient::wait_for_end() {
  kept_.clear();
  int64_t deadline = os::deadline_after(kPatience);
  while (os::now_ns() < deadline)
    if (!next(kPatience)) return os::now_ns() < deadline;
  return false;
}

Message FakeClient::request_slab(uint64_t size, uint32_t serial) {
  send(wire::Type::kSlabRequest, serial, wire::SlabRequest{size, -1, 0});
  for (;;) {
    std::optional<Message> message = next();
    if (!message) return {};
    if (message->type == wire::Type::kSlabComing || message->type == wire::Type::kSlabWarm) continue;
    if (message->serial == serial) return std::move(*message);
  }
}

Message FakeClient::share_file(const Fd& file, uint64_t size, uint32_t serial) {
  send(wire::Type::kFileShare, serial, wire::SlabInfo{0, 0, size, -1, 1}, {file.get()});
  for (;;) {
    std::optional<Message> message = next();
    if (!message) return {};
    if (message->serial == serial) return std::move(*message);
  }
}

void FakeClient::close() {
  wire::Buffer<64> buffer;
  wire::Builder message(buffer.bytes, wire::Type::kGoodbye, 0);
  send(message);
  EXPECT_TRUE(wait_for_end());
}

bool FakeClient::is_serving(uint32_t member) {
  // Nobody is parked in these tests, so whoever serves is awake.
  auto serving = reinterpret_cast<std::atomic<uint64_t>*>(reinterpret_cast<std::byte*>(&board().doorbell) + 64);
  return (serving[member / 64].load() >> member % 64 & 1) != 0;
}

bool eventually(const std::function<bool()>& condition) {
  int64_t deadline = os::deadline_after(kPatience);
  while (!condition()) {
    if (os::now_ns() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

bool process_exists(pid_t pid) { return kill(pid, 0) == 0; }

}  // namespace tarn::testing
