#include "task/arguments.hpp"

#include <cstring>

#include "os/memory.hpp"

namespace tarn::task {
namespace {

constexpr size_t kValuesMax = 3;
constexpr size_t kValuesOffset = 8;

uint64_t align8(uint64_t size) { return os::round_up(size, 8); }

}  // namespace

uint8_t encode_inline(const tarn_arg* args, size_t count, const ObjectRef* first_object, std::byte* payload) {
  if (count == 0) return kNoArguments;
  if (count == 1 && args[0].kind == TARN_ARG_VALUE && args[0].u.value.size <= kOneValueMax) {
    tarn_bytes value = args[0].u.value;
    if (value.size == 8) {
      memcpy(payload, value.data, 8);  // the common case, without a call
    } else if (value.size != 0) {
      memcpy(payload, value.data, value.size);
    }
    return static_cast<uint8_t>(value.size);
  }
  if (count == 1 && args[0].kind == TARN_ARG_OBJECT) {
    memcpy(payload, first_object, sizeof *first_object);
    return kOneObject;
  }
  if (count > kValuesMax) return kBlock;
  uint64_t end = kValuesOffset;
  for (size_t i = 0; i < count; ++i) {
    if (args[i].kind != TARN_ARG_VALUE || args[i].u.value.size > kPayloadSize) return kBlock;
    end += align8(args[i].u.value.size);
  }
  if (end > kPayloadSize) return kBlock;
  uint64_t at = kValuesOffset;
  for (size_t i = 0; i < count; ++i) {
    tarn_bytes value = args[i].u.value;
    payload[i] = static_cast<std::byte>(value.size);
    if (value.size != 0) memcpy(payload + at, value.data, value.size);
    at += align8(value.size);
  }
  payload[3] = static_cast<std::byte>(count);
  return kValues;
}

size_t inline_count(uint8_t format, const std::byte* payload) {
  if (format <= kOneValueMax || format == kOneObject) return 1;
  if (format == kValues) return std::to_integer<size_t>(payload[3]);
  return 0;
}

tarn_bytes inline_value(uint8_t format, const std::byte* payload, size_t index) {
  if (format <= kOneValueMax && index == 0) return {payload, format};
  if (format != kValues || index >= kValuesMax || index >= inline_count(format, payload)) return {nullptr, 0};
  uint64_t at = kValuesOffset;
  for (size_t i = 0; i < index; ++i) at += align8(std::to_integer<uint64_t>(payload[i]));
  auto size = std::to_integer<size_t>(payload[index]);
  if (at + size > kPayloadSize) return {nullptr, 0};
  return {payload + at, size};
}

uint64_t block_size(const tarn_arg* args, size_t count) {
  uint64_t size = count * sizeof(BlockEntry);
  for (size_t i = 0; i < count; ++i)
    if (args[i].kind == TARN_ARG_VALUE) size += align8(args[i].u.value.size);
  return size;
}

bool block_entry(const std::byte* block, uint64_t size, size_t index, BlockEntry& entry) {
  if (index >= kArgumentsMax || (index + 1) * sizeof(BlockEntry) > size) return false;
  memcpy(&entry, block + index * sizeof(BlockEntry), sizeof entry);
  return entry.kind != TARN_ARG_VALUE || (entry.offset <= size && entry.size <= size - entry.offset);
}

bool block_limits(const std::byte* block, const BlockRef& ref, TaskLimits& limits) {
  if (ref.size < sizeof limits || ref.limits > ref.size - sizeof limits) return false;
  memcpy(&limits, block + ref.limits, sizeof limits);
  return limits.size() <= ref.size - ref.limits;
}

bool counts_for_retry(const std::byte* block, const BlockRef& ref, const TaskLimits& limits, int code) {
  if (limits.code_count == 0) return limits.error_runs_max != 0;
  for (uint32_t i = 0; i < limits.code_count; ++i) {
    int32_t each;
    memcpy(&each, block + ref.limits + sizeof limits + i * sizeof each, sizeof each);
    if (each == code) return true;
  }
  return false;
}

}  // namespace tarn::task
