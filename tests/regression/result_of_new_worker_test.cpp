// A result that lies in the memory of a worker which joined while the client did not listen could not be
// read: "no such object". Found by scripts/storm.
#include <gtest/gtest.h>

#include <csignal>
#include <cstring>

#include "support/self_worker.hpp"

namespace {

constexpr int64_t kLong = 20'000'000'000;
constexpr size_t kSize = 1000;

// Its worker dies at the first attempt, so that the result comes from another.
int bytes_at_second_attempt(tarn_call* call) {
  if (tarn_call_attempt(call) == 1) raise(SIGKILL);
  void* data;
  if (int r = tarn_call_return_buffer(call, kSize, &data); r < 0) return r;
  memset(data, 7, kSize);
  return 0;
}

int size_of_argument(tarn_call* call) {
  size_t size = tarn_call_arg(call, 0).size;
  return tarn_call_return(call, &size, sizeof size);
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("bytes_at_second_attempt", bytes_at_second_attempt);
  tarn_task_define("size_of_argument", size_of_argument);
}};

TEST(ResultOfNewWorker, CanBeReadByAClientThatHasNotHeardOfIt) {
  tarn::test::PrivateClient client;
  tarn_future future;
  ASSERT_EQ(0, tarn_submit(client, tarn_task_id("bytes_at_second_attempt"), nullptr, 0, nullptr, &future));
  // Long enough for it to be done: then reading it asks nobody anything.
  usleep(500'000);
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
  EXPECT_EQ(kSize, bytes.size);
  EXPECT_EQ(0, tarn_future_release(client, future));
}

TEST(ResultOfNewWorker, CanBeAnArgument) {
  tarn::test::PrivateClient client;
  tarn_future first;
  tarn_future second;
  ASSERT_EQ(0, tarn_submit(client, tarn_task_id("bytes_at_second_attempt"), nullptr, 0, nullptr, &first));
  tarn_arg argument = tarn_arg_future(first);
  ASSERT_EQ(0, tarn_submit(client, tarn_task_id("size_of_argument"), &argument, 1, nullptr, &second));
  usleep(500'000);
  tarn_bytes bytes{};
  ASSERT_EQ(0, tarn_result(client, second, kLong, &bytes)) << tarn_last_error();
  size_t size = 0;
  ASSERT_EQ(sizeof size, bytes.size);
  memcpy(&size, bytes.data, sizeof size);
  EXPECT_EQ(kSize, size);
  EXPECT_EQ(0, tarn_future_release(client, first));
  EXPECT_EQ(0, tarn_future_release(client, second));
}

}  // namespace
