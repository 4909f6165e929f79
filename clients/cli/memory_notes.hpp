// MemoryNotes: what `tarn memory` says below its table: what there is, and why somebody gets no more of it.
#pragma once

#include <string>

#include "daemons.hpp"

namespace tarn::cli {

// Lines for an answer of the schema tarn.memory/1.
[[nodiscard]] std::string memory_notes(const Json& answer);

}  // namespace tarn::cli
