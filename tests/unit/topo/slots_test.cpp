// Two workers on one core, a slot across two NUMA nodes or a core outside our cpuset would be slow without a word. Make
// slots on machines that we do not have, whole and restricted, and ask for what cannot be had.

#include "topo/slots.hpp"

#include <gtest/gtest.h>

#include <string>

#include "base/error.hpp"
#include "tarn/tarn.h"

namespace tarn::topo {
namespace {

// CPUs 0-31: node 0 has 0-7, node 1 8-15, ...; a core has two neighbouring CPUs.
constexpr const char* kTwoPackages = "pack:2 [numa(memory=64GiB)] l3:2 core:4 pu:2";
constexpr const char* kFourNodes = "pack:2 numa:2 core:4 pu:2";

CpuSet cpus(const std::string& text) {
  CpuSet set;
  EXPECT_TRUE(CpuSet::parse(text, set));
  return set;
}

Topology machine(const char* description, const std::string& allowed = "") {
  Topology topology;
  CpuSet set = cpus(allowed);
  EXPECT_EQ(Topology::synthetic(description, allowed.empty() ? nullptr : &set, topology), 0) << last_error();
  return topology;
}

std::vector<Slot> slots_of(const Topology& topology, const SlotsConfig& config = {}) {
  std::vector<Slot> slots;
  EXPECT_EQ(make_slots(topology, config, slots), 0) << last_error();
  for (size_t i = 0; i < slots.size(); ++i) EXPECT_EQ(slots[i].index, i);
  return slots;
}

std::string refusal_of(const Topology& topology, const SlotsConfig& config, int expected) {
  std::vector<Slot> slots(1);
  EXPECT_EQ(make_slots(topology, config, slots), expected);
  EXPECT_EQ(slots.size(), 1u) << "the output is untouched on failure";
  return last_error();
}

TEST(SlotsTest, one_per_core_with_the_siblings_kept_free) {
  Topology topology = machine(kFourNodes);
  EXPECT_EQ(topology.packages, 2u);
  EXPECT_EQ(topology.nodes.size(), 4u);
  std::vector<Slot> slots = slots_of(topology);
  ASSERT_EQ(slots.size(), 16u);
  EXPECT_EQ(slots[0].cpus.text(), "0");
  EXPECT_EQ(slots[0].siblings.text(), "1");
  EXPECT_EQ(slots[5].cpus.text(), "10");
  EXPECT_EQ(slots[5].node, 1);
  EXPECT_EQ(slots[5].package, 0);
  EXPECT_EQ(slots[15].node, 3);
  EXPECT_EQ(slots[15].package, 1);
  CpuSet all;
  for (const Slot& slot : slots) {
    EXPECT_TRUE((all & (slot.cpus | slot.siblings)).empty()) << "two slots share CPU " << slot.cpus.text();
    all |= slot.cpus | slot.siblings;
  }
  EXPECT_EQ(all, topology.online);
}

TEST(SlotsTest, stays_inside_the_cpuset) {
  // The first core is lost, the second has one of its threads left, the rest of node 1 is ours.
  Topology topology = machine(kFourNodes, "3,8-15,99");
  std::vector<Slot> slots = slots_of(topology);
  ASSERT_EQ(slots.size(), 5u);
  EXPECT_EQ(slots[0].cpus.text(), "3");
  EXPECT_EQ(slots[0].siblings.text(), "");
  EXPECT_EQ(slots[1].cpus.text(), "8");
  EXPECT_EQ(topology.cores[0].threads, 2u);
  EXPECT_EQ(topology.allowed.text(), "3,8-15");
}

TEST(SlotsTest, a_cpuset_without_an_online_cpu_is_an_error) {
  Topology topology;
  CpuSet set = cpus("500");
  EXPECT_EQ(Topology::synthetic(kFourNodes, &set, topology), TARN_E_UNSATISFIABLE);
  EXPECT_TRUE(topology.cores.empty());
}

TEST(SlotsTest, larger_slots_stay_on_one_node) {
  // Three cores a slot: one of four cores of each node is left over.
  std::vector<Slot> slots = slots_of(machine(kFourNodes), {.cores_per_slot = 3});
  ASSERT_EQ(slots.size(), 4u);
  EXPECT_EQ(slots[1].cpus.text(), "8,10,12");
  EXPECT_EQ(slots[1].siblings.text(), "9,11,13");
  EXPECT_EQ(slots[3].node, 3);
}

TEST(SlotsTest, larger_slots_stay_on_one_cache_where_they_fit) {
  for (const Slot& slot : slots_of(machine(kTwoPackages), {.cores_per_slot = 2}))
    EXPECT_EQ(slot.first_cpu() / 8, slot.cpus.next(slot.first_cpu()) / 8) << slot.cpus.text();
}

TEST(SlotsTest, reserves_the_lowest_cores) {
  std::vector<Slot> slots = slots_of(machine(kFourNodes), {.reserve = 2});
  ASSERT_EQ(slots.size(), 14u);
  EXPECT_EQ(slots[0].cpus.text(), "4");
}

TEST(SlotsTest, takes_listed_cpus_as_they_are) {
  std::vector<Slot> slots = slots_of(machine(kFourNodes), {.cpus = {cpus("0-3"), cpus("24,26")}});
  ASSERT_EQ(slots.size(), 2u);
  EXPECT_EQ(slots[0].cpus.text(), "0-3");
  EXPECT_EQ(slots[1].node, 3);
}

TEST(SlotsTest, says_what_cannot_be_had) {
  Topology topology = machine(kFourNodes, "0-15");
  EXPECT_NE(refusal_of(topology, {.cores_per_slot = 5}, TARN_E_UNSATISFIABLE).find("5 cores"), std::string::npos);
  EXPECT_NE(refusal_of(topology, {.cores_per_slot = 0}, TARN_E_ARGUMENT).find("cores_per_slot"), std::string::npos);
  EXPECT_NE(refusal_of(topology, {.reserve = 8}, TARN_E_UNSATISFIABLE).find("there are 8"), std::string::npos);
  EXPECT_NE(refusal_of(topology, {.cpus = {cpus("0"), cpus("14-17")}}, TARN_E_UNSATISFIABLE).find("CPU 16-17"),
            std::string::npos);
  EXPECT_NE(refusal_of(topology, {.cpus = {cpus("0-1"), cpus("1")}}, TARN_E_UNSATISFIABLE).find("earlier slot"),
            std::string::npos);
  EXPECT_NE(refusal_of(topology, {.cpus = {cpus("6-9")}}, TARN_E_UNSATISFIABLE).find("nodes 0 and 1"), std::string::npos);
  EXPECT_NE(refusal_of(topology, {.cpus = {CpuSet()}}, TARN_E_ARGUMENT).find("no CPU"), std::string::npos);
}

TEST(SlotsTest, shares_the_memory_of_the_node_or_what_was_set) {
  Topology topology = machine(kTwoPackages);
  for (const Slot& slot : slots_of(topology)) EXPECT_EQ(slot.memory, (uint64_t{64} << 30) / 8);
  uint64_t sum = 0;
  for (const Slot& slot : slots_of(topology, {.cores_per_slot = 4, .memory = 1600})) sum += slot.memory;
  EXPECT_EQ(sum, 1600u);
}

}  // namespace
}  // namespace tarn::topo
