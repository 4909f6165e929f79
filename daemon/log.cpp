#include "log.hpp"

#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace tarn::daemon {
namespace {

Level level_max = Level::kWarning;

}  // namespace

std::string printable(std::string_view text) {
  std::string shown(text);
  for (char& c : shown)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return shown;
}

void set_log_level(Level most) { level_max = most; }

void log(Level level, const char* format, ...) {
  if (level > level_max) return;
  static const bool has_journal = getenv("JOURNAL_STREAM") != nullptr;
  char line[1024];
  int length = has_journal ? snprintf(line, sizeof line, "<%d>", static_cast<int>(level))
                           : snprintf(line, sizeof line, "tarnd: ");
  auto used = static_cast<size_t>(length);
  va_list arguments;
  va_start(arguments, format);
  length = vsnprintf(line + used, sizeof line - used - 1, format, arguments);
  va_end(arguments);
  if (length > 0) used += static_cast<size_t>(length) < sizeof line - used - 1 ? static_cast<size_t>(length)
                                                                               : sizeof line - used - 2;
  line[used++] = '\n';
  // One write a line, so that lines of several threads do not mix.
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, line, used);
}

}  // namespace tarn::daemon
