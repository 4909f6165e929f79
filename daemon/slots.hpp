// Slots: the places where workers run. Each is a set of CPUs on one NUMA node.
//
// A session gets the slots that the fewest workers use, each at most once. Loop thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "topo/slots.hpp"

namespace tarn::daemon {

inline constexpr uint32_t kCpuWords = 16;  // 1024 CPUs

struct Slot {
  uint32_t number = 0;  // as the tools show it
  int32_t core = 0;     // first CPU
  int32_t node = 0;
  uint32_t cpu_count = 0;
  uint64_t cpus[kCpuWords] = {};
  topo::CpuSet siblings;   // other hardware threads of the same cores, kept free
  int32_t package = 0;
  uint64_t memory = 0;     // its share, in bytes
  uint32_t workers = 0;  // that run there now, of all sessions
};

class SlotTable {
 public:
  // The slots of this host as configured, among the CPUs on which this process may run.
  // Throws std::runtime_error if they cannot be had.
  [[nodiscard]] static SlotTable discover(const topo::SlotsConfig& config, topo::Source source);
  explicit SlotTable(std::vector<Slot> slots) : slots_(std::move(slots)) {}

  [[nodiscard]] uint32_t size() const { return static_cast<uint32_t>(slots_.size()); }
  [[nodiscard]] const Slot& operator[](uint32_t number) const { return slots_[number]; }

  // Takes `count` different slots, those with the fewest workers first.
  // REQUIRES: count <= size().
  [[nodiscard]] std::vector<uint32_t> take(uint32_t count);
  // Takes one that had been taken from the tarnd before.
  void take_again(uint32_t number) { ++slots_[number].workers; }
  void give_back(uint32_t number);

 private:
  std::vector<Slot> slots_;  // by number
};

}  // namespace tarn::daemon
