#include "options.hpp"

#include <getopt.h>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace log_search {
namespace {

constexpr char kHelp[] =
    "usage: log_search [--workers N] [--slices N] [--json] [FILE [PATTERN]]\n"
    "\n"
    "Counts the lines of FILE that contain PATTERN, on every core and without copying FILE,\n"
    "and compares that with one core and with grep. Bytes are bytes, as in LC_ALL=C grep -acF.\n"
    "\n"
    "  FILE         a regular file; without it, a log of ten million lines, made once and kept\n"
    "               in $XDG_CACHE_HOME/tarn (or ~/.cache/tarn, or /tmp)\n"
    "  PATTERN      ERROR unless given; empty, it is in every line\n"
    "\n"
    "  --workers N  worker processes; one for each slot unless given\n"
    "  --slices N   how many parts the file is cut into; by its size unless given\n"
    "  --json       one JSON object instead of a table\n"
    "  --help       this\n"
    "\n"
    "Exit status: 0 the search is done, also when it found nothing; 1 it failed; 2 wrong usage.\n";

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "log_search: %s; see log_search --help\n", what.c_str());
  std::exit(2);
}

unsigned parse_count(const char* option, const char* text) {
  constexpr unsigned kMax = 1'000'000;
  unsigned value = 0;
  const char* end = text + std::strlen(text);
  const auto [at, error] = std::from_chars(text, end, value);
  if (error != std::errc() || at != end || value == 0 || value > kMax) {
    refuse(std::string("--") + option + " wants a number from 1 to " + std::to_string(kMax) +
           ", not '" + text + "'");
  }
  return value;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  static constexpr option kOptions[] = {{"workers", required_argument, nullptr, 'w'},
                                        {"slices", required_argument, nullptr, 's'},
                                        {"json", no_argument, nullptr, 'j'},
                                        {"help", no_argument, nullptr, 'h'},
                                        {nullptr, 0, nullptr, 0}};
  Options options;
  opterr = 0;  // our own words
  for (int c; (c = getopt_long(argc, argv, ":h", kOptions, nullptr)) != -1;) {
    switch (c) {
      case 'w':
        options.workers = parse_count("workers", optarg);
        break;
      case 's':
        options.slices = parse_count("slices", optarg);
        break;
      case 'j':
        options.json = true;
        break;
      case 'h':
        std::fputs(kHelp, stdout);
        std::exit(0);
      case ':':
        refuse(std::string(argv[optind - 1]) + " wants a number");
      default:
        refuse(std::string("unknown option ") + argv[optind - 1]);
    }
  }
  const int given = argc - optind;
  if (given > 2) refuse("more than FILE and PATTERN given");
  if (given >= 1) options.file = argv[optind];
  if (given == 2) options.pattern = argv[optind + 1];
  if (given >= 1 && options.file.empty()) refuse("the name of FILE is empty");
  if (options.pattern.find('\n') != std::string::npos) {
    refuse("PATTERN holds a newline, so no line can contain it");
  }
  return options;
}

}  // namespace log_search
