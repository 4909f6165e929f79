// Any process may send tarnd any bytes. wire::parse must refuse what is not a message of the protocol
// and, for what it accepts, keep the promises of wire/validate.hpp that its readers rely on.
//
// Input: one byte that chooses the sender and whether the header's frame is put right (so that the
// bodies are reached), one byte for the number of descriptors, then the packet.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

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
      break;
    }
    case Type::kTaskNames:
      require_strings(packet.tail);
      require(packet.as<TaskNames>().names_size == packet.tail.size());
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
  const auto from = static_cast<From>(data[0] & 3u);
  const size_t descriptor_count = data[1] % (kDescriptorsMax + 1);
  // A buffer of exactly this size, so that AddressSanitizer sees a read of one byte more.
  std::vector<std::byte> bytes(size - 2);
  if (!bytes.empty()) std::memcpy(bytes.data(), data + 2, bytes.size());
  if ((data[0] & kFrameIsPutRight) != 0) put_frame_right(bytes);

  Packet packet;
  if (parse(bytes, descriptor_count, from, packet) == 0) require_promises(packet, bytes);
  return 0;
}
