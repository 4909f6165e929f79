// Asserts are for our own bugs and stay in release builds. A peer's bad bytes are never asserted on.
#pragma once

namespace tarn {

[[noreturn]] void assert_failed(const char* expression, const char* file, int line);

}  // namespace tarn

#define TARN_ASSERT(expression) \
  (__builtin_expect(!!(expression), 1) ? (void)0 : ::tarn::assert_failed(#expression, __FILE__, __LINE__))
