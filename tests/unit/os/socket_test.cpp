// The control socket carries packets from processes that nobody trusts. A packet arrives whole or is
// refused, its descriptors are never lost (the leak gate counts them), a peer that leaves is an
// outcome, and no call waits beyond its deadline.

#include "os/socket.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "os/clock.hpp"
#include "tarn/tarn.h"

namespace tarn::os {
namespace {

constexpr int64_t kSoon = 20'000'000;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::string_view text_of(std::span<const std::byte> bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes.data()), size};
}

class SocketPairTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(socket_pair(left_, right_), 0); }

  Fd left_, right_;
  std::array<std::byte, 64> buffer_{};
  Received received_;
};

TEST_F(SocketPairTest, keeps_packets_apart) {
  ASSERT_EQ(socket_send(left_, bytes_of("one"), {}, 0), 0);
  ASSERT_EQ(socket_send(left_, bytes_of("three"), {}, 0), 0);
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  EXPECT_EQ(text_of(buffer_, received_.size), "one");
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  EXPECT_EQ(text_of(buffer_, received_.size), "three");
}

// What lies in the other side's socket is seen until it is received, also when this end is shut down; or until it closes.
TEST_F(SocketPairTest, tells_whether_all_was_received) {
  EXPECT_EQ(socket_unreceived(left_), 0u);
  ASSERT_EQ(socket_send(left_, bytes_of("one"), {}, 0), 0);
  EXPECT_GT(socket_unreceived(left_), 0u);
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  EXPECT_EQ(socket_unreceived(left_), 0u);
  ASSERT_EQ(socket_send(left_, bytes_of("two"), {}, 0), 0);
  socket_shut_down(left_);
  EXPECT_GT(socket_unreceived(left_), 0u);
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  EXPECT_EQ(text_of(buffer_, received_.size), "two");
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  EXPECT_EQ(received_.size, 0u);  // the end
  EXPECT_EQ(socket_unreceived(left_), 0u);
}

// Every descriptor that this process may have is taken, for as long as this lives.
class NoDescriptorsLeft {
 public:
  NoDescriptorsLeft() {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    few.rlim_cur = 100;
    setrlimit(RLIMIT_NOFILE, &few);
    for (Fd fd; (fd = Fd{::open("/dev/null", O_RDONLY | O_CLOEXEC)}).valid();)
      taken_.push_back(std::move(fd));
  }
  ~NoDescriptorsLeft() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
  std::vector<Fd> taken_;
};

TEST_F(SocketPairTest, gives_up_its_spare_descriptors_at_the_limit) {
  SpareDescriptors spares;
  spares.keep();
  const int sent = right_.get();
  ASSERT_EQ(socket_send(left_, bytes_of("one"), {&sent, 1}, 0), 0);
  ASSERT_EQ(socket_send(left_, bytes_of("two"), {}, 0), 0);
  {
    NoDescriptorsLeft limit;
    ASSERT_EQ(socket_receive(right_, buffer_, received_, 0, &spares), 0);
    EXPECT_EQ(received_.descriptor_count, 1u);
    EXPECT_EQ(text_of(buffer_, received_.size), "one");
  }
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0, &spares), 0);
  EXPECT_EQ(text_of(buffer_, received_.size), "two");
  EXPECT_EQ(socket_receive(right_, buffer_, received_, 0, &spares), kWouldBlock);
}

TEST_F(SocketPairTest, keeps_a_packet_whose_descriptors_have_no_room) {
  SpareDescriptors spares;
  const int sent[] = {right_.get(), right_.get()};
  ASSERT_EQ(socket_send(left_, bytes_of("one"), sent, 0), 0);
  {
    NoDescriptorsLeft limit;
    EXPECT_EQ(socket_receive(right_, buffer_, received_, 0, &spares), TARN_E_LIMIT);
    EXPECT_EQ(socket_receive(right_, buffer_, received_, 0, &spares), TARN_E_LIMIT);
  }
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0, &spares), 0);
  EXPECT_EQ(received_.descriptor_count, 2u);
  EXPECT_EQ(text_of(buffer_, received_.size), "one");
}

TEST_F(SocketPairTest, brings_descriptors_in_order_and_closed_on_exec) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const Fd reader{pipe[0]}, writer{pipe[1]};
  ASSERT_EQ(socket_send(left_, bytes_of("x"), pipe, 0), 0);
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  ASSERT_EQ(received_.descriptor_count, 2u);
  ASSERT_EQ(::write(received_.descriptors[1].get(), "!", 1), 1);
  char byte = 0;
  ASSERT_EQ(::read(received_.descriptors[0].get(), &byte, 1), 1);
  EXPECT_EQ(byte, '!');
  EXPECT_EQ(::fcntl(received_.descriptors[0].get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(SocketPairTest, a_new_packet_closes_the_descriptors_of_the_last) {
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const Fd owner{null};
  ASSERT_EQ(socket_send(left_, bytes_of("x"), {&null, 1}, 0), 0);
  ASSERT_EQ(socket_send(left_, bytes_of("y"), {}, 0), 0);
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  const int number = received_.descriptors[0].get();
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  EXPECT_EQ(received_.descriptor_count, 0u);
  EXPECT_EQ(::fcntl(number, F_GETFD), -1);
}

TEST_F(SocketPairTest,
       refuses_a_packet_that_is_longer_than_the_buffer_and_hands_over_what_came_with_it) {
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const Fd owner{null};
  ASSERT_EQ(socket_send(left_, bytes_of(std::string(65, 'x')), {&null, 1}, 0), 0);
  EXPECT_EQ(socket_receive(right_, buffer_, received_, 0), TARN_E_PROTOCOL);
  EXPECT_EQ(received_.descriptor_count, 1u);
}

TEST_F(SocketPairTest, refuses_more_descriptors_than_fit) {
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  const Fd owner{null};
  const std::vector<int> many(kSocketDescriptorsMax + 1, null);
  EXPECT_EQ(socket_send(left_, bytes_of("x"), many, 0), TARN_E_ARGUMENT);

  // The same by a peer that does not care for our limits. Expect: refused, and all are ours to close.
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int) * (kSocketDescriptorsMax + 1))] = {};
  char byte = 'x';
  iovec part{&byte, 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int) * many.size());
  std::memcpy(CMSG_DATA(header), many.data(), sizeof(int) * many.size());
  ASSERT_EQ(::sendmsg(left_.get(), &message, 0), 1);
  EXPECT_EQ(socket_receive(right_, buffer_, received_, 0), TARN_E_PROTOCOL);
  EXPECT_EQ(received_.descriptor_count, kSocketDescriptorsMax);
  EXPECT_EQ(received_.excess.size(), 1u);
}

TEST_F(SocketPairTest, waits_no_longer_than_it_may) {
  EXPECT_EQ(socket_receive(right_, buffer_, received_, 0), kWouldBlock);
  const int64_t deadline = now_ns() + kSoon;
  EXPECT_EQ(socket_receive(right_, buffer_, received_, deadline), TARN_E_TIMED_OUT);
  EXPECT_GE(now_ns(), deadline);
}

TEST_F(SocketPairTest, a_full_socket_does_not_block_the_sender) {
  const std::string packet(4096, 'x');
  int r = 0;
  for (int i = 0; i < 100'000 && r == 0; ++i) r = socket_send(left_, bytes_of(packet), {}, 0);
  EXPECT_EQ(r, kWouldBlock);
  EXPECT_EQ(socket_send(left_, bytes_of(packet), {}, now_ns() + kSoon), TARN_E_TIMED_OUT);
}

TEST_F(SocketPairTest, tells_what_was_sent_before_the_peer_left_and_then_that_it_left) {
  ASSERT_EQ(socket_send(left_, bytes_of("bye"), {}, 0), 0);
  left_.reset();
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  EXPECT_EQ(text_of(buffer_, received_.size), "bye");
  ASSERT_EQ(socket_receive(right_, buffer_, received_, 0), 0);
  EXPECT_EQ(received_.size, 0u);
  EXPECT_EQ(socket_send(right_, bytes_of("x"), {}, 0), TARN_E_DAEMON_GONE);
}

class SocketPathTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(::mkdtemp(folder_), nullptr);
    path_ = std::string(folder_) + "/socket";
  }
  void TearDown() override {
    ::unlink(path_.c_str());
    ::rmdir(folder_);
  }

  char folder_[32] = "/tmp/tarn-socket-XXXXXX";
  std::string path_;
};

TEST_F(SocketPathTest, connects_and_knows_the_peer) {
  Fd listener, client;
  ASSERT_EQ(socket_listen(path_, 0600, listener), 0);
  struct stat status {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777u, 0600u);
  ASSERT_EQ(socket_connect(path_, client), 0);
  const Fd server{::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  PeerCredentials peer{};
  ASSERT_EQ(socket_peer(server, peer), 0);
  EXPECT_EQ(peer.pid, ::getpid());
  EXPECT_EQ(peer.uid, ::getuid());
}

TEST_F(SocketPathTest, nobody_answers_where_nobody_listens) {
  Fd client;
  EXPECT_EQ(socket_connect(path_, client), TARN_E_NO_DAEMON);
}

TEST_F(SocketPathTest, takes_over_the_socket_of_a_daemon_that_died_but_not_of_one_that_lives) {
  Fd first, second;
  ASSERT_EQ(socket_listen(path_, 0600, first), 0);
  EXPECT_EQ(socket_listen(path_, 0600, second), TARN_E_STATE);
  first.reset();  // the file stays, as after a kill
  EXPECT_EQ(socket_listen(path_, 0600, second), 0);
}

TEST_F(SocketPathTest, a_name_is_there_only_when_somebody_listens) {
  std::atomic<bool> is_over = false;
  std::atomic<int> refused = 0;
  std::thread visitor([&] {
    while (!is_over) {
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      path_.copy(address.sun_path, sizeof address.sun_path - 1);
      const Fd probe{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
      if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 && errno == ECONNREFUSED)
        ++refused;
    }
  });
  std::array<Fd, 500> listeners;  // who has found one that ends now would be refused rightly
  for (Fd& listener : listeners) {
    EXPECT_EQ(socket_listen(path_, 0600, listener), 0);
    ::unlink(path_.c_str());
  }
  is_over = true;
  visitor.join();
  EXPECT_EQ(refused, 0);
  // Nothing but the name was left anywhere.
  EXPECT_EQ(::rmdir(folder_), 0);
  ASSERT_EQ(::mkdir(folder_, 0700), 0);
}

TEST_F(SocketPathTest, does_not_remove_a_file_that_is_no_socket) {
  const Fd file{::open(path_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)};
  Fd listener;
  EXPECT_LT(socket_listen(path_, 0600, listener), 0);
  EXPECT_EQ(::access(path_.c_str(), F_OK), 0);
}

TEST_F(SocketPathTest, refuses_a_path_that_does_not_fit) {
  Fd client;
  EXPECT_EQ(socket_connect("", client), TARN_E_ARGUMENT);
  EXPECT_EQ(socket_connect(std::string(200, 'x'), client), TARN_E_ARGUMENT);
}

TEST_F(SocketPathTest, an_abstract_name_leaves_no_file) {
  const std::string name = "@tarn-socket-test-" + std::to_string(::getpid());
  Fd listener, client;
  ASSERT_EQ(socket_listen(name, 0600, listener), 0);
  EXPECT_EQ(socket_connect(name, client), 0);
}

}  // namespace
}  // namespace tarn::os
