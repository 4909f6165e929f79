#include "report.hpp"

#include <langinfo.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace log_search {
namespace {

constexpr std::size_t kBarWidth = 32;

double seconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double>(time).count();
}

double rate(std::uint64_t bytes, std::chrono::nanoseconds time) {
  return time.count() > 0 ? static_cast<double>(bytes) / seconds(time) : 0;
}

std::string format(const char* how, double value, const char* unit) {
  std::array<char, 64> text;
  std::snprintf(text.data(), text.size(), how, value, unit);
  return text.data();
}

std::string format_bytes(double bytes, const char* per = "") {
  static constexpr std::array kUnits = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  for (; bytes >= 1000 && unit + 1 < kUnits.size(); ++unit) bytes /= 1000;
  return format(unit == 0 ? "%.0f %s" : "%.1f %s", bytes, kUnits[unit]) + per;
}

std::string format_time(std::chrono::nanoseconds time) {
  const double s = seconds(time);
  return s < 1 ? format("%.1f %s", s * 1e3, "ms") : format("%.2f %s", s, "s");
}

// 3334521 becomes "3 334 521".
std::string format_count(std::int64_t count) {
  std::string text = std::to_string(count);
  for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, " ");
  return text;
}

// How bars look where they go to.
class Style {
 public:
  explicit Style(int fd) : has_bars_(isatty(fd) == 1) {
    const char* no_color = std::getenv("NO_COLOR");
    const char* term = std::getenv("TERM");
    has_color_ = has_bars_ && (no_color == nullptr || *no_color == '\0') &&
                 (term == nullptr || std::string_view(term) != "dumb");
    std::setlocale(LC_CTYPE, "");
    has_blocks_ = std::string_view(nl_langinfo(CODESET)) == "UTF-8";
  }

  // `part` of `whole` as a bar; nothing where no bars are wanted.
  [[nodiscard]] std::string bar(double part, double whole) const {
    if (!has_bars_ || whole <= 0) return "";
    const double share = std::clamp(part / whole, 0.0, 1.0);
    const auto full = static_cast<std::size_t>(share * static_cast<double>(kBarWidth) + 0.5);
    std::string text = "  ";
    if (has_color_) text += "\033[36m";
    for (std::size_t i = 0; i < std::max<std::size_t>(full, 1); ++i)
      text += has_blocks_ ? "█" : "#";
    if (has_color_) text += "\033[0m";
    return text;
  }

 private:
  bool has_bars_;
  bool has_color_;
  bool has_blocks_;
};

void print_row(const Style& style, const std::string& who, std::int64_t matches, double best,
               std::uint64_t bytes, std::chrono::nanoseconds time) {
  const double speed = rate(bytes, time);
  std::printf("  %-18s %14s %11s %11s%s\n", who.c_str(), format_count(matches).c_str(),
              format_time(time).c_str(), bytes > 0 ? format_bytes(speed, "/s").c_str() : "-",
              style.bar(speed, best).c_str());
}

bool is_utf8(const std::string& text) {
  std::setlocale(LC_CTYPE, "C.UTF-8");
  return std::mbstowcs(nullptr, text.c_str(), 0) != static_cast<std::size_t>(-1);
}

// Text that is no UTF-8 is taken for Latin-1, so that each of its bytes can be told from the JSON.
std::string quoted(const std::string& text) {
  const unsigned char escaped_from = is_utf8(text) ? 0xff : 0x80;
  std::string json = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f || byte >= escaped_from) {
      std::array<char, 8> escape;
      std::snprintf(escape.data(), escape.size(), "\\u%04x", byte);
      json += escape.data();
    } else {
      json += c;
    }
  }
  return json + '"';
}

std::string figures(std::int64_t matches, std::uint64_t bytes, std::chrono::nanoseconds time) {
  return "{\"matches\": " + std::to_string(matches) +
         ", \"time_ns\": " + std::to_string(time.count()) + ", \"bytes_per_second\": " +
         std::to_string(static_cast<std::uint64_t>(rate(bytes, time))) + "}";
}

}  // namespace

bool Report::agrees() const {
  return one_core.matches == all_cores.matches && (!grep || grep->matches == all_cores.matches);
}

void print_table(const Report& report) {
  const Style style(STDOUT_FILENO);
  std::printf("%s: %s, lines with \"%s\"\n\n", report.file.c_str(),
              format_bytes(static_cast<double>(report.bytes)).c_str(), report.pattern.c_str());

  const double best =
      std::max({rate(report.bytes, report.all_cores.time), rate(report.bytes, report.one_core.time),
                report.grep ? rate(report.bytes, report.grep->time) : 0});
  std::printf("  %-18s %14s %11s %11s\n", "", "lines", "time", "speed");
  print_row(
      style,
      "tarn, " + std::to_string(report.workers) + (report.workers == 1 ? " worker" : " workers"),
      report.all_cores.matches, best, report.bytes, report.all_cores.time);
  print_row(style, "the same, one core", report.one_core.matches, best, report.bytes,
            report.one_core.time);
  if (report.grep) {
    print_row(style, "grep -acF", report.grep->matches, best, report.bytes, report.grep->time);
  } else {
    std::printf("  %-18s %14s\n", "grep -acF", "cannot run");
  }

  if (report.all_cores.shares.empty()) return;
  std::printf("\n  %4s  %4s  %4s  %8s  %11s\n", "slot", "core", "node", "slices", "searched");
  std::uint64_t most = 0;
  for (const Share& share : report.all_cores.shares) most = std::max(most, share.bytes);
  for (const Share& share : report.all_cores.shares) {
    std::printf("  %4u  %4d  %4d  %8s  %11s%s\n", share.slot, share.core, share.node,
                format_count(share.slices).c_str(),
                format_bytes(static_cast<double>(share.bytes)).c_str(),
                style.bar(static_cast<double>(share.bytes), static_cast<double>(most)).c_str());
  }
}

void print_json(const Report& report) {
  std::string shares;
  for (const Share& share : report.all_cores.shares) {
    shares += (shares.empty() ? "" : ", ") + ("{\"slot\": " + std::to_string(share.slot)) +
              ", \"core\": " + std::to_string(share.core) +
              ", \"node\": " + std::to_string(share.node) +
              ", \"slices\": " + std::to_string(share.slices) +
              ", \"bytes\": " + std::to_string(share.bytes) + "}";
  }
  const std::string grep =
      report.grep ? figures(report.grep->matches, report.bytes, report.grep->time) : "null";
  std::printf(
      "{\"schema\": \"tarn.log_search/1\", \"file\": %s, \"pattern\": %s, \"bytes\": %llu, "
      "\"workers\": %u,"
      " \"all_cores\": %s, \"one_core\": %s, \"grep\": %s, \"agrees\": %s, \"slots\": [%s]}\n",
      quoted(report.file).c_str(), quoted(report.pattern).c_str(),
      static_cast<unsigned long long>(report.bytes), report.workers,
      figures(report.all_cores.matches, report.bytes, report.all_cores.time).c_str(),
      figures(report.one_core.matches, report.bytes, report.one_core.time).c_str(), grep.c_str(),
      report.agrees() ? "true" : "false", shares.c_str());
}

Progress::Progress(std::string what, std::size_t steps)
    : what_(std::move(what)),
      steps_(steps),
      is_terminal_(isatty(STDERR_FILENO) == 1),
      next_(std::chrono::steady_clock::now() + std::chrono::milliseconds(200)) {
  if (!is_terminal_ || steps_ > 1) return;
  is_shown_ = true;
  std::fprintf(stderr, "\r%s ...", what_.c_str());
}

Progress::~Progress() {
  if (is_shown_) std::fputs("\r\033[K", stderr);
}

void Progress::show(std::size_t steps_done) {
  const auto now = std::chrono::steady_clock::now();
  if (!is_terminal_ || steps_ <= 1 || now < next_) return;
  next_ = now + std::chrono::milliseconds(50);
  is_shown_ = true;
  const std::size_t full = steps_done * kBarWidth / steps_;
  std::fprintf(stderr, "\r%s [%s%s] %zu of %zu slices", what_.c_str(),
               std::string(full, '=').c_str(), std::string(kBarWidth - full, ' ').c_str(),
               steps_done, steps_);
}

}  // namespace log_search
