// Cores: those of a session's slots, for tasks that run on several at the same time.
#pragma once

#include <cstdint>
#include <span>

#include "shm/board.hpp"

namespace tarn::task {

// Where the slots of the session are, by their seats.
[[nodiscard]] std::span<const shm::SeatPlace> slots_of(const shm::Board& board);

// How many CPUs the slots of the session have together on that NUMA node.
[[nodiscard]] uint32_t cpus_on_node(const shm::Board& board, int32_t node);

// Sets `node` to one with so many of them: `preferred`, if it has. False if there is none.
[[nodiscard]] bool find_node(const shm::Board& board, uint32_t cores, int32_t preferred, int32_t& node);

// Whether a task that needs so many can ever run: 0, or TARN_E_UNSATISFIABLE.
[[nodiscard]] int check_cores(const shm::Board& board, uint32_t cores);

}  // namespace tarn::task
