#include "store/file_guard.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <csignal>
#include <mutex>
#include <new>

#include "base/error.hpp"
#include "os/memory.hpp"
#include "tarn/tarn.h"

namespace tarn::store {
namespace {

// Signal handlers belong to the process, so this does, too.
std::mutex mutex;                      // guards the rest, except against the handler
std::atomic<FileGuard*> first_guard{};
uint32_t guards_in_use = 0;
bool installed = false;
struct sigaction previous;             // constant while installed

void on_fault(int signal, siginfo_t* info, void* context) {
  int saved_errno = errno;
  auto* address = static_cast<std::byte*>(info->si_addr);
  for (FileGuard* guard = first_guard.load(std::memory_order_acquire); guard != nullptr; guard = guard->next) {
    std::byte* data = guard->data.load(std::memory_order_acquire);
    if (data == nullptr || address < data || address >= data + guard->size) continue;
    // The file ends before this page: so do all that follow.
    auto page = static_cast<uint64_t>(address - data) / os::kPageSize * os::kPageSize;
    uint64_t rest = os::round_up(guard->size, os::kPageSize) - page;
    if (mmap(data + page, rest, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
      break;
    guard->shrank.store(true, std::memory_order_release);
    guard->any_shrank->store(true, std::memory_order_release);
    errno = saved_errno;
    return;
  }
  errno = saved_errno;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    // The read is repeated and ends the process as it would have without us.
    struct sigaction fallback {};
    fallback.sa_handler = SIG_DFL;
    sigaction(signal, &fallback, nullptr);
    if (info->si_code <= 0) raise(signal);  // sent by somebody: nothing is repeated
  }
}

// Also when another handler came after ours and does not call it.
int install() {
  struct sigaction now {};
  if (sigaction(SIGBUS, nullptr, &now) < 0) return fail_errno(TARN_E_SYSTEM, "cannot read the handler of SIGBUS");
  if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_fault) return 0;
  if (installed) return 0;  // theirs is expected to call ours
  previous = now;
  struct sigaction ours {};
  ours.sa_sigaction = on_fault;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&ours.sa_mask);
  if (sigaction(SIGBUS, &ours, nullptr) < 0) return fail_errno(TARN_E_SYSTEM, "cannot handle SIGBUS");
  installed = true;
  return 0;
}

void uninstall() {
  struct sigaction now {};
  if (!installed || sigaction(SIGBUS, nullptr, &now) < 0) return;
  if ((now.sa_flags & SA_SIGINFO) == 0 || now.sa_sigaction != on_fault) return;  // somebody else's calls it
  sigaction(SIGBUS, &previous, nullptr);
  installed = false;
}

}  // namespace

int guard_file(std::byte* data, uint64_t size, uint32_t object, std::atomic<bool>* any_shrank, FileGuard*& out) {
  std::lock_guard lock(mutex);
  FileGuard* guard = first_guard.load(std::memory_order_relaxed);
  while (guard != nullptr && guard->data.load(std::memory_order_relaxed) != nullptr) guard = guard->next;
  if (guard == nullptr) {
    guard = new (std::nothrow) FileGuard{};
    if (guard == nullptr) return fail(TARN_E_NO_MEMORY, "no memory to guard a mapped file");
    guard->next = first_guard.load(std::memory_order_relaxed);
    first_guard.store(guard, std::memory_order_release);
  }
  if (guards_in_use == 0) {
    if (int r = install(); r < 0) return r;
  }
  ++guards_in_use;
  guard->size = size;
  guard->object = object;
  guard->any_shrank = any_shrank;
  guard->shrank.store(false, std::memory_order_relaxed);
  guard->data.store(data, std::memory_order_release);
  out = guard;
  return 0;
}

void unguard_file(FileGuard* guard) {
  std::lock_guard lock(mutex);
  guard->data.store(nullptr, std::memory_order_release);
  if (--guards_in_use == 0) uninstall();
}

void for_each_shrunk(const std::atomic<bool>* any_shrank, void (*found)(void* context, uint32_t object), void* context) {
  std::lock_guard lock(mutex);
  for (FileGuard* guard = first_guard.load(std::memory_order_relaxed); guard != nullptr; guard = guard->next)
    if (guard->data.load(std::memory_order_relaxed) != nullptr && guard->any_shrank == any_shrank &&
        guard->shrank.load(std::memory_order_acquire))
      found(context, guard->object);
}

}  // namespace tarn::store
