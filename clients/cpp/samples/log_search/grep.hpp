// grep: the same search by the system's grep, to compare with.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace log_search {

struct Grep {
  std::int64_t matches;
  std::chrono::nanoseconds time;
};

// Runs LC_ALL=C grep -acF; nothing if it is not there or cannot read the file. -a because grep
// otherwise ends lines at NUL bytes, too.
std::optional<Grep> run_grep(const std::string& file, const std::string& pattern);

}  // namespace log_search
