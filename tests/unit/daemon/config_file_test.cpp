// A mistyped key that is ignored costs an administrator a day. Every key is read, every mistake is refused with its
// place, and the page and the example say what the code does, in both directions.

#include "config_file.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <string>

namespace tarn::daemon {
namespace {

std::optional<uid_t> resolve(const std::string& name) {
  if (name == "alice") return 1000;
  return std::nullopt;
}

Config parse(const std::string& text) { return parse_config(text, "t.toml", resolve); }

std::string refusal(const std::string& text) {
  try {
    (void)parse(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "accepted";
}

std::string file_text(const std::string& path) {
  std::ifstream file(std::string(TARN_SOURCE_ROOT) + "/" + path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string full_name(const ConfigKey& key) { return std::string(key.section) + "." + std::string(key.name); }

TEST(ConfigFileTest, an_empty_file_is_the_default) {
  Config config = parse("");
  EXPECT_EQ(config.socket_path, Config().socket_path);
  EXPECT_EQ(config.memory_share, 0.6);
  EXPECT_TRUE(config.tenants.empty());
}

TEST(ConfigFileTest, reads_every_key) {
  Config config = parse(R"(
[daemon]
socket = "/tmp/t.sock"
mode = 0o660
spawn_socket = "/tmp/s.sock"
log_level = "debug"
[slots]
cores_per_slot = 2
reserve = 1
[memory]
limit = "16GiB"
per_tenant = 1073741824
per_client = "512 MiB"
wait = 5
[limits]
sessions = 1
sessions_per_tenant = 2
workers_per_session = 3
slabs_per_session = 16
[tenants."alice"]
memory = "1TiB"
sessions = 7
[tenants.1001]
sessions = 8
)");
  EXPECT_EQ(config.socket_path, "/tmp/t.sock");
  EXPECT_EQ(config.socket_mode, 0660u);
  EXPECT_EQ(config.spawn_socket_path, "/tmp/s.sock");
  EXPECT_EQ(config.log_level, Level::kDebug);
  EXPECT_EQ(config.slots.cores_per_slot, 2u);
  EXPECT_EQ(config.slots.reserve, 1u);
  EXPECT_EQ(config.memory_max, uint64_t{16} << 30);
  EXPECT_EQ(config.tenant_memory_max, uint64_t{1} << 30);
  EXPECT_EQ(config.session_memory_max, uint64_t{512} << 20);
  EXPECT_EQ(config.memory_wait_s, 5u);
  EXPECT_EQ(config.sessions_max, 1u);
  EXPECT_EQ(config.tenant_sessions_max, 2u);
  EXPECT_EQ(config.session_workers_max, 3u);
  EXPECT_EQ(config.session_slabs_max, 16u);
  EXPECT_EQ(config.tenants.at(1000).memory, uint64_t{1} << 40);
  EXPECT_EQ(config.tenants.at(1000).sessions, 7u);
  EXPECT_EQ(config.tenants.at(1001).sessions, 8u);
}

TEST(ConfigFileTest, reads_slots_one_by_one_and_shares) {
  Config config = parse("[slots]\ncpus = [\"0-3\", \"8, 9\"]\n[memory]\nlimit = \"25%\"");
  ASSERT_EQ(config.slots.cpus.size(), 2u);
  EXPECT_EQ(config.slots.cpus[1].text(), "8-9");
  EXPECT_EQ(config.memory_max, 0u);
  EXPECT_EQ(config.memory_share, 0.25);
}

TEST(ConfigFileTest, refuses_unknown_keys_with_their_place_and_the_nearest) {
  EXPECT_EQ(refusal("[daemon]\n\n  sokcet = \"/x\"\n"),
            "t.toml:3:3: unknown key \"sokcet\" in [daemon]; did you mean \"socket\"? "
            "Allowed: socket, mode, spawn_socket, log_level");
  EXPECT_EQ(refusal("[limit]\n"),
            "t.toml:1:2: unknown section \"limit\"; did you mean \"limits\"? "
            "Allowed: daemon, slots, memory, limits, resources, tenants");
  EXPECT_EQ(refusal("frobnicate = 1"),
            "t.toml:1:1: unknown key \"frobnicate\"; allowed: daemon, slots, memory, limits, resources, tenants");
  EXPECT_EQ(refusal("[tenants.alice]\ncolour = 1"),
            "t.toml:2:1: unknown key \"colour\" in [tenants.\"alice\"]; allowed: memory, sessions, weight");
}

TEST(ConfigFileTest, refuses_wrong_types_and_values) {
  struct Case {
    const char* text;
    const char* expected;
  };
  for (const Case& one : std::initializer_list<Case>{
           {"daemon = 1", "t.toml:1:10: daemon is a number; write it as a section, [daemon]"},
           {"[daemon]\nsocket = 1", "t.toml:2:10: daemon.socket is a number; it must be an absolute path"},
           {"[daemon]\nsocket = \"run\"", "it must be an absolute path"},
           {"[daemon]\nmode = 0o1777", "it must be permissions in octal"},
           {"[daemon]\nmode = \"0666\"", "daemon.mode is a text; it must be permissions in octal"},
           {"[daemon]\nlog_level = \"wraning\"", "daemon.log_level is \"wraning\"; did you mean \"warning\"?"},
           {"[slots]\ncores_per_slot = 0", "slots.cores_per_slot is 0; it must be a number from 1 to 1024"},
           {"[slots]\nreserve = -1", "slots.reserve is -1; it must be a number from 0 to 1023"},
           {"[slots]\nreserve = 1.5", "slots.reserve is a number with a fraction; it must be a number from"},
           {"[slots]\ncpus = \"0-3\"", "slots.cpus is a text; it must be a list"},
           {"[slots]\ncpus = []", "slots.cpus is empty"},
           {"[slots]\ncpus = [\"0\", 1]", "t.toml:2:14: slots.cpus has a number in it"},
           {"[slots]\ncpus = [\"3-1\"]", "slots.cpus has \"3-1\""},
           {"[slots]\ncpus = [\"0-9999\"]", "CPUs below 1024"},
           {"[slots]\ncpus = [\"0\"]\nreserve = 1", "t.toml:3:11: slots.cpus names the slots one by one; remove slots.reserve"},
           {"[memory]\nlimit = \"0%\"", "a share must be \"1%\" to \"100%\""},
           {"[memory]\nlimit = \"101%\"", "a share must be"},
           {"[memory]\nlimit = \"%\"", "a share must be"},
           {"[memory]\nlimit = \"16GB\"", "memory.limit is \"16GB\"; it must be a size of at least 16MiB"},
           {"[memory]\nlimit = 1000", "memory.limit is 1000; it must be a size of at least 16MiB"},
           {"[memory]\nlimit = \"99999999999TiB\"", "it must be a size"},
           {"[memory]\nper_tenant = true", "memory.per_tenant is true or false; it must be a size"},
           {"[memory]\nwait = 0", "memory.wait is 0; it must be a number from 1 to 30"},
           {"[memory]\nwait = \"10s\"", "memory.wait is a text; it must be a number from 1 to 30"},
           {"[limits]\nsessions = 4097", "limits.sessions is 4097; it must be a number from 1 to 4096"},
           {"[limits]\nsessions = 1979-05-27", "limits.sessions is a date or time"},
           {"[tenants.nobody-here]\nsessions = 1", "there is no user \"nobody-here\" on this host"},
           {"[tenants.alice]\n[tenants.1000]", "is the user of an earlier section"},
           {"[tenants]\nalice = 1", "tenants.\"alice\" is a number; write it as a section"},
           {"[daemon]\n[daemon]", "not valid TOML"},
           {"[daemon", "t.toml:1:8: not valid TOML"},
           {"[# comment\n", "not valid TOML"},
           {"[daemon]\nmode = 1 # ё\nё = 2", "t.toml:3:1: not valid TOML"},
           {"[daemon]\nsocket = \"/a\"\nsocket = \"/b\"", "t.toml:3"},
       })
    EXPECT_NE(refusal(one.text).find(one.expected), std::string::npos) << one.text << "\n  " << refusal(one.text);
}

TEST(ConfigFileTest, takes_any_character_in_texts_and_comments) {
  EXPECT_EQ(parse("# ё \"\n[daemon]\nsocket = \"/tmp/ё~7e~\\\"ё\" # 'ё\n").socket_path, "/tmp/ё~7e~\"ё");
  EXPECT_EQ(parse("[daemon]\nsocket = '/tmp/ё\\'\n").socket_path, "/tmp/ё\\");
  EXPECT_EQ(parse("\xef\xbb\xbf[daemon]\nsocket = \"\"\"/a\\\"\"\"\"\n").socket_path, "/a\"");
}

TEST(ConfigFileTest, shows_foreign_words_without_what_a_terminal_obeys) {
  EXPECT_NE(refusal("\"ё\" = 1").find("\"ё\""), std::string::npos);
  std::string message = refusal("\"\\u001b[31m\" = 1");
  EXPECT_EQ(message.find('\x1b'), std::string::npos) << message;
  EXPECT_LT(refusal("\"" + std::string(5000, 'x') + "\" = 1").size(), 300u);
}

TEST(ConfigFileTest, a_file_that_cannot_be_read_is_named) {
  for (const char* path : {"/nonexistent/tarnd.toml", "/"}) {
    try {
      (void)read_config(path);
      FAIL() << path << " was read";
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find(path), std::string::npos) << error.what();
    }
  }
}

// Rows of the page: | `key` | value | default | meaning |
TEST(ConfigFileTest, the_page_describes_every_key_and_no_other) {
  std::map<std::string, ConfigKey> missing;
  for (const ConfigKey& key : config_keys()) missing.emplace(full_name(key), key);
  std::string page = file_text("docs/configuration.md");
  std::regex row(R"(\n\| `([\w.]+)` \| ([^|]+) \| (?:`([^`]+)` )?\|)");
  for (std::sregex_iterator match(page.begin(), page.end(), row), end; match != end; ++match) {
    auto found = missing.find(match->str(1));
    ASSERT_NE(found, missing.end()) << "no such key, or described twice: " << (*match)[1];
    EXPECT_EQ(match->str(2), found->second.type) << found->first;
    EXPECT_EQ(match->str(3), found->second.fallback) << found->first;
    missing.erase(found);
  }
  for (auto& [name, key] : missing) ADD_FAILURE() << "docs/configuration.md does not describe " << name;
}

TEST(ConfigFileTest, the_example_has_every_key_with_its_default_and_is_valid) {
  std::string text = file_text("daemon/tarnd.toml");
  for (const ConfigKey& key : config_keys()) {
    if (key.name == "NAME") continue;  // any
    std::string line = "\n#" + std::string(key.name) + " = " + std::string(key.fallback);
    EXPECT_NE(text.find(line), std::string::npos) << "daemon/tarnd.toml lacks" << line;
  }
  EXPECT_EQ(refusal(text), "accepted");
  // With everything switched on, except for what excludes the rest. Expect: still valid.
  std::string all = std::regex_replace(text, std::regex("(^|\n)#(\\[|\\w+ =)"), "$1$2");
  all = std::regex_replace(all, std::regex("\ncpus = [^\n]*"), "");
  EXPECT_EQ(refusal(all), "accepted") << all;
  Config config = parse(all);
  EXPECT_EQ(config.tenants.at(1000).sessions, 128u);
  EXPECT_EQ(config.tenants.at(1000).weight, 300u);
  EXPECT_EQ(config.socket_mode, 0666u);
  ASSERT_EQ(config.resources.size(), 1u);
  EXPECT_EQ(config.resources[0].name, "licence");
  EXPECT_EQ(config.resources[0].total, 2u);
}

TEST(ConfigFileTest, resources_have_names_and_counts) {
  EXPECT_EQ(parse("[resources]\na = 1\n\"b.c-d_E9\" = 1000000000").resources.size(), 2u);
  for (const char* bad : {"a = 0", "a = 1000000001", "a = -1", "a = \"1\"", "a = 1.5", "\"\" = 1", "\"a b\" = 1", "\"a=1\" = 1",
                          "\"a,b\" = 1", "\"a\\u0000\" = 1", "a12345678901234567890123456789012 = 1"})
    EXPECT_NE(refusal("[resources]\n" + std::string(bad)), "accepted") << bad;
  std::string many = "[resources]";
  for (int i = 0; i < 16; ++i) many += "\nr" + std::to_string(i) + " = 1";
  EXPECT_EQ(refusal(many), "accepted");
  EXPECT_NE(refusal(many + "\nr16 = 1").find("more than 16"), std::string::npos);
}

TEST(ConfigFileTest, defaults_in_the_table_are_those_of_the_struct) {
  for (const ConfigKey& key : config_keys()) {
    if (key.fallback.empty()) continue;
    Config config = parse("[" + std::string(key.section) + "]\n" + std::string(key.name) + " = " + std::string(key.fallback));
    Config standard;
    EXPECT_EQ(config.socket_path, standard.socket_path);
    EXPECT_EQ(config.socket_mode, standard.socket_mode);
    EXPECT_EQ(config.spawn_socket_path, standard.spawn_socket_path);
    EXPECT_EQ(config.log_level, standard.log_level);
    EXPECT_EQ(config.slots.cores_per_slot, standard.slots.cores_per_slot);
    EXPECT_EQ(config.slots.reserve, standard.slots.reserve);
    EXPECT_EQ(config.memory_max, standard.memory_max);
    EXPECT_EQ(config.memory_share, standard.memory_share);
    EXPECT_EQ(config.memory_wait_s, standard.memory_wait_s);
    EXPECT_EQ(config.sessions_max, standard.sessions_max);
    EXPECT_EQ(config.tenant_sessions_max, standard.tenant_sessions_max);
    EXPECT_EQ(config.session_workers_max, standard.session_workers_max);
    EXPECT_EQ(config.session_slabs_max, standard.session_slabs_max);
  }
}

}  // namespace
}  // namespace tarn::daemon
