#include "os/stack.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/poison.hpp"
#include "os/memory.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace tarn::os {
namespace {

constexpr size_t kInUse = 16 * kPageSize;  // below the present frame; not worth giving back

// The large stack, of one thread of the process.
char* low = nullptr;
char* high = nullptr;
void (*function_there)(void*) = nullptr;
void* context_there = nullptr;

void begin() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  function_there(context_there);
}

char* here() { return static_cast<char*>(__builtin_frame_address(0)); }

bool on_large_stack() { return here() > low && here() < high; }

// The end of this thread's stack; nullptr if the system does not say. Asked for once a thread.
char* lowest() {
  if (on_large_stack()) return low;
  static thread_local char* found = [] {
    pthread_attr_t attributes;
    void* base = nullptr;
    size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return static_cast<char*>(nullptr);
    pthread_attr_getstack(&attributes, &base, &size);
    pthread_attr_destroy(&attributes);
    return static_cast<char*>(base);
  }();
  return found;
}

}  // namespace

void run_on_large_stack(size_t size, void (*function)(void*), void* context) {
  size_t whole = size + kPageSize;  // the lowest page is nobody's: to run into it is a SIGSEGV
  void* memory = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  static ucontext_t there;
  if (memory != MAP_FAILED && mprotect(memory, kPageSize, PROT_NONE) == 0 && getcontext(&there) == 0) {
    (void)madvise(memory, whole, MADV_NOHUGEPAGE);  // EINVAL: there are none
    low = static_cast<char*>(memory) + kPageSize;
    high = static_cast<char*>(memory) + whole;
    function_there = function;
    context_there = context;
    there.uc_stack.ss_sp = low;
    there.uc_stack.ss_size = size;
    there.uc_link = nullptr;
    makecontext(&there, begin, 0);
#ifdef __SANITIZE_ADDRESS__
    static void* kept;  // what the callers have on their stack stays, though nobody returns there
    __sanitizer_start_switch_fiber(&kept, low, size);
#endif
    setcontext(&there);
  }
  function(context);
  __builtin_unreachable();
}

size_t stack_left() {
  char* end = lowest();
  return end == nullptr ? SIZE_MAX : static_cast<size_t>(here() - end);
}

void trim_stack() {
  if (!on_large_stack()) return;
  char* end = here() - kInUse;
  end -= reinterpret_cast<uintptr_t>(end) % kPageSize;
  if (end > low) (void)madvise(low, static_cast<size_t>(end - low), MADV_DONTNEED);
}

}  // namespace tarn::os
