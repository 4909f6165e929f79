#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "listing.hpp"
#include "memory_notes.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

using Kind = Field::Kind;

constexpr std::array<const char*, 11> kSums = {"slabs",           "size",    "objects", "bytes",   "pinned", "small",
                                               "objects_on_disk", "on_disk", "dropped", "records", "waiting"};
constexpr std::array<const char*, 6> kObjectSums = {"objects", "bytes", "pinned", "small", "on_disk", "dropped"};
constexpr const char* kLabelRead = "label_read";  // false in the row of labels that tarnd did not look at

// One row for each value of `key`, with the sums.
Json group_rows(const Json& rows, const std::string& key, std::span<const char* const> sums) {
  Json groups = Json::array();
  for (const Json& row : rows) {
    bool is_read = row.value(kLabelRead, true);
    auto found = std::ranges::find_if(
        groups, [&](const Json& group) { return group[key] == row[key] && group.value(kLabelRead, true) == is_read; });
    if (found == groups.end()) {
      Json group;
      group[key] = row[key];
      if (row.contains(kLabelRead)) group[kLabelRead] = is_read;
      for (const char* sum : sums) group[sum] = uint64_t{0};
      groups.push_back(std::move(group));
      found = groups.end() - 1;
    }
    for (const char* sum : sums) (*found)[sum] = (*found)[sum].get<uint64_t>() + row.value(sum, uint64_t{0});
  }
  return groups;
}

uint64_t total(const Json& row) { return row.value("size", uint64_t{0}) + row.value("records", uint64_t{0}); }

std::vector<Field> fields_of(const std::string& by) {
  std::vector<Field> fields;
  if (by.empty()) {
    fields = {{"session", "SESSION", Kind::kNumber}, {"client", "CLIENT", Kind::kText}, {"tenant", "TENANT", Kind::kNumber},
              {"member", "MEMBER", Kind::kNumber},   {"state", "STATE", Kind::kState},  {"node", "NODE", Kind::kNode}};
  } else if (by == "session") {
    fields = {{"session", "SESSION", Kind::kNumber}};
  } else if (by == "client") {
    fields = {{"client", "CLIENT", Kind::kText}};
  } else if (by == "tenant") {
    fields = {{"tenant", "TENANT", Kind::kNumber}};
  } else {
    fields = {{"node", "NODE", Kind::kNode}};
  }
  for (const Field& sum : std::initializer_list<Field>{{"slabs", "SLABS", Kind::kNumber},
                                                       {"size", "MEMORY", Kind::kBytes},
                                                       {"objects", "OBJECTS", Kind::kNumber},
                                                       {"bytes", "IN USE", Kind::kBytes},
                                                       {"pinned", "PINNED", Kind::kBytes},
                                                       {"on_disk", "ON DISK", Kind::kBytes},
                                                       {"records", "RECORDS", Kind::kBytes},
                                                       {"waiting", "WAITING", Kind::kBytes}})
    fields.push_back(sum);
  return fields;
}

// By what the objects say they are: tarnd sums that up, since it looks at more objects than it tells of.
int run_by_object(const Options& options) {
  bool by_type = options.by == "type";
  Listing listing{"memory",
                  {by_type ? Field{"type", "TYPE", Kind::kText} : Field{"label", "LABEL", Kind::kLabel},
                   {"objects", "OBJECTS", Kind::kNumber},
                   {"bytes", "IN USE", Kind::kBytes},
                   {"pinned", "PINNED", Kind::kBytes},
                   {"on_disk", "ON DISK", Kind::kBytes}},
                  {"small"}};
  if (!by_type) listing.others.push_back(kLabelRead);
  listing.note = memory_notes;
  listing.query = by_type ? "memory_types" : "memory_labels";
  listing.change = [by = options.by](Json& rows) {
    rows = group_rows(rows, by, kObjectSums);
    auto bytes = [](const Json& row) { return row.value("bytes", uint64_t{0}) + row.value("on_disk", uint64_t{0}); };
    std::stable_sort(rows.begin(), rows.end(), [&](const Json& a, const Json& b) { return bytes(a) > bytes(b); });
  };
  return run_listing(listing, options);
}

int run(const Options& options) {
  if (options.by == "type" || options.by == "label") return run_by_object(options);
  Listing listing{"memory", fields_of(options.by), {}};
  listing.note = memory_notes;
  if (options.by.empty()) return run_listing(listing, options);
  listing.change = [by = options.by](Json& rows) {
    rows = group_rows(rows, by, kSums);
    std::stable_sort(rows.begin(), rows.end(), [](const Json& a, const Json& b) { return total(a) > total(b); });
  };
  return run_listing(listing, options);
}

}  // namespace

constinit const Verb kMemoryVerb = {
    "memory", "who has how much memory, and for what",
    "Shows what each member of your sessions (1 is the client, workers follow) has on each NUMA node, or interleaved over all: its slabs and the "
    "memory they take, how many objects lie in them and what of the memory those use; the rest is kept warm for the next ones, "
    "or lies between them. PINNED is what objects use that somebody pins: they cannot leave memory. ON DISK is what has left "
    "it: it takes none, and comes back when somebody gets it. What was dropped, since a task can make it again, is in a line below. RECORDS is what descriptions of tasks and objects take; WAITING, "
    "in the first row of a session, what it has asked for and waits for. Below: what is used and what there is, of all users; "
    "and of each of your sessions that may have no more, what its memory is full of, and why nothing goes to disk, if so. Who keeps an object from being freed or from leaving memory is in `tarn objects`. "
    "With --by, sums for each session, client (by name), tenant (user) or node; with type or label, of what the objects in the "
    "slabs say they are; labels beyond those that tarnd looks at for one answer have a row of their own.",
    nullptr, false, run, "session|client|tenant|node|type|label"};

}  // namespace tarn::cli
