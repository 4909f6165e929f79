// Workload: a client that does what programs do, by chance, and checks what comes of it.
#pragma once

#include <cstdint>

#include "session.hpp"

namespace tarn::sim {

struct Tally {
  uint64_t steps = 0;
  uint64_t tasks = 0;
  uint64_t kills = 0;
};

// One history. Ends the program if it breaks a rule.
void simulate(uint64_t seed, Tally& tally);

}  // namespace tarn::sim
