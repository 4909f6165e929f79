// Futex: sleeping on a 32-bit word that other processes can see.
#pragma once

#include <cstdint>

namespace tarn::os {

// Sleeps until woken, until `deadline_ns` (os::now_ns time, kForever for none), or not at all if
// *word != expected. May return for no reason: callers loop.
void futex_wait(uint32_t* word, uint32_t expected, int64_t deadline_ns);

// Wakes at most `count` sleepers.
void futex_wake(uint32_t* word, int count);

}  // namespace tarn::os
