// Any process may send tarnd any bytes. wire::parse must refuse what is not a message of the protocol
// and, for what it accepts, keep the promises of wire/validate.hpp that its readers rely on. tarn-spawn's orders are taken
// apart as well.
//
// Input: one byte that chooses the sender and whether the header's frame is put right (so that the
// bodies are reached), one byte for the number of descriptors, then the packet.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "spawn/order.hpp"
#include "wire/messages.hpp"
#include "wire/packet.hpp"
#include "wire/validate.hpp"

namespace tarn::wire {
namespace {

constexpr unsigned kFrameIsPutRight = 4;

void require(bool holds) {
  if (!holds) std::abort();
}

template <size_t Size>
void require_text(const char (&text)[Size]) {
  require(std::memchr(text, 0, Size) != nullptr);
}

// Every byte of `bytes` belongs to a string that ends in it.
void require_strings(std::span<const std::byte> bytes) {
  StringWalk walk(bytes);
  size_t seen = 0;
  for (std::string_view text; walk.next(text);) seen += text.size() + 1;
  require(seen == bytes.size());
}

// As tarn-spawn hands them to execve: strings of `bytes`, `count` of them, a null at the end.
void require_pointers(const std::vector<char*>& pointers, ptrdiff_t count, std::span<const std::byte> bytes) {
  require(std::ssize(pointers) == count + 1 && pointers.back() == nullptr);
  for (const char* each : std::span(pointers).first(pointers.size() - 1)) {
    const auto* at = reinterpret_cast<const std::byte*>(each);
    require(at >= bytes.data() && at + std::strlen(each) < bytes.data() + bytes.size());
  }
}

void require_order(const Packet& packet) {
  spawn::Order order = spawn::read_order(packet);
  const auto& message = packet.as<Spawn>();
  const size_t groups = uint64_t{message.group_count} * sizeof(gid_t);
  require(order.groups.size() == message.group_count);
  require(groups == 0 || std::memcmp(order.groups.data(), packet.tail.data(), groups) == 0);
  auto argv = packet.tail.subspan(groups, message.argv_size);
  require_pointers(order.argv, std::ranges::count(argv, std::byte{0}), argv);
  // The last of the environment is tarn-spawn's own, and no other speaks for it.
  constexpr std::string_view kSetting = "TARN_WORKER_FD=";
  auto environment = packet.tail.subspan(groups + message.argv_size);
  ptrdiff_t kept = 0;
  bool threads_set = message.cpu_count == 0;
  StringWalk walk(environment);
  for (std::string_view text; walk.next(text);) {
    kept += text.starts_with(kSetting) ? 0 : 1;
    threads_set |= text.starts_with("OMP_NUM_THREADS=");
  }
  // The first are what it adds for libraries, one for each of the three that is not there.
  size_t added = 0;
  while (added < order.environment.size() && !order.threads.empty() && order.environment[added] >= order.threads.data() &&
         order.environment[added] < order.threads.data() + order.threads.size()) {
    require(std::string_view(order.environment[added++]).ends_with("_NUM_THREADS=" + std::to_string(message.cpu_count)));
  }
  require(threads_set ? added == 0 : added >= 1 && added <= 3);
  order.environment.erase(order.environment.begin(), order.environment.begin() + static_cast<ptrdiff_t>(added));
  require(order.environment.size() >= 2 && order.environment.back() == nullptr);
  order.environment.pop_back();
  require(std::string_view(order.environment.back()) == "TARN_WORKER_FD=3");
  order.environment.back() = nullptr;
  require_pointers(order.environment, kept, environment);
}

void require_promises(const Packet& packet, std::span<const std::byte> bytes) {
  require(packet.body == bytes.data() + sizeof(Header));
  require(sizeof(Header) + packet.body_size + packet.tail.size() == bytes.size());
  require(std::string_view(type_name(packet.type)) != "?");
  switch (packet.type) {
    case Type::kHello: {
      const auto& hello = packet.as<Hello>();
      require_text(hello.name);
      require(hello.build_id_size <= kBuildIdSize);
      require(uint64_t{hello.argv_size} + hello.environment_size == packet.tail.size());
      require_strings(packet.tail.first(hello.argv_size));
      require_strings(packet.tail.subspan(hello.argv_size));
      break;
    }
    case Type::kSpawn: {
      const auto& spawn = packet.as<Spawn>();
      const uint64_t groups = uint64_t{spawn.group_count} * sizeof(uint32_t);
      require(groups + spawn.argv_size + spawn.environment_size == packet.tail.size());
      require_strings(packet.tail.subspan(groups, spawn.argv_size));
      require_strings(packet.tail.subspan(groups + spawn.argv_size));
      require_order(packet);
      break;
    }
    case Type::kTaskNames:
      require_strings(packet.tail);
      require(packet.as<TaskNames>().names_size == packet.tail.size());
      break;
    case Type::kOutputBegin:
      require_strings(packet.tail);
      require(packet.as<OutputBegin>().names_size == packet.tail.size());
      break;
    case Type::kOutputWorker:
    case Type::kOutputEnd:
      require(packet.as<OutputWorker>().member <= kMemberIndexMax && packet.as<OutputWorker>().lane < kMemberIndexMax);
      break;
    case Type::kQuery:
      require_text(packet.as<Query>().what);
      break;
    case Type::kRefused:
      require_text(packet.as<Refused>().text);
      break;
    case Type::kSlabRefused:
      require_text(packet.as<SlabRefused>().text);
      break;
    case Type::kSessionBroken:
      require_text(packet.as<Broken>().text);
      break;
    case Type::kSpawnFailed:
      require_text(packet.as<SpawnFailed>().text);
      break;
    case Type::kReply:
      require(packet.as<Reply>().text_size == packet.tail.size());
      break;
    case Type::kSlabWarm:
      require(packet.as<SlabWarm>().bytes <= kSizeMax);
      break;
    case Type::kSlabComing:
    case Type::kSlabGranted:
    case Type::kSlabAdded:
      require(packet.as<SlabInfo>().member <= kMemberIndexMax &&
              packet.as<SlabInfo>().size <= kSizeMax);
      break;
    default:
      break;
  }
}

void put_frame_right(std::span<std::byte> bytes) {
  if (bytes.size() < sizeof(Header)) return;
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.magic = kMagic;
  header.version = kVersion;
  header.size = static_cast<uint32_t>(bytes.size());
  std::memcpy(bytes.data(), &header, sizeof header);
}

}  // namespace
}  // namespace tarn::wire

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tarn::wire;
  if (size < 2 || size - 2 > kMessageSizeMax) return 0;
  const auto from = (data[0] & 8u) != 0 ? From::kDaemonToOutput : static_cast<From>(data[0] & 3u);
  const size_t descriptor_count = data[1] % (kDescriptorsMax + 1);
  // A buffer of exactly this size, so that AddressSanitizer sees a read of one byte more.
  std::vector<std::byte> bytes(size - 2);
  if (!bytes.empty()) std::memcpy(bytes.data(), data + 2, bytes.size());
  if ((data[0] & kFrameIsPutRight) != 0) put_frame_right(bytes);

  Packet packet;
  if (parse(bytes, descriptor_count, from, packet) == 0) require_promises(packet, bytes);
  return 0;
}
