// The victim: an honest program of another user, whose every result is checked.
//
//   victim work   works with two workers and objects until standard input ends. `mark` there is answered by a line
//                 `ROUNDS WRONG MEDIAN_US P99_US MAX_US` about the time since the last one
//   victim once   a session from its beginning to its end, with one worker; prints `ok MILLISECONDS` or what went wrong
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "fault/tasks.hpp"
#include "tarn/tarn.h"

namespace tarn::hostile {
namespace {

using Clock = std::chrono::steady_clock;
constexpr int64_t kPatienceNs = 20'000'000'000;
constexpr size_t kHeld = 12;
constexpr size_t kSizes[] = {0, 100, 5'000, 70'000, 900'000};

struct Held {
  tarn_object object;
  uint64_t id;
  size_t size;
};

class Victim {
 public:
  explicit Victim(uint32_t workers) {
    tarn_options options{};
    options.size = sizeof options;
    options.name = "victim";
    options.workers = workers;
    options.timeout_ns = kPatienceNs;
    is_open_ = good(tarn_init(&client_, nullptr, nullptr, &options), "tarn_init");
  }
  ~Victim() {
    if (is_open_) tarn_close(client_);
  }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;

  [[nodiscard]] bool is_open() const { return is_open_; }
  [[nodiscard]] uint64_t wrong() const { return wrong_; }

  // An object that is new, a task that reads some of them, a result of its own.
  void round() {
    if (held_.size() >= kHeld) {
      size_t at = random_() % held_.size();
      check(held_[at]);
      good(tarn_release(client_, held_[at].object), "release");
      held_.erase(held_.begin() + static_cast<ptrdiff_t>(at));
    }
    uint64_t id = ++last_id_;
    Held made{{}, id, kSizes[id % std::size(kSizes)]};
    std::vector<std::byte> bytes(made.size);
    fault::fill_pattern(id, bytes);
    if (id % 3 == 0) {
      fault::Order order{id, static_cast<uint32_t>(made.size), 0};
      tarn_arg argument = tarn_arg_value(&order, sizeof order);
      tarn_future future;
      if (!good(tarn_submit(client_, tarn_task_id(fault::kFill), &argument, 1, nullptr, &future), "submit")) return;
      if (good(tarn_future_object(client_, future, kPatienceNs, &made.object), "result")) held_.push_back(made);
      good(tarn_future_release(client_, future), "release");
    } else if (good(tarn_put(client_, bytes.data(), bytes.size(), &made.object), "put")) {
      held_.push_back(made);
    }
    if (held_.empty()) return;
    fault::Order order{id, 0, 0};
    uint64_t expected = id;
    std::vector<tarn_arg> arguments = {tarn_arg_value(&order, sizeof order)};
    for (int i = 0; i < 2; ++i) {
      const Held& read = held_[random_() % held_.size()];
      arguments.push_back(tarn_arg_object(read.object));
      expected = fault::add_digest(expected, fault::digest_of_pattern(read.id, read.size));
    }
    tarn_future future;
    if (!good(tarn_submit(client_, tarn_task_id(fault::kDigest), arguments.data(), arguments.size(), nullptr, &future), "submit"))
      return;
    tarn_bytes result{};
    if (good(tarn_result(client_, future, kPatienceNs, &result), "result") &&
        (result.size != sizeof expected || memcmp(result.data, &expected, sizeof expected) != 0))
      complain("a wrong result");
    good(tarn_future_release(client_, future), "release");
  }

 private:
  void check(const Held& held) {
    tarn_bytes bytes{};
    if (good(tarn_get(client_, held.object, &bytes), "get") && (bytes.size != held.size || !fault::has_pattern(held.id, bytes)))
      complain("an object that has changed");
  }
  bool good(int code, const char* what) {
    if (code >= 0) return true;
    complain((std::string(what) + ": " + tarn_error_name(code) + ": " + tarn_last_error()).c_str());
    return false;
  }
  void complain(const char* what) {
    ++wrong_;
    if (wrong_ < 20) fprintf(stderr, "victim: %s\n", what);
  }

  tarn_client* client_ = nullptr;
  bool is_open_ = false;
  uint64_t wrong_ = 0;
  uint64_t last_id_ = 0;
  std::vector<Held> held_;
  std::mt19937_64 random_{1};
};

int work() {
  Victim victim(2);
  if (!victim.is_open()) return 1;
  std::vector<double> times;
  std::string pending;
  for (;;) {
    auto begin = Clock::now();
    victim.round();
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    pollfd input{STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, 1) <= 0) continue;
    char bytes[64];
    ssize_t size = read(STDIN_FILENO, bytes, sizeof bytes);
    if (size <= 0) return victim.wrong() == 0 ? 0 : 1;
    pending.append(bytes, static_cast<size_t>(size));
    if (pending.find('\n') == std::string::npos) continue;
    pending.clear();
    std::ranges::sort(times);
    printf("%zu %llu %.0f %.0f %.0f\n", times.size(), static_cast<unsigned long long>(victim.wrong()), times[times.size() / 2],
           times[times.size() * 99 / 100], times.back());
    fflush(stdout);
    times.clear();
  }
}

int once() {
  auto begin = Clock::now();
  uint64_t wrong = 1;
  {
    Victim victim(1);
    if (!victim.is_open()) return 1;
    for (int i = 0; i < 6; ++i) victim.round();
    wrong = victim.wrong();
  }
  if (wrong != 0) return 1;
  printf("ok %.0f\n", std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
  return 0;
}

}  // namespace
}  // namespace tarn::hostile

int main(int argc, char** argv) {
  tarn::fault::define_tasks();
  if (getenv("TARN_WORKER_FD") != nullptr) {
    tarn_client* none;
    return tarn_init(&none, &argc, &argv, nullptr) < 0;
  }
  return argc > 1 && strcmp(argv[1], "once") == 0 ? tarn::hostile::once() : tarn::hostile::work();
}
