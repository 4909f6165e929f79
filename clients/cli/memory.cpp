#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "listing.hpp"
#include "text.hpp"
#include "verbs.hpp"

namespace tarn::cli {
namespace {

using Kind = Field::Kind;

constexpr std::array<const char*, 9> kSums = {"slabs",           "size",    "objects", "bytes",  "pinned",
                                                "objects_on_disk", "on_disk", "records", "waiting"};
constexpr std::array<const char*, 3> kObjectSums = {"objects", "bytes", "on_disk"};

// One row for each value of `key`, with the sums.
Json group_rows(const Json& rows, const std::string& key, std::span<const char* const> sums) {
  Json groups = Json::array();
  for (const Json& row : rows) {
    auto found = std::ranges::find_if(groups, [&](const Json& group) { return group[key] == row[key]; });
    if (found == groups.end()) {
      Json group;
      group[key] = row[key];
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

uint64_t bytes_in(const Json& answer, const char* key) { return answer.value(key, uint64_t{0}); }

std::string text_in(const Json& answer, const char* key) {
  auto found = answer.find(key);
  return found == answer.end() || !found->is_string() ? "" : escape(found->get<std::string>());
}

// What is used and what there is, of all users; what is pinned, of the asker's.
std::string note_totals(const Json& answer) {
  std::string text = "memory: " + show_bytes(bytes_in(answer, "memory_used")) + " of " +
                     show_bytes(bytes_in(answer, "memory_limit"));
  if (uint64_t pinned = bytes_in(answer, "pinned"); pinned != 0)
    text += ", " + show_bytes(pinned) + " pinned by your programs";
  if (!answer.contains("disk_limit")) return text + "\n";  // an older tarnd
  if (std::string off = text_in(answer, "disk_off"); !off.empty()) return text + "\ndisk: not used: " + off + "\n";
  text += "\ndisk: " + show_bytes(bytes_in(answer, "disk_used")) + " of " + show_bytes(bytes_in(answer, "disk_limit")) + ", in " +
          text_in(answer, "disk_directory");
  if (uint64_t kept = bytes_in(answer, "disk_kept"); kept != 0)
    text += ", " + show_bytes(kept) + " of it copies of what is in memory again";
  return text + "\n";
}

// Why a session gets nothing: the disk refused something just now; or what it is paid from is full, and what could leave
// memory for the disk is less than what cannot.
std::string note_sessions(const Json& answer) {
  bool has_disk = text_in(answer, "disk_off").empty();
  std::string text;
  for (const Json& session : answer.value("sessions", Json::array())) {
    std::string session_name = "session " + std::to_string(bytes_in(session, "session"));
    std::string name = session_name + ": ";
    if (std::string why = text_in(session, "disk_refused"); has_disk && !why.empty())
      text += name + "nothing goes to disk: " + why + "\n";
    uint64_t used = bytes_in(session, "memory_used");
    uint64_t pinned = bytes_in(session, "pinned");
    if (std::string full = text_in(session, "full"); !full.empty() && pinned >= used / 2)
      text += (full == session_name ? "" : name) + full + " may have no more; " + show_bytes(pinned) + " of its " + show_bytes(used) +
              " are pinned and cannot leave memory: `tarn objects` says by whom\n";
  }
  return text;
}

// Of all users, as the limit is for all.
std::string note_waiting(const Json& answer) {
  Json waiting = answer.value("waiting", Json::object());  // an older tarnd has none
  auto requests = waiting.value("requests", uint64_t{0});
  if (requests == 0) return "";
  auto oldest_ns = static_cast<int64_t>(waiting.value("oldest_s", 0.0) * 1e9);
  return (requests == 1 ? "1 request waits" : std::to_string(requests) + " requests wait") + " for memory: " +
         show_bytes(waiting.value("bytes", uint64_t{0})) + ", the oldest for " + show_duration(oldest_ns) + "\n";
}

// By what the objects say they are: tarnd sums that up, since it looks at more objects than it tells of.
int run_by_object(const Options& options) {
  bool by_type = options.by == "type";
  Listing listing{"memory",
                  {by_type ? Field{"type", "TYPE", Kind::kText} : Field{"label", "LABEL", Kind::kText},
                   {"objects", "OBJECTS", Kind::kNumber},
                   {"bytes", "IN USE", Kind::kBytes},
                   {"on_disk", "ON DISK", Kind::kBytes}},
                  {}};
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
  listing.note = [](const Json& answer) {
    return note_totals(answer) + note_sessions(answer) + note_waiting(answer);
  };
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
    "it: it takes none, and comes back when somebody gets it. RECORDS is what descriptions of tasks and objects take; WAITING, "
    "in the first row of a session, what it has asked for and waits for. Below: what is used and what there is, of all users, "
    "and why nothing goes to disk, if so. Who keeps an object from being freed or from leaving memory is in `tarn objects`. "
    "With --by, sums for each session, client (by name), tenant (user) or node; with type or label, of what the objects in the "
    "slabs say they are.",
    nullptr, false, run, "session|client|tenant|node|type|label"};

}  // namespace tarn::cli
