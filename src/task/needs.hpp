// Needs: what the options of a submission ask for, and whether this session can ever have that.
#pragma once

#include <cstdint>

#include "shm/board.hpp"
#include "tarn/tarn.h"

namespace tarn::task {

// A list of NAME=COUNT, taken apart from front to back. A name without a count is one of it.
class ResourceList {
 public:
  explicit ResourceList(const char* text) : at_(text == nullptr ? "" : text) {}

  struct Entry {
    const char* name;
    size_t name_size;
    uint32_t count;
  };

  // 1 and the next entry, 0 at the end, or TARN_E_ARGUMENT.
  [[nodiscard]] int next(Entry& out);

 private:
  const char* at_;
};

// Whether a task can ever have what it needs: else TARN_E_UNSATISFIABLE, with what was asked and what there is. Sets the number of the
// class of tasks of this priority that ask for the same place and resources; 0 if that is none. TARN_E_ARGUMENT, TARN_E_LIMIT.
[[nodiscard]] int check_needs(shm::Board& board, const tarn_needs& needs, uint32_t level, uint32_t& number);

}  // namespace tarn::task
