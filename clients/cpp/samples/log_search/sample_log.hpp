// sample_log: a log of ten million lines to search, made once.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

namespace log_search {

inline constexpr std::int64_t kSampleLines = 10'000'000;

// Returns the path of the sample log, making it if it is not there. It appears whole or not at all,
// also when several processes make it at once. Throws std::system_error.
std::string sample_log();

// Writes `lines` lines such as "ERROR: Log message 42" to a new file at `path`; the same ones for
// the same number of lines. One in three is an error. Throws std::system_error.
void write_sample_log(const std::string& path, std::int64_t lines);

}  // namespace log_search
