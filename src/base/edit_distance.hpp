// Edit distance: how far apart two words are, for "did you mean". Any thread.
#pragma once

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

namespace tarn {

// How many characters must be put in, left out or changed to make one of the other.
[[nodiscard]] inline size_t edit_distance(std::string_view left, std::string_view right) {
  std::vector<size_t> row(right.size() + 1);
  for (size_t j = 0; j <= right.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= left.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= right.size(); ++j) {
      size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (left[i - 1] == right[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[right.size()];
}

}  // namespace tarn
