// Order: what a SPAWN message asks for, as execve and setgroups take it.
//
// The strings are a user's, and stay where they are: the packet must outlive its Order. One thread at a time.
#pragma once

#include <sys/types.h>

#include <vector>

#include "wire/packet.hpp"

namespace tarn::spawn {

struct Order {
  std::vector<gid_t> groups;
  std::vector<char*> argv;         // a null at the end
  std::vector<char*> environment;  // the same; with the worker's setting, which nobody else's stands in for
};

// REQUIRES: wire::parse has accepted `packet`, a SPAWN.
[[nodiscard]] Order read_order(const wire::Packet& packet);

}  // namespace tarn::spawn
