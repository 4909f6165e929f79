#include "config_file.hpp"

#include <pwd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

namespace {

// toml++ 3.3 asserts what a file can break, such as "[#" (found by tests/fuzz/config): a file must not
// abort tarnd, so its asserts are errors.
struct ParserGaveUp : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] void parser_gave_up(const char* what) { throw ParserGaveUp(what); }

}  // namespace

#define TOML_ASSERT(expression) (static_cast<bool>(expression) ? static_cast<void>(0) : parser_gave_up(#expression))
#define TOML_HEADER_ONLY 1
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "base/edit_distance.hpp"
#include "memory_queue.hpp"
#include "task/needs.hpp"

namespace tarn::daemon {
namespace {

constexpr size_t kFileSizeMax = 1 << 20;
constexpr size_t kQuotedMax = 64;  // of a foreign word in a message
constexpr uint64_t kMemoryMin = 16 << 20;
constexpr uint64_t kMemoryWaitMax = MemoryQueue::kWaitMaxNs / 1'000'000'000;
static_assert(kMemoryWaitMax == 30);  // as the table below says

// What of the file is read now, and where its results go.
class Reader {
 public:
  Reader(const std::string& file, const ResolveUser& resolve) : file_(file), resolve_(resolve) {}

  Config config;
  TenantConfig* tenant = nullptr;  // while its table is read

  void read(const toml::table& root);

  // Each returns the value at `node`, or refuses it with the key's name and what is allowed.
  uint64_t number(const toml::node& node, uint64_t least, uint64_t most);
  std::string path(const toml::node& node);
  uint64_t size(const toml::node& node);
  unsigned mode(const toml::node& node);
  Level level(const toml::node& node);
  std::vector<topo::CpuSet> cpu_lists(const toml::node& node);
  std::string folder(const toml::node& node);
  // A share leaves `bytes` 0.
  void size_or_share(const toml::node& node, uint64_t& bytes, double& share);

  [[noreturn]] void refuse(const toml::source_region& where, const std::string& what) const;

 private:
  void read_section(const std::string& name, const std::string& shown, const toml::table& table);
  void read_tenants(const toml::table& table);
  void read_resources(const toml::table& table);
  void check_slots(const toml::table& root) const;
  [[noreturn]] void refuse_type(const toml::node& node, const std::string& wanted) const;
  const toml::table& as_table(const toml::node& node, const std::string& name) const;

  const std::string& file_;
  const ResolveUser& resolve_;
  std::string key_;  // that is read now, such as "memory.limit"
};

struct Entry {
  ConfigKey key;
  void (*apply)(Reader& reader, const toml::node& node);
};

constexpr Entry kEntries[] = {
    {{"daemon", "socket", "path", "\"/run/tarn/tarnd.sock\""},
     [](Reader& r, const toml::node& n) { r.config.socket_path = r.path(n); }},
    {{"daemon", "mode", "permissions", "0o666"},
     [](Reader& r, const toml::node& n) { r.config.socket_mode = r.mode(n); }},
    {{"daemon", "spawn_socket", "path", "\"/run/tarn/spawn.sock\""},
     [](Reader& r, const toml::node& n) { r.config.spawn_socket_path = r.path(n); }},
    {{"daemon", "log_level", "level", "\"info\""},
     [](Reader& r, const toml::node& n) { r.config.log_level = r.level(n); }},
    {{"slots", "cores_per_slot", "1 to 1024", "1"},
     [](Reader& r, const toml::node& n) {
       r.config.slots.cores_per_slot = static_cast<uint32_t>(r.number(n, 1, topo::kCpusMax));
     }},
    {{"slots", "cpus", "list of CPU lists", ""},
     [](Reader& r, const toml::node& n) { r.config.slots.cpus = r.cpu_lists(n); }},
    {{"slots", "reserve", "0 to 1023", "0"},
     [](Reader& r, const toml::node& n) {
       r.config.slots.reserve = static_cast<uint32_t>(r.number(n, 0, topo::kCpusMax - 1));
     }},
    {{"memory", "limit", "size or share", "\"60%\""},
     [](Reader& r, const toml::node& n) { r.size_or_share(n, r.config.memory_max, r.config.memory_share); }},
    {{"memory", "per_tenant", "size", ""},
     [](Reader& r, const toml::node& n) { r.config.tenant_memory_max = r.size(n); }},
    {{"memory", "per_client", "size", ""},
     [](Reader& r, const toml::node& n) { r.config.session_memory_max = r.size(n); }},
    {{"memory", "spill_directory", "path or nothing", "\"/var/tmp\""},
     [](Reader& r, const toml::node& n) { r.config.spill_directory = r.folder(n); }},
    {{"memory", "spill_limit", "size or share", "\"50%\""},
     [](Reader& r, const toml::node& n) { r.size_or_share(n, r.config.spill_max, r.config.spill_share); }},
    {{"memory", "spill_per_tenant", "size", ""},
     [](Reader& r, const toml::node& n) { r.config.tenant_spill_max = r.size(n); }},
    {{"memory", "keep", "1 to 86400", "30"},
     [](Reader& r, const toml::node& n) { r.config.memory_keep_s = static_cast<uint32_t>(r.number(n, 1, 86'400)); }},
    {{"memory", "wait", "1 to 30", "10"},
     [](Reader& r, const toml::node& n) { r.config.memory_wait_s = static_cast<uint32_t>(r.number(n, 1, kMemoryWaitMax)); }},
    {{"limits", "sessions", "1 to 4096", "256"},
     [](Reader& r, const toml::node& n) { r.config.sessions_max = static_cast<uint32_t>(r.number(n, 1, 4096)); }},
    {{"limits", "sessions_per_tenant", "1 to 4096", "64"},
     [](Reader& r, const toml::node& n) { r.config.tenant_sessions_max = static_cast<uint32_t>(r.number(n, 1, 4096)); }},
    {{"limits", "workers_per_session", "1 to 254", "254"},
     [](Reader& r, const toml::node& n) { r.config.session_workers_max = static_cast<uint32_t>(r.number(n, 1, 254)); }},
    {{"limits", "slabs_per_session", "16 to 65536", "4096"},
     [](Reader& r, const toml::node& n) { r.config.session_slabs_max = static_cast<uint32_t>(r.number(n, 16, 65536)); }},
    {{"resources", "NAME", "1 to 1000000000", ""},
     [](Reader& r, const toml::node& n) { r.config.resources.back().total = static_cast<uint32_t>(r.number(n, 1, 1'000'000'000)); }},
    {{"tenants.NAME", "memory", "size", ""},
     [](Reader& r, const toml::node& n) { r.tenant->memory = r.size(n); }},
    {{"tenants.NAME", "sessions", "1 to 4096", ""},
     [](Reader& r, const toml::node& n) { r.tenant->sessions = static_cast<uint32_t>(r.number(n, 1, 4096)); }},
    {{"tenants.NAME", "weight", "1 to 10000", ""},
     [](Reader& r, const toml::node& n) { r.tenant->weight = static_cast<uint32_t>(r.number(n, 1, kWeightMax)); }},
};
constexpr std::string_view kTenantSection = "tenants.NAME";

// toml++ 3.3 is undefined for some characters beyond ASCII where none may stand (found by
// tests/fuzz/config), so it gets to see none: each such byte, and '~', is written as "~d1~". Outside of
// texts and comments that is no TOML, as it should be.
std::string to_ascii(std::string_view text) {
  std::string ascii;
  for (char c : text) {
    auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80 && c != '~') {
      ascii += c;
      continue;
    }
    char code[8];
    snprintf(code, sizeof code, "~%02x~", byte);
    ascii += code;
  }
  return ascii;
}

std::string from_ascii(std::string_view ascii) {
  std::string text;
  for (size_t i = 0; i < ascii.size(); ++i) {
    unsigned byte = 0;
    if (ascii[i] == '~' && i + 3 < ascii.size() &&
        std::from_chars(ascii.data() + i + 1, ascii.data() + i + 3, byte, 16).ec == std::errc()) {
      text += static_cast<char>(byte);
      i += 3;
    } else {
      text += ascii[i];
    }
  }
  return text;
}

// REQUIRES: node.is_string().
std::string text_of(const toml::node& node) { return from_ascii(node.as_string()->get()); }

// A word of the file, as a message shows it.
std::string quoted(std::string_view word) {
  std::string text = "\"";
  for (char c : word.substr(0, kQuotedMax)) text += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return text + (word.size() > kQuotedMax ? "...\"" : "\"");
}

// "; did you mean "socket"? Allowed are: mode, socket"
std::string suggest(std::string_view word, std::vector<std::string_view> allowed) {
  std::string text;
  std::string_view nearest;
  size_t best = std::max<size_t>(2, word.size() / 3) + 1;
  if (word.size() <= kQuotedMax) {
    for (std::string_view candidate : allowed) {
      if (size_t distance = edit_distance(word, candidate); distance < best) {
        best = distance;
        nearest = candidate;
      }
    }
  }
  if (!nearest.empty()) text = "; did you mean " + quoted(nearest) + "?";
  std::string list;
  for (std::string_view candidate : allowed) list += (list.empty() ? "" : ", ") + std::string(candidate);
  return text + (text.empty() ? "; allowed: " : " Allowed: ") + list;
}

// "16GiB": a number and a unit of 1024s. 0 if it is not.
uint64_t size_in(std::string_view text) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return 0;
  std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (!unit.empty() && unit.front() == ' ') unit.remove_prefix(1);
  constexpr std::pair<std::string_view, unsigned> kUnits[] = {{"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}, {"TiB", 40}};
  for (auto [name, shift] : kUnits)
    if (unit == name && number <= UINT64_MAX >> shift) return number << shift;
  return 0;
}

void Reader::refuse(const toml::source_region& where, const std::string& what) const {
  throw ConfigError(file_ + ":" + std::to_string(where.begin.line) + ":" + std::to_string(where.begin.column) + ": " + what);
}

std::string type_name(toml::node_type type) {
  switch (type) {
    case toml::node_type::table: return "a table";
    case toml::node_type::array: return "a list";
    case toml::node_type::string: return "a text";
    case toml::node_type::integer: return "a number";
    case toml::node_type::floating_point: return "a number with a fraction";
    case toml::node_type::boolean: return "true or false";
    default: return "a date or time";
  }
}

void Reader::refuse_type(const toml::node& node, const std::string& wanted) const {
  refuse(node.source(), key_ + " is " + type_name(node.type()) + "; it must be " + wanted);
}

const toml::table& Reader::as_table(const toml::node& node, const std::string& name) const {
  if (!node.is_table()) refuse(node.source(), name + " is " + type_name(node.type()) + "; write it as a section, [" + name + "]");
  return *node.as_table();
}

uint64_t Reader::number(const toml::node& node, uint64_t least, uint64_t most) {
  std::string wanted = "a number from " + std::to_string(least) + " to " + std::to_string(most);
  if (!node.is_integer()) refuse_type(node, wanted);
  int64_t value = node.as_integer()->get();
  if (value < 0 || static_cast<uint64_t>(value) < least || static_cast<uint64_t>(value) > most)
    refuse(node.source(), key_ + " is " + std::to_string(value) + "; it must be " + wanted);
  return static_cast<uint64_t>(value);
}

std::string Reader::path(const toml::node& node) {
  constexpr size_t kSocketPathMax = 107;
  std::string wanted = "an absolute path of at most 107 bytes, such as \"/run/tarn/tarnd.sock\"";
  if (!node.is_string()) refuse_type(node, wanted);
  std::string text = text_of(node);
  if (text.empty() || text[0] != '/' || text.size() > kSocketPathMax || text.find('\0') != std::string::npos)
    refuse(node.source(), key_ + " is " + quoted(text) + "; it must be " + wanted);
  return text;
}

std::string Reader::folder(const toml::node& node) {
  std::string wanted = "an absolute path, such as \"/var/tmp\", or \"\" for none";
  if (!node.is_string()) refuse_type(node, wanted);
  std::string text = text_of(node);
  bool is_path = text.empty() || (text[0] == '/' && text.size() < PATH_MAX && text.find('\0') == std::string::npos);
  if (!is_path) refuse(node.source(), key_ + " is " + quoted(text) + "; it must be " + wanted);
  return text;
}

uint64_t Reader::size(const toml::node& node) {
  std::string wanted = "a size of at least 16MiB, in bytes or such as \"16GiB\" (B, KiB, MiB, GiB, TiB)";
  uint64_t bytes = 0;
  std::string shown;
  if (node.is_integer()) {
    int64_t value = node.as_integer()->get();
    bytes = value < 0 ? 0 : static_cast<uint64_t>(value);
    shown = std::to_string(value);
  } else if (node.is_string()) {
    bytes = size_in(text_of(node));
    shown = quoted(text_of(node));
  } else {
    refuse_type(node, wanted);
  }
  if (bytes < kMemoryMin) refuse(node.source(), key_ + " is " + shown + "; it must be " + wanted);
  return bytes;
}

void Reader::size_or_share(const toml::node& node, uint64_t& bytes, double& share) {
  if (node.is_string() && text_of(node).ends_with('%')) {
    std::string text = text_of(node);
    int percent = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), percent);
    if (error != std::errc() || end != text.data() + text.size() - 1 || percent < 1 || percent > 100)
      refuse(node.source(), key_ + " is " + quoted(text) + "; a share must be \"1%\" to \"100%\"");
    bytes = 0;
    share = percent / 100.0;
    return;
  }
  bytes = size(node);
}

unsigned Reader::mode(const toml::node& node) {
  std::string wanted = "permissions in octal, such as 0o660";
  if (!node.is_integer()) refuse_type(node, wanted);
  int64_t value = node.as_integer()->get();
  if (value <= 0 || value > 0777) refuse(node.source(), key_ + " is " + std::to_string(value) + "; it must be " + wanted);
  return static_cast<unsigned>(value);
}

Level Reader::level(const toml::node& node) {
  constexpr std::pair<std::string_view, Level> kLevels[] = {
      {"error", Level::kError}, {"warning", Level::kWarning}, {"info", Level::kInfo}, {"debug", Level::kDebug}};
  if (!node.is_string()) refuse_type(node, "\"error\", \"warning\", \"info\" or \"debug\"");
  std::string text = text_of(node);
  std::vector<std::string_view> names;
  for (auto [name, level] : kLevels) {
    if (text == name) return level;
    names.push_back(name);
  }
  refuse(node.source(), key_ + " is " + quoted(text) + suggest(text, names));
}

std::vector<topo::CpuSet> Reader::cpu_lists(const toml::node& node) {
  std::string wanted = "a list with one entry per slot, such as [\"0-3\", \"4-7\"]";
  if (!node.is_array()) refuse_type(node, wanted);
  std::vector<topo::CpuSet> lists;
  for (const toml::node& entry : *node.as_array()) {
    if (!entry.is_string()) refuse(entry.source(), key_ + " has " + type_name(entry.type()) + " in it; it must be " + wanted);
    std::string text = text_of(entry);
    topo::CpuSet cpus;
    if (!topo::CpuSet::parse(text, cpus) || cpus.empty())
      refuse(entry.source(), key_ + " has " + quoted(text) + "; an entry must be CPUs below 1024, such as \"0-3,8\"");
    lists.push_back(cpus);
  }
  if (lists.empty()) refuse(node.source(), key_ + " is empty; it must be " + wanted);
  if (lists.size() > topo::kSlotsMax) refuse(node.source(), key_ + " has more than 1024 entries");
  return lists;
}

void Reader::read_section(const std::string& name, const std::string& shown, const toml::table& table) {
  for (auto&& [key, value] : table) {
    auto entry = std::ranges::find_if(
        kEntries, [&, word = key.str()](const Entry& one) { return one.key.section == name && one.key.name == word; });
    if (entry == std::end(kEntries)) {
      std::vector<std::string_view> allowed;
      for (const Entry& one : kEntries)
        if (one.key.section == name) allowed.push_back(one.key.name);
      refuse(key.source(), "unknown key " + quoted(from_ascii(key.str())) + " in [" + shown + "]" + suggest(key.str(), allowed));
    }
    key_ = shown + "." + std::string(key.str());
    entry->apply(*this, value);
  }
}

void Reader::read_tenants(const toml::table& table) {
  for (auto&& [key, value] : table) {
    std::string name = from_ascii(key.str());
    std::string shown = "tenants." + quoted(name);
    const toml::table& section = as_table(value, shown);
    uid_t uid = 0;
    auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), uid);
    if (error != std::errc() || end != name.data() + name.size()) {
      std::optional<uid_t> found = resolve_(name);
      if (!found) refuse(key.source(), "there is no user " + quoted(name) + " on this host; name one, or write a uid");
      uid = *found;
    }
    if (config.tenants.contains(uid)) refuse(key.source(), shown + " is the user of an earlier section");
    tenant = &config.tenants[uid];
    read_section(std::string(kTenantSection), shown, section);
  }
}

// Any name: how many there are of it.
void Reader::read_resources(const toml::table& table) {
  for (auto&& [key, value] : table) {
    std::string name = from_ascii(key.str());
    task::ResourceList list(name.c_str());
    task::ResourceList::Entry entry{};
    if (name.find('\0') != std::string::npos || list.next(entry) <= 0 || entry.name_size != name.size())
      refuse(key.source(), "resources has " + quoted(name) + "; a name has up to 31 letters, digits and any of _-.");
    if (config.resources.size() == shm::kResourcesMax)
      refuse(key.source(), "resources has more than " + std::to_string(shm::kResourcesMax) + " entries");
    key_ = "resources." + name;
    config.resources.push_back({name, 0});
    std::ranges::find(kEntries, std::string_view("resources"), [](const Entry& one) { return one.key.section; })->apply(*this, value);
  }
}

void Reader::check_slots(const toml::table& root) const {
  const toml::table* slots = root["slots"].as_table();
  if (slots == nullptr || !slots->contains("cpus")) return;
  for (const char* other : {"cores_per_slot", "reserve"}) {
    if (const toml::node* node = slots->get(other))
      refuse(node->source(), "slots.cpus names the slots one by one; remove slots." + std::string(other) + " or slots.cpus");
  }
}

void Reader::read(const toml::table& root) {
  std::vector<std::string_view> sections;
  for (const Entry& entry : kEntries)
    if (entry.key.section != kTenantSection && (sections.empty() || sections.back() != entry.key.section))
      sections.push_back(entry.key.section);
  sections.push_back("tenants");
  for (auto&& [key, value] : root) {
    std::string name = from_ascii(key.str());
    if (std::ranges::find(sections, name) == sections.end()) {
      const char* what = value.is_table() ? "unknown section " : "unknown key ";
      refuse(key.source(), what + quoted(name) + suggest(name, sections));
    }
    const toml::table& table = as_table(value, name);
    if (name == "tenants") {
      read_tenants(table);
    } else if (name == "resources") {
      read_resources(table);
    } else {
      read_section(name, name, table);
    }
  }
  check_slots(root);
}

std::optional<uid_t> user_of_this_host(const std::string& name) {
  const passwd* user = getpwnam(name.c_str());
  if (user == nullptr) return std::nullopt;
  return user->pw_uid;
}

}  // namespace

std::span<const ConfigKey> config_keys() {
  static const std::vector<ConfigKey> keys = [] {
    std::vector<ConfigKey> list;
    for (const Entry& entry : kEntries) list.push_back(entry.key);
    return list;
  }();
  return keys;
}

Config parse_config(std::string_view text, const std::string& file, const ResolveUser& resolve) {
  Reader reader(file, resolve);
  try {
    constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
    if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
    reader.read(toml::parse(to_ascii(text), file));
  } catch (const toml::parse_error& error) {
    reader.refuse(error.source(), "not valid TOML: " + from_ascii(error.description()));
  } catch (const ParserGaveUp& error) {
    throw ConfigError(file + ":1:1: not valid TOML: the parser gave up somewhere in the file (" + error.what() + ")");
  }
  return std::move(reader.config);
}

Config read_config(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  if (file) {
    text.resize(kFileSizeMax + 1);
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(file.gcount()));
  }
  if (!file.eof()) {
    if (text.size() > kFileSizeMax) throw ConfigError(path + ": larger than 1 MiB; this is no configuration of tarnd");
    throw ConfigError(path + ": cannot be read: " + strerror(errno == 0 ? EISDIR : errno));
  }
  return parse_config(text, path, user_of_this_host);
}

}  // namespace tarn::daemon
