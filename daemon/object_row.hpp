// ObjectRow: what a record says of one object, for the tools, and how much of that tarnd believes.
//
// The record is a tenant's word. Its bytes were copied once; each number is checked against tarnd's own table of slabs: an
// object has no more bytes than its slab, all objects of a slab have no more than is charged for it, and what is on the
// disk, or held by tarnd, is what tarnd itself has put there. So nobody makes sums larger than what he pays for. Loop
// thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>

#include "session.hpp"

namespace tarn::daemon {

struct ObjectRow {
  enum class Where : uint8_t { kNone, kMemory, kDisk, kDropped, kFile };

  uint32_t session = 0;
  uint32_t owner = 0;    // member whose memory it lies in
  uint32_t record = 0;
  uint8_t phase = 0;     // index into kObjectPhases
  uint64_t size = 0;     // bytes
  uint64_t holders = 0;  // bit of each member below 62
  uint64_t pins = 0;     // the same; 0 unless it can leave memory
  bool can_leave = false;
  uint32_t used_at = 0;  // seconds of the monotonic clock; of one that can leave memory
  uint32_t slab = 0;     // of the owner
  bool in_slab = false;  // an object of 0 bytes may be in none
  bool is_file = false;
  uint32_t type = 0;       // its tag
  uint32_t meta_size = 0;  // of the block behind the payload
  uint64_t offset = 0;     // in the slab
  // What tarnd knows of it.
  Where where = Where::kNone;
  bool is_moving = false;  // to the disk or back: tarnd holds it meanwhile
};

[[nodiscard]] std::string_view name_of(ObjectRow::Where where);

// The record's own words; false if it is no object that lives. `record` has shm::kRecordSize bytes, copied.
[[nodiscard]] bool read_object(std::span<const std::byte> record, ObjectRow& out);

// What is believed of an object of `size` bytes at `offset` of a slab, when all others there have left it `left` bytes of
// it; those are fewer by it afterwards.
[[nodiscard]] uint64_t believed_size(uint64_t size, uint64_t offset, uint64_t slab_size, uint64_t& left);

// Seconds since the object was made or last unpinned; none if somebody uses it now, or if it does not keep that. A time to
// come is now.
[[nodiscard]] std::optional<uint32_t> unused_s(const ObjectRow& row, uint32_t now_s);

// Checks the rows of one member, each once.
class ObjectCheck {
 public:
  explicit ObjectCheck(const Member& member) : member_(member) {}
  void check(ObjectRow& row);

 private:
  struct Room {
    const Slab* slab;  // nullptr: there is none of that number
    uint64_t left;     // bytes that nobody has been found in
  };
  Room& room(uint32_t number);

  const Member& member_;
  std::unordered_map<uint32_t, Room> rooms_;
  uint32_t last_number_ = UINT32_MAX;  // neighbours lie in the same slab
  Room* last_ = nullptr;
};

// Whether the object's bytes are not in memory, or are about to leave it, or on their way back.
[[nodiscard]] bool is_away(const MovedObject& object);

}  // namespace tarn::daemon
