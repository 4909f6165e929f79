// line_count: counts the lines of a text that contain a pattern, as `grep -cF` does.
//
// A line ends with '\n' or with the text; what follows the last '\n' is a line if it is not empty.
// Bytes are bytes: no character set, and NUL is like any other, as with LC_ALL=C grep -acF. The
// pattern holds no '\n'. The empty pattern is in every line.
//
// One pass: each block of 64 bytes becomes two masks, where the pattern may start and where lines
// end, and is skipped if it has no such start. A block costs about as much as reading it from
// memory.
//
// Thread safety: no state.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace log_search {

// Returns how many lines of `text` contain `pattern`, with the fastest kernel that this processor
// runs.
std::int64_t count_matching_lines(std::string_view text, std::string_view pattern);

// One implementation, for tests and benchmarks.
struct LineCounter {
  const char* name;
  std::int64_t (*count)(std::string_view text, std::string_view pattern);
};

// Returns those that this processor runs, the slowest first.
std::span<const LineCounter> line_counters();

}  // namespace log_search
