// Validate: whether a packet that somebody sent is one of the protocol, down to the last field.
//
// Thread safety: no state; any thread. Allocates nothing.
#pragma once

#include <cstddef>
#include <span>

#include "wire/packet.hpp"

namespace tarn::wire {

// Who sent it, and so which messages it may be.
enum class From {
  kMember,         // a client, worker or tool, to tarnd
  kDaemon,         // tarnd, to one of those
  kDaemonToSpawn,  // tarnd, to the spawn service
  kSpawn,          // the spawn service, to tarnd
  kDaemonToOutput, // tarnd, to a session's tarn-output
};

// Checks `bytes` (a private copy, aligned to 8 bytes) and the number of descriptors that came with
// it, and sets `out` to a view of it. Afterwards every field is within the bounds of the protocol:
// enumerations are known, texts end inside their field, tails have the size that the struct tells and
// consist of whole strings, reserved fields are zero, and there is not a byte more.
// What only the receiver can know (whether that slab exists, whether this order of messages is
// allowed) is left to it. TARN_E_VERSION for a packet of another version, otherwise TARN_E_PROTOCOL;
// the text names the message and the field.
[[nodiscard]] int parse(std::span<const std::byte> bytes, size_t descriptor_count, From from, Packet& out);

// The name of a message type, such as "HELLO"; "?" if there is none.
[[nodiscard]] const char* type_name(Type type);

}  // namespace tarn::wire
