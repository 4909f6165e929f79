// A library that counts the cores of the host begins as many threads in every worker. Ask workers what they find in the variables
// that such libraries read. Expect the cores of their slot, unless the user has said something else.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "support/own_daemon.hpp"
#include "support/self_worker.hpp"

namespace {

using tarn::test::OwnDaemon;

constexpr const char* kVariables[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"};

int variables(tarn_call* call) {
  std::string text;
  for (const char* name : kVariables) text += std::string(text.empty() ? "" : " ") + (getenv(name) != nullptr ? getenv(name) : "-");
  return tarn_call_return(call, text.data(), text.size());
}

const tarn::test::SelfWorker self_worker{[] { tarn_task_define("variables", variables); }};

std::string ask(tarn_client* client) {
  tarn_future future;
  tarn_bytes bytes;
  EXPECT_EQ(0, tarn_submit(client, tarn_task_id("variables"), nullptr, 0, nullptr, &future)) << tarn_last_error();
  EXPECT_EQ(0, tarn_result(client, future, OwnDaemon::kLong, &bytes)) << tarn_last_error();
  std::string text(static_cast<const char*>(bytes.data), bytes.size);
  EXPECT_EQ(0, tarn_future_release(client, future));
  return text;
}

class Threads : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : kVariables) unsetenv(name);
  }
  void TearDown() override { SetUp(); }
};

TEST_F(Threads, AreAsManyAsTheSlotHasCores) {
  tarn::test::PrivateClient client;
  EXPECT_EQ("1 1 1", ask(client));
  EXPECT_EQ(nullptr, getenv("OMP_NUM_THREADS")) << "the program itself may use the host";
}

TEST_F(Threads, OfALargerSlotAreMore) {
  if (std::thread::hardware_concurrency() < 2) GTEST_SKIP() << "needs two processors";
  OwnDaemon daemon("[slots]\ncores_per_slot = 2\n");
  std::unique_ptr<tarn_client, void (*)(tarn_client*)> client(daemon.connect(1), tarn_close);
  ASSERT_NE(nullptr, client);
  EXPECT_EQ("2 2 2", ask(client.get()));
}

TEST_F(Threads, AreTheUsersIfHeSaysSo) {
  setenv("OPENBLAS_NUM_THREADS", "7", 1);
  {
    tarn::test::PrivateClient client;
    EXPECT_EQ("1 7 1", ask(client));
  }
  // This one the other libraries read as well, and only if they have none of their own.
  setenv("OMP_NUM_THREADS", "5", 1);
  {
    tarn::test::PrivateClient client;
    EXPECT_EQ("5 7 -", ask(client));
  }
}

}  // namespace
