#include "text.hpp"

#include <cstdio>

namespace tarn::cli {
namespace {

// Decodes the character at the beginning of `text`; 0 bytes long if it is not UTF-8.
struct Decoded {
  char32_t code;
  size_t size;
};

Decoded decode(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char first = byte(0);
  if (first < 0x80) return {first, 1};
  size_t size = first >= 0xf0 && first < 0xf5 ? 4 : first >= 0xe0 ? 3 : first >= 0xc2 ? 2 : 0;
  if (first >= 0xf5 || size == 0 || text.size() < size) return {0, 0};
  char32_t code = first & (0x7fu >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {0, 0};
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kLeast[size] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {0, 0};
  return {code, size};
}

bool is_safe(char32_t code) {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return false;   // C0, DEL, C1
  if (code >= 0x200b && code <= 0x200f) return false;               // invisible, and direction marks
  if (code >= 0x2028 && code <= 0x202e) return false;               // line separators, direction overrides
  if (code >= 0x2060 && code <= 0x206f) return false;               // invisible, direction isolates
  return code != 0xfeff && code != 0x061c && !(code >= 0xe0000 && code <= 0xe007f);
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    Decoded next = decode(text);
    char hex[16];
    if (next.size == 0) {
      snprintf(hex, sizeof hex, "\\x%02x", static_cast<unsigned char>(text[0]));
      out += hex;
      next.size = 1;
    } else if (is_safe(next.code)) {
      out += text.substr(0, next.size);
    } else {
      snprintf(hex, sizeof hex, next.code < 0x80 ? "\\x%02x" : "\\u{%x}", static_cast<unsigned>(next.code));
      out += hex;
    }
    text.remove_prefix(next.size);
  }
  return out;
}

size_t width_of(std::string_view text) {
  size_t width = 0;
  for (char c : text) width += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  return width;
}

std::string show_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  auto value = static_cast<double>(bytes);
  // 1023.95 would be rounded to 1024.0.
  for (; value >= 1023.95 && unit + 1 < std::size(kUnits); ++unit) value /= 1024;
  char text[32];
  snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string show_duration(int64_t ns) {
  char text[64];
  if (ns < 0) return "-";
  if (ns == 0) return "0 s";  // of a clock that counts seconds, or none at all
  if (ns < 1'000) {
    snprintf(text, sizeof text, "%lld ns", static_cast<long long>(ns));
  } else if (ns < 1'000'000) {
    snprintf(text, sizeof text, "%lld us", static_cast<long long>(ns / 1'000));
  } else if (ns < 1'000'000'000) {
    snprintf(text, sizeof text, "%lld ms", static_cast<long long>(ns / 1'000'000));
  } else {
    long long seconds = ns / 1'000'000'000;
    if (seconds < 60) {
      snprintf(text, sizeof text, "%lld s", seconds);
    } else if (seconds < 3600) {
      snprintf(text, sizeof text, "%lld min %lld s", seconds / 60, seconds % 60);
    } else if (seconds < 86400) {
      snprintf(text, sizeof text, "%lld h %lld min", seconds / 3600, seconds / 60 % 60);
    } else {
      snprintf(text, sizeof text, "%lld d %lld h", seconds / 86400, seconds / 3600 % 24);
    }
  }
  return text;
}

}  // namespace tarn::cli
