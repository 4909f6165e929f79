#include "listing.hpp"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tarn/tarn.h"
#include "text.hpp"

namespace tarn::cli {
namespace {

std::string plain(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_null()) return "-";
  if (value.is_array()) {
    std::string list;
    for (const Json& entry : value) list += (list.empty() ? "" : entry.is_string() ? ", " : ",") + plain(entry);
    return list.empty() ? "-" : list;
  }
  return value.dump();
}

// Of a list, whether one of its entries is `text`.
bool is_or_has(const Json& value, const std::string& text) {
  if (plain(value) == text) return true;
  return value.is_array() && std::ranges::any_of(value, [&](const Json& entry) { return plain(entry) == text; });
}

Colour colour_of(const std::string& state) {
  if (state == "running" || state == "serving" || state == "open") return Colour::kGreen;
  if (state == "dead" || state == "ending") return Colour::kRed;
  if (state == "done" || state == "finished") return Colour::kDim;
  return Colour::kNone;
}

// A NUMA node, of slabs: the rows say what tarn_object_info says.
std::string show_node(const Json& node) {
  if (node == TARN_NODE_ALL) return "all";
  return node == TARN_NODE_NONE ? "-" : plain(node);
}

Cell make_cell(const Field& field, const Json& row) {
  if (field.kind == Field::Kind::kLabel && !row.value("label_read", true)) return {"(not looked at)", Colour::kDim};
  auto found = row.find(field.key);
  if (found == row.end() || found->is_null()) return "-";
  if (field.kind == Field::Kind::kBytes && found->is_number_unsigned()) return show_bytes(found->get<uint64_t>());
  if (field.kind == Field::Kind::kSeconds && found->is_number_unsigned())
    return show_duration(static_cast<int64_t>(std::min<uint64_t>(found->get<uint64_t>(), UINT32_MAX)) * 1'000'000'000);
  if (field.kind == Field::Kind::kNanoseconds && found->is_number_integer()) return show_duration(std::max<int64_t>(found->get<int64_t>(), 0));
  if (field.kind == Field::Kind::kPart && found->is_number()) return std::to_string(std::lround(100 * found->get<double>())) + " %";
  if (field.kind == Field::Kind::kNode) return show_node(*found);
  std::string text = plain(*found);
  return field.kind == Field::Kind::kState ? Cell(text, colour_of(text)) : Cell(text);
}

uint32_t limit_to_ask(const Listing& listing, const Options& options) {
  // Filters and sums are of all rows, so the limit comes after them.
  if (!options.filters.empty() || listing.change) return 0;
  if (options.limit >= 0) return static_cast<uint32_t>(options.limit);
  return options.json ? 0 : static_cast<uint32_t>(kTableRows);
}

// Keeps the first rows; true if some were dropped.
bool cut(Json& rows, const Options& options) {
  int64_t most = options.limit >= 0 ? options.limit : options.json ? 0 : kTableRows;
  if (most == 0 || rows.size() <= static_cast<size_t>(most)) return false;
  rows.erase(rows.begin() + most, rows.end());
  return true;
}

// What whoever reads a table that is not all there is may do about it.
void tell_of_more(bool is_by_limit) {
  std::fflush(stdout);
  std::fprintf(stderr, is_by_limit ? "tarn: there are more; --limit 0 shows as many as tarnd tells\n"
                                   : "tarn: there are more than tarnd looks at, or tells, for one answer\n");
}

// A column goes by the name of its key or by its heading, in capitals or not.
std::vector<std::string> by_keys(const std::vector<std::string>& filters, const std::vector<Field>& fields) {
  std::vector<std::string> out = filters;
  for (std::string& filter : out) {
    std::string name = filter.substr(0, filter.find('='));
    if (std::ranges::any_of(fields, [&](const Field& field) { return field.key == name; })) continue;
    auto same = [&](const Field& field) {
      return std::ranges::equal(std::string_view(field.heading), name, {}, ::toupper, ::toupper);
    };
    if (auto found = std::ranges::find_if(fields, same); found != fields.end())
      filter.replace(0, name.size(), found->key);
  }
  return out;
}

}  // namespace

void filter_rows(Json& rows, const std::vector<std::string>& filters, std::vector<std::string> keys) {
  if (!rows.empty()) {
    keys.clear();
    for (auto& [name, unused] : rows.front().items()) keys.push_back(name);
  }
  for (const std::string& filter : filters) {
    size_t equals = filter.find('=');
    if (equals == std::string::npos || equals == 0)
      throw CliError(kUsage, "--filter needs KEY=VALUE, not " + escape(filter));
    std::string key = filter.substr(0, equals);
    std::string value = filter.substr(equals + 1);
    if (!keys.empty() && std::ranges::find(keys, key) == keys.end()) {
      std::string list;
      for (const std::string& name : keys) list += (list.empty() ? "" : ", ") + name;
      throw CliError(kUsage, "--filter: there is no " + escape(key) + "; there are " + list);
    }
    Json kept = Json::array();
    for (Json& row : rows)
      if (auto found = row.find(key); found != row.end() && is_or_has(*found, value)) kept.push_back(std::move(row));
    rows = std::move(kept);
  }
}

void print_json(const Daemon& daemon, const Json& answer) {
  Json out;
  out["schema"] = answer.value("schema", "");
  out["address"] = daemon.address;
  for (auto& [key, value] : answer.items()) out[key] = value;
  // Escaped down to ASCII: a terminal may be what reads it after all.
  std::printf("%s\n", out.dump(-1, ' ', true, Json::error_handler_t::replace).c_str());
}

Table make_table(const std::vector<Field>& fields, const Json& rows) {
  std::vector<Table::Column> columns;
  for (const Field& field : fields) {
    bool is_number = field.kind != Field::Kind::kText && field.kind != Field::Kind::kState && field.kind != Field::Kind::kLabel;
    columns.push_back({field.heading, is_number ? Align::kRight : Align::kLeft});
  }
  Table table(std::move(columns));
  for (const Json& row : rows) {
    std::vector<Cell> cells;
    for (const Field& field : fields) cells.push_back(make_cell(field, row));
    table.add(std::move(cells));
  }
  return table;
}

void for_each_daemon(const Options& options, const std::function<void(const Daemon&)>& show) {
  std::vector<Daemon> daemons = find_daemons(options.address);
  size_t shown = 0;
  for (const Daemon& daemon : daemons) {
    try {
      if (daemons.size() > 1 && !options.json) std::printf("%s%s\n", shown > 0 ? "\n" : "", daemon.address.c_str());
      show(daemon);
      ++shown;
    } catch (const CliError& error) {
      // One of several private daemons left with its client since they were found.
      if (daemons.size() == 1 || error.status != kNoDaemon) throw;
      if (!options.json) std::printf("(gone)\n");
    }
  }
  if (shown == 0) throw CliError(kNoDaemon, "the daemons that were there have left");
}

int run_listing(const Listing& listing, const Options& options) {
  for_each_daemon(options, [&](const Daemon& daemon) {
    uint32_t asked = limit_to_ask(listing, options);
    Json answer = ask(daemon, listing.query != nullptr ? listing.query : listing.what, asked, options.timeout_ns());
    Json& rows = answer[listing.what];
    // tarnd leaves out something for the limit, or for bounds of its own.
    bool is_left_out = answer.value("truncated", false);
    bool is_by_limit = is_left_out && asked != 0 && rows.size() >= asked;
    if (listing.change) listing.change(rows);
    std::vector<std::string> keys = listing.others;
    for (const Field& field : listing.fields) keys.push_back(field.key);
    filter_rows(rows, by_keys(options.filters, listing.fields), std::move(keys));
    is_by_limit = cut(rows, options) || is_by_limit;
    answer["truncated"] = is_by_limit || is_left_out;
    if (options.json) return print_json(daemon, answer);
    std::fputs(make_table(listing.fields, rows).text(wants_colour(STDOUT_FILENO)).c_str(), stdout);
    if (listing.note) std::fputs(listing.note(answer).c_str(), stdout);
    if (is_by_limit || is_left_out) tell_of_more(is_by_limit);
  });
  return kOk;
}

}  // namespace tarn::cli
