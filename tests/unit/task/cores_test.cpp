// Which NUMA node has enough cores for a task.
#include "task/cores.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/error.hpp"
#include "tarn/tarn.h"

namespace tarn::task {
namespace {

TEST(Cores, AreThoseOfOneNode) {
  auto board = std::make_unique<shm::Board>();
  EXPECT_EQ(0u, slots_of(*board).size());
  // Three slots of two cores on node 4, two of one core on node 0.
  int32_t nodes[] = {4, 0, 4, 0, 4};
  for (uint32_t seat = 0; seat < 5; ++seat) {
    board->places[seat].node = nodes[seat];
    board->places[seat].cpu_count = nodes[seat] == 4 ? 2 : 1;
  }
  EXPECT_EQ(5u, slots_of(*board).size());
  EXPECT_EQ(6u, cpus_on_node(*board, 4));
  EXPECT_EQ(2u, cpus_on_node(*board, 0));
  EXPECT_EQ(0u, cpus_on_node(*board, 1));
  int32_t node = -1;
  EXPECT_TRUE(find_node(*board, 2, 0, node));
  EXPECT_EQ(0, node) << "the preferred one";
  EXPECT_TRUE(find_node(*board, 3, 0, node));
  EXPECT_EQ(4, node) << "the other one";
  EXPECT_FALSE(find_node(*board, 7, 0, node));
  for (uint32_t cores : {0u, 1u, 2u, 6u}) EXPECT_EQ(0, check_cores(*board, cores)) << cores;
  EXPECT_EQ(TARN_E_UNSATISFIABLE, check_cores(*board, 7));
  EXPECT_NE(std::string::npos, std::string(last_error()).find("at most 6")) << last_error();
}

}  // namespace
}  // namespace tarn::task
