// Listing: verbs that show what daemons have, row by row, as a table or as JSON.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "daemons.hpp"
#include "table.hpp"
#include "verb.hpp"

namespace tarn::cli {

struct Field {
  const char* key;  // in the rows of the answer
  const char* heading;
  enum class Kind { kText, kNumber, kBytes, kSeconds, kNanoseconds, kPart, kState, kNode, kLabel } kind;
};

struct Listing {
  const char* what;  // the name of the rows in the answer, and the query unless `query` is another one
  std::vector<Field> fields;
  std::vector<std::string> others{};  // keys of the rows that the table does not show
  std::function<void(Json& rows)> change{};  // what is done with the rows before they are filtered
  std::function<std::string(const Json& answer)> note{};  // what the table says below its rows; "": nothing
  const char* query = nullptr;
};

inline constexpr int64_t kTableRows = 100;  // of one daemon, unless --limit says otherwise

// Asks every daemon that the options name and prints its rows. Returns an exit status.
int run_listing(const Listing& listing, const Options& options);

// Calls `show` for each daemon; those that left meanwhile are passed over, unless none is left.
// A heading is printed above each if there are several and the output is not JSON.
void for_each_daemon(const Options& options, const std::function<void(const Daemon&)>& show);

// Removes the rows that the filters do not want. Throws CliError for a filter that no row could meet; `keys` are those
// of the rows, for when there is none to look at.
void filter_rows(Json& rows, const std::vector<std::string>& filters, std::vector<std::string> keys = {});

// Prints `answer` on one line, with the daemon's address behind its schema.
void print_json(const Daemon& daemon, const Json& answer);

// The table of `rows`.
[[nodiscard]] Table make_table(const std::vector<Field>& fields, const Json& rows);

}  // namespace tarn::cli
