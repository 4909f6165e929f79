// Log: lines on stderr, with the priority in front when the journal reads them.
#pragma once

#include <string>
#include <string_view>

namespace tarn::daemon {

enum class Level { kError = 3, kWarning = 4, kInfo = 6, kDebug = 7 };

// Lines above `most` are dropped; the default is kWarning. Call before the second thread starts.
void set_log_level(Level most);

// Words of somebody else, to show: what would begin another line, or what a terminal could take for a command, is
// replaced.
[[nodiscard]] std::string printable(std::string_view text);

// Writes one line. Any thread.
[[gnu::format(printf, 2, 3)]] void log(Level level, const char* format, ...);

}  // namespace tarn::daemon
