// Input: the bytes of one fuzz input, as the choices that a target asks for one after the other.
//
// Header only, for targets whose input is a script or a description rather than the very bytes that tarnd reads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.hpp"

namespace tarn::fuzz {

inline void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s (%s)\n", what, last_error());
  std::abort();
}

// Every choice is 0 once the input has ended.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  [[nodiscard]] bool empty() const { return size_ == 0; }
  uint8_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  // Mostly a small number, sometimes a large one.
  uint64_t number() {
    uint8_t first = byte();
    if (first < 0xf0) return first;
    return uint64_t{byte()} << ((first & 0x0f) * 4);
  }
  // The bytes as they come.
  void read(void* out, size_t size) {
    size_t have = size < size_ ? size : size_;
    memset(out, 0, size);
    if (have != 0) memcpy(out, data_, have);
    data_ += have;
    size_ -= have;
  }
  uint64_t word() {
    uint64_t value;
    read(&value, sizeof value);
    return value;
  }

 private:
  const uint8_t* data_;
  size_t size_;
};

}  // namespace tarn::fuzz
