// word_count: counts the words of a file while it is being read, by tasks that yield.
//
//   word_count [FILE]     without a file a text of its own
//
// The file is mapped and cut into as many parts as there are workers. The task of a part yields the
// counts of each 256 KiB; the reader merges what comes, in turn from all parts, so that it has seen
// something of all of them long before the end. A part waits when it is four counts ahead.

#include <tarn/tarn.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace {

constexpr std::size_t kChunk = std::size_t{256} << 10;
constexpr std::size_t kShown = 5;

struct Count {
  std::string word;
  std::uint64_t times;
};

struct Counts {
  std::uint64_t words = 0;
  std::vector<Count> each;
};

bool is_of_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

Counts count_chunk(std::string_view text) {
  Counts counts;
  std::unordered_map<std::string_view, std::uint64_t> found;
  for (std::size_t i = 0; i < text.size();) {
    if (!is_of_word(text[i])) {
      ++i;
      continue;
    }
    const std::size_t start = i;
    while (i < text.size() && is_of_word(text[i])) ++i;
    ++found[text.substr(start, i - start)];
    ++counts.words;
  }
  for (const auto& [word, times] : found) counts.each.push_back({std::string(word), times});
  return counts;
}

void count_words(tarn::yielder<Counts>& yield, std::string_view text) {
  while (!text.empty()) {
    std::size_t size = std::min(text.size(), kChunk);
    while (size < text.size() && is_of_word(text[size])) ++size;  // not in the middle of a word
    yield(count_chunk(text.substr(0, size)));
    text.remove_prefix(size);
  }
}
TARN_TASK(count_words);

// A million words, of which some are much more frequent than others.
std::string make_text() {
  std::string text;
  std::uint64_t state = 1;
  for (int i = 0; i < 1'000'000; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const std::uint64_t random = state >> 33;
    text += "word" + std::to_string(random % (1 + random / 4096 % 1000));
    text += i % 12 == 11 ? '\n' : ' ';
  }
  return text;
}

int run(int argc, char** argv) {
  tarn::client tarn = tarn::init(argc, argv);
  const tarn::object text = argc > 1 ? tarn.from_file(argv[1]) : tarn.put(make_text());

  const auto start = std::chrono::steady_clock::now();
  const auto since_start = [start] {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
        .count();
  };
  std::vector<tarn::stream<Counts>> streams;
  for (const tarn::object& part : tarn::split_lines(text, tarn.info().workers)) {
    streams.push_back(tarn.submit({.window = {.items = 4}}, count_words, part));
  }

  std::unordered_map<std::string, std::uint64_t> totals;
  std::uint64_t words = 0;
  std::size_t items = 0;
  double first_ms = 0;
  while (!streams.empty()) {
    for (std::size_t i = 0; i < streams.size();) {
      const std::optional<Counts> counts = streams[i].next();
      if (!counts) {
        streams.erase(streams.begin() + static_cast<std::ptrdiff_t>(i));
        continue;
      }
      if (items++ == 0) first_ms = since_start();
      words += counts->words;
      for (const Count& count : counts->each) totals[count.word] += count.times;
      ++i;
    }
  }
  const double all_ms = since_start();

  std::vector<std::pair<std::string, std::uint64_t>> sorted(totals.begin(), totals.end());
  std::ranges::sort(sorted, [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  std::printf("%llu words, %zu different:", static_cast<unsigned long long>(words), sorted.size());
  for (std::size_t i = 0; i < std::min(kShown, sorted.size()); ++i) {
    std::printf(" %s %llu", sorted[i].first.c_str(),
                static_cast<unsigned long long>(sorted[i].second));
  }
  std::printf("\n%zu counts were merged; the first was there after %.1f ms, the last after %.1f.\n",
              items, first_ms, all_ms);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& e) {
  std::fprintf(stderr, "word_count: %s\n", e.what());
  return 1;
}
