#include "table.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/assert.hpp"
#include "text.hpp"

namespace tarn::cli {
namespace {

const char* sequence_of(Colour colour) {
  switch (colour) {
    case Colour::kGreen: return "\x1b[32m";
    case Colour::kYellow: return "\x1b[33m";
    case Colour::kRed: return "\x1b[31m";
    case Colour::kDim: return "\x1b[2m";
    case Colour::kNone: break;
  }
  return "";
}

void append(std::string& line, const Cell& cell, Align align, size_t width, bool is_last, bool with_colour) {
  size_t own = width_of(cell.text);
  std::string space(width - std::min(own, width), ' ');
  bool coloured = with_colour && cell.colour != Colour::kNone && !cell.text.empty();
  if (align == Align::kRight) line += space;
  if (coloured) line += sequence_of(cell.colour);
  line += cell.text;
  if (coloured) line += "\x1b[0m";
  if (align == Align::kLeft && !is_last) line += space;
}

}  // namespace

bool wants_colour(int stream_fd) {
  const char* refused = getenv("NO_COLOR");
  const char* terminal = getenv("TERM");
  if (refused != nullptr && *refused != '\0') return false;
  return isatty(stream_fd) == 1 && (terminal == nullptr || std::string(terminal) != "dumb");
}

void Table::add(std::vector<Cell> row) {
  TARN_ASSERT(row.size() == columns_.size());
  for (Cell& cell : row) cell.text = escape(cell.text);
  rows_.push_back(std::move(row));
}

std::string Table::text(bool with_colour) const {
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    size_t width = width_of(columns_[i].heading);
    for (const auto& row : rows_) width = std::max(width, width_of(row[i].text));
    widths.push_back(width);
  }
  std::string out;
  auto add_line = [&](const std::vector<Cell>& row) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      append(line, row[i], columns_[i].align, widths[i], i + 1 == row.size(), with_colour);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + '\n';
  };
  std::vector<Cell> headings;
  for (const Column& column : columns_) headings.emplace_back(column.heading, Colour::kDim);
  add_line(headings);
  for (const auto& row : rows_) add_line(row);
  return out;
}

}  // namespace tarn::cli
