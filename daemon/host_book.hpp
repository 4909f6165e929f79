// HostBook: what a tarnd looks up when it first begins, and the next one would find otherwise, with the sessions of the first in
// memory and on the disk. Kept as kKeptHost.
#pragma once

#include <cstdint>

#include "base/fd.hpp"
#include "config.hpp"
#include "keeper.hpp"

namespace tarn::daemon {

// Sets what `config` leaves open (0) to what the tarnd before had found, if `file` is its book.
void read_host_book(const Fd& file, Config& config);

// Keeps what was found for the next one, in bytes.
void keep_host_book(Keeper& keeper, uint64_t memory_max, uint64_t spill_max);

}  // namespace tarn::daemon
