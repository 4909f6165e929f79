// Table: rows of text under headings, aligned, for terminals and pipes alike.
#pragma once

#include <string>
#include <vector>

namespace tarn::cli {

// Whether what goes to `stream_fd` may have colours: a terminal, and NO_COLOR is not set.
[[nodiscard]] bool wants_colour(int stream_fd);

enum class Colour { kNone, kGreen, kYellow, kRed, kDim };

struct Cell {
  Cell(std::string what, Colour how = Colour::kNone) : text(std::move(what)), colour(how) {}
  Cell(const char* what) : text(what) {}
  std::string text;  // as it came: the table escapes it
  Colour colour = Colour::kNone;
};

enum class Align { kLeft, kRight };

class Table {
 public:
  struct Column {
    std::string heading;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // REQUIRES: as many cells as columns.
  void add(std::vector<Cell> row);

  // Two spaces between columns, none at the ends of lines; headings only if there are no rows.
  [[nodiscard]] std::string text(bool with_colour) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;  // escaped
};

}  // namespace tarn::cli
