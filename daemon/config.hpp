// Config: what an administrator may set, with the defaults that a private tarnd runs on.
//
// docs/configuration.md describes the file; config_file.hpp reads it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "log.hpp"
#include "resources.hpp"
#include "shares.hpp"
#include "topo/slots.hpp"

namespace tarn::daemon {

struct TenantConfig {
  uint64_t memory = 0;  // bytes, 0: as for every tenant
  uint32_t sessions = 0;
  uint32_t weight = kWeightUsual;  // of its part of a slot that others want as well
};

struct Config {
  std::string socket_path = "/run/tarn/tarnd.sock";
  unsigned socket_mode = 0666;  // who may connect; tenants are told apart by SO_PEERCRED
  std::string spawn_socket_path = "/run/tarn/spawn.sock";
  Level log_level = Level::kInfo;

  topo::SlotsConfig slots;

  // Memory of slabs and segments, in bytes. 0: `memory_share` of what is free for us at start.
  uint64_t memory_max = 0;
  double memory_share = 0.6;
  uint64_t tenant_memory_max = 0;   // 0: memory_max
  uint64_t session_memory_max = 0;  // 0: that of the tenant
  std::string spill_directory = "/var/tmp";  // where objects go while memory is short; "": nowhere
  uint64_t spill_max = 0;  // bytes of the disk. 0: `spill_share` of what is free there at start
  double spill_share = 0.5;
  uint64_t tenant_spill_max = 0;  // 0: spill_max
  uint32_t memory_keep_s = 30;      // how long empty slabs are kept after a session last wanted memory
  uint32_t memory_wait_s = 10;      // how long a request waits for memory that is on its way back

  uint32_t sessions_max = 256;
  uint32_t tenant_sessions_max = 64;
  uint32_t session_workers_max = 254;  // shm::kMembersMax without tarnd and the client
  uint32_t session_slabs_max = 4096;  // slabs and files of one session: a descriptor each

  std::vector<ResourceKind> resources;  // what tasks may ask for by name and count

  std::map<uid_t, TenantConfig> tenants;  // that differ from the others
};

}  // namespace tarn::daemon
