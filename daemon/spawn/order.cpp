#include "order.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

namespace tarn::spawn {
namespace {

constexpr std::string_view kWorkerVariable = "TARN_WORKER_FD=";
char worker_setting[] = "TARN_WORKER_FD=3";  // the first inherited descriptor, see start()

// The first is read by all that do not find their own.
constexpr std::string_view kThreadVariables[] = {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"};

bool is_set(const std::vector<char*>& environment, std::string_view name) {
  return std::any_of(environment.begin(), environment.end(), [name](const char* each) {
    std::string_view text(each == nullptr ? "" : each);
    return text.size() > name.size() && text.starts_with(name) && text[name.size()] == '=';
  });
}

// Who has set the first has spoken for all of them: what it does not set must not be set against it.
void add_threads(Order& order, uint32_t cores) {
  if (cores == 0 || is_set(order.environment, kThreadVariables[0])) return;
  std::vector<size_t> added;
  for (std::string_view name : kThreadVariables) {
    if (is_set(order.environment, name)) continue;
    added.push_back(order.threads.size());
    std::string setting = std::string(name) + "=" + std::to_string(cores);
    order.threads.insert(order.threads.end(), setting.c_str(), setting.c_str() + setting.size() + 1);
  }
  for (size_t at : added) order.environment.insert(order.environment.begin(), order.threads.data() + at);
}

std::vector<char*> string_pointers(std::span<const std::byte> bytes, bool is_environment) {
  std::vector<char*> pointers;
  wire::StringWalk walk(bytes);
  for (std::string_view text; walk.next(text);)
    if (!is_environment || !text.starts_with(kWorkerVariable)) pointers.push_back(const_cast<char*>(text.data()));
  if (is_environment) pointers.push_back(worker_setting);
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Order read_order(const wire::Packet& packet) {
  const auto& message = packet.as<wire::Spawn>();
  size_t groups_size = message.group_count * sizeof(gid_t);
  Order order;
  order.groups.resize(message.group_count);
  if (groups_size != 0) memcpy(order.groups.data(), packet.tail.data(), groups_size);
  order.argv = string_pointers(packet.tail.subspan(groups_size, message.argv_size), false);
  order.environment = string_pointers(packet.tail.subspan(groups_size + message.argv_size), true);
  add_threads(order, message.cpu_count);
  return order;
}

}  // namespace tarn::spawn
