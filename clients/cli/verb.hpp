// Verb: one thing that `tarn` can do. The list of verbs (verbs.hpp) makes the parser, the completions
// and the man pages.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace tarn::cli {

struct Options {
  std::string address = "auto";
  bool json = false;
  std::vector<std::string> filters;  // KEY=VALUE
  int64_t limit = -1;                // rows; -1: not given, 0: all
  double watch_s = 0;                // 0: once
  double timeout_s = 10;             // for one answer of a daemon
  std::string argument;              // of a verb that takes one
  std::string by;                    // what a verb sums up by; empty: nothing
  bool follow = false;               // go on as more comes
  uint32_t session = 0;              // only that one; 0: all
  double for_s = 2;                  // how long to trace; 0: until interrupted
  std::string out = "tarn-trace.json";
  uint32_t events = 65536;           // that are kept of each member until they are read
  bool summary = false;
  bool once = false;                 // one look, not live

  [[nodiscard]] int64_t timeout_ns() const { return static_cast<int64_t>(timeout_s * 1e9); }
};

struct Verb {
  const char* name;
  const char* summary;      // one line
  const char* description;  // paragraphs, for the man page
  const char* argument;     // its name, nullptr: takes none
  bool is_hidden;           // not in help and completions
  int (*run)(const Options& options);  // returns an exit status, or throws CliError
  const char* groups = nullptr;        // what --by may name, as "a|b|c"; nullptr: there is no --by
  bool may_follow = false;             // there is --follow, and the argument may be left out
  void (*add_options)(CLI::App& app, Options& options) = nullptr;  // of its own
};

}  // namespace tarn::cli
