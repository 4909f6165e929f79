// Anybody can bind any abstract name, and /proc/net/unix shows them all. Read one with foreign, broken and doubled
// names, and expect exactly the private daemons of the user.

#include "daemons.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

namespace tarn::cli {
namespace {

constexpr const char* kProcNetUnix =
    "Num       RefCount Protocol Flags    Type St Inode Path\n"
    "0000000000000000: 00000002 00000000 00010000 0005 01 10 @tarn/1000/77\n"
    "0000000000000000: 00000002 00000000 00010000 0005 01 11 @tarn/1000/9\n"
    "0000000000000000: 00000003 00000000 00000000 0005 03 12 @tarn/1000/9\n"   // a connection of it
    "0000000000000000: 00000003 00000000 00000000 0005 03 13 @tarn/1000/55\n"  // a name that nobody listens at
    "0000000000000000: 00000002 00000000 00010000 0005 01 14 @tarn/1001/5\n"
    "0000000000000000: 00000002 00000000 00010000 0005 01 15 @tarn/1000/x\n"
    "0000000000000000: 00000002 00000000 00010000 0005 01 16 @tarn/1000/-5\n"
    "0000000000000000: 00000002 00000000 00010000 0005 01 17 @tarn/1000/7/8\n"
    "0000000000000000: 00000002 00000000 00010000 0005 01 18 @tarn/1000/99999999999999\n"
    "0000000000000000: 00000002 00000000 00010000 0001 01 19 /run/tarn/tarnd.sock\n"
    "0000000000000000: 00000002 00000000 00010000 0001 01 20\n"
    "nonsense\n";

std::string addresses(const std::vector<Daemon>& daemons) {
  std::string text;
  for (const Daemon& daemon : daemons) text += daemon.address + " ";
  return text;
}

Exit refusal_of(const std::string& address) {
  try {
    (void)find_daemons(address);
  } catch (const CliError& error) {
    return error.status;
  }
  return kOk;
}

TEST(DaemonsTest, finds_those_of_the_user_in_order) {
  std::vector<Daemon> found = private_daemons_in(kProcNetUnix, 1000);
  EXPECT_EQ(addresses(found), "private:9 private:77 ");
  EXPECT_EQ(found[0].socket, "@tarn/1000/9");
  EXPECT_EQ(found[0].owner, 1000u);
  EXPECT_TRUE(private_daemons_in(kProcNetUnix, 1002).empty());
}

TEST(DaemonsTest, root_sees_all) { EXPECT_EQ(addresses(private_daemons_in(kProcNetUnix, 0)), "private:5 private:9 private:77 "); }

TEST(DaemonsTest, takes_the_address_as_it_is_written) {
  EXPECT_EQ(find_daemons("unix:/x/y")[0].socket, "/x/y");
  setenv("TARN_ADDRESS", "unix:/from/environment", 1);
  EXPECT_EQ(find_daemons("auto")[0].socket, "/from/environment");
  EXPECT_EQ(find_daemons("unix:/x")[0].socket, "/x");
  unsetenv("TARN_ADDRESS");
  EXPECT_EQ(refusal_of("http://x"), kUsage);
  EXPECT_EQ(refusal_of("private:x"), kUsage);
  EXPECT_EQ(refusal_of("private:999999999"), kNoDaemon);
}

TEST(DaemonsTest, a_socket_that_nobody_serves_is_no_daemon) {
  try {
    (void)ask(find_daemons("unix:/nonexistent/tarnd.sock")[0], "status", 0, 1'000'000'000);
    FAIL();
  } catch (const CliError& error) {
    EXPECT_EQ(error.status, kNoDaemon);
    EXPECT_NE(std::string(error.what()).find("/nonexistent/tarnd.sock"), std::string::npos);
  }
}

}  // namespace
}  // namespace tarn::cli
