#include "fiber.hpp"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>

#if defined(__x86_64__)

// tarn_model_switch(save, to): stores the callee-saved registers and the stack pointer, takes others.
asm(R"(
.text
.globl tarn_model_switch
.type tarn_model_switch, @function
tarn_model_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size tarn_model_switch, .-tarn_model_switch
.globl tarn_model_first
.type tarn_model_first, @function
tarn_model_first:
  movq %rbx, %rdi
  call *%r12
  ud2
.size tarn_model_first, .-tarn_model_first
)");

extern "C" void tarn_model_switch(void** save, void* to);
extern "C" void tarn_model_first();

#endif

namespace tarn::model {

Fiber::Fiber(size_t stack_size) : stack_size_(stack_size) {
  void* memory = mmap(nullptr, stack_size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    perror("mmap");
    abort();
  }
  stack_ = static_cast<std::byte*>(memory);
}

Fiber::~Fiber() { munmap(stack_, stack_size_); }

#if defined(__x86_64__)

void Fiber::first(Fiber* self) {
  self->entry_(self->argument_);
  abort();
}

void Fiber::start(Entry entry, void* argument) {
  entry_ = entry;
  argument_ = argument;
  auto** sp = reinterpret_cast<void**>(stack_ + stack_size_);
  *--sp = nullptr;  // keeps the stack aligned as after a call
  *--sp = nullptr;
  *--sp = reinterpret_cast<void*>(&tarn_model_first);
  *--sp = nullptr;                                // rbp
  *--sp = this;                                   // rbx
  *--sp = reinterpret_cast<void*>(&Fiber::first); // r12
  *--sp = nullptr;                                // r13
  *--sp = nullptr;                                // r14
  *--sp = nullptr;                                // r15
  fiber_sp_ = sp;
}

void Fiber::resume() { tarn_model_switch(&caller_sp_, fiber_sp_); }
void Fiber::suspend() { tarn_model_switch(&fiber_sp_, caller_sp_); }

#else

void Fiber::first(unsigned high, unsigned low) {
  auto* self = reinterpret_cast<Fiber*>(uint64_t{high} << 32 | low);
  self->entry_(self->argument_);
  abort();
}

void Fiber::start(Entry entry, void* argument) {
  entry_ = entry;
  argument_ = argument;
  getcontext(&fiber_);
  fiber_.uc_stack.ss_sp = stack_;
  fiber_.uc_stack.ss_size = stack_size_;
  fiber_.uc_link = nullptr;
  auto self = reinterpret_cast<uint64_t>(this);
  makecontext(&fiber_, reinterpret_cast<void (*)()>(&Fiber::first), 2, static_cast<unsigned>(self >> 32),
              static_cast<unsigned>(self));
}

void Fiber::resume() { swapcontext(&caller_, &fiber_); }
void Fiber::suspend() { swapcontext(&fiber_, &caller_); }

#endif

}  // namespace tarn::model
