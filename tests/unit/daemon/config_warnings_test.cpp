// Whoever sets a limit that cannot hold, or a directory that is not there, shall hear of it before a store is full; whoever
// has set nothing strange shall hear nothing.
#include "config_warnings.hpp"

#include <gtest/gtest.h>

namespace tarn::daemon {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
const ConfigHost kHost{"", 100 * kGiB};

Config plain() {
  Config config;
  config.memory_max = 4 * kGiB;
  return config;
}

void expect_one(const Config& config, const ConfigHost& host, const std::string& begin, const std::string& part) {
  auto warnings = config_warnings(config, host);
  ASSERT_EQ(warnings.size(), 1u) << begin;
  EXPECT_TRUE(warnings[0].starts_with(begin)) << warnings[0];
  EXPECT_NE(warnings[0].find(part), std::string::npos) << warnings[0];
}

TEST(ConfigWarningsTest, are_none_of_what_is_well) {
  EXPECT_TRUE(config_warnings(plain(), kHost).empty());
  Config config = plain();
  config.tenant_memory_max = config.session_memory_max = config.memory_max;
  config.spill_max = config.tenant_spill_max = 10 * kGiB;
  config.tenants[1000] = {4 * kGiB, 1};
  EXPECT_TRUE(config_warnings(config, kHost).empty());
  // Nowhere is a choice.
  config.spill_directory = "";
  EXPECT_TRUE(config_warnings(config, {"no directory is configured for it", 0}).empty());
}

TEST(ConfigWarningsTest, name_a_part_that_is_larger_than_the_whole) {
  Config config = plain();
  config.session_memory_max = 8 * kGiB;
  expect_one(config, kHost, "memory.per_client is 8 GiB, more than memory.limit, 4 GiB", "nobody gets more");
  config.tenant_memory_max = 2 * kGiB;
  config.session_memory_max = 3 * kGiB;
  expect_one(config, kHost, "memory.per_client is 3 GiB, more than memory.per_tenant, 2 GiB", "nobody gets more");
  config = plain();
  config.tenant_memory_max = 5 * kGiB;
  expect_one(config, kHost, "memory.per_tenant is 5 GiB", "memory.limit");
  config = plain();
  config.tenants[1000] = {6 * kGiB, 1};
  expect_one(config, kHost, "tenants.1000.memory is 6 GiB", "memory.limit");
  config = plain();
  config.spill_max = kGiB;
  config.tenant_spill_max = kGiB + (kGiB >> 1);
  expect_one(config, kHost, "memory.spill_per_tenant is 1536 MiB", "memory.spill_limit, 1 GiB");
}

TEST(ConfigWarningsTest, name_a_disk_that_takes_nothing) {
  expect_one(plain(), {"/nonexistent cannot be used: No such file or directory", 0}, "memory.spill_directory: /nonexistent",
             "no object can leave memory");
  expect_one(plain(), {"", 0}, "memory.spill_directory: nothing is free in /var/tmp", "set spill_limit to a size");
  Config config = plain();
  config.spill_max = 200 * kGiB;
  expect_one(config, kHost, "memory.spill_limit is 200 GiB", "what is free on that disk, 100 GiB");
}

}  // namespace
}  // namespace tarn::daemon
