// A client may call itself anything, also a sequence that clears the terminal or makes `kill 1` look like `kill 100`.
// Whatever comes in, only printable characters may come out.

#include "text.hpp"

#include <gtest/gtest.h>

#include "table.hpp"

namespace tarn::cli {
namespace {

TEST(TextTest, plain_text_stays_as_it_is) {
  EXPECT_EQ(escape("log search 1"), "log search 1");
  EXPECT_EQ(escape("Größe 東京 🙂"), "Größe 東京 🙂");
  EXPECT_EQ(escape(""), "");
}

TEST(TextTest, what_a_terminal_obeys_is_shown_instead) {
  EXPECT_EQ(escape("a\x1b[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(escape(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(escape("a\r\n\t\x7f"), "a\\x0d\\x0a\\x09\\x7f");
  EXPECT_EQ(escape("\xc2\x9b" "31m"), "\\u{9b}31m");         // CSI in one character
  EXPECT_EQ(escape("\xe2\x80\xaetxt"), "\\u{202e}txt");      // right-to-left override
  EXPECT_EQ(escape("\xe2\x81\xa6x\xe2\x80\x8b"), "\\u{2066}x\\u{200b}");
}

TEST(TextTest, what_is_not_utf8_is_shown_byte_by_byte) {
  EXPECT_EQ(escape("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(escape("\xc3"), "\\xc3");                        // cut off
  EXPECT_EQ(escape("\xc0\x9b"), "\\xc0\\x9b");               // overlong
  EXPECT_EQ(escape("\xe0\x80\x9b"), "\\xe0\\x80\\x9b");
  EXPECT_EQ(escape("\xed\xa0\x80"), "\\xed\\xa0\\x80");      // a surrogate
  EXPECT_EQ(escape("\xf5\x80\x80\x80"), "\\xf5\\x80\\x80\\x80");
  EXPECT_EQ(escape("\xc3\x28"), "\\xc3(");
}

TEST(TextTest, no_input_of_three_bytes_gives_a_control_character) {
  for (unsigned value = 0; value < 1u << 24; value += 37) {
    char bytes[3] = {static_cast<char>(value), static_cast<char>(value >> 8), static_cast<char>(value >> 16)};
    for (char c : escape({bytes, 3})) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << value;
  }
}

TEST(TextTest, sizes_and_durations_are_short) {
  EXPECT_EQ(show_bytes(0), "0 B");
  EXPECT_EQ(show_bytes(1023), "1023 B");
  EXPECT_EQ(show_bytes(1536), "1.5 KiB");
  EXPECT_EQ(show_bytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(show_bytes(UINT64_MAX), "16.0 EiB");
  EXPECT_EQ(show_duration(-1), "-");
  EXPECT_EQ(show_duration(0), "0 s");
  EXPECT_EQ(show_duration(999), "999 ns");
  EXPECT_EQ(show_duration(350'000'000), "350 ms");
  EXPECT_EQ(show_duration(3'720'000'000'000), "1 h 2 min");
  EXPECT_EQ(show_duration(90'061'000'000'000), "1 d 1 h");
}

TEST(TableTest, aligns_columns_and_leaves_no_space_at_the_end) {
  Table table({{"N", Align::kRight}, {"NAME"}, {"STATE"}});
  table.add({"7", "a", "ok"});
  table.add({"1000", "größer", ""});
  EXPECT_EQ(table.text(false),
            "   N  NAME    STATE\n"
            "   7  a       ok\n"
            "1000  größer\n");
}

TEST(TableTest, escapes_cells_and_measures_what_it_shows) {
  Table table({{"NAME"}, {"N"}});
  table.add({"\x1b", "1"});
  EXPECT_EQ(table.text(false), "NAME  N\n\\x1b  1\n");
}

TEST(TableTest, colours_only_when_asked) {
  Table table({{"S"}});
  table.add({Cell("dead", Colour::kRed)});
  EXPECT_EQ(table.text(false).find('\x1b'), std::string::npos);
  EXPECT_NE(table.text(true).find("\x1b[31mdead\x1b[0m"), std::string::npos);
}

TEST(TableTest, no_colour_where_it_is_not_wanted) {
  EXPECT_FALSE(wants_colour(-1));
}

}  // namespace
}  // namespace tarn::cli
