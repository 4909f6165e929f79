#include "sample_log.hpp"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

namespace log_search {
namespace {

namespace fs = std::filesystem;

// SplitMix64, by Sebastiano Vigna: small, fast, and the same everywhere.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

 private:
  std::uint64_t state_;
};

fs::path cache_directory() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value != nullptr ? value : "");
  };
  if (const fs::path cache = variable("XDG_CACHE_HOME"); cache.is_absolute()) return cache / "tarn";
  if (const fs::path home = variable("HOME"); home.is_absolute()) return home / ".cache" / "tarn";
  return fs::temp_directory_path() / ("tarn-" + std::to_string(getuid()));
}

[[noreturn]] void fail(const std::string& path) {
  throw std::system_error(errno, std::generic_category(), "cannot write " + path);
}

}  // namespace

void write_sample_log(const std::string& path, std::int64_t lines) {
  constexpr std::array<std::string_view, 3> kTypes = {"INFO", "WARNING", "ERROR"};
  constexpr std::string_view kText = ": Log message ";
  constexpr std::size_t kLineMax = 64;

  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "wxe"),
                                                             std::fclose);
  if (file == nullptr) fail(path);
  std::vector<char> buffer(1 << 20);
  char* at = buffer.data();
  char* const full = buffer.data() + buffer.size() - kLineMax;
  Random random(10);
  for (std::int64_t i = 0; i < lines; ++i) {
    const std::string_view type = kTypes[random.next() % kTypes.size()];
    at += type.copy(at, type.size());
    at += kText.copy(at, kText.size());
    at = std::to_chars(at, at + 20, i).ptr;
    *at++ = '\n';
    if (at > full || i + 1 == lines) {
      const auto size = static_cast<std::size_t>(at - buffer.data());
      if (std::fwrite(buffer.data(), 1, size, file.get()) != size) fail(path);
      at = buffer.data();
    }
  }
  if (std::fflush(file.get()) != 0) fail(path);
}

std::string sample_log() {
  const fs::path directory = cache_directory();
  const fs::path path = directory / ("sample-" + std::to_string(kSampleLines) + ".log");
  if (fs::exists(path)) return path;
  fs::create_directories(directory);
  const std::string unfinished = path.string() + "." + std::to_string(getpid());
  std::fprintf(stderr, "making %s\n", path.c_str());
  try {
    write_sample_log(unfinished, kSampleLines);
    fs::rename(unfinished, path);
  } catch (...) {
    std::error_code ignored;
    fs::remove(unfinished, ignored);
    throw;
  }
  return path;
}

}  // namespace log_search
