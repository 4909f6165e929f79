#include "shm/output_log.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstring>

#include "base/assert.hpp"

namespace tarn::shm {
namespace {

constexpr uint64_t kUnit = sizeof(uint64_t);

uint64_t& unit_at(OutputLane& lane, uint64_t position) {
  return *reinterpret_cast<uint64_t*>(lane.ring + position % kOutputRingSize);
}

uint32_t size_at(OutputLane& lane, uint64_t position) {
  static_assert(offsetof(OutputEntry, size) == 0 && std::endian::native == std::endian::little);
  return static_cast<uint32_t>(std::atomic_ref(unit_at(lane, position)).load(kRelaxed));
}

// What is copied may be overwritten meanwhile (invariant 3), so each unit is a word of its own.
void copy_out(OutputLane& lane, uint64_t from, uint64_t end, uint64_t* to) {
  for (uint64_t at = from; at < end; at += kUnit) *to++ = std::atomic_ref(unit_at(lane, at)).load(kRelaxed);
}

void copy_in(OutputLane& lane, uint64_t position, const uint64_t* from, uint64_t size) {
  for (uint64_t at = 0; at < size; at += kUnit) std::atomic_ref(unit_at(lane, position + at)).store(*from++, kRelaxed);
}

}  // namespace

OutputWriter::OutputWriter(OutputLane& lane)
    : lane_(&lane), begin_(lane.begin.load(kAcquire)), end_(lane.end.load(kAcquire)) {
  // What is there was written by a process of this user. If it makes no sense, the log begins anew.
  bool is_whole = begin_ % kUnit == 0 && end_ % kUnit == 0 && begin_ <= end_ && end_ - begin_ <= kOutputRingSize;
  for (uint64_t at = begin_; is_whole && at < end_;) {
    uint32_t size = size_at(lane, at);
    uint64_t left = std::min(end_ - at, kOutputRingSize - at % kOutputRingSize);
    is_whole = size >= kUnit && size % kUnit == 0 && size <= left;
    at += size;
  }
  if (is_whole) return;
  begin_ = end_ = end_ / kOutputRingSize * kOutputRingSize + kOutputRingSize;
  lane.begin.store(begin_, kRelease);
  lane.end.store(end_, kRelease);
}

// The ring shall hold up to position `end`.
void OutputWriter::make_room(uint64_t end) {
  if (end - begin_ <= kOutputRingSize) return;
  while (end - begin_ > kOutputRingSize) {
    // This process alone writes here, but others could: whatever they do hurts the log and nobody else.
    uint32_t size = size_at(*lane_, begin_);
    bool makes_sense = size >= kUnit && size % kUnit == 0 && begin_ + size <= end_;
    begin_ = makes_sense ? begin_ + size : end_;
  }
  lane_->begin.store(begin_, kRelease);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // before what follows overwrites it
}

void OutputWriter::append(OutputEntry head, std::string_view name, std::string_view text) {
  TARN_ASSERT(name.size() <= kOutputNameMax && text.size() <= kOutputTextMax);
  uint64_t size = (sizeof head + name.size() + text.size() + kUnit - 1) / kUnit * kUnit;
  uint64_t left = kOutputRingSize - end_ % kOutputRingSize;
  if (left < size) {
    make_room(end_ + left);
    OutputEntry filler{};
    filler.size = static_cast<uint32_t>(left);
    filler.kind = OutputEntry::kFiller;
    uint64_t units[sizeof filler / kUnit];
    memcpy(units, &filler, sizeof filler);
    copy_in(*lane_, end_, units, std::min<uint64_t>(left, sizeof filler));
    end_ += left;
    lane_->end.store(end_, kRelease);
  }
  make_room(end_ + size);
  head.size = static_cast<uint32_t>(size);
  head.kind = OutputEntry::kLine;
  head.name_size = static_cast<uint8_t>(name.size());
  head.text_size = static_cast<uint32_t>(text.size());
  uint64_t units[(sizeof head + kOutputNameMax + kOutputTextMax + kUnit - 1) / kUnit];
  units[size / kUnit - 1] = 0;  // the end of the last unit
  auto* at = reinterpret_cast<std::byte*>(units);
  memcpy(at, &head, sizeof head);
  memcpy(at + sizeof head, name.data(), name.size());
  memcpy(at + sizeof head + name.size(), text.data(), text.size());
  copy_in(*lane_, end_, units, size);
  end_ += size;
  lane_->end.store(end_, kRelease);
}

void OutputCopy::read(OutputLane& lane, uint64_t& position) {
  size_ = at_ = 0;
  uint64_t end = lane.end.load(kAcquire);
  uint64_t begin = lane.begin.load(kAcquire);
  if (begin % kUnit != 0 || end % kUnit != 0 || begin > end || end - begin > kOutputRingSize) return;
  uint64_t from = position > begin && position <= end ? position : begin;
  bytes_.resize(kOutputRingSize / kUnit);
  copy_out(lane, from, end, bytes_.data());
  size_ = end - from;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  uint64_t begins_now = lane.begin.load(kAcquire);
  if (begins_now > from) at_ = begins_now < end ? begins_now - from : size_;
  position = end;
}

const OutputEntry* OutputCopy::next() {
  auto* bytes = reinterpret_cast<const std::byte*>(bytes_.data());
  while (size_ - at_ >= kUnit) {
    uint32_t size;
    memcpy(&size, bytes + at_, sizeof size);
    auto kind = static_cast<uint8_t>(bytes[at_ + offsetof(OutputEntry, kind)]);
    if (size < kUnit || size % kUnit != 0 || size > size_ - at_) break;
    auto* entry = reinterpret_cast<const OutputEntry*>(bytes + at_);
    at_ += size;
    if (kind != OutputEntry::kLine) continue;
    bool is_whole = size >= sizeof(OutputEntry) && entry->text_size <= kOutputTextMax && entry->name_size <= kOutputNameMax &&
                    sizeof(OutputEntry) + entry->name_size + entry->text_size <= size;
    if (is_whole) return entry;
  }
  at_ = size_;
  return nullptr;
}

}  // namespace tarn::shm
