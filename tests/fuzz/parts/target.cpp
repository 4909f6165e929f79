// A result with parts was written by another process, and its table may say anything. Whatever it says: a part lies inside of the
// result. And what an honest task writes is read as it was.
//
// Input: the sizes of parts, then what becomes of the bytes; or the bytes themselves.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "../input.hpp"
#include "task/parts.hpp"

namespace tarn::fuzz {
namespace {

using Bytes = std::vector<std::byte>;

// Of the exact size, so that a sanitizer sees a read behind it.
void read_all(const Bytes& bytes) {
  tarn_bytes result{bytes.data(), bytes.size()};
  size_t count = 0;
  if (task::count_parts(result, nullptr, count) < 0) return;
  require(count <= bytes.size(), "a table lies in its result");
  for (size_t i = 0; i < std::min<size_t>(count, 64) + 1; ++i) {
    tarn_bytes part{};
    if (task::read_part(result, i, "task", part) < 0) {
      require(part.data == nullptr, "an output is untouched on failure");
      continue;
    }
    require(i < count, "there is no more than the count");
    auto begin = static_cast<size_t>(static_cast<const std::byte*>(part.data) - bytes.data());
    require(begin <= bytes.size() && part.size <= bytes.size() - begin,
            "a part lies in its result");
  }
}

Bytes write(const std::vector<size_t>& sizes) {
  task::PartSizes all(sizes.data(), sizes.size());
  task::PartsLayout layout;
  require(layout.measure(all) == 0, "parts of such sizes have room");
  Bytes bytes(layout.size());
  std::vector<size_t> places;
  layout.write(bytes.data(), all, [&](size_t, std::byte* to) {
    places.push_back(static_cast<size_t>(to - bytes.data()));
  });
  for (size_t i = 0; i < sizes.size(); ++i) {
    tarn_bytes part{};
    require(task::read_part({bytes.data(), bytes.size()}, i, nullptr, part) == 0,
            "what was written can be read");
    require(part.data == bytes.data() + places[i] && part.size == sizes[i],
            "and is where it was put");
  }
  return bytes;
}

}  // namespace
}  // namespace tarn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tarn::fuzz;
  Input input(data, size);
  if (input.byte() % 4 == 3) {
    Bytes bytes(input.byte());
    if (!bytes.empty()) input.read(bytes.data(), bytes.size());
    read_all(bytes);
    return 0;
  }
  std::vector<size_t> sizes(input.byte() % 8);
  for (size_t& each : sizes) each = input.byte();
  Bytes bytes = write(sizes);
  while (!input.empty()) {
    size_t at = input.byte() % (tarn::task::PartsTable::kSmallSizeMax * 2);
    if (at < bytes.size()) bytes[at] = static_cast<std::byte>(input.byte());
    read_all(bytes);
  }
  return 0;
}
