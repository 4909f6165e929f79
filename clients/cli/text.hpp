// Text: what the tables are made of. Nothing that comes from a client reaches a terminal unescaped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tarn::cli {

// `text` with everything visible that a terminal might obey or that would fool a reader: control
// characters, what is not UTF-8, and the invisible characters that change the direction of writing.
[[nodiscard]] std::string escape(std::string_view text);

// How many columns escaped text takes on a terminal, near enough: its characters.
[[nodiscard]] size_t width_of(std::string_view text);

// "1.5 GiB", "512 B".
[[nodiscard]] std::string show_bytes(uint64_t bytes);

// "350 ms", "1 h 2 min".
[[nodiscard]] std::string show_duration(int64_t ns);

}  // namespace tarn::cli
