// What the C interface refuses, one test an error of tarn.h that a program can provoke by itself.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "support/own_daemon.hpp"
#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;

constexpr int64_t kLong = 20'000'000'000;

int sum_bytes(tarn_call* call) {
  tarn_bytes bytes = tarn_call_arg(call, 0);
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes.size; ++i) sum += static_cast<const uint8_t*>(bytes.data)[i];
  return tarn_call_return(call, &sum, sizeof sum);
}

int a_megabyte(tarn_call* call) {
  void* data;
  int r = tarn_call_return_buffer(call, 1u << 20, &data);
  if (r == 0) memset(data, 1, 1u << 20);
  return r;
}

int wait_a_second(tarn_call*) {
  usleep(1'000'000);
  return 0;
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("sum_bytes", sum_bytes);
  tarn_task_define("a_megabyte", a_megabyte);
  tarn_task_define("wait_a_second", wait_a_second);
}};

tarn_options private_options() {
  tarn_options options{};
  options.size = sizeof options;
  options.address = "private";
  return options;
}

int init_code(const tarn_options& options) {
  tarn_client* client = nullptr;
  int code = tarn_init(&client, nullptr, nullptr, &options);
  tarn_close(client);
  return code;
}

bool says(const char* words) { return strstr(tarn_last_error(), words) != nullptr; }

TEST(InitErrors, NullClient) { EXPECT_EQ(TARN_E_ARGUMENT, tarn_init(nullptr, nullptr, nullptr, nullptr)); }

TEST(InitErrors, BadOptions) {
  tarn_options options = private_options();
  options.size = 3;
  EXPECT_EQ(TARN_E_ARGUMENT, init_code(options));
  options = private_options();
  options.flags = 0x80;
  EXPECT_EQ(TARN_E_ARGUMENT, init_code(options));
  options = private_options();
  options.reserved[5] = 1;
  EXPECT_EQ(TARN_E_ARGUMENT, init_code(options));
}

TEST(InitErrors, BadAddress) {
  tarn_options options = private_options();
  options.address = "pigeon:7";
  EXPECT_EQ(TARN_E_ARGUMENT, init_code(options));
  EXPECT_TRUE(says("pigeon:7")) << tarn_last_error();
}

TEST(InitErrors, NobodyAtTheAddress) {
  tarn_options options = private_options();
  options.address = "unix:/nonexistent/tarnd.sock";
  EXPECT_EQ(TARN_E_NO_DAEMON, init_code(options));
  EXPECT_TRUE(says("/nonexistent/tarnd.sock")) << tarn_last_error();
}

// A spawn service that ends at once: the error says that no daemon came, not that one has left.
TEST(InitErrors, TheDaemonEndsBeforeItAnswers) {
  char directory[] = "/tmp/tarn_libexec_XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  std::string program = std::string(directory) + "/tarn-spawn";
  ASSERT_EQ(symlink("/bin/false", program.c_str()), 0);
  const char* before = getenv("TARN_LIBEXEC");
  std::string restore = before == nullptr ? "" : before;
  setenv("TARN_LIBEXEC", directory, 1);
  EXPECT_EQ(TARN_E_NO_DAEMON, init_code(private_options()));
  EXPECT_TRUE(says("before it had answered")) << tarn_last_error();
  if (before == nullptr) {
    unsetenv("TARN_LIBEXEC");
  } else {
    setenv("TARN_LIBEXEC", restore.c_str(), 1);
  }
  unlink(program.c_str());
  rmdir(directory);
}

TEST(InitErrors, MoreWorkersThanSlots) {
  tarn_options options = private_options();
  options.workers = 100'000;
  EXPECT_EQ(TARN_E_UNSATISFIABLE, init_code(options));
  EXPECT_TRUE(says("100000")) << tarn_last_error();
}

TEST(InitErrors, WorkersVariableIsNoNumber) {
  setenv("TARN_WORKERS", "many", 1);
  EXPECT_EQ(TARN_E_ARGUMENT, init_code(private_options()));
  EXPECT_TRUE(says("many")) << tarn_last_error();
  unsetenv("TARN_WORKERS");
}

TEST(ClientErrors, ASessionWithoutWorkersTakesNoTasks) {
  tarn_options options = private_options();
  options.flags = TARN_INIT_NO_WORKERS;
  tarn_client* client = nullptr;
  ASSERT_EQ(0, tarn_init(&client, nullptr, nullptr, &options)) << tarn_last_error();
  tarn_future future;
  EXPECT_EQ(TARN_E_UNSATISFIABLE, tarn_submit(client, tarn_task_id("sum_bytes"), nullptr, 0, nullptr, &future));
  EXPECT_TRUE(says("no workers")) << tarn_last_error();
  tarn_object object;
  EXPECT_EQ(0, tarn_put(client, "x", 1, &object)) << tarn_last_error();
  EXPECT_EQ(0, tarn_release(client, object));
  tarn_close(client);
}

TEST(ClientErrors, NullIsNotInitialised) {
  tarn_future future{};
  tarn_object object{};
  tarn_bytes bytes{};
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_submit(nullptr, 1, nullptr, 0, nullptr, &future));
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_result(nullptr, future, 0, &bytes));
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_put(nullptr, "x", 1, &object));
  EXPECT_EQ(TARN_E_NOT_INITIALISED, tarn_client_fd(nullptr));
  tarn_close(nullptr);
}

TEST(ClientErrors, ForkedChildIsRefused) {
  PrivateClient client;
  pid_t child = fork();
  if (child == 0) {
    tarn_object object;
    tarn_future future;
    bool refused = tarn_put(client, "x", 1, &object) == TARN_E_FORKED &&
                   tarn_submit(client, tarn_task_id("sum_bytes"), nullptr, 0, nullptr, &future) == TARN_E_FORKED &&
                   tarn_client_dispatch(client) == TARN_E_FORKED;
    tarn_close(client);  // must not end the parent's session
    _exit(refused ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, status);
  tarn_object object;
  ASSERT_EQ(0, tarn_put(client, "x", 1, &object)) << "the parent's session goes on: " << tarn_last_error();
  EXPECT_EQ(0, tarn_release(client, object));
}

class HandleErrors : public testing::Test {
 protected:
  PrivateClient client_;
};

TEST_F(HandleErrors, UnknownTask) {
  tarn_future future;
  EXPECT_EQ(TARN_E_NO_TASK, tarn_submit(client_, tarn_task_id("never defined"), nullptr, 0, nullptr, &future));
}

TEST_F(HandleErrors, FutureTwiceReleased) {
  tarn_future future;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("sum_bytes"), nullptr, 0, nullptr, &future));
  ASSERT_EQ(0, tarn_result(client_, future, kLong, &bytes));
  ASSERT_EQ(0, tarn_future_release(client_, future));
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_future_release(client_, future));
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_result(client_, future, 0, &bytes));
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_wait(client_, &future, 1, 1, 0, nullptr, nullptr));
  tarn_arg argument = tarn_arg_future(future);
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_submit(client_, tarn_task_id("sum_bytes"), &argument, 1, nullptr, &future));
}

TEST_F(HandleErrors, FutureThatNeverWas) {
  tarn_bytes bytes;
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_result(client_, tarn_future{0}, 0, &bytes));
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_result(client_, tarn_future{UINT64_MAX}, 0, &bytes));
}

TEST_F(HandleErrors, FutureNotDone) {
  tarn_future future;
  tarn_bytes bytes;
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("wait_a_second"), nullptr, 0, nullptr, &future));
  EXPECT_EQ(TARN_E_STATE, tarn_future_error(client_, future, &error));
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_result(client_, future, 0, &bytes));
  EXPECT_TRUE(says("not done yet")) << tarn_last_error();
  EXPECT_EQ(TARN_E_TIMED_OUT, tarn_result(client_, future, 1'000'000, &bytes));
  EXPECT_TRUE(says("not done after 1 ms")) << tarn_last_error();
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_wait(client_, &future, 1, 2, 0, nullptr, nullptr));
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(HandleErrors, OneCallbackAFuture) {
  tarn_future future;
  auto ignore = [](tarn_client*, tarn_future, void*) {};
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("wait_a_second"), nullptr, 0, nullptr, &future));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_future_then(client_, future, nullptr, nullptr));
  EXPECT_EQ(0, tarn_future_then(client_, future, ignore, nullptr));
  EXPECT_EQ(TARN_E_STATE, tarn_future_then(client_, future, ignore, nullptr));
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(HandleErrors, ObjectTwiceReleased) {
  tarn_object object;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_put(client_, "hello", 5, &object));
  ASSERT_EQ(0, tarn_release(client_, object));
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_release(client_, object));
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_get(client_, object, &bytes));
  tarn_arg argument = tarn_arg_object(object);
  tarn_future future;
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_submit(client_, tarn_task_id("sum_bytes"), &argument, 1, nullptr, &future));
}

TEST_F(HandleErrors, ObjectNotSealedAndSealedTwice) {
  tarn_object object;
  void* data;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_object_create(client_, 100, &object, &data));
  EXPECT_EQ(TARN_E_STATE, tarn_get(client_, object, &bytes));
  ASSERT_EQ(0, tarn_object_seal(client_, object));
  EXPECT_EQ(TARN_E_STATE, tarn_object_seal(client_, object));
  EXPECT_EQ(0, tarn_release(client_, object));
}

TEST_F(HandleErrors, SliceOutside) {
  tarn_object object;
  tarn_object slice;
  ASSERT_EQ(0, tarn_put(client_, "hello", 5, &object));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_slice(client_, object, 3, 3, &slice));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_slice(client_, object, UINT64_MAX, 2, &slice));
  EXPECT_TRUE(says("2 bytes from 18446744073709551615 do not lie inside")) << tarn_last_error();
  EXPECT_EQ(0, tarn_release(client_, object));
}

TEST_F(HandleErrors, TooLarge) {
  tarn_object object;
  void* data;
  EXPECT_EQ(TARN_E_TOO_LARGE, tarn_object_create(client_, SIZE_MAX / 2, &object, &data));
  std::string value(2u << 20, 'x');
  tarn_arg argument = tarn_arg_value(value.data(), value.size());
  tarn_future future;
  EXPECT_EQ(TARN_E_TOO_LARGE, tarn_submit(client_, tarn_task_id("sum_bytes"), &argument, 1, nullptr, &future));
}

TEST_F(HandleErrors, BadArguments) {
  tarn_future future;
  tarn_arg argument = tarn_arg_value(nullptr, 0);
  argument.kind = 9;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client_, tarn_task_id("sum_bytes"), &argument, 1, nullptr, &future));
  tarn_submit_options options{};
  options.size = sizeof options;
  options.retries = 1000;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_submit(client_, tarn_task_id("sum_bytes"), nullptr, 0, &options, &future));
  options.retries = 0;
  options.reserved[0] = 1;
  EXPECT_EQ(TARN_E_ARGUMENT,
            tarn_submit(client_, tarn_task_id("sum_bytes"), nullptr, 0, &options, &future));
  EXPECT_TRUE(says("reserved must be zero")) << tarn_last_error();
}

TEST_F(HandleErrors, NegativeTimeouts) {
  tarn_future future;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("sum_bytes"), nullptr, 0, nullptr, &future));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_result(client_, future, -2, &bytes));
  EXPECT_TRUE(says("-1 waits for ever")) << tarn_last_error();
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_wait(client_, &future, 1, 1, INT64_MIN, nullptr, nullptr));
  EXPECT_EQ(0, tarn_result(client_, future, -1, &bytes));
  EXPECT_EQ(0, tarn_future_release(client_, future));
}

TEST_F(HandleErrors, TasksDefinedTooLate) {
  EXPECT_EQ(TARN_E_STATE, tarn_task_define("too_late", sum_bytes));
  EXPECT_TRUE(says("too_late")) << tarn_last_error();
}

TEST(ClientErrors, TasksCanBeDefinedBetweenClients) {
  { PrivateClient client; }
  EXPECT_EQ(0, tarn_task_define("between_clients", sum_bytes)) << tarn_last_error();
}

// Both are the first task and the first object of their client: only the client tells them apart.
TEST_F(HandleErrors, HandlesOfAnotherClient) {
  PrivateClient other;
  tarn_future ours;
  tarn_future theirs;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("sum_bytes"), nullptr, 0, nullptr, &ours));
  ASSERT_EQ(0, tarn_submit(other, tarn_task_id("sum_bytes"), nullptr, 0, nullptr, &theirs));
  EXPECT_NE(ours.id, theirs.id);
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_result(client_, theirs, 0, &bytes));
  EXPECT_TRUE(says("made by another client")) << tarn_last_error();
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_wait(client_, &theirs, 1, 1, 0, nullptr, nullptr));
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_future_release(client_, theirs));
  tarn_arg argument = tarn_arg_future(theirs);
  tarn_future third;
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_submit(client_, tarn_task_id("sum_bytes"), &argument, 1, nullptr, &third));
  EXPECT_EQ(0, tarn_result(client_, ours, kLong, &bytes)) << tarn_last_error();
  EXPECT_EQ(0, tarn_future_release(client_, ours));
  EXPECT_EQ(0, tarn_future_release(other, theirs));

  tarn_object our_object;
  tarn_object their_object;
  ASSERT_EQ(0, tarn_put(client_, "ours", 4, &our_object));
  ASSERT_EQ(0, tarn_put(other, "theirs", 6, &their_object));
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_get(client_, their_object, &bytes));
  EXPECT_TRUE(says("not of this session")) << tarn_last_error();
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_release(client_, their_object));
  EXPECT_EQ(0, tarn_release(client_, our_object));
  EXPECT_EQ(0, tarn_release(other, their_object));
}

TEST_F(HandleErrors, EmptyHandles) {
  tarn_bytes bytes;
  EXPECT_EQ(TARN_E_NO_FUTURE, tarn_result(client_, tarn_future{}, 0, &bytes));
  EXPECT_TRUE(says("is empty")) << tarn_last_error();
  EXPECT_EQ(TARN_E_NO_OBJECT, tarn_get(client_, tarn_object{}, &bytes));
  EXPECT_TRUE(says("is empty")) << tarn_last_error();
}

// A worker announces its first slab while the client has no descriptor left: nothing of it is lost.
TEST_F(HandleErrors, AtTheDescriptorLimit) {
  tarn_future small;
  tarn_future large;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("sum_bytes"), nullptr, 0, nullptr, &small));
  ASSERT_EQ(0, tarn_result(client_, small, kLong, &bytes));  // the worker is there
  rlimit before;
  getrlimit(RLIMIT_NOFILE, &before);
  rlimit few = before;
  few.rlim_cur = 200;
  ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &few));
  std::vector<int> taken;
  for (int fd; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) taken.push_back(fd);
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("a_megabyte"), nullptr, 0, nullptr, &large));
  int at_the_limit = tarn_result(client_, large, kLong, &bytes);
  EXPECT_TRUE(at_the_limit == 0 || at_the_limit == TARN_E_LIMIT) << tarn_last_error();
  for (int fd : taken) close(fd);
  setrlimit(RLIMIT_NOFILE, &before);
  ASSERT_EQ(0, tarn_result(client_, large, kLong, &bytes)) << tarn_last_error();
  EXPECT_EQ(1u << 20, bytes.size);
  EXPECT_EQ(0, tarn_future_release(client_, small));
  EXPECT_EQ(0, tarn_future_release(client_, large));
}

class FileErrors : public testing::Test {
 protected:
  FileErrors() {
    char name[] = "/tmp/tarn-files-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~FileErrors() override { std::filesystem::remove_all(folder_); }

  std::string file(const char* name, size_t size) {
    std::string path = folder_ + "/" + name;
    std::ofstream(path) << std::string(size, 'a');
    return path;
  }

  int open_code(const std::string& path, uint32_t flags = TARN_FILE_MAP) {
    tarn_object object{};
    int code = tarn_object_from_file(client_, path.c_str(), flags, &object);
    if (code == 0) {
      EXPECT_EQ(0, tarn_release(client_, object));
    }
    return code;
  }

  PrivateClient client_;
  std::string folder_;
};

TEST_F(FileErrors, NotAFile) {
  for (uint32_t flags : {TARN_FILE_MAP, TARN_FILE_COPY}) {
    EXPECT_EQ(TARN_E_FILE, open_code(folder_ + "/missing", flags));
    EXPECT_TRUE(says("missing")) << tarn_last_error();
    EXPECT_EQ(TARN_E_FILE, open_code(folder_, flags));
    EXPECT_EQ(TARN_E_FILE, open_code("/dev/null", flags));
    EXPECT_EQ(0, open_code(file("empty", 0), flags)) << tarn_last_error();
  }
  EXPECT_EQ(TARN_E_ARGUMENT, open_code(folder_, 0x70));
}

TEST_F(FileErrors, Denied) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  std::string path = file("secret", 10);
  ASSERT_EQ(0, chmod(path.c_str(), 0));
  EXPECT_EQ(TARN_E_DENIED, open_code(path));
}

TEST_F(FileErrors, VanishedFileStaysReadable) {
  std::string path = file("vanishing", 10'000);
  tarn_object object;
  tarn_future future;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_object_from_file(client_, path.c_str(), TARN_FILE_MAP, &object));
  unlink(path.c_str());
  tarn_arg argument = tarn_arg_object(object);
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("sum_bytes"), &argument, 1, nullptr, &future));
  ASSERT_EQ(0, tarn_result(client_, future, kLong, &bytes)) << tarn_last_error();
  uint64_t sum;
  memcpy(&sum, bytes.data, sizeof sum);
  EXPECT_EQ(10'000u * 'a', sum);
  EXPECT_EQ(0, tarn_future_release(client_, future));
  EXPECT_EQ(0, tarn_release(client_, object));
}

TEST_F(FileErrors, ShrunkenFileFailsTheTask) {
  std::string path = file("shrinking", 100'000);
  tarn_object object;
  tarn_future future;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_object_from_file(client_, path.c_str(), TARN_FILE_MAP, &object));
  ASSERT_EQ(0, truncate(path.c_str(), 10));
  tarn_arg argument = tarn_arg_object(object);
  ASSERT_EQ(0, tarn_submit(client_, tarn_task_id("sum_bytes"), &argument, 1, nullptr, &future));
  EXPECT_EQ(TARN_E_FILE_CHANGED, tarn_result(client_, future, kLong, &bytes));
  EXPECT_EQ(0, tarn_future_release(client_, future));
  EXPECT_EQ(0, tarn_release(client_, object));
}

// ---- What is said when nothing failed -----------------------------------------------------------

// Calls that get round a failure on their way are no failures: neither this thread's text from before nor "" may change.
class SilentSuccess : public testing::Test {
 protected:
  // Runs `call`, which must succeed, after nothing had failed in a thread, and after something had.
  static void expect_silent(const std::function<int()>& call) {
    std::thread([&] {
      EXPECT_GE(call(), 0) << tarn_last_error();
      EXPECT_STREQ("", tarn_last_error());
      EXPECT_EQ(TARN_E_ARGUMENT, tarn_array_read({nullptr, 0}, 0, nullptr));
      EXPECT_GE(call(), 0) << tarn_last_error();
      EXPECT_STREQ("layout is NULL", tarn_last_error());
    }).join();
  }
};

TEST_F(SilentSuccess, InitFallsBackToAPrivateDaemon) {
  tarn_options options = private_options();
  options.address = "auto";
  options.flags = TARN_INIT_NO_WORKERS;
  expect_silent([&] { return init_code(options); });
}

TEST_F(SilentSuccess, MemoryIsFoundAtTheSecondAttempt) {
  tarn::test::OwnDaemon daemon("[memory]\nlimit = \"256MiB\"\nspill_directory = \"\"");
  tarn_client* client = daemon.connect(0, TARN_INIT_NO_WORKERS);
  std::vector<tarn_object> objects;
  // The store asks for more than it needs at first, and is refused.
  static const std::string bytes(9 << 20, 'x');
  for (int i = 0; i < 10; ++i) {
    expect_silent([&] {
      tarn_object object;
      int r = tarn_put(client, bytes.data(), bytes.size(), &object);
      if (r == 0) objects.push_back(object);
      return r;
    });
  }
  expect_silent([&] {
    tarn_release(client, objects.back());
    objects.pop_back();
    return 0;
  });
  tarn_close(client);
}

TEST_F(SilentSuccess, WithoutADaemonWhatIsThereGoesOn) {
  auto* daemon = new tarn::test::OwnDaemon("");
  tarn_client* client = daemon->connect(1);
  tarn_future future;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_submit(client, tarn_task_id("a_megabyte"), nullptr, 0, nullptr, &future));
  ASSERT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
  // Files are slabs of their own, and tarnd is told when they go.
  std::vector<tarn_object> files(2);
  for (tarn_object& file : files) ASSERT_EQ(0, tarn_object_from_file(client, "/proc/self/exe", TARN_FILE_MAP, &file));
  int called = 0;
  std::vector<tarn_future> done(2);
  auto count = [](tarn_client*, tarn_future, void* context) { ++*static_cast<int*>(context); };
  for (tarn_future& one : done) {
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("sum_bytes"), nullptr, 0, nullptr, &one));
    ASSERT_EQ(0, tarn_wait(client, &one, 1, 1, kLong, nullptr, nullptr));
  }
  delete daemon;
  size_t at = 0;
  expect_silent([&] { return tarn_release(client, files[at++]); });
  at = 0;
  expect_silent([&] {
    EXPECT_EQ(0, tarn_future_then(client, done[at++], count, &called));
    return tarn_client_dispatch(client);
  });
  EXPECT_EQ(2, called);
  expect_silent([&] {
    tarn_slot_info info{};
    info.size = sizeof info;
    return tarn_client_get_slot(client, 0, &info);
  });
  expect_silent([&] { return tarn_result(client, future, 0, &bytes); });
  expect_silent([&] { return tarn_client_on_event(client, 0, nullptr, nullptr); });
  // What does fail is said.
  EXPECT_EQ(TARN_E_DAEMON_GONE, tarn_client_dispatch(client));
  EXPECT_TRUE(says("has left")) << tarn_last_error();
  expect_silent([&] {
    tarn_close(client);
    client = nullptr;
    return 0;
  });
}

TEST(ClientErrors, MessagesNameTheOneArgumentThatIsWrong) {
  PrivateClient client;
  tarn_object object;
  void* data;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_put(client, nullptr, 1, &object));
  EXPECT_STREQ("data is NULL, but size is 1", tarn_last_error());
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_put(client, "x", 1, nullptr));
  EXPECT_STREQ("object is NULL", tarn_last_error());
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_create(client, 1, nullptr, &data));
  EXPECT_STREQ("object is NULL", tarn_last_error());
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_create(client, 1, &object, nullptr));
  EXPECT_STREQ("data is NULL", tarn_last_error());
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_from_file(client, nullptr, 0, &object));
  EXPECT_STREQ("path is NULL", tarn_last_error());
  tarn_object_details details{};
  details.size = 3;
  ASSERT_EQ(0, tarn_put(client, "x", 1, &object));
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_info(client, object, &details));
  EXPECT_STREQ("details->size is 3; set it to sizeof(tarn_object_details), here 72", tarn_last_error());
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_object_info(client, object, nullptr));
  EXPECT_STREQ("details is NULL", tarn_last_error());
  size_t done;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_get_many(client, &object, 1, nullptr, &done));
  EXPECT_STREQ("bytes is NULL, but count is 1", tarn_last_error());
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_release_many(client, nullptr, 1, &done));
  EXPECT_STREQ("objects is NULL, but count is 1", tarn_last_error());
  EXPECT_EQ(0, tarn_release(client, object));
}

}  // namespace
