// Streams in every schedule and crash (stream_models.hpp).

#include <gtest/gtest.h>

#include "expect_holds.hpp"
#include "stream_models.hpp"

namespace tarn::model {
namespace {

constexpr Window kWindows[] = {Window::kTwoItems, Window::kOneItem, Window::kBytesOfOne};
constexpr uint32_t kNever = 100;

TEST(Stream, EachItemOnceAndInOrder) {
  for (bool symmetric : {false, true})
    for (Window window : kWindows) EXPECT_HOLDS(stream(window, arguments.long_form ? 4 : 3, kNever, 0, symmetric));
}
TEST(Stream, TheWriterMayDie) {
  for (Window window : kWindows)
    EXPECT_HOLDS(stream(window, arguments.long_form ? 4 : window == Window::kTwoItems ? 3 : 2, kNever, 1, false));
}
TEST(Stream, TheNextWriterMayDieAsWell) {
  EXPECT_HOLDS(stream(Window::kOneItem, 2, kNever, 2, false));
  if (arguments.long_form) EXPECT_HOLDS(stream(Window::kTwoItems, 3, kNever, 2, false));
}
TEST(Stream, TheReaderMayLeave) {
  for (bool symmetric : {false, true})
    for (Window window : kWindows)
      for (uint32_t after : {0u, 1u}) EXPECT_HOLDS(stream(window, 3, after, 0, symmetric));
  EXPECT_HOLDS(stream(Window::kOneItem, 3, 1, 1, false));
}

}  // namespace
}  // namespace tarn::model
