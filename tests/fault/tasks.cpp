#include "tasks.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace tarn::fault {
namespace {

Order begin(tarn_call* call) {
  Order order{};
  tarn_bytes bytes = tarn_call_arg(call, 0);
  if (bytes.size == sizeof order) memcpy(&order, bytes.data, sizeof order);
  static const int journal = [] {
    const char* path = getenv("TARN_TEST_JOURNAL");
    return path == nullptr ? -1 : open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
  }();
  if (journal >= 0 && write(journal, &order.id, sizeof order.id) != sizeof order.id)
    order.id = ~order.id;  // an answer that nobody takes for right
  return order;
}

int give(tarn_call* call, uint64_t value) { return tarn_call_return(call, &value, sizeof value); }

int echo(tarn_call* call) { return give(call, answer(begin(call).id)); }

int fill(tarn_call* call) {
  Order order = begin(call);
  void* data;
  if (int r = tarn_call_return_buffer(call, order.size, &data); r < 0) return r;
  fill_pattern(order.id, {static_cast<std::byte*>(data), order.size});
  return 0;
}

int digest_arguments(tarn_call* call) {
  uint64_t sum = begin(call).id;
  for (size_t i = 1; i < tarn_call_arg_count(call); ++i)
    sum = add_digest(sum, digest(tarn_call_arg(call, i)));
  return give(call, sum);
}

int sleep_a_while(tarn_call* call) {
  Order order = begin(call);
  usleep(order.size);
  return give(call, answer(order.id));
}

int fail(tarn_call* call) {
  Order order = begin(call);
  return tarn_call_fail(call, fail_code(order.id), kFailType, "order %llu is refused",
                        static_cast<unsigned long long>(order.id));
}

int fail_at_first(tarn_call* call) {
  Order order = begin(call);
  if (tarn_call_attempt(call) <= order.detail) return tarn_call_fail(call, kAgainCode, kFailType, "order %llu comes again", static_cast<unsigned long long>(order.id));
  return give(call, answer(order.id));
}

uint64_t id_of_item(const Order& order, uint32_t number) { return mix(order.id * 1000 + number); }
uint32_t size_of_item(const Order& order, uint32_t number) {
  return static_cast<uint32_t>(id_of_item(order, number) % (order.size + 1));
}

// By copy and in place in turn.
int yield_items(tarn_call* call) {
  Order order = begin(call);
  for (uint32_t i = 0; i < order.detail; ++i) {
    std::vector<std::byte> item(size_of_item(order, i));
    fill_pattern(id_of_item(order, i), item);
    void* place;
    int r = i % 2 == 0 ? tarn_call_yield(call, item.data(), item.size()) : tarn_call_yield_buffer(call, item.size(), &place);
    if (r == 0 && i % 2 != 0) {
      if (!item.empty()) memcpy(place, item.data(), item.size());
      r = tarn_call_yield_filled(call);
    }
    if (r < 0) return tarn_call_fail(call, r, nullptr, "%s", tarn_last_error());
  }
  return 0;
}

int crash(tarn_call* call) {
  Order order = begin(call);
  if (tarn_call_attempt(call) > 1) return give(call, answer(order.id));
  rlimit no_core{};
  setrlimit(RLIMIT_CORE, &no_core);
  switch (order.detail % 3) {
    case 0:
      raise(SIGKILL);
      break;
    case 1:
      _exit(3);
    default:
      signal(SIGABRT, SIG_DFL);
      abort();
  }
  return give(call, 0);
}

// ---- A task of tasks

constexpr int64_t kHungNs = 15'000'000'000;
constexpr int32_t kRetries = 200;

enum Branch : uint64_t { kLeft = 1, kRight, kBytes, kBoth, kNobodys, kObject, kOfObject };
uint64_t id_below(uint64_t id, Branch branch) { return mix(id * 8 + branch); }
uint32_t bytes_below(uint64_t id) { return static_cast<uint32_t>(id % 2000); }
uint32_t object_below(uint64_t id) { return id % 4 == 0 ? 40'000 : static_cast<uint32_t>(id % 300); }

class Parent {
 public:
  explicit Parent(tarn_call* call) : call_(call), client_(tarn_call_client(call)) {}

  // The first code that was an error, as the parent's own.
  [[nodiscard]] int code() const { return code_; }

  tarn_future submit(const char* task, Order order, std::vector<tarn_arg> more = {}) {
    more.insert(more.begin(), tarn_arg_value(&order, sizeof order));
    tarn_submit_options options{};
    options.size = sizeof options;
    options.retries = kRetries;
    tarn_future future{};
    if (code_ == 0) take(tarn_submit(client_, tarn_task_id(task), more.data(), more.size(), &options, &future));
    return future;
  }

  tarn_object put(uint64_t id, uint32_t size) {
    std::vector<std::byte> bytes(size);
    fill_pattern(id, bytes);
    tarn_object object{};
    if (code_ == 0) take(tarn_put(client_, bytes.data(), bytes.size(), &object));
    return object;
  }
  void release(tarn_object object) {
    if (code_ == 0) take(tarn_release(client_, object));
  }

  tarn_bytes result(tarn_future future) {
    tarn_bytes bytes{};
    if (code_ != 0) return bytes;
    int r = tarn_result(client_, future, kHungNs, &bytes);
    tarn_task_error error{};
    error.size = sizeof error;
    bool has_cause = r == TARN_E_TASK_FAILED || r == TARN_E_DEPENDENCY;
    if (has_cause && tarn_future_error(client_, future, &error) == 0) {
      // What it failed for in the first place, as if it were the parent's: only the daemon's end is among what is planned.
      code_ = tarn_call_fail(call_, error.cause, error.type, "%s", error.message);
    } else {
      take(r);
    }
    return bytes;
  }
  uint64_t number(tarn_future future) {
    uint64_t value = 0;
    if (tarn_bytes bytes = result(future); bytes.size == sizeof value) memcpy(&value, bytes.data, sizeof value);
    return value;
  }

 private:
  void take(int r) {
    if (r < 0) code_ = tarn_call_fail(call_, r, nullptr, "%s", tarn_last_error());
  }

  tarn_call* call_;
  tarn_client* client_;
  int code_ = 0;
};

int tree(tarn_call* call) {
  Order order = begin(call);
  if (order.detail == 0) return give(call, answer(order.id));
  Parent parent(call);
  auto below = [&order](Branch branch) { return id_below(order.id, branch); };
  tarn_future left = parent.submit(kTree, {below(kLeft), 0, order.detail - 1});
  tarn_future right = parent.submit(kTree, {below(kRight), 0, order.detail - 1});
  tarn_future bytes = parent.submit(kFill, {below(kBytes), bytes_below(order.id), 0});
  tarn_future both = parent.submit(kDigest, {below(kBoth), 0, 0}, {tarn_arg_future(left), tarn_arg_future(bytes)});
  // Now and then for so long that whoever waits for its end lends its slot, to a stand-in that is started first.
  uint32_t micros = order.id % 16 == 0 ? 40'000 : 0;
  (void)parent.submit(kSleep, {below(kNobodys), micros, 0});
  tarn_object object = parent.put(below(kObject), object_below(order.id));
  tarn_future of_object = parent.submit(kDigest, {below(kOfObject), 0, 0}, {tarn_arg_object(object)});
  parent.release(object);
  uint64_t sum = order.id;
  for (tarn_future future : {right, both, of_object, left}) sum = add_digest(sum, parent.number(future));
  sum = add_digest(sum, digest(parent.result(bytes)));
  return parent.code() < 0 ? parent.code() : give(call, sum);
}

}  // namespace

uint64_t tree_answer(uint64_t id, uint32_t depth) {
  if (depth == 0) return answer(id);
  auto digest_of = [](uint64_t value) { return digest({&value, sizeof value}); };
  uint64_t left = tree_answer(id_below(id, kLeft), depth - 1);
  uint64_t bytes = digest_of_pattern(id_below(id, kBytes), bytes_below(id));
  uint64_t both = add_digest(add_digest(id_below(id, kBoth), digest_of(left)), bytes);
  uint64_t of_object =
      add_digest(id_below(id, kOfObject), digest_of_pattern(id_below(id, kObject), object_below(id)));
  uint64_t sum = id;
  for (uint64_t value : {tree_answer(id_below(id, kRight), depth - 1), both, of_object, left}) sum = add_digest(sum, value);
  return add_digest(sum, bytes);
}

void define_tasks() {
  tarn_task_define(kEcho, echo);
  tarn_task_define(kFill, fill);
  tarn_task_define(kYield, yield_items);
  tarn_task_define(kDigest, digest_arguments);
  tarn_task_define(kSleep, sleep_a_while);
  tarn_task_define(kFail, fail);
  tarn_task_define(kAgain, fail_at_first);
  tarn_task_define(kCrash, crash);
  tarn_task_define(kTree, tree);
}

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

void fill_pattern(uint64_t id, std::span<std::byte> out) {
  for (size_t at = 0; at < out.size(); at += sizeof id) {
    uint64_t word = mix(id + at);
    memcpy(out.data() + at, &word, out.size() - at < sizeof word ? out.size() - at : sizeof word);
  }
}

bool has_pattern(uint64_t id, tarn_bytes bytes) {
  auto* data = static_cast<const std::byte*>(bytes.data);
  for (size_t at = 0; at < bytes.size; at += sizeof id) {
    uint64_t word = mix(id + at);
    if (memcmp(data + at, &word, bytes.size - at < sizeof word ? bytes.size - at : sizeof word) != 0)
      return false;
  }
  return true;
}

bool is_item(const Order& order, uint32_t number, tarn_bytes bytes) {
  return bytes.size == size_of_item(order, number) && has_pattern(id_of_item(order, number), bytes);
}

uint64_t digest(tarn_bytes bytes) {
  auto* data = static_cast<const std::byte*>(bytes.data);
  uint64_t sum = bytes.size;
  for (size_t at = 0; at < bytes.size; at += sizeof sum) {
    uint64_t word = 0;
    memcpy(&word, data + at, bytes.size - at < sizeof word ? bytes.size - at : sizeof word);
    sum = (sum ^ word) * 0x100000001b3;
    sum ^= sum >> 32;
  }
  return sum;
}

uint64_t digest_of_pattern(uint64_t id, size_t size) {
  std::vector<std::byte> bytes(size);
  fill_pattern(id, bytes);
  return digest({bytes.data(), bytes.size()});
}

}  // namespace tarn::fault
