// A misread list pins a worker to a CPU that is not ours. Read every form the kernel and a configuration may use, and
// those that they may not.

#include "topo/cpu_set.hpp"

#include <gtest/gtest.h>

#include <string>

namespace tarn::topo {
namespace {

CpuSet set_of(const std::string& text) {
  CpuSet set;
  EXPECT_TRUE(CpuSet::parse(text, set)) << text;
  return set;
}

TEST(CpuSetTest, reads_and_writes_the_kernels_form) {
  for (const char* text : {"", "0", "1023", "0-3", "0-3,8", "0,2,4-5,63-65,1023"}) EXPECT_EQ(set_of(text).text(), text);
  EXPECT_EQ(set_of(" 3, 1-2 \n").text(), "1-3");
  EXPECT_EQ(set_of("1,1,1-1").count(), 1u);
}

TEST(CpuSetTest, refuses_everything_else_and_leaves_the_set_alone) {
  CpuSet set = set_of("7");
  for (const char* text : {"x", "1-", "-1", "3-2", "1,", ",1", "1,,2", "1 2", "0x1", "1024", "0-1024", "4294967296", "1-2-3"})
    EXPECT_FALSE(CpuSet::parse(text, set)) << text;
  EXPECT_EQ(set.text(), "7");
}

TEST(CpuSetTest, clips_what_the_kernel_says_of_a_machine_that_is_too_large) {
  CpuSet set;
  ASSERT_TRUE(CpuSet::parse_clipped("1022-4095", set));
  EXPECT_EQ(set.text(), "1022-1023");
  ASSERT_TRUE(CpuSet::parse_clipped("0-4294967295", set));
  EXPECT_EQ(set.count(), kCpusMax);
}

TEST(CpuSetTest, walks_in_order) {
  CpuSet set = set_of("5,64,1023");
  EXPECT_EQ(set.first(), 5);
  EXPECT_EQ(set.next(5), 64);
  EXPECT_EQ(set.next(64), 1023);
  EXPECT_EQ(set.next(1023), -1);
  EXPECT_EQ(CpuSet().first(), -1);
  EXPECT_FALSE(set.has(1024));
  EXPECT_EQ(set.words()[1], 1u);
}

TEST(CpuSetTest, this_process_has_a_cpu) { EXPECT_FALSE(CpuSet::of_this_process().empty()); }

}  // namespace
}  // namespace tarn::topo
