#include "memory_notes.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "store/object_record.hpp"
#include "text.hpp"

namespace tarn::cli {
namespace {

constexpr size_t kSessionsTold = 8;       // of those that may have no more
constexpr uint64_t kWorthTelling = 100;   // that part of a whole; what is less explains nothing
static_assert(store::kStaysMax == 32 << 10);  // as the texts say

uint64_t bytes_in(const Json& answer, const char* key) {
  auto found = answer.find(key);
  return found == answer.end() || !found->is_number_unsigned() ? 0 : found->get<uint64_t>();
}

std::string text_in(const Json& answer, const char* key) {
  auto found = answer.find(key);
  return found == answer.end() || !found->is_string() ? "" : escape(found->get<std::string>());
}

bool is_worth_telling(uint64_t part, uint64_t whole) { return part != 0 && part >= whole / kWorthTelling; }

// The disk as a whole.
std::string note_disk(const Json& answer) {
  if (std::string off = text_in(answer, "disk_off"); !off.empty()) return "disk: not used: " + off + "\n";
  std::string directory = text_in(answer, "disk_directory");
  uint64_t limit = bytes_in(answer, "disk_limit");
  if (limit == 0)
    return "disk: may not be used: nothing was free in " + directory +
           " when tarnd started, and that is what it has a share of (memory.spill_limit)\n";
  std::string text = "disk: " + show_bytes(bytes_in(answer, "disk_used")) + " of " + show_bytes(limit) + ", in " + directory;
  if (uint64_t kept = bytes_in(answer, "disk_kept"); kept != 0)
    text += ", " + show_bytes(kept) + " of it copies of what is in memory again";
  return text + "\n";
}

// What is used and what there is, of all users; what is pinned or small, of the asker's.
std::string note_totals(const Json& answer) {
  uint64_t used = bytes_in(answer, "memory_used");
  std::string text = "memory: " + show_bytes(used) + " of " + show_bytes(bytes_in(answer, "memory_limit"));
  if (uint64_t pinned = bytes_in(answer, "pinned"); pinned != 0)
    text += ", " + show_bytes(pinned) + " pinned by your programs";
  if (uint64_t small = bytes_in(answer, "small"); is_worth_telling(small, used))
    text += ", " + show_bytes(small) + " in your objects of up to 32 KiB";
  text += "\n";
  if (answer.contains("disk_limit")) text += note_disk(answer);  // an older tarnd has none
  if (uint64_t dropped = bytes_in(answer, "dropped"); dropped != 0)
    text += "dropped: " + show_bytes(dropped) + " of your repeatable tasks' results, which are nowhere now: the task runs again when somebody reads them\n";
  return text;
}

// Why objects that could leave memory do not; "": they can.
std::string why_none_leaves(const Json& answer, const Json& session) {
  if (std::string off = text_in(answer, "disk_off"); !off.empty()) return off;
  if (answer.contains("disk_limit") && bytes_in(answer, "disk_limit") == 0) return "it has no room, see above";
  if (std::string full = text_in(session, "disk_full"); !full.empty())
    return full + " may have no more of it (memory.spill_limit, memory.spill_per_tenant)";
  std::string refused = text_in(session, "disk_refused");
  if (refused.empty()) return "";
  auto age_ns = static_cast<int64_t>(std::min<uint64_t>(bytes_in(session, "disk_refused_s"), 86'400)) * 1'000'000'000;
  return refused + " (" + show_duration(age_ns) + " ago)";
}

// A session that may have no more: what its memory is full of. That is what somebody can do something about, part by part.
std::string note_full(const Json& answer, const Json& session) {
  std::string name = "session " + std::to_string(bytes_in(session, "session"));
  std::string full = text_in(session, "full");
  uint64_t used = bytes_in(session, "memory_used");
  bool is_its_own = full == name;
  std::string text = (is_its_own ? "" : name + ": ") + full + " may have no more; of " +
                     (is_its_own ? "its " : "the session's ") + show_bytes(used) + "\n";
  auto add = [&](const char* key, const std::string& what) {
    if (uint64_t part = bytes_in(session, key); is_worth_telling(part, used)) text += "    " + show_bytes(part) + " " + what + "\n";
  };
  add("pinned", "are pinned and cannot leave memory: `tarn objects` says by whom");
  add("small", "are in objects of up to 32 KiB, which do not go to the disk");
  std::string why = why_none_leaves(answer, session);
  add("movable", why.empty() ? "can go to the disk, and do when somebody asks for memory" : "could leave, but nothing goes to the disk: " + why);
  add("empty", "hold no object: they are kept for the next ones, or lie between objects");
  add("records", "are records of tasks and objects");
  return text;
}

// Those that may have no more, the largest first; and of the others those that the disk refused something.
std::string note_sessions(const Json& answer) {
  std::vector<const Json*> full;
  std::string text;
  auto found = answer.find("sessions");
  if (found == answer.end() || !found->is_array()) return "";
  for (const Json& session : *found) {
    if (!text_in(session, "full").empty()) {
      full.push_back(&session);
    } else if (!text_in(session, "disk_refused").empty() && text_in(answer, "disk_off").empty()) {
      text += "session " + std::to_string(bytes_in(session, "session")) + ": nothing goes to the disk: " + why_none_leaves(answer, session) + "\n";
    }
  }
  std::ranges::stable_sort(full, std::ranges::greater{}, [](const Json* each) { return bytes_in(*each, "memory_used"); });
  for (size_t i = 0; i < std::min(full.size(), kSessionsTold); ++i) text += note_full(answer, *full[i]);
  if (full.size() > kSessionsTold) text += std::to_string(full.size() - kSessionsTold) + " more sessions may have no more\n";
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

}  // namespace

std::string memory_notes(const Json& answer) { return note_totals(answer) + note_sessions(answer) + note_waiting(answer); }

}  // namespace tarn::cli
