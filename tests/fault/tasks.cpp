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

}  // namespace

void define_tasks() {
  tarn_task_define(kEcho, echo);
  tarn_task_define(kFill, fill);
  tarn_task_define(kDigest, digest_arguments);
  tarn_task_define(kSleep, sleep_a_while);
  tarn_task_define(kFail, fail);
  tarn_task_define(kCrash, crash);
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
