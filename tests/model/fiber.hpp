// Fiber: a stack of its own that runs until it gives the processor back. One thread, no kernel.
//
// The explorer starts the same fibers many thousand times a second and abandons most of them in the
// middle: nothing on a fiber's stack may own memory, and destructors there may never run.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace tarn::model {

class Fiber {
 public:
  using Entry = void (*)(void* argument);

  static constexpr size_t kStackSize = size_t{64} << 10;  // for a model

  explicit Fiber(size_t stack_size = kStackSize);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Forgets what the fiber was doing; the next resume() calls entry(argument), which must not return.
  void start(Entry entry, void* argument);

  // Runs the fiber until it calls suspend().
  void resume();

  // Called on the fiber itself: returns to whoever resumed it.
  void suspend();

 private:
  size_t stack_size_;
  std::byte* stack_;
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
#if defined(__x86_64__)
  static void first(Fiber* self);
  void* fiber_sp_ = nullptr;
  void* caller_sp_ = nullptr;
#else
  static void first(unsigned high, unsigned low);
  ucontext_t fiber_{};
  ucontext_t caller_{};
#endif
};

}  // namespace tarn::model
