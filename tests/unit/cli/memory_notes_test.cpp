// Whoever is refused memory reads these lines. What could go wrong: a session is full and nothing says of what; an older tarnd
// or a missing field stops the tool; a text of the daemon reaches the terminal as it is.
#include "memory_notes.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace tarn::cli {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

Json answer() {
  Json out = Json::parse(R"({"memory_used": 67108864, "memory_limit": 67108864, "disk_used": 0, "disk_limit": 1073741824,
                             "disk_kept": 0, "disk_directory": "/var/tmp", "disk_off": null, "pinned": 0, "sessions": []})");
  return out;
}

Json full_session(uint64_t number) {
  Json out = Json::parse(R"({"memory_used": 67108864, "disk_full": null, "disk_refused": null, "disk_refused_s": null})");
  out["session"] = number;
  out["full"] = "session " + std::to_string(number);
  return out;
}

void expect_line(const std::string& notes, const std::string& line) {
  EXPECT_NE(("\n" + notes).find("\n" + line + "\n"), std::string::npos) << "no line: " << line << "\nin: " << notes;
}

TEST(MemoryNotesTest, say_what_a_full_session_is_full_of) {
  Json all = answer();
  Json session = full_session(2);
  session["pinned"] = 10 * kMiB;
  session["small"] = 30 * kMiB;
  session["movable"] = 16 * kMiB;
  session["empty"] = 8 * kMiB;
  session["records"] = 1;  // explains nothing
  all["sessions"].push_back(session);
  std::string notes = memory_notes(all);
  expect_line(notes, "session 2 may have no more; of its 64.0 MiB");
  expect_line(notes, "    10.0 MiB are pinned and cannot leave memory: `tarn objects` says by whom");
  expect_line(notes, "    30.0 MiB are in objects of up to 32 KiB, which do not go to the disk");
  expect_line(notes, "    16.0 MiB can go to the disk, and do when somebody asks for memory");
  expect_line(notes, "    8.0 MiB hold no object: they are kept for the next ones, or lie between objects");
  EXPECT_EQ(notes.find("are records"), std::string::npos) << notes;
  // The same when its user's limit, or that of all, is what is reached.
  all["sessions"][0]["full"] = "user 1000";
  expect_line(memory_notes(all), "session 2: user 1000 may have no more; of the session's 64.0 MiB");
}

TEST(MemoryNotesTest, say_why_the_disk_takes_nothing) {
  Json all = answer();
  Json session = full_session(2);
  session["movable"] = 64 * kMiB;
  session["disk_refused"] = "no\033[2J room";
  session["disk_refused_s"] = uint64_t{7};
  all["sessions"].push_back(session);
  std::string line = memory_notes(all);
  EXPECT_NE(line.find("    64.0 MiB could leave, but nothing goes to the disk: no"), std::string::npos) << line;
  EXPECT_NE(line.find("room (7 s ago)"), std::string::npos) << line;
  EXPECT_EQ(line.find('\033'), std::string::npos);
  all["sessions"][0]["disk_full"] = "user 1000";
  EXPECT_NE(memory_notes(all).find("user 1000 may have no more of it"), std::string::npos);
  // A share of a disk that was full when tarnd started.
  all["disk_limit"] = 0;
  std::string notes = memory_notes(all);
  EXPECT_NE(notes.find("disk: may not be used: nothing was free in /var/tmp when tarnd started"), std::string::npos) << notes;
  all["disk_off"] = "/var/tmp lies in memory itself";
  expect_line(memory_notes(all), "disk: not used: /var/tmp lies in memory itself");
}

TEST(MemoryNotesTest, are_few_however_many_sessions_are_full) {
  Json all = answer();
  for (uint64_t number = 1; number <= 20; ++number) all["sessions"].push_back(full_session(number));
  expect_line(memory_notes(all), "12 more sessions may have no more");
}

TEST(MemoryNotesTest, make_do_with_what_an_older_daemon_says) {
  EXPECT_EQ(memory_notes(Json::parse(R"({"memory_used": 1048576, "memory_limit": 2097152})")), "memory: 1.0 MiB of 2.0 MiB\n");
  EXPECT_EQ(memory_notes(Json::parse(R"({"memory_used": -1, "sessions": 7})")), "memory: 0 B of 0 B\n");
}

}  // namespace
}  // namespace tarn::cli
