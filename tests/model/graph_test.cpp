// A graph's runs in every schedule and crash (graph_models.hpp).

#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "graph_models.hpp"

namespace tarn::model {
namespace {

const unsigned kBound = 2;

TEST(GraphRuns, WithoutACrash) {
  EXPECT_HOLDS(graph_runs(Shape::kChain, 0, 1, true));
  EXPECT_HOLDS(graph_runs(Shape::kDiamond, 0, 1, true));
  EXPECT_HOLDS(graph_runs(Shape::kRoots, 0, 1, true));
}
TEST(GraphRuns, OneAfterTheOther) {
  EXPECT_HOLDS(graph_runs(Shape::kChain, 0, 2, true));
  EXPECT_HOLDS(graph_runs(Shape::kRoots, 0, 2, true));
}
TEST(GraphRuns, AWorkerMayDie) {
  EXPECT_HOLDS(graph_runs(Shape::kChain, 1, 1, true));
  EXPECT_HOLDS(graph_runs(Shape::kRoots, 1, 1, true, 4, kBound));
  EXPECT_HOLDS(graph_runs(Shape::kDiamond, 1, 1, true, 4, kBound));
}
TEST(GraphRuns, AWorkerMayDieBetweenRuns) { EXPECT_HOLDS(graph_runs(Shape::kChain, 1, 2, true, 4, kBound)); }
TEST(GraphRuns, AWorkerAndItsReplacementMayDie) {
  EXPECT_HOLDS(graph_runs(Shape::kChain, 2, 1, false));
  EXPECT_HOLDS(graph_runs(Shape::kRoots, 2, 1, false));
}
TEST(GraphRuns, AttemptsAreUsedUp) { EXPECT_HOLDS(graph_runs(Shape::kChain, 1, 1, true, 1)); }

}  // namespace
}  // namespace tarn::model
