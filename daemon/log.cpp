#include "log.hpp"

#include <poll.h>
#include <unistd.h>

#include <atomic>
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
  // Nobody is waited for who does not read: others are served meanwhile, and the line is lost. How many were, the next says.
  static std::atomic<uint32_t> lost = 0;
  pollfd reader{STDERR_FILENO, POLLOUT, 0};
  if (poll(&reader, 1, 0) == 0) {
    lost.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (uint32_t count = lost.exchange(0, std::memory_order_relaxed); count != 0) {
    char note[64];
    int size = snprintf(note, sizeof note, "%s%u lines before this one were lost\n", has_journal ? "<4>" : "tarnd: ", count);
    [[maybe_unused]] ssize_t noted = write(STDERR_FILENO, note, static_cast<size_t>(size));
  }
  // One write a line, so that lines of several threads do not mix.
  [[maybe_unused]] ssize_t written = write(STDERR_FILENO, line, used);
}

}  // namespace tarn::daemon
