// Config: what an administrator may set, with the defaults that a private tarnd runs on.
#pragma once

#include <cstdint>
#include <string>

namespace tarn::daemon {

struct Config {
  std::string socket_path = "/run/tarn/tarnd.sock";
  unsigned socket_mode = 0666;  // who may connect; tenants are told apart by SO_PEERCRED
  std::string spawn_socket_path = "/run/tarn/spawn.sock";

  // Memory of slabs and segments, in bytes. 0: `memory_share` of what is free for us at start.
  uint64_t memory_max = 0;
  double memory_share = 0.6;
  uint64_t tenant_memory_max = 0;  // 0: memory_max

  uint32_t sessions_max = 256;
  uint32_t tenant_sessions_max = 64;
  uint32_t session_slabs_max = 4096;  // slabs and files of one session: a descriptor each
};

}  // namespace tarn::daemon
