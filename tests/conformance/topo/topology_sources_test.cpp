// A private tarnd reads sysfs itself because hwloc is slow on large machines; a host's tarnd asks hwloc. If they
// disagreed, a program would be placed differently in its two lives. Describe machines of many shapes in files, have
// both read them, and expect the same; then the machine that this runs on.

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/error.hpp"
#include "fake_host.hpp"
#include "tarn/tarn.h"
#include "topo/slots.hpp"
#include "topo/topology.hpp"

namespace tarn::topo {
namespace {

using testing::FakeHost;
using testing::Shape;

std::string describe(const Topology& topology) {
  std::string text = "online " + topology.online.text() + " allowed " + topology.allowed.text() + "\n";
  for (const Core& core : topology.cores) {
    text += "core " + core.cpus.text() + " of " + std::to_string(core.threads) + " node " + std::to_string(core.node) +
            " package " + std::to_string(core.package) + " l3 " + std::to_string(core.l3) + "\n";
  }
  for (const Node& node : topology.nodes)
    text += "node " + std::to_string(node.id) + ": " + std::to_string(node.memory) + " cpus " + node.cpus.text() + "\n";
  return text;
}

class SourcesTest : public ::testing::TestWithParam<Shape> {
 protected:
  void TearDown() override {
    unsetenv("HWLOC_FSROOT");
    unsetenv("HWLOC_THISSYSTEM");
  }

  static void expect_same(const char* root, const CpuSet* allowed) {
    if (*root != '\0') {
      setenv("HWLOC_FSROOT", root, 1);
      setenv("HWLOC_THISSYSTEM", "0", 1);
    }
    Topology ours;
    Topology theirs;
    ASSERT_EQ(Topology::discover({.source = Source::kSysfs, .allowed = allowed, .root = root}, ours), 0) << last_error();
    ASSERT_EQ(Topology::discover({.source = Source::kHwloc, .allowed = allowed}, theirs), 0) << last_error();
    EXPECT_EQ(describe(ours), describe(theirs));
    EXPECT_TRUE(ours == theirs);
  }
};

TEST_P(SourcesTest, see_the_same_machine_and_the_same_part_of_it) {
  FakeHost host(GetParam());
  for (const char* text : {"0-1023", "1,4-6,9,17-40,1000"}) {
    CpuSet allowed;
    ASSERT_TRUE(CpuSet::parse(text, allowed));
    expect_same(host.root(), &allowed);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Machines, SourcesTest,
    ::testing::Values(Shape{.cores = 2}, Shape{.cores = 8, .threads = 2}, Shape{.cores = 8, .threads = 2, .siblings_far = false},
                      Shape{.packages = 2, .nodes = 2, .cores = 4, .threads = 2},
                      Shape{.packages = 2, .nodes = 4, .caches = 2, .cores = 2, .threads = 2},
                      Shape{.packages = 2, .cores = 6, .threads = 4, .siblings_far = false, .old_kernel = true},
                      Shape{.nodes = 2, .cores = 3, .has_l3 = false},
                      Shape{.packages = 2, .cores = 8, .threads = 2, .offline = {2, 3, 17, 21}}));

TEST_F(SourcesTest, agree_on_this_host) { expect_same("", nullptr); }

TEST_F(SourcesTest, a_host_without_sysfs_is_an_error) {
  Topology topology;
  EXPECT_EQ(Topology::discover({.root = "/nonexistent"}, topology), TARN_E_SYSTEM);
  EXPECT_NE(std::string(last_error()).find("/sys"), std::string::npos);
}

}  // namespace
}  // namespace tarn::topo
