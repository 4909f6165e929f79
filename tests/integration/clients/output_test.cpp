// What workers print: where it goes, whose it is said to be, and that it holds nobody up. The client's stdout and stderr are
// memory files or pipes here while a session is opened, and its own again afterwards.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <regex>
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "support/self_worker.hpp"

namespace {

using tarn::Fd;

constexpr int64_t kLong = 20'000'000'000;

std::string text_of(tarn_call* call) {
  tarn_bytes bytes = tarn_call_arg(call, 0);
  return {static_cast<const char*>(bytes.data), bytes.size};
}

int print_all_ways(tarn_call*) {
  printf("by %s\n", "printf");
  std::cout << "by cout" << '\n';
  fprintf(stderr, "by %s\n", "fprintf");
  std::cerr << "by cerr\n";
  errno = ENOENT;
  perror("by perror");
  return 0;
}
int print_out(tarn_call* call) { return printf("out %s\n", text_of(call).c_str()) > 0 ? 0 : -100; }
int print_error(tarn_call* call) { return fprintf(stderr, "err %s\n", text_of(call).c_str()) > 0 ? 0 : -100; }
int print_half_a_line(tarn_call* call) { return printf("half %s", text_of(call).c_str()) > 0 ? 0 : -100; }
int print_nothing(tarn_call*) { return 0; }
int print_by_shell(tarn_call*) { return system("echo from a shell") == 0 ? 0 : -100; }

int print_and_wait(tarn_call* call) {
  puts("before");
  while (access(text_of(call).c_str(), F_OK) != 0) usleep(1000);
  puts("after");
  return 0;
}

int flood(tarn_call*) {
  for (int i = 0; i < 400'000; ++i) printf("%d: a line of a flood that nobody wants to read to its end, however long it lasts\n", i);
  return 0;
}

int print_into_a_file(tarn_call* call) {
  int before = dup(STDOUT_FILENO);
  int file = open(text_of(call).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  dup2(file, STDOUT_FILENO);
  puts("for the file");
  fflush(stdout);
  dup2(before, STDOUT_FILENO);
  close(file);
  close(before);
  return 0;
}

int reopen_stdout(tarn_call* call) { return freopen(text_of(call).c_str(), "w", stdout) != nullptr && puts("for the file") > 0 ? 0 : -100; }

int print_and_die(tarn_call* call) {
  rlimit no_core{};
  setrlimit(RLIMIT_CORE, &no_core);
  std::string how = text_of(call);
  printf("about to end by %s\n", how.c_str());
  fprintf(stderr, "last words\n");
  if (how == "abort") abort();
  if (how == "kill") raise(SIGKILL);
  if (how == "exit") exit(3);
  if (how == "fault") raise(SIGSEGV);
  return 0;
}

const tarn::test::SelfWorker self_worker{[] {
  tarn_task_define("print_all_ways", print_all_ways);
  tarn_task_define("print_out", print_out);
  tarn_task_define("print_error", print_error);
  tarn_task_define("print_half_a_line", print_half_a_line);
  tarn_task_define("print_nothing", print_nothing);
  tarn_task_define("print_by_shell", print_by_shell);
  tarn_task_define("print_and_wait", print_and_wait);
  tarn_task_define("flood", flood);
  tarn_task_define("print_into_a_file", print_into_a_file);
  tarn_task_define("reopen_stdout", reopen_stdout);
  tarn_task_define("print_and_die", print_and_die);
  if (getenv("TARN_TEST_BANNER") != nullptr && getenv("TARN_WORKER_FD") != nullptr) printf("a banner");
}};

Fd memory_file() { return Fd{memfd_create("output", MFD_CLOEXEC)}; }

std::string contents(const Fd& file) {
  struct stat status {};
  fstat(file.get(), &status);
  std::string text(static_cast<size_t>(status.st_size), '\0');
  EXPECT_EQ(static_cast<ssize_t>(text.size()), pread(file.get(), text.data(), text.size(), 0));
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++count;
  return count;
}

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    usleep(2000);
  }
  return false;
}

// A client whose stdout and stderr are `out` and `error`.
class PrintingClient {
 public:
  PrintingClient(const Fd& out, const Fd& error, uint32_t output = TARN_OUTPUT_PREFIXED, uint32_t workers = 1) {
    fflush(nullptr);
    Fd before[] = {Fd{dup(STDOUT_FILENO)}, Fd{dup(STDERR_FILENO)}};
    dup2(out.get(), STDOUT_FILENO);
    dup2(error.get(), STDERR_FILENO);
    tarn_options options{};
    options.size = sizeof options;
    options.address = "private";
    options.workers = workers;
    options.output = output;
    options.timeout_ns = kLong;
    int code = tarn_init(&client_, nullptr, nullptr, &options);
    dup2(before[0].get(), STDOUT_FILENO);
    dup2(before[1].get(), STDERR_FILENO);
    EXPECT_EQ(0, code) << tarn_last_error();
  }
  ~PrintingClient() { close(); }
  void close() {
    tarn_close(client_);
    client_ = nullptr;
  }

  tarn_future submit(const char* task, const std::string& text = "", int32_t retries = -1) {
    tarn_submit_options options{};
    options.size = sizeof options;
    options.retries = retries;
    tarn_arg argument = tarn_arg_value(text.data(), text.size());
    tarn_future future{};
    EXPECT_EQ(0, tarn_submit(client_, tarn_task_id(task), &argument, 1, &options, &future)) << tarn_last_error();
    return future;
  }
  int result(tarn_future future) {
    tarn_bytes bytes{};
    int code = tarn_result(client_, future, kLong, &bytes);
    EXPECT_EQ(0, tarn_future_release(client_, future));
    return code;
  }
  void run(const char* task, const std::string& text = "") { EXPECT_EQ(0, result(submit(task, text))) << tarn_last_error(); }

  operator tarn_client*() const { return client_; }

 private:
  tarn_client* client_ = nullptr;
};

// The process that reads the workers of this client; 0: none runs.
pid_t reader_of_this_client() {
  pid_t found = 0;
  DIR* folder = opendir("/proc");
  while (const dirent* entry = readdir(folder)) {
    std::string process = std::string("/proc/") + entry->d_name;
    std::string name;
    std::getline(std::ifstream(process + "/comm"), name);
    if (name != "tarn-output") continue;
    std::string status;
    for (std::ifstream file(process + "/status"); std::getline(file, status) && !status.starts_with("PPid:");) continue;
    std::string parent;
    std::getline(std::ifstream("/proc/" + std::to_string(std::stoi(status.substr(5))) + "/cmdline"), parent);
    if (parent.find(std::string("--client") + '\0' + std::to_string(getpid()) + '\0') != std::string::npos) found = std::stoi(entry->d_name);
  }
  closedir(folder);
  return found;
}

class Output : public testing::Test {
 protected:
  Fd out_ = memory_file();
  Fd error_ = memory_file();
};

TEST_F(Output, ArrivesInLinesThatSayWhoseTheyAre) {
  PrintingClient client(out_, error_);
  client.run("print_all_ways");
  client.close();
  const std::regex line("\\(print_all_ways pid=[0-9]+ slot=[0-9]+\\) by (printf|cout|fprintf|cerr|perror: No such file or directory)");
  std::vector<std::string> lines = lines_of(contents(out_));
  ASSERT_EQ(2u, lines.size()) << contents(out_);
  for (const std::string& each : lines) EXPECT_TRUE(std::regex_match(each, line)) << each;
  lines = lines_of(contents(error_));
  ASSERT_EQ(3u, lines.size()) << contents(error_);
  for (const std::string& each : lines) EXPECT_TRUE(std::regex_match(each, line)) << each;
}

TEST_F(Output, OfManyShortTasksGoesToEachItsOwn) {
  PrintingClient client(out_, error_, TARN_OUTPUT_PREFIXED, 2);
  std::vector<tarn_future> futures;
  for (int i = 0; i < 600; ++i) {
    const char* tasks[] = {"print_out", "print_error", "print_half_a_line", "print_nothing"};
    futures.push_back(client.submit(tasks[i % 4], std::to_string(i)));
  }
  for (tarn_future future : futures) EXPECT_EQ(0, client.result(future));
  client.close();
  std::string all = contents(out_) + contents(error_);
  for (int i = 0; i < 600; i += 4) {
    EXPECT_EQ(1u, count_of(all, "out " + std::to_string(i) + "\n")) << i;
    EXPECT_EQ(1u, count_of(all, "err " + std::to_string(i + 1) + "\n")) << i;
    EXPECT_EQ(1u, count_of(all, "half " + std::to_string(i + 2) + "\n")) << i;
  }
  for (const std::string& line : lines_of(all)) {
    bool is_own = (line.starts_with("(print_out ") && line.find(") out ") != std::string::npos) ||
                  (line.starts_with("(print_error ") && line.find(") err ") != std::string::npos) ||
                  (line.starts_with("(print_half_a_line ") && line.find(") half ") != std::string::npos);
    EXPECT_TRUE(is_own) << line;
  }
}

TEST_F(Output, IsSeenBeforeTheTaskIsOver) {
  std::string file = testing::TempDir() + "tarn-output-" + std::to_string(getpid());
  PrintingClient client(out_, error_, TARN_OUTPUT_PLAIN);
  tarn_future future = client.submit("print_and_wait", file);
  EXPECT_TRUE(eventually([&] { return contents(out_) == "before\n"; })) << contents(out_);
  Fd created{open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)};
  EXPECT_EQ(0, client.result(future));
  client.close();
  EXPECT_EQ("before\nafter\n", contents(out_));
  unlink(file.c_str());
}

TEST_F(Output, MayBePlainOrNone) {
  for (uint32_t output : {TARN_OUTPUT_PLAIN, TARN_OUTPUT_NONE}) {
    PrintingClient client(out_, error_, output);
    client.run("print_out", "a");
    client.run("print_error", "b");
  }
  EXPECT_EQ("out a\n", contents(out_));
  EXPECT_EQ("err b\n", contents(error_));
}

TEST_F(Output, MayBeRaw) {
  PrintingClient client(out_, error_, TARN_OUTPUT_RAW);
  client.run("print_half_a_line", "a");
  EXPECT_EQ("half a", contents(out_)) << "it is there with the result";
  EXPECT_EQ(0, reader_of_this_client());
}

TEST_F(Output, OfWhoPrintsNothingCostsNoProcess) {
  PrintingClient client(out_, error_);
  client.run("print_nothing");
  EXPECT_EQ(0, reader_of_this_client());
  client.run("print_out", "a");
  EXPECT_TRUE(eventually([] { return reader_of_this_client() != 0; }));
}

TEST_F(Output, OfMainIsNoTasks) {
  setenv("TARN_TEST_BANNER", "1", 1);
  PrintingClient client(out_, error_);
  unsetenv("TARN_TEST_BANNER");
  client.run("print_out", "a");
  client.close();
  std::vector<std::string> lines = lines_of(contents(out_));
  ASSERT_EQ(2u, lines.size()) << contents(out_);
  EXPECT_TRUE(std::regex_match(lines[0], std::regex("\\(worker pid=[0-9]+ slot=[0-9]+\\) a banner"))) << lines[0];
  EXPECT_TRUE(std::regex_match(lines[1], std::regex("\\(print_out pid=[0-9]+ slot=[0-9]+\\) out a"))) << lines[1];
}

TEST_F(Output, OfProgramsThatTasksStartArrivesAsWell) {
  PrintingClient client(out_, error_);
  client.run("print_by_shell");
  client.close();
  EXPECT_TRUE(std::regex_match(contents(out_), std::regex("\\(print_by_shell pid=[0-9]+ slot=[0-9]+\\) from a shell\n"))) << contents(out_);
}

// Nothing of ours is in it.
TEST_F(Output, ThatATaskRedirectsIsItsOwn) {
  std::string file = testing::TempDir() + "tarn-redirected-" + std::to_string(getpid());
  for (const char* task : {"print_into_a_file", "reopen_stdout"}) {
    PrintingClient client(out_, error_, TARN_OUTPUT_PLAIN);
    client.run(task, file);
    client.run("print_error", "still there");
    client.run("print_nothing");
    client.close();
    std::string text;
    std::getline(std::ifstream(file, std::ios::binary), text, '\0');
    EXPECT_EQ("for the file\n", text) << task;
    unlink(file.c_str());
  }
  EXPECT_EQ("", contents(out_));
  EXPECT_EQ(2u, count_of(contents(error_), "err still there\n"));
}

TEST_F(Output, OfAFloodIsCutAndSaysSo) {
  PrintingClient client(out_, error_, TARN_OUTPUT_PREFIXED, 2);
  tarn_future future = client.submit("flood");
  client.run("print_error", "meanwhile");
  EXPECT_EQ(0, client.result(future));
  client.close();
  std::string text = contents(out_);
  // Of 48 MB: what a slot may print at once, and a second or so of what it may print on.
  EXPECT_GT(text.size(), size_t{8} << 20);
  EXPECT_LT(text.size(), size_t{20} << 20);
  EXPECT_NE(std::string::npos, text.find(" bytes of output left out: they came too fast; `tarn logs` has the last of each worker\n"));
  EXPECT_EQ(1u, count_of(contents(error_), "err meanwhile\n"));
}

TEST_F(Output, OfAClientThatNobodyReadsHoldsNobodyUp) {
  int ends[2];
  ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
  Fd reader{ends[0]};
  Fd writer{ends[1]};
  PrintingClient client(writer, error_);
  client.run("flood");
  client.run("print_nothing");
  auto begin = std::chrono::steady_clock::now();
  client.close();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(4));
}

TEST_F(Output, OfAClientWhoseReaderHasLeftHoldsNobodyUp) {
  int ends[2];
  ASSERT_EQ(0, pipe2(ends, O_CLOEXEC));
  Fd reader{ends[0]};
  Fd writer{ends[1]};
  PrintingClient client(writer, error_);
  reader.reset();
  for (int i = 0; i < 3; ++i) client.run("flood");
  client.run("print_error", "alive");
  client.close();
  EXPECT_EQ(1u, count_of(contents(error_), "err alive\n"));
}

// It may be killed for memory, or by its user: what is printed next arrives, and no task notices.
TEST_F(Output, OutlivesItsReader) {
  PrintingClient client(out_, error_);
  for (int i = 0; i < 3; ++i) {
    client.run("print_out", std::to_string(i));
    EXPECT_TRUE(eventually([&] { return count_of(contents(out_), "out " + std::to_string(i) + "\n") == 1; })) << i;
    pid_t reader = reader_of_this_client();
    ASSERT_GT(reader, 0);
    kill(reader, SIGKILL);
    EXPECT_TRUE(eventually([&] { return reader_of_this_client() != reader; }));
  }
  client.run("flood");
  EXPECT_TRUE(eventually([&] { return count_of(contents(out_), ") 399999: ") == 1 || count_of(contents(out_), "left out") > 0; }));
}

// With tarnd and the process that reads, which ends with it; and before anything was read.
TEST_F(Output, OutlivesTheDaemon) {
  PrintingClient client(out_, error_);
  client.run("print_nothing");
  for (int i = 0; i < 4; ++i) {
    tarn_client_info info{};
    info.size = sizeof info;
    ASSERT_EQ(0, tarn_client_get_info(client, &info));
    kill(info.daemon_pid, SIGKILL);
    client.run("print_out", std::to_string(i));
    EXPECT_TRUE(eventually([&] { return count_of(contents(out_), "out " + std::to_string(i) + "\n") == 1; })) << contents(out_) << contents(error_);
    EXPECT_TRUE(eventually([&] {
      (void)tarn_client_dispatch(client);
      tarn_client_info now{};
      now.size = sizeof now;
      return tarn_client_get_info(client, &now) == 0 && now.daemon_pid != info.daemon_pid;
    }));
    usleep(100'000);  // until the one that read for the former has ended
  }
  tarn_future future = client.submit("print_and_die", "abort");
  tarn_bytes bytes{};
  EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client, future, kLong, &bytes));
  EXPECT_NE(nullptr, strstr(tarn_last_error(), "it printed last: ")) << tarn_last_error() << contents(error_);
  EXPECT_EQ(0, tarn_future_release(client, future));
}

// Which LeakSanitizer minds.
TEST_F(Output, OfAFutureThatIsNotReleasedGoesWithItsClient) {
  PrintingClient client(out_, error_, TARN_OUTPUT_NONE);
  tarn_future future = client.submit("print_and_die", "abort");
  tarn_bytes bytes{};
  EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client, future, kLong, &bytes));
  tarn_task_error error{};
  error.size = sizeof error;
  ASSERT_EQ(0, tarn_future_error(client, future, &error));
  EXPECT_STRNE("", error.output);
}

TEST_F(Output, OfACrashedTaskIsInItsError) {
  PrintingClient client(out_, error_, TARN_OUTPUT_NONE);
  for (const char* how : {"abort", "kill", "exit", "fault"}) {
    tarn_future future = client.submit("print_and_die", how, 1);
    tarn_bytes bytes{};
    EXPECT_EQ(TARN_E_WORKER_CRASHED, tarn_result(client, future, kLong, &bytes));
    std::string text = tarn_last_error();
    EXPECT_NE(std::string::npos, text.find("in attempt 2 of 2; it printed last: ")) << text;
    tarn_task_error error{};
    error.size = sizeof error;
    ASSERT_EQ(0, tarn_future_error(client, future, &error));
    std::string output = error.output;
    EXPECT_EQ(1u, count_of(output, std::string("about to end by ") + how + "\n")) << output;
    EXPECT_EQ(1u, count_of(output, "last words\n")) << output;
#ifdef __SANITIZE_ADDRESS__
    EXPECT_LE(2u, lines_of(output).size()) << output;  // and what the sanitizer says of a fault
#else
    EXPECT_EQ(2u, lines_of(output).size()) << output;
#endif
    EXPECT_EQ(0, tarn_future_release(client, future));
  }
  // Who has printed nothing has no last words, and does not get those of another.
  tarn_future future = client.submit("print_nothing");
  EXPECT_EQ(0, client.result(future));
}

TEST_F(Output, ModesAreChecked) {
  tarn_options options{};
  options.size = sizeof options;
  options.output = TARN_OUTPUT_NONE + 1;
  tarn_client* client = nullptr;
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_init(&client, nullptr, nullptr, &options));
  options.output = 0;
  setenv("TARN_OUTPUT", "loud", 1);
  EXPECT_EQ(TARN_E_ARGUMENT, tarn_init(&client, nullptr, nullptr, &options));
  EXPECT_STREQ("TARN_OUTPUT is 'loud'; it must be prefixed, plain, raw or none", tarn_last_error());
  setenv("TARN_OUTPUT", "plain", 1);
  {
    PrintingClient plain(out_, error_, 0);
    plain.run("print_out", "a");
  }
  EXPECT_EQ("out a\n", contents(out_));
  unsetenv("TARN_OUTPUT");
}

}  // namespace
