// Affinity: the CPUs on which the threads of this process may run.
#pragma once

#include <cstdint>

namespace tarn::os {

struct Cpus {
  static constexpr uint32_t kWords = 16;  // 1024 CPUs
  uint64_t words[kWords];                 // a bit each

  [[nodiscard]] bool operator==(const Cpus&) const = default;
};

// Those of the calling thread. False if the system does not say.
[[nodiscard]] bool get_affinity(Cpus& out);

// Moves the calling thread, and all others of the process that are where it is, to other CPUs: what a thread has chosen for itself
// stays. A thread that begins meanwhile is where the one that made it is. False if the system refuses.
[[nodiscard]] bool move_threads(const Cpus& to);

}  // namespace tarn::os
