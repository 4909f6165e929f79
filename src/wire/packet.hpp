// Packet: building a message in a fixed buffer, and reading one that wire/validate.hpp has accepted.
//
// Neither allocates. A Builder owns nothing: the buffer is the caller's and must outlive it. A Packet
// is a view into the caller's private copy of what was received, never into shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/assert.hpp"
#include "wire/messages.hpp"

namespace tarn::wire {

// A buffer for one packet of at most `Size` bytes, aligned for every struct of the protocol.
template <size_t Size>
struct Buffer {
  alignas(8) std::byte bytes[Size];
};

class Builder {
 public:
  // REQUIRES: `buffer` is aligned to 8 bytes and holds the header and the body.
  Builder(std::span<std::byte> buffer, Type type, uint32_t serial) : buffer_(buffer) {
    TARN_ASSERT(buffer.size() >= sizeof(Header) && reinterpret_cast<uintptr_t>(buffer.data()) % 8 == 0);
    Header header{kMagic, kVersion, static_cast<uint16_t>(type), 0, serial};
    memcpy(buffer_.data(), &header, sizeof header);
  }

  // Appends the zeroed struct of the message, to be filled in place. Once, before any tail.
  template <class Body>
  Body& body() {
    static_assert(std::is_trivially_copyable_v<Body> && alignof(Body) <= 8);
    TARN_ASSERT(size_ == sizeof(Header) && size_ + sizeof(Body) <= buffer_.size());
    std::byte* at = buffer_.data() + size_;
    memset(at, 0, sizeof(Body));
    size_ += sizeof(Body);
    return *reinterpret_cast<Body*>(at);
  }

  // Appends to the tail; false, and nothing is appended, if it does not fit.
  [[nodiscard]] bool append(const void* data, size_t size) {
    if (size > buffer_.size() - size_) return false;
    if (size != 0) memcpy(buffer_.data() + size_, data, size);
    size_ += size;
    return true;
  }

  // The finished packet.
  [[nodiscard]] std::span<const std::byte> finish() {
    auto size = static_cast<uint32_t>(size_);
    memcpy(buffer_.data() + offsetof(Header, size), &size, sizeof size);
    return buffer_.first(size_);
  }

 private:
  std::span<std::byte> buffer_;
  size_t size_ = sizeof(Header);
};

// Copies `text` into a NUL-terminated field, cut where it does not fit; the rest stays zero.
template <size_t Size>
void set_text(char (&field)[Size], std::string_view text) {
  size_t length = text.size() < Size - 1 ? text.size() : Size - 1;
  if (length != 0) memcpy(field, text.data(), length);
  memset(field + length, 0, Size - length);
}

// One accepted packet.
struct Packet {
  Type type{};
  uint32_t serial = 0;
  const std::byte* body = nullptr;
  size_t body_size = 0;
  std::span<const std::byte> tail;

  template <class Body>
  [[nodiscard]] const Body& as() const {
    TARN_ASSERT(body_size == sizeof(Body));
    return *reinterpret_cast<const Body*>(body);
  }
};

// A walk over NUL-terminated strings that lie one behind the other, as argv and environments do.
class StringWalk {
 public:
  explicit StringWalk(std::span<const std::byte> bytes)
      : rest_(reinterpret_cast<const char*>(bytes.data()), bytes.size()) {}

  [[nodiscard]] bool next(std::string_view& out) {
    if (rest_.empty()) return false;
    size_t end = rest_.find('\0');
    if (end == std::string_view::npos) return false;
    out = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    return true;
  }

 private:
  std::string_view rest_;
};

}  // namespace tarn::wire
