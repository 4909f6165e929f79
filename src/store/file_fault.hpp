// FileFault: reading beyond the end of a mapped file that somebody truncated, without dying of it.
//
// The kernel raises SIGBUS there. The handler puts a page of zeros under the address and notes it, so
// that the reader goes on and its caller finds out afterwards. It acts only on addresses of mappings
// that were registered, and leaves every other SIGBUS to whoever would have had it before.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tarn::store {

// Registers [data, data + size) and returns a slot for the other calls, or -1 when too many files are
// mapped. Installs the handler with the first. Any thread.
[[nodiscard]] int register_file_mapping(const std::byte* data, uint64_t size);
void unregister_file_mapping(int slot);

// Whether the file behind the mapping was found shorter than the mapping.
[[nodiscard]] bool file_mapping_shrank(int slot);

// True once after a fault by this thread since the last call.
[[nodiscard]] bool take_file_fault();

}  // namespace tarn::store
