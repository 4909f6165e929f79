// Stack: a larger one than the system gives to a process, for tasks that wait for tasks that wait for tasks.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tarn::os {

// Calls `function(context)`, which must not return, on a stack of `size` bytes that are there when they are touched. On the
// stack of the caller if the system has no such room.
[[noreturn]] void run_on_large_stack(size_t size, void (*function)(void*), void* context);

// How many bytes of this thread's stack are left; SIZE_MAX if the system does not say.
[[nodiscard]] size_t stack_left();

// Gives back the memory of what this thread's stack had reached beyond the present frame and does not use any more. Nothing
// happens on another stack than a large one.
void trim_stack();

}  // namespace tarn::os
