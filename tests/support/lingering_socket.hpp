// lingering_socket: a descriptor whose last close waits, for a minute.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <vector>

#include "base/fd.hpp"

namespace tarn::test {

// A TCP socket with SO_LINGER and data that `peer` never reads.
inline Fd lingering_socket(Fd& peer) {
  Fd listener{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  EXPECT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  Fd fd{socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  peer = Fd{accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
  linger wait{1, 60};
  EXPECT_EQ(setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &wait, sizeof wait), 0);
  std::vector<char> bytes(1 << 16);
  while (send(fd.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
  }
  return fd;
}

}  // namespace tarn::test
