// Copy: the fastest way into memory that is warm and will not be read here.
#pragma once

#include <cstddef>

namespace tarn::store {

// Copies `size` bytes; the ranges do not overlap. Large copies go past the caches (non-temporal
// stores), which saves reading the destination first. They are visible to other processes, as other
// stores are, by the next release operation.
void copy(void* destination, const void* source, size_t size);

}  // namespace tarn::store
