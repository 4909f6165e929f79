#include "store/file_fault.hpp"

#include <signal.h>
#include <sys/mman.h>

#include <atomic>

#include "os/memory.hpp"

namespace tarn::store {
namespace {

constexpr int kMappingsMax = 1024;  // files mapped at once; docs/limits.md

struct Entry {
  std::atomic<uintptr_t> begin;  // 0: free; 1: being filled in
  std::atomic<uintptr_t> end;
  std::atomic<bool> shrank;
};

Entry entries[kMappingsMax];
thread_local volatile bool faulted = false;
struct sigaction previous;

void on_bus_error(int signal, siginfo_t* info, void* context) {
  auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Entry& entry : entries) {
    uintptr_t begin = entry.begin.load(std::memory_order_acquire);
    if (begin <= 1 || address < begin || address >= entry.end.load(std::memory_order_relaxed)) continue;
    auto* page = reinterpret_cast<void*>(address / os::kPageSize * os::kPageSize);
    if (mmap(page, os::kPageSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
    entry.shrank.store(true, std::memory_order_relaxed);
    faulted = true;
    return;
  }
  if ((previous.sa_flags & SA_SIGINFO) != 0 && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN && previous.sa_handler != nullptr) {
    previous.sa_handler(signal);
  } else {
    // Let it happen again, with the default action.
    struct sigaction by_default {};
    by_default.sa_handler = SIG_DFL;
    sigaction(SIGBUS, &by_default, nullptr);
  }
}

void install_handler() {
  static const bool once = [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
    return true;
  }();
  (void)once;
}

}  // namespace

int register_file_mapping(const std::byte* data, uint64_t size) {
  install_handler();
  for (int slot = 0; slot < kMappingsMax; ++slot) {
    uintptr_t free = 0;
    if (!entries[slot].begin.compare_exchange_strong(free, 1)) continue;
    entries[slot].shrank.store(false, std::memory_order_relaxed);
    entries[slot].end.store(reinterpret_cast<uintptr_t>(data) + os::round_up(size, os::kPageSize),
                            std::memory_order_relaxed);
    entries[slot].begin.store(reinterpret_cast<uintptr_t>(data), std::memory_order_release);
    return slot;
  }
  return -1;
}

void unregister_file_mapping(int slot) { entries[slot].begin.store(0, std::memory_order_release); }

bool file_mapping_shrank(int slot) { return entries[slot].shrank.load(std::memory_order_relaxed); }

bool take_file_fault() {
  if (!faulted) [[likely]]
    return false;
  faulted = false;
  return true;
}

}  // namespace tarn::store
