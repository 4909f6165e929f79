// The streaming copy works in whole lines and leaves head and tail to others: a byte too many or too
// few at either end would damage the neighbour or the object.

#include "store/copy.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <vector>

namespace tarn::store {
namespace {

TEST(CopyTest, copies_exactly_the_bytes_whatever_size_and_alignment) {
  constexpr size_t kStreamed = 4u << 20;
  constexpr size_t kRoom = kStreamed + 8192;
  std::vector<unsigned char> from(kRoom);
  std::mt19937 random(1);
  for (auto& byte : from) byte = static_cast<unsigned char>(random());
  for (size_t size : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{4096}, size_t{kCopyLargeMin - 1},
                      size_t{kCopyLargeMin}, size_t{kCopyLargeMin + 1}, size_t{kCopyLargeMin + 63}, size_t{1u << 20},
                      kStreamed - 1, kStreamed, kStreamed + 1, kStreamed + 63, kStreamed + 4095}) {
    for (size_t to_shift : {size_t{0}, size_t{1}, size_t{63}}) {
      for (size_t from_shift : {size_t{0}, size_t{7}, size_t{64}}) {
        std::vector<unsigned char> to(kRoom, 0xee);
        copy(to.data() + 64 + to_shift, from.data() + from_shift, size);
        ASSERT_EQ(memcmp(to.data() + 64 + to_shift, from.data() + from_shift, size), 0) << size;
        ASSERT_EQ(to[63 + to_shift], 0xee);
        ASSERT_EQ(to[64 + to_shift + size], 0xee);
      }
    }
  }
}

TEST(CopyTest, allows_null_when_there_is_nothing_to_copy) { copy(nullptr, nullptr, 0); }

}  // namespace
}  // namespace tarn::store
