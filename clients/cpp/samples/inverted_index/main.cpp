// inverted_index: where each word of a text stands, built once and asked by all workers.
//
//   inverted_index [--words WORD,WORD...] [FILE...]
//
// The index is a map of words to places, built of containers that lie inside one object. The
// workers look words up where it lies: it is never encoded, decoded or copied, and nobody can change
// it. A word is what `grep -w` takes for one: letters, digits and _ of ASCII.

#include <tarn/structured.hpp>
#include <tarn/tarn.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace {

namespace fs = std::filesystem;
using tarn::structure::map;
using tarn::structure::string;
using tarn::structure::vector;

struct Place {
  std::uint32_t file;  // in Index::files
  std::uint32_t line;  // from 1
};

struct Index {
  vector<string> files;
  map<string, vector<Place>> words;  // places in the order of the text
};

// ---- What a worker does -------------------------------------------------------------------------

struct Answer {
  std::uint64_t places;
  std::uint64_t lines;
  std::uint64_t files;
};

Answer look_up(const tarn::object& built, std::string_view word) {
  const Index& index = tarn::view_structured<Index>(built);
  const auto found = index.words.find(word);
  if (found == index.words.end()) return {};
  Answer answer{found->second.size(), 0, 0};
  const Place* before = nullptr;
  for (const Place& place : found->second) {
    const bool new_file = before == nullptr || before->file != place.file;
    answer.files += new_file;
    answer.lines += new_file || before->line != place.line;
    before = &place;
  }
  return answer;
}
TARN_TASK(look_up);

struct Sum {
  std::uint64_t words;
  std::uint64_t places;
};

// Looks up every word whose number leaves `part` when divided by `parts`.
Sum look_up_part(const tarn::object& built, std::uint64_t part, std::uint64_t parts) {
  const Index& index = tarn::view_structured<Index>(built);
  Sum sum{};
  std::uint64_t number = 0;
  for (const auto& [word, places] : index.words) {
    if (number++ % parts != part) continue;
    sum.words += 1;
    sum.places += index.words.find(tarn::structure::text(word))->second.size();
  }
  return sum;
}
TARN_TASK(look_up_part);

// ---- What the client does -----------------------------------------------------------------------

bool is_of_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Calls visit(word, line) for each word of the text.
template <class Visit>
void for_each_word(std::string_view text, Visit visit) {
  std::uint32_t line = 1;
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && is_of_word(text[end])) ++end;
    if (end > at) {
      visit(text.substr(at, end - at), line);
      at = end;
    } else {
      line += text[at++] == '\n';
    }
  }
}

void add_file(Index& index, std::string_view name, std::string_view text) {
  const auto file = static_cast<std::uint32_t>(index.files.size());
  index.files.emplace_back(name);
  for_each_word(text, [&](std::string_view word, std::uint32_t line) {
    auto found = index.words.find(word);
    if (found == index.words.end()) {
      found = index.words.try_emplace(string(word, index.words.get_allocator())).first;
    }
    found->second.push_back({file, line});
  });
}

struct Source {
  std::string name;
  tarn::object text;
};

std::uint64_t size_of(const std::vector<Source>& sources) {
  std::uint64_t bytes = 0;
  for (const Source& source : sources) bytes += source.text.size();
  return bytes;
}

// How much room an index needs depends on how often words come again: about four times the text, or
// far more if none does.
tarn::object build_index(tarn::client& tarn, const std::vector<Source>& sources) {
  const std::uint64_t bytes = size_of(sources);
  constexpr std::uint64_t kLeast = 1 << 20;
  for (std::uint64_t capacity = kLeast + 4 * bytes;; capacity *= 2) {
    try {
      return tarn::structured<Index>(tarn, capacity, [&](Index& index) {
        for (const Source& source : sources) add_file(index, source.name, source.text.view());
      });
    } catch (const tarn::over_limit&) {
      if (capacity / 256 > kLeast + bytes) throw;
    }
  }
}

// The licences that come with Debian and those of its packages.
std::vector<std::string> corpus() {
  std::vector<std::string> files;
  const auto add = [&files](const fs::path& path) {
    std::error_code no_file;
    if (fs::symlink_status(path, no_file).type() == fs::file_type::regular) files.push_back(path);
  };
  std::error_code no_folder;
  for (const auto& entry : fs::directory_iterator("/usr/share/common-licenses", no_folder)) {
    add(entry.path());
  }
  for (const auto& entry : fs::directory_iterator("/usr/share/doc", no_folder)) {
    add(entry.path() / "copyright");
  }
  std::ranges::sort(files);
  return files;
}

std::vector<std::string> split_words(std::string_view list) {
  std::vector<std::string> words;
  for (std::size_t start = 0; start <= list.size();) {
    const std::size_t end = std::min(list.find(',', start), list.size());
    if (end > start) words.emplace_back(list.substr(start, end - start));
    start = end + 1;
  }
  return words;
}

// Sums over all words, in as many tasks as keep all workers busy.
Sum look_up_all(tarn::client& tarn, const tarn::object& index) {
  const std::uint64_t parts = 4 * tarn.info().workers;
  std::vector<tarn::future<Sum>> sums;
  for (std::uint64_t part = 0; part < parts; ++part) {
    sums.push_back(tarn.submit(look_up_part, index, part, parts));
  }
  Sum total{};
  for (const Sum& sum : tarn::when_all(sums)) {
    total.words += sum.words;
    total.places += sum.places;
  }
  return total;
}

void print_answers(tarn::client& tarn, const tarn::object& index,
                   const std::vector<std::string>& words) {
  std::vector<tarn::future<Answer>> answers;
  for (const std::string& word : words) answers.push_back(tarn.submit(look_up, index, word));
  for (std::size_t i = 0; i < words.size(); ++i) {
    const Answer answer = answers[i].get();
    std::printf("%s: %llu places in %llu lines of %llu files\n", words[i].c_str(),
                static_cast<unsigned long long>(answer.places),
                static_cast<unsigned long long>(answer.lines),
                static_cast<unsigned long long>(answer.files));
  }
}

int run(int argc, char** argv) {
  tarn::client tarn = tarn::init(argc, argv);
  std::vector<std::string> words = {"the", "copyright", "Copyright", "license", "warranty"};
  std::vector<std::string> files(argv + 1, argv + argc);
  if (files.size() >= 2 && files.front() == "--words") {
    words = split_words(files[1]);
    files.erase(files.begin(), files.begin() + 2);
  }
  if (files.empty()) files = corpus();
  if (files.empty()) {
    std::fprintf(stderr,
                 "inverted_index: there are no texts in /usr/share/common-licenses and "
                 "/usr/share/doc/*/copyright; name some files\n");
    return 1;
  }

  std::vector<Source> sources;
  for (const std::string& file : files) sources.push_back({file, tarn.from_file(file)});
  const tarn::object index = build_index(tarn, sources);
  std::uint64_t places = 0;
  for (const auto& entry : tarn::view_structured<Index>(index).words) places += entry.second.size();
  std::printf("%zu files of %llu bytes have %llu words; their index has %zu bytes.\n", files.size(),
              static_cast<unsigned long long>(size_of(sources)),
              static_cast<unsigned long long>(places), index.size());

  print_answers(tarn, index, words);

  const auto start = std::chrono::steady_clock::now();
  const Sum found = look_up_all(tarn, index);
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
  std::printf("%u workers looked up %llu different words in %.1f ms and found %llu places.\n",
              tarn.info().workers, static_cast<unsigned long long>(found.words), time.count(),
              static_cast<unsigned long long>(found.places));
  return found.places == places ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& e) {
  std::fprintf(stderr, "inverted_index: %s\n", e.what());
  return 1;
}
