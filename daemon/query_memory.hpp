// QueryMemory: the answers about memory: who has it, and what it is full of. Loop thread only.
#pragma once

#include "query_parts.hpp"

namespace tarn::daemon {

// A row for each member on each node.
[[nodiscard]] Json memory(const Tarnd& daemon, const Asker& asker);
// A row for each type, or label, of the objects of a session; `tarn memory` sums up further.
[[nodiscard]] Json memory_types(const Tarnd& daemon, const Asker& asker);
[[nodiscard]] Json memory_labels(const Tarnd& daemon, const Asker& asker);

}  // namespace tarn::daemon
