// An order to settle what a dead member left behind is carried out once and told of once, whatever comes meanwhile: tarnd ends a worker
// that says it twice.

#include "task/recovery_orders.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace tarn::task {
namespace {

TEST(RecoveryOrders, OneThatComesWhileAnotherIsCarriedOutIsNext) {
  RecoveryOrders orders;
  std::vector<uint32_t> settled, told;
  auto settle = [&](const RecoveryOrder& order) {
    if (order.member == 5) orders.add({6, 9, 0});
    settled.push_back(order.member);
    return 0;
  };
  auto tell = [&](const RecoveryOrder& order) { return told.push_back(order.member), 0; };
  orders.add({5, 9, 0});
  EXPECT_EQ(0, orders.carry_out(settle, tell));
  EXPECT_EQ((std::vector<uint32_t>{5, 6}), settled);
  EXPECT_EQ(settled, told);
}

TEST(RecoveryOrders, OneThatIsAlreadyThereIsNotAddedAgain) {
  RecoveryOrders orders;
  int settled = 0;
  orders.add({5, 9, 0});
  orders.add({5, 9, 0});
  EXPECT_EQ(0, orders.carry_out(
                   [&](const RecoveryOrder&) {
                     orders.add({5, 9, 0});
                     return ++settled, 0;
                   },
                   [](const RecoveryOrder&) { return 0; }));
  EXPECT_EQ(1, settled);
}

TEST(RecoveryOrders, ACallWithinOneLeavesItToThat) {
  RecoveryOrders orders;
  int settled = 0, told = 0;
  auto tell = [&](const RecoveryOrder&) { return ++told, 0; };
  orders.add({5, 9, 0});
  EXPECT_EQ(0, orders.carry_out(
                   [&](const RecoveryOrder&) {
                     EXPECT_EQ(0, orders.carry_out([&](const RecoveryOrder&) { return ++settled, 0; }, tell));
                     return ++settled, 0;
                   },
                   tell));
  EXPECT_EQ(1, settled);
  EXPECT_EQ(1, told);
}

TEST(RecoveryOrders, WhatFailedIsStillToBeDone) {
  RecoveryOrders orders;
  orders.add({5, 9, 0});
  auto tell = [](const RecoveryOrder&) { return 0; };
  EXPECT_EQ(-4, orders.carry_out([](const RecoveryOrder&) { return -4; }, tell));
  int settled = 0;
  EXPECT_EQ(0, orders.carry_out([&](const RecoveryOrder&) { return ++settled, 0; }, tell));
  EXPECT_EQ(1, settled);
}

}  // namespace
}  // namespace tarn::task
