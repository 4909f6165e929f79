// FileGuard: keeps a process alive that reads a mapped file which somebody truncates.
//
// The kernel answers such a read with SIGBUS. The handler recognises addresses of guarded mappings,
// puts zero pages there, notes it in the guard, and lets the read go on; all other faults go to the
// handler that was there before. Installed while there is something to guard.
//
// Thread safety: all functions; the handler takes no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace tarn::store {

struct FileGuard {
  // Written before `data` is set, and constant while it is.
  std::atomic<std::byte*> data;  // nullptr: not in use
  uint64_t size;
  uint32_t object;                  // record id, for whoever reads the flags
  std::atomic<bool>* any_shrank;    // set along with `shrank`
  std::atomic<bool> shrank;
  FileGuard* next;  // all there ever were: guards are used again, not freed
};

// Guards the mapping at `data`. Fails when memory is short.
[[nodiscard]] int guard_file(std::byte* data, uint64_t size, uint32_t object, std::atomic<bool>* any_shrank,
                             FileGuard*& out);
void unguard_file(FileGuard* guard);

// Calls found(object) for each guard with that flag whose file shrank.
void for_each_shrunk(const std::atomic<bool>* any_shrank, void (*found)(void* context, uint32_t object), void* context);

}  // namespace tarn::store
