// report: what log_search shows: progress while it works, then a table with bars, or one JSON
// object.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "grep.hpp"

namespace log_search {

// How much one worker did.
struct Share {
  unsigned slot;
  int core;
  int node;
  std::int64_t slices;
  std::uint64_t bytes;
};

// What one search found.
struct Outcome {
  std::int64_t matches = 0;
  std::chrono::nanoseconds time{};
  std::vector<Share> shares;  // ordered by slot
};

struct Report {
  std::string file;
  std::string pattern;
  std::uint64_t bytes;
  unsigned workers;
  Outcome all_cores;
  Outcome one_core;
  std::optional<Grep> grep;

  // Whether all counts are the same.
  [[nodiscard]] bool agrees() const;
};

// Writes `report` to standard output: with bars on a terminal, coloured unless NO_COLOR is set.
void print_table(const Report& report);
void print_json(const Report& report);

// Shows on standard error, if that is a terminal, what is being done and how far it is: as a bar,
// once it takes long; in words, if it has but one step.
class Progress {
 public:
  explicit Progress(std::string what, std::size_t steps = 1);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();  // wipes the line

  void show(std::size_t steps_done);

 private:
  std::string what_;
  std::size_t steps_;
  bool is_terminal_;
  bool is_shown_ = false;
  std::chrono::steady_clock::time_point next_;
};

}  // namespace log_search
