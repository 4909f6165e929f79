// Options: the command line of log_search.
#pragma once

#include <string>

namespace log_search {

struct Options {
  std::string file;  // empty: the sample log
  std::string pattern = "ERROR";
  unsigned workers = 0;  // 0: one per slot
  unsigned slices = 0;   // 0: chosen by the size of the file
  bool json = false;
};

// Returns what the command line says. On --help, and on a mistake, says so and ends the process:
// with 0 and 2.
Options parse_options(int argc, char** argv);

}  // namespace log_search
