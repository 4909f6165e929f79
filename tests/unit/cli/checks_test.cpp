// A doctor who overlooks an illness is worse than none. Show it hosts that have one each, made of files, and expect the
// finding, with what it means and what to do.

#include "checks.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace tarn::cli {
namespace {

class ChecksTest : public ::testing::Test {
 protected:
  ChecksTest() {
    std::string path = std::filesystem::temp_directory_path() / "tarn-doctor-XXXXXX";
    root_ = mkdtemp(path.data());
    write("/sys/devices/system/cpu/online", "0-3");
    write("/proc/meminfo", "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\nHugePages_Total:       0\nHugepagesize:       2048 kB");
    write("/proc/self/cgroup", "0::/a.slice/b.service");
    write("/sys/fs/cgroup/cgroup.controllers", "cpu memory");
  }
  ~ChecksTest() override { std::filesystem::remove_all(root_); }

  void write(const std::string& name, const std::string& text) {
    std::filesystem::path path = root_ + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text << '\n';
  }

  Finding finding(const std::string& check) {
    Host host(root_);
    for (const Findings& part : {check_cpus(host), check_memory(host)})
      for (const Finding& one : part)
        if (one.check == check) return one;
    ADD_FAILURE() << "there is no check " << check;
    return {};
  }

  void expect_ok(const std::string& check) {
    Finding found = finding(check);
    EXPECT_EQ(found.verdict, Verdict::kOk) << check << ": " << found.found;
    EXPECT_EQ(found.meaning + found.advice, "");
  }

  void expect_warning(const std::string& check, const std::string& part) {
    Finding found = finding(check);
    EXPECT_EQ(found.verdict, Verdict::kWarn) << check;
    EXPECT_NE(found.found.find(part), std::string::npos) << found.found;
    EXPECT_NE(found.meaning, "");
    EXPECT_NE(found.advice, "");
  }

 private:
  std::string root_;
};

TEST_F(ChecksTest, a_plain_host_is_well) {
  for (const char* check : {"cpuset", "cpu_quota", "cores", "governor", "hypervisor", "idle", "clock", "numa_balancing",
                            "memory_available", "memory_limit", "hugetlb", "shmem_huge", "overcommit", "swap"})
    expect_ok(check);
}

TEST_F(ChecksTest, finds_a_quota_of_any_group_above_us) {
  write("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000");
  expect_ok("cpu_quota");
  write("/sys/fs/cgroup/a.slice/cpu.max", "150000 100000");
  expect_warning("cpu_quota", "1.5 CPUs");
  write("/sys/fs/cgroup/a.slice/cpu.max", "800000 100000");
  expect_ok("cpu_quota");
}

TEST_F(ChecksTest, finds_limits_of_the_older_hierarchy) {
  write("/proc/self/cgroup", "4:memory:/x/y\n3:cpu,cpuacct:/x\n0::/");
  write("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1073741824");
  write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
  write("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "200000");
  write("/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000");
  expect_warning("memory_limit", "1.0 GiB");
  expect_warning("cpu_quota", "2 CPUs");
  write("/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1");
  expect_ok("cpu_quota");
}

TEST_F(ChecksTest, finds_a_memory_limit) {
  write("/sys/fs/cgroup/a.slice/b.service/memory.max", "max");
  expect_ok("memory_limit");
  write("/sys/fs/cgroup/a.slice/memory.max", "2147483648");
  expect_warning("memory_limit", "2.0 GiB of 15.3 GiB");
}

TEST_F(ChecksTest, finds_slow_cores) {
  write("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance");
  expect_ok("governor");
  write("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave");
  expect_warning("governor", "powersave on 1 CPU");
}

TEST_F(ChecksTest, finds_a_virtual_machine_that_gives_its_cores_back) {
  write("/proc/cpuinfo", "flags : fpu hypervisor lahf_lm");
  write("/sys/devices/system/cpu/cpuidle/current_driver", "acpi_idle");
  write("/sys/devices/system/cpu/cpuidle/current_governor", "menu");
  expect_warning("hypervisor", "virtual machine");
  expect_warning("idle", "governor menu");
  write("/sys/devices/system/cpu/cpuidle/current_governor", "haltpoll");
  expect_ok("idle");
}

TEST_F(ChecksTest, finds_the_rest) {
  write("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet");
  expect_warning("clock", "hpet");
  write("/proc/sys/vm/overcommit_memory", "2");
  expect_warning("overcommit", "strict");
  write("/proc/meminfo", "MemTotal: 16000000 kB\nMemAvailable: 100000 kB\nSwapTotal: 2000 kB\nHugePages_Total: 4\nHugepagesize: 2048 kB");
  expect_warning("swap", "2.0 MiB");
  expect_warning("memory_available", "of 15.3 GiB");
  EXPECT_EQ(finding("hugetlb").found, "4 of 2.0 MiB");
  write("/sys/devices/system/node/online", "0-1");
  write("/sys/devices/system/node/node0/cpulist", "0-1");
  write("/sys/devices/system/node/node1/cpulist", "2-3");
  write("/proc/sys/kernel/numa_balancing", "1");
  expect_warning("numa_balancing", "on");
}

TEST_F(ChecksTest, says_whether_objects_lie_in_huge_pages) {
  const std::string folder = "/sys/kernel/mm/transparent_hugepage/";
  write(folder + "shmem_enabled", "always within_size advise [never] deny force");
  write("/proc/sys/kernel/osrelease", "5.19.0-41-generic");
  expect_warning("shmem_huge", "never");
  write("/proc/meminfo", "MemTotal: 16000000 kB\nShmemHugePages:  262144 kB");
  write("/proc/sys/kernel/osrelease", "6.1.0-30-amd64");  // can be asked for them by name
  expect_ok("shmem_huge");
  EXPECT_EQ(finding("shmem_huge").found, "never, 256.0 MiB of shared memory in huge pages");
  write(folder + "shmem_enabled", "always within_size advise never [deny] force");
  expect_warning("shmem_huge", "deny");
  write(folder + "shmem_enabled", "always within_size [advise] never deny force");
  expect_ok("shmem_huge");
  EXPECT_EQ(finding("shmem_huge").found, "advise, 256.0 MiB of shared memory in huge pages");
  // Who gets huge pages without asking has more memory than is counted.
  write(folder + "shmem_enabled", "always [within_size] advise never deny force");
  expect_warning("shmem_huge", "within_size");
  // The switch of the one size goes before that for all.
  write(folder + "hpage_pmd_size", "2097152");
  write(folder + "hugepages-2048kB/shmem_enabled", "always [inherit] within_size advise never");
  expect_warning("shmem_huge", "within_size");
  write(folder + "hugepages-2048kB/shmem_enabled", "always inherit within_size [advise] never");
  expect_ok("shmem_huge");
  write(folder + "hugepages-2048kB/shmem_enabled", "always inherit within_size advise [never]");
  expect_warning("shmem_huge", "never");
  EXPECT_NE(finding("shmem_huge").advice.find("hugepages-2048kB"), std::string::npos);
}

TEST_F(ChecksTest, one_core_is_few) {
  write("/sys/devices/system/cpu/online", "0");
  expect_warning("cores", "1 core,");
}

TEST_F(ChecksTest, this_kernel_has_what_tarn_needs) {
  for (const Finding& one : check_kernel(Host())) EXPECT_NE(one.verdict, Verdict::kFail) << one.check << ": " << one.found;
}

TEST_F(ChecksTest, a_daemon_of_another_release_is_named) {
  Findings findings = check_versions({"0.0.1"});
  EXPECT_EQ(findings[0].verdict, Verdict::kWarn);
  EXPECT_NE(findings[0].found.find("tarnd 0.0.1"), std::string::npos);
}

TEST_F(ChecksTest, finds_a_daemon_whose_objects_cannot_leave_memory) {
  auto check = [](const std::vector<DiskUse>& daemons) { return check_disk(Host(), daemons).at(0); };
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  const DiskUse good{"/var/tmp", "", kGiB, 10 * kGiB};
  const DiskUse full{"/data", "", 10 * kGiB, 10 * kGiB};
  const DiskUse off{"/dev/shm", "/dev/shm lies in memory\033[2J itself", 0, kGiB};
  EXPECT_EQ(check({good}).verdict, Verdict::kOk);
  EXPECT_EQ(check({good}).found, "/var/tmp, 1.0 GiB of 10.0 GiB used");
  // One line for several: of the one that is worst off.
  EXPECT_EQ(check({good, full}).verdict, Verdict::kWarn);
  EXPECT_NE(check({good, full}).found.find("/data"), std::string::npos);
  EXPECT_NE(check({good, full, off}).found.find("lies in memory"), std::string::npos);
  EXPECT_EQ(check({off}).found.find('\033'), std::string::npos);
  EXPECT_NE(check({off}).advice, "");
  EXPECT_EQ(check({DiskUse{"/var/tmp", "", 0, 0}}).verdict, Verdict::kWarn);
}

TEST_F(ChecksTest, finds_a_disk_that_takes_no_more) {
  auto expect = [](const DiskUse& disk, const std::string& part) {
    Finding found = check_disk(Host(), {disk}).at(0);
    EXPECT_EQ(found.verdict, Verdict::kWarn) << part;
    EXPECT_NE(found.found.find(part), std::string::npos) << found.found;
    EXPECT_NE(found.meaning, "");
    EXPECT_NE(found.advice, "");
  };
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  // There is room in all, and none for one user; something was refused, whatever the numbers say.
  expect({"/nonexistent", "", kGiB, 10 * kGiB, "user 1000", "", 0}, "user 1000 may have no more");
  expect({"/nonexistent", "", kGiB, 10 * kGiB, "", "cannot write: No space left\033[2J", 12}, "12 s ago: cannot write");
  // A share of a disk that was full when tarnd started.
  expect({"/var/tmp", "", 0, 0, "this host's tarnd", "", 0}, "nothing was free there when tarnd started");
  // Somebody else fills the disk.
  expect({"/var/tmp", "", 0, uint64_t{1} << 62, "", "", 0}, "are free there");
  DiskUse refused{"/nonexistent", "", kGiB, 10 * kGiB, "", "no\033[2J", 12};
  EXPECT_EQ(check_disk(Host(), {refused}).at(0).found.find('\033'), std::string::npos);
  // Of two the worse one is told, though it has more left.
  DiskUse good{"/nonexistent", "", kGiB, 2 * kGiB};
  EXPECT_EQ(check_disk(Host(), {good, refused}).at(0).verdict, Verdict::kWarn);
}

TEST_F(ChecksTest, without_a_daemon_looks_where_a_private_one_would) {
  Finding none = check_disk(Host("/nonexistent"), {}).at(0);
  EXPECT_EQ(none.verdict, Verdict::kWarn);
  EXPECT_NE(none.found.find("/var/tmp: No such file"), std::string::npos) << none.found;
}

}  // namespace
}  // namespace tarn::cli
