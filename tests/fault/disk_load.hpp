// What a session does whose objects do not fit into its memory: they are written to the disk and come back.
//
// A fixed amount, for the kill points: objects of a client and results of workers leave memory; the client reads them, tasks
// get them as arguments, some are released while they are away. Every byte is checked. Single-threaded.
#pragma once

#include <cstdint>

#include "load.hpp"
#include "tarn/tarn.h"

namespace tarn::fault {

// False if the daemon has gone. No room is no fault; so in a session with memory enough nothing but this is the same.
[[nodiscard]] bool pass_through_disk(tarn_client* client, uint64_t seed, Verdict& verdict);

}  // namespace tarn::fault
