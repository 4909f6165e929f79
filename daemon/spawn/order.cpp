#include "order.hpp"

#include <cstring>
#include <string_view>

namespace tarn::spawn {
namespace {

constexpr std::string_view kWorkerVariable = "TARN_WORKER_FD=";
char worker_setting[] = "TARN_WORKER_FD=3";  // the first inherited descriptor, see start()

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
  return order;
}

}  // namespace tarn::spawn
