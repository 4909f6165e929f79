// Lists of resources, and classes of tasks that ask for the same.
#include "task/needs.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace tarn::task {
namespace {

std::string read_all(const char* text) {
  ResourceList list(text);
  ResourceList::Entry entry{};
  std::string all;
  int r;
  while ((r = list.next(entry)) > 0) all += std::string(entry.name, entry.name_size) + ":" + std::to_string(entry.count) + " ";
  return r == 0 ? all : "refused";
}

TEST(ResourceList, NamesAndCounts) {
  EXPECT_EQ(read_all(nullptr), "");
  EXPECT_EQ(read_all(""), "");
  EXPECT_EQ(read_all("a"), "a:1 ");
  EXPECT_EQ(read_all("a=2,b,c.d-e_F9=1000000000"), "a:2 b:1 c.d-e_F9:1000000000 ");
  EXPECT_EQ(read_all("a123456789012345678901234567890=1"), "a123456789012345678901234567890:1 ");
}

TEST(ResourceList, AnythingElse) {
  for (const char* bad : {"=", "=1", ",", "a,", ",a", "a,,b", "a=", "a=0", "a=-1", "a=1000000001", "a=1x", "a=18446744073709551617", "a b", "a;b",
                          "a1234567890123456789012345678901"})
    EXPECT_EQ(read_all(bad), "refused") << bad;
}

struct Session {
  std::unique_ptr<shm::Board> board{new shm::Board{}};
  Session() {
    board->places[0].cpu_count = board->places[1].cpu_count = 1;
    board->places[1].slot = 5;
    board->places[1].node = 1;
    std::string("db").copy(board->resources.kind(3).name, 3);
    board->resources.kind(3).total.store(4, shm::kRelaxed);
  }
  int find(uint32_t where, int32_t number, uint32_t strict, const char* resources, uint32_t level, uint32_t& out) const {
    tarn_needs needs{};
    needs.size = sizeof needs;
    needs.where = where;
    needs.where_number = number;
    needs.is_strict = strict;
    needs.resources = resources;
    return check_needs(*board, needs, level, out);
  }
};

TEST(CheckNeeds, ThoseWhoAskForTheSameAreInOne) {
  Session session;
  std::vector<uint32_t> numbers(6);
  ASSERT_EQ(0, session.find(TARN_ANYWHERE, 0, 0, "", 4, numbers[0]));
  ASSERT_EQ(0, session.find(TARN_ON_SLOT, 5, 1, nullptr, 4, numbers[1]));
  ASSERT_EQ(0, session.find(TARN_ON_SLOT, 5, 0, nullptr, 4, numbers[2]));
  ASSERT_EQ(0, session.find(TARN_ON_NODE, 1, 1, nullptr, 4, numbers[3]));
  ASSERT_EQ(0, session.find(TARN_ANYWHERE, 0, 0, "db=2", 4, numbers[4]));
  ASSERT_EQ(0, session.find(TARN_ANYWHERE, 0, 0, "db=2", 5, numbers[5]));
  EXPECT_EQ(numbers, (std::vector<uint32_t>{0, 1, 2, 3, 4, 5}));
  uint32_t again = 0;
  ASSERT_EQ(0, session.find(TARN_ANYWHERE, 0, 0, "db=2", 4, again));
  EXPECT_EQ(again, 4u);
  ASSERT_EQ(0, session.find(TARN_ON_SLOT, 99, 0, "db=2", 4, again));
  EXPECT_EQ(again, 4u) << "a place that there is not is no place to prefer";
  ASSERT_EQ(0, session.find(TARN_ON_NODE, 99, 0, nullptr, 4, again));
  EXPECT_EQ(again, 0u);
  EXPECT_EQ(session.board->classes[4].needs.counts[3], 2u);
  EXPECT_EQ(session.board->classes[1].needs.number, 5);
}

TEST(CheckNeeds, WhatThereIsNot) {
  Session session;
  uint32_t number = 0;
  tarn_needs needs{};
  needs.size = sizeof needs;
  needs.cores = 2;
  EXPECT_EQ(TARN_E_UNSATISFIABLE, check_needs(*session.board, needs, 4, number));
  session.board->places[0].cpu_count = 2;
  EXPECT_EQ(0, check_needs(*session.board, needs, 4, number)) << "on node 0";
  needs.where = TARN_ON_SLOT;
  needs.where_number = 5;
  EXPECT_EQ(0, check_needs(*session.board, needs, 4, number)) << "if not there, then elsewhere";
  needs.is_strict = 1;
  EXPECT_EQ(TARN_E_UNSATISFIABLE, check_needs(*session.board, needs, 4, number));
  EXPECT_EQ(TARN_E_UNSATISFIABLE, session.find(TARN_ON_SLOT, 1, 1, nullptr, 4, number));
  EXPECT_EQ(TARN_E_UNSATISFIABLE, session.find(TARN_ON_NODE, 2, 1, nullptr, 4, number));
  EXPECT_EQ(TARN_E_UNSATISFIABLE, session.find(TARN_ANYWHERE, 0, 0, "db=5", 4, number));
  EXPECT_EQ(TARN_E_UNSATISFIABLE, session.find(TARN_ANYWHERE, 0, 0, "d", 4, number));
  EXPECT_EQ(TARN_E_UNSATISFIABLE, session.find(TARN_ANYWHERE, 0, 0, "dbs", 4, number));
  EXPECT_EQ(number, 0u);
}

}  // namespace
}  // namespace tarn::task
