// StateSet: which states the explorer has seen, as 128-bit hashes in one open table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace tarn::model {

struct Hash128 {
  uint64_t low = 0x9e3779b97f4a7c15;
  uint64_t high = 0xc2b2ae3d27d4eb4f;

  void add(uint64_t a, uint64_t b) {
    low = mix(low ^ a, 0xa0761d6478bd642f ^ b);
    high = mix(high ^ b, 0xe7037ed1a0b428db ^ a);
    low += high;
  }

  static Hash128 of(const void* data, size_t size) {
    Hash128 hash;
    auto* bytes = static_cast<const unsigned char*>(data);
    for (size_t at = 0; at < size; at += 16) {
      uint64_t words[2] = {};
      std::memcpy(words, bytes + at, size - at < 16 ? size - at : 16);
      hash.add(words[0], words[1]);
    }
    return hash;
  }

  bool operator==(const Hash128&) const = default;

 private:
  static uint64_t mix(uint64_t a, uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    Wide product = static_cast<Wide>(a ^ 0x8ebc6af09c88c6e3) * (b ^ 0x589965cc75374cc3);
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
};

class StateSet {
 public:
  StateSet() : table_(size_t{1} << 14) {}

  // False if it was there already.
  bool insert(Hash128 hash) {
    if (hash.low == 0) hash.low = 1;  // zero marks a free place
    if (count_ * 2 >= table_.size()) grow();
    Hash128& place = find(hash);
    if (place.low != 0) return false;
    place = hash;
    ++count_;
    return true;
  }

 private:
  struct Place : Hash128 {
    Place() { low = high = 0; }
  };

  Hash128& find(const Hash128& hash) {
    for (size_t at = hash.high;; ++at) {
      Place& place = table_[at & (table_.size() - 1)];
      if (place.low == 0 || place == hash) return place;
    }
  }

  void grow() {
    std::vector<Place> old(table_.size() * 2);
    old.swap(table_);
    for (const Place& place : old)
      if (place.low != 0) find(place) = place;
  }

  std::vector<Place> table_;
  size_t count_ = 0;
};

}  // namespace tarn::model
