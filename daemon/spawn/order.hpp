// Order: what a SPAWN message asks for, as execve and setgroups take it.
//
// The strings are a user's, and stay where they are: the packet must outlive its Order. What is added says to the libraries that
// read it how many threads a worker has cores for, unless the user has said so: a library that does not know of the slot begins
// a thread for each core of the host, in each worker. One thread at a time.
#pragma once

#include <sys/types.h>

#include <vector>

#include "wire/packet.hpp"

namespace tarn::spawn {

struct Order {
  std::vector<gid_t> groups;
  std::vector<char*> argv;         // a null at the end
  std::vector<char*> environment;  // the same; with the worker's setting, which nobody else's stands in for
  std::vector<char> threads;       // the settings for libraries, one behind the other
};

// REQUIRES: wire::parse has accepted `packet`, a SPAWN.
[[nodiscard]] Order read_order(const wire::Packet& packet);

}  // namespace tarn::spawn
