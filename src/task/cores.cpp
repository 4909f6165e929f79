#include "task/cores.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "tarn/tarn.h"

namespace tarn::task {

std::span<const shm::SeatPlace> slots_of(const shm::Board& board) {
  auto end = std::ranges::find(board.places, 0u, &shm::SeatPlace::cpu_count);
  return {std::begin(board.places), static_cast<size_t>(end - std::begin(board.places))};
}

uint32_t cpus_on_node(const shm::Board& board, int32_t node) {
  uint32_t cpus = 0;
  for (const shm::SeatPlace& slot : slots_of(board))
    if (slot.node == node) cpus += slot.cpu_count;
  return cpus;
}

bool find_node(const shm::Board& board, uint32_t cores, int32_t preferred, int32_t& node) {
  node = preferred;
  if (cpus_on_node(board, preferred) >= cores) return true;
  for (const shm::SeatPlace& slot : slots_of(board)) {
    node = slot.node;
    if (cpus_on_node(board, node) >= cores) return true;
  }
  return false;
}

int check_cores(const shm::Board& board, uint32_t cores) {
  int32_t node;
  if (cores <= 1 || find_node(board, cores, board.places[0].node, node)) return 0;
  uint32_t most = 0;
  for (const shm::SeatPlace& slot : slots_of(board)) most = std::max(most, cpus_on_node(board, slot.node));
  return fail(TARN_E_UNSATISFIABLE,
              "%u cores of one NUMA node were asked for; the slots of this session have at most %u together on one. Ask for fewer, or "
              "start more workers",
              cores, most);
}

}  // namespace tarn::task
