// Sessions from beginning to end: many, at the same time, large, and killed.
#include <dirent.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "support/self_worker.hpp"

namespace {

using tarn::test::PrivateClient;

constexpr int64_t kLong = 20'000'000'000;

int add_one(tarn_call* call) {
  uint64_t value = 0;
  memcpy(&value, tarn_call_arg(call, 0).data, sizeof value);
  return tarn_call_return(call, &++value, sizeof value);
}

// What the worker finds around itself, as text: cwd, variable, standard input, parent's and own number.
int surroundings(tarn_call* call) {
  char folder[512] = "";
  char input[64] = "";
  if (getcwd(folder, sizeof folder) == nullptr || readlink("/proc/self/fd/0", input, sizeof input - 1) < 0) return -100;
  const char* variable = getenv("TARN_LIVES_TEST");
  std::string text = std::string(folder) + "\n" + (variable == nullptr ? "" : variable) + "\n" + input + "\n" +
                     (getenv("TARN_WORKER_FD") == nullptr ? "clean" : "marked") + "\n";
  // Nothing of the client's is open, only what belongs to Tarn.
  DIR* directory = opendir("/proc/self/fd");
  while (const dirent* entry = readdir(directory)) {
    char target[512] = "";
    std::string path = std::string("/proc/self/fd/") + entry->d_name;
    if (readlink(path.c_str(), target, sizeof target - 1) > 0 && strstr(target, "tarn-lives-secret") != nullptr)
      text += "secret";
  }
  closedir(directory);
  return tarn_call_return(call, text.data(), text.size());
}

// Leaves the flushing to whoever runs it.
int print_line(tarn_call*) {
  printf("from the worker\n");
  return 0;
}

int wait_long(tarn_call*) {
  sleep(1000);
  return 0;
}

int die(tarn_call*) { return raise(SIGKILL); }

// Which signals this process ignores, as a mask.
int ignored_signals(tarn_call* call) {
  uint64_t ignored = 0;
  for (int number = 1; number < 64; ++number) {
    struct sigaction action {};
    if (sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) ignored |= uint64_t{1} << number;
  }
  return tarn_call_return(call, &ignored, sizeof ignored);
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("die", die);
  tarn_task_define("ignored_signals", ignored_signals);
  tarn_task_define("add_one", add_one);
  tarn_task_define("surroundings", surroundings);
  tarn_task_define("print_line", print_line);
  tarn_task_define("wait_long", wait_long);
}};

void expect_add(tarn_client* client, uint64_t value) {
  tarn_arg argument = tarn_arg_value(&value, sizeof value);
  tarn_future future;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_submit(client, tarn_task_id("add_one"), &argument, 1, nullptr, &future)) << tarn_last_error();
  ASSERT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
  uint64_t result = 0;
  ASSERT_EQ(sizeof result, bytes.size);
  memcpy(&result, bytes.data, sizeof result);
  EXPECT_EQ(value + 1, result);
  EXPECT_EQ(0, tarn_future_release(client, future));
}

size_t count_descriptors() {
  size_t count = 0;
  DIR* directory = opendir("/proc/self/fd");
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

// What /proc says of a process; state '?' if there is none.
struct Stat {
  char state = '?';
  pid_t parent = 0;

  explicit Stat(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    std::getline(file, text, '\0');  // a process that ends meanwhile fails the read, which iterators would throw for
    size_t end = text.rfind(')');
    if (end != std::string::npos) sscanf(text.c_str() + end + 1, " %c %d", &state, &parent);
  }
  bool lives() const { return state != '?' && state != 'Z' && state != 'X'; }
};

TEST(Lives, TenSessionsLeaveNothing) {
  size_t before = count_descriptors();
  for (uint64_t i = 0; i < 10; ++i) {
    PrivateClient client;
    expect_add(client, i);
  }
  EXPECT_EQ(before, count_descriptors());
}

TEST(Lives, TwoClientsAtTheSameTime) {
  PrivateClient first;
  PrivateClient second;
  for (uint64_t i = 0; i < 20; ++i) {
    expect_add(first, i);
    expect_add(second, i + 1000);
  }
  // What one hands out means nothing to the other.
  tarn_object object;
  tarn_bytes bytes;
  ASSERT_EQ(0, tarn_put(first, "mine", 4, &object));
  EXPECT_LT(tarn_get(second, object, &bytes), 0);
  EXPECT_EQ(0, tarn_release(first, object));
}

TEST(Lives, SessionThatDoesNothing) {
  PrivateClient client;
}

TEST(Lives, CloseWithTasksOnTheirWay) {
  PrivateClient client;
  tarn_future future;
  for (int i = 0; i < 100; ++i)
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("wait_long"), nullptr, 0, nullptr, &future));
}

TEST(Lives, ManyThreads) {
  PrivateClient client;
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 8; ++t)
    threads.emplace_back([&client, t] {
      for (uint64_t i = 0; i < 50; ++i) expect_add(client, t * 1000 + i);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Lives, HundredThousandObjects) {
  PrivateClient client;
  std::vector<tarn_object> objects(100'000);
  for (uint64_t i = 0; i < objects.size(); ++i)
    ASSERT_EQ(0, tarn_put(client, &i, sizeof i, &objects[i])) << tarn_last_error();
  for (uint64_t i = 0; i < objects.size(); ++i) {
    tarn_bytes bytes;
    uint64_t value = 0;
    ASSERT_EQ(0, tarn_get(client, objects[i], &bytes)) << tarn_last_error();
    ASSERT_EQ(sizeof value, bytes.size);
    memcpy(&value, bytes.data, sizeof value);
    ASSERT_EQ(i, value);
  }
  for (const tarn_object& object : objects) ASSERT_EQ(0, tarn_release(client, object));
}

TEST(Lives, WorkersHaveTheSurroundingsOfTheClient) {
  char name[] = "/tmp/tarn-lives-secret-XXXXXX";
  int secret = mkstemp(name);  // inheritable on purpose
  unlink(name);
  setenv("TARN_LIVES_TEST", "some value", 1);
  char before[512];
  ASSERT_NE(nullptr, getcwd(before, sizeof before));
  ASSERT_EQ(0, chdir("/usr"));
  {
    PrivateClient client;
    tarn_future future;
    tarn_bytes bytes;
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("surroundings"), nullptr, 0, nullptr, &future));
    ASSERT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
    EXPECT_EQ("/usr\nsome value\n/dev/null\nclean\n", std::string(static_cast<const char*>(bytes.data), bytes.size));
    EXPECT_EQ(0, tarn_future_release(client, future));
  }
  ASSERT_EQ(0, chdir(before));
  unsetenv("TARN_LIVES_TEST");
  close(secret);
}

// A daemon that kept the client's descriptors would keep its pipes open, and its folder busy.
TEST(Lives, DaemonsKeepNothingOfTheClients) {
  int ends[2];
  ASSERT_EQ(0, pipe(ends));  // inheritable on purpose
  PrivateClient client(1);
  expect_add(client, 1);
  close(ends[1]);
  pollfd entry{ends[0], POLLIN, 0};
  EXPECT_EQ(1, poll(&entry, 1, 2000)) << "somebody has the other end of the pipe";
  EXPECT_NE(0, entry.revents & POLLHUP);
  close(ends[0]);
  tarn_client_info info;
  info.size = sizeof info;
  ASSERT_EQ(0, tarn_client_get_info(client, &info));
  for (pid_t pid : {info.daemon_pid, Stat(info.daemon_pid).parent}) {
    std::string process = "/proc/" + std::to_string(pid);
    EXPECT_EQ("/", std::filesystem::read_symlink(process + "/cwd"));
    for (const char* stream : {"/fd/0", "/fd/1"}) EXPECT_EQ("/dev/null", std::filesystem::read_symlink(process + stream));
  }
}

TEST(Lives, WorkersPrintWhereTheClientPrints) {
  testing::internal::CaptureStdout();
  {
    PrivateClient client;
    tarn_future future;
    tarn_bytes bytes;
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("print_line"), nullptr, 0, nullptr, &future));
    EXPECT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
    EXPECT_EQ(0, tarn_future_release(client, future));
  }
  std::string text = testing::internal::GetCapturedStdout();
  EXPECT_TRUE(text.starts_with("(print_line pid=") && text.ends_with(") from the worker\n")) << text;
}

// `root` and the processes that descend from it, by their numbers; dead ones do not count.
std::vector<pid_t> family_of(pid_t root) {
  std::vector<pid_t> found{root};
  for (size_t i = 0; i < found.size(); ++i) {
    DIR* directory = opendir("/proc");
    while (const dirent* entry = readdir(directory)) {
      int pid = atoi(entry->d_name);
      if (pid <= 0) continue;
      Stat stat(pid);
      if (stat.parent == found[i] && stat.lives()) found.push_back(pid);
    }
    closedir(directory);
  }
  return found;
}

// A stopped daemon or spawn service keeps nobody from closing.
TEST(Lives, ClosingGetsPastWhatWasStopped) {
  for (const bool spawn_service : {false, true}) {
    PrivateClient client(1);
    tarn_client_info info;
    info.size = sizeof info;
    ASSERT_EQ(0, tarn_client_get_info(client, &info));
    const pid_t stopped = spawn_service ? Stat(info.daemon_pid).parent : info.daemon_pid;
    ASSERT_EQ(0, kill(stopped, SIGSTOP));
  }
}

std::atomic<int> children_ended{0};

TEST(Lives, NeitherWaitNorSigchldMeetsTheDaemon) {
  struct sigaction before {};
  struct sigaction counting {};
  counting.sa_handler = [](int) { children_ended.fetch_add(1); };
  ASSERT_EQ(0, sigaction(SIGCHLD, &counting, &before));
  {
    PrivateClient client(1);
    errno = 0;
    EXPECT_EQ(-1, waitpid(-1, nullptr, WNOHANG));
    EXPECT_EQ(ECHILD, errno) << "the program sees a child that it did not start";
  }
  EXPECT_EQ(0, children_ended.load());
  ASSERT_EQ(0, sigaction(SIGCHLD, &before, nullptr));
}

// What is ignored stays ignored over execve. Expect: the daemons hear of their children all the same, and workers begin
// as any program.
TEST(Lives, SignalsThatTheClientIgnoresAreIts) {
  struct sigaction before[2] {};
  struct sigaction ignoring {};
  ignoring.sa_handler = SIG_IGN;
  ASSERT_EQ(0, sigaction(SIGCHLD, &ignoring, &before[0]));
  ASSERT_EQ(0, sigaction(SIGPIPE, &ignoring, &before[1]));
  auto begin = std::chrono::steady_clock::now();
  {
    PrivateClient client(1);
    tarn_future future;
    tarn_bytes bytes;
    uint64_t ignored = 0;
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("ignored_signals"), nullptr, 0, nullptr, &future));
    ASSERT_EQ(0, tarn_result(client, future, kLong, &bytes)) << tarn_last_error();
    memcpy(&ignored, bytes.data, sizeof ignored);
    EXPECT_EQ(0u, ignored);
    EXPECT_EQ(0, tarn_future_release(client, future));
    ASSERT_EQ(0, tarn_submit(client, tarn_task_id("die"), nullptr, 0, nullptr, &future));
    EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client, future, 5'000'000'000, &bytes)) << tarn_last_error();
    expect_add(client, 1);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  ASSERT_EQ(0, sigaction(SIGCHLD, &before[0], nullptr));
  ASSERT_EQ(0, sigaction(SIGPIPE, &before[1], nullptr));
}

// Shared memory counts as files, for which a shell may have set a limit (ulimit -f). Expect: an error that names it, and
// the daemon goes on. In a process of its own, because a limit cannot be raised again.
TEST(Lives, ALimitForFilesIsNamed) {
  pid_t child = fork();
  if (child == 0) {
    rlimit limit{600u << 20, 600u << 20};
    if (setrlimit(RLIMIT_FSIZE, &limit) < 0) _exit(2);
    PrivateClient client(1);
    tarn_object object;
    void* data = nullptr;
    if (tarn_object_create(client, 700u << 20, &object, &data) != TARN_E_LIMIT) _exit(3);
    if (strstr(tarn_last_error(), "ulimit -f") == nullptr) _exit(4);
    expect_add(client, 1);
    _exit(HasFailure() ? 5 : 0);
  }
  int status = -1;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_EQ(0, WEXITSTATUS(status));
  EXPECT_TRUE(WIFEXITED(status));
}

// As the first process of a container is: orphans come to it.
TEST(Lives, ClosingLeavesNoZombieWithOneWhoAdoptsOrphans) {
  ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0));
  { PrivateClient client(1); }
  errno = 0;
  EXPECT_EQ(-1, waitpid(-1, nullptr, WNOHANG));
  EXPECT_EQ(ECHILD, errno) << "the daemon was adopted, and its status not taken";
  ASSERT_EQ(0, prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0));
}

TEST(Lives, KilledClientTakesEverythingAlong) {
  int ready[2];
  ASSERT_EQ(0, pipe(ready));
  pid_t child = fork();
  if (child == 0) {
    PrivateClient client(0);
    tarn_future future;
    for (int i = 0; i < 10; ++i) (void)tarn_submit(client, tarn_task_id("wait_long"), nullptr, 0, nullptr, &future);
    usleep(200'000);  // so that workers are in the midst of it
    tarn_client_info info;
    info.size = sizeof info;
    (void)tarn_client_get_info(client, &info);
    (void)!write(ready[1], &info.daemon_pid, sizeof info.daemon_pid);
    pause();
    _exit(1);
  }
  pid_t daemon = 0;
  ASSERT_EQ(ssize_t{sizeof daemon}, read(ready[0], &daemon, sizeof daemon));
  close(ready[0]);
  close(ready[1]);
  std::vector<pid_t> family = family_of(Stat(daemon).parent);
  EXPECT_GE(family.size(), 3u) << "tarn-spawn, tarnd and a worker";
  auto begin = std::chrono::steady_clock::now();
  kill(child, SIGKILL);
  ASSERT_EQ(child, waitpid(child, nullptr, 0));
  auto all_gone = [&family] {
    return std::ranges::none_of(family, [](pid_t pid) { return Stat(pid).lives(); });
  };
  while (!all_gone() && std::chrono::steady_clock::now() - begin < std::chrono::seconds(20)) usleep(1000);
  EXPECT_TRUE(all_gone());
  auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  EXPECT_LT(took.count(), 1000);
}

}  // namespace
