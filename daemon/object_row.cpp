#include "object_row.hpp"

#include <algorithm>
#include <cstring>

#include "store/object_record.hpp"

namespace tarn::daemon {
namespace {

constexpr uint64_t kMemberBits = (uint64_t{1} << store::kHoldersMax) - 1;

}  // namespace

std::string_view name_of(ObjectRow::Where where) {
  switch (where) {
    case ObjectRow::Where::kNone: break;
    case ObjectRow::Where::kMemory: return "memory";
    case ObjectRow::Where::kDisk: return "disk";
    case ObjectRow::Where::kDropped: return "dropped";
    case ObjectRow::Where::kFile: return "file";
  }
  return "";
}

bool read_object(std::span<const std::byte> record, ObjectRow& out) {
  store::ObjectImage image;
  if (record.size() < sizeof image) return false;
  memcpy(&image, record.data(), sizeof image);
  auto state = store::ObjectState::unpack(image.state);
  if (state.phase == store::Phase::kFree || state.phase > store::Phase::kSealed || (image.holders & store::kDead) != 0)
    return false;
  auto place = store::ObjectPlace::unpack(image.place);
  out.phase = static_cast<uint8_t>(state.phase);
  out.size = image.size;
  out.holders = image.holders & kMemberBits;
  out.slab = place.slab;
  out.in_slab = place.slab != store::kNoSlab;
  out.is_file = place.is_file;
  // Smaller ones leave the two words as an earlier object of the record had them.
  out.can_leave = out.size > store::kStaysMax && !place.is_file;
  if (out.can_leave) {
    out.pins = image.pins & kMemberBits;
    out.used_at = image.used_at;
  }
  out.type = image.type;
  out.meta_size = image.meta_size;
  out.offset = place.offset;
  return true;
}

uint64_t believed_size(uint64_t size, uint64_t offset, uint64_t slab_size, uint64_t& left) {
  if (offset > slab_size) return 0;
  uint64_t believed = std::min({size, slab_size - offset, left});
  left -= believed;
  return believed;
}

std::optional<uint32_t> unused_s(const ObjectRow& row, uint32_t now_s) {
  if (!row.can_leave || row.pins != 0) return std::nullopt;
  return row.used_at < now_s ? now_s - row.used_at : 0;
}

bool is_away(const MovedObject& object) {
  using Phase = MovedObject::Phase;
  switch (object.phase) {
    case Phase::kNone:
    case Phase::kSaving:
    case Phase::kKept:
    case Phase::kAbandoned: return false;
    case Phase::kLeaving:
    case Phase::kAway:
    case Phase::kWaiting:
    case Phase::kReturning: return true;
  }
  return false;
}

ObjectCheck::Room& ObjectCheck::room(uint32_t number) {
  if (last_ != nullptr && last_number_ == number) return *last_;
  auto [found, is_new] = rooms_.try_emplace(number, Room{nullptr, 0});
  if (is_new) {
    if (auto slab = member_.slabs.find(number); slab != member_.slabs.end())
      found->second = {&slab->second, slab->second.size - slab->second.bytes_away};
  }
  last_number_ = number;
  last_ = &found->second;
  return *last_;
}

void ObjectCheck::check(ObjectRow& row) {
  uint64_t claimed = row.size;
  row.size = 0;
  Room* at = row.in_slab ? &room(row.slab) : nullptr;
  if (at != nullptr && at->slab != nullptr && at->slab->is_file == row.is_file) {
    row.where = row.is_file ? ObjectRow::Where::kFile : ObjectRow::Where::kMemory;
    uint64_t away = 0;
    if (auto moved = at->slab->moved.find(row.offset); moved != at->slab->moved.end() && moved->second->index == row.record) {
      using Phase = MovedObject::Phase;
      Phase phase = moved->second->phase;
      row.is_moving = phase == Phase::kSaving || phase == Phase::kLeaving || phase == Phase::kReturning;
      if (is_away(*moved->second)) {
        row.where = moved->second->is_dropped ? ObjectRow::Where::kDropped : ObjectRow::Where::kDisk;
        away = moved->second->size;
      }
    }
    // What is on the disk is paid for there, and what was dropped nowhere.
    uint64_t& left = away != 0 ? away : at->left;
    row.size = believed_size(claimed, row.offset, at->slab->size, left);
  }
  // Behind a payload that is not where the record says there is nothing to read either.
  if (row.size != claimed) row.meta_size = 0;
}

}  // namespace tarn::daemon
